//! What becomes of effects that do not go, and how exact timers are.

use crate::service_probe::Probe;
use crate::service_site::{LIMIT, ServiceSite};
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use ordo_runtime::CancellationToken;
use ordo_service::{Active, BackOff, Failed, LeasedService, OutboxPolicy, Part, Stop, outbox, timers};
use ordo_store::{Connect, Effect, Fire, Store, StoreError, Timer, Tx, Waiting};
use ordo_testkit::{DatabaseRole, wait_until};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

type Carry = Arc<dyn Fn(Waiting) -> BoxFuture<'static, Result<(), Failed>> + Send + Sync>;
type Fired = Arc<Mutex<Vec<(Timer, DateTime<Utc>)>>>;

/// Carries effects out as the test says, and notes what its timers did.
struct Carrier {
    policy: OutboxPolicy,
    carry: Carry,
    fired: Fired,
}

struct Noting(Fired);

impl Fire for Noting {
    async fn fire(&mut self, _: &mut Tx<'_>, due: &[Timer]) -> Result<(), StoreError> {
        let now = Utc::now();
        self.0.lock().unwrap().extend(due.iter().map(|timer| (timer.clone(), now)));
        Ok(())
    }
}

impl LeasedService for Carrier {
    const ROLE: &'static str = "history";

    fn description(&self, _: &str) -> String {
        "A service of tests".into()
    }

    async fn work(&self, active: &Active) -> Result<(), Stop> {
        let parts: Vec<Part<'_>> = vec![
            Box::pin(outbox::run(active, self.policy, |effect| (self.carry)(effect))),
            Box::pin(timers::run(active, Noting(self.fired.clone()))),
        ];
        active.together(parts).await
    }
}

const POLICY: OutboxPolicy = OutboxPolicy {
    at_a_time: 4,
    limit: Duration::from_millis(300),
    back_off: BackOff { first: Duration::from_millis(20), longest: Duration::from_millis(100) },
    give_up_after: Duration::from_secs(1),
    keep: Duration::from_secs(3600),
};

struct Running {
    site: ServiceSite<Probe>,
    store: Store,
    fired: Fired,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn start(carry: impl Fn(Waiting) -> BoxFuture<'static, Result<(), Failed>> + Send + Sync + 'static) -> Self {
        let site = ServiceSite::<Probe>::new(61).await;
        let store = Store::open(&Connect::new(site.postgres.url(DatabaseRole::History), None)).unwrap();
        let (fired, shutdown) = (Fired::default(), CancellationToken::new());
        let service = Carrier { policy: POLICY, carry: Arc::new(carry), fired: fired.clone() };
        let database = site.postgres.settings(DatabaseRole::History);
        let task = tokio::spawn(ordo_service::run(service, site.role("s1"), Some(database), shutdown.clone()));
        Self { site, store, fired, shutdown, task }
    }

    async fn settled(&self, given_up: u64) {
        wait_until(LIMIT, "nothing waits", async || {
            let figures = self.store.outbox_figures("history").await.unwrap();
            figures.waiting == 0 && figures.given_up == given_up
        })
        .await;
    }

    async fn note(&self, wanted: Option<&str>) {
        wait_until(LIMIT, "the heartbeat says it", async || {
            self.site.heartbeat("s1").await.is_some_and(|beat| beat.note.as_deref() == wanted)
        })
        .await;
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_does_not_go_is_tried_again_and_at_last_given_up_where_people_see_it() {
    let tries: Arc<Mutex<BTreeMap<String, Vec<Instant>>>> = Arc::default();
    let seen = tries.clone();
    let running = Running::start(move |effect| {
        let mut tries = seen.lock().unwrap();
        let tries = tries.entry(effect.key.clone()).or_default();
        tries.push(Instant::now());
        let count = tries.len();
        Box::pin(async move {
            match effect.key.as_str() {
                "third" if count < 3 => Err(Failed::Again("not yet".into())),
                "grey" if count == 1 => Err(Failed::AgainIn(Duration::from_millis(400), "greylisted".into())),
                "never" => Err(Failed::Never("no such recipient".into())),
                "always" => Err(Failed::Again("out of order".into())),
                "panics" if count == 1 => panic!("a bug"),
                "hangs" if count == 1 => std::future::pending().await,
                _ => Ok(()),
            }
        })
    })
    .await;
    let keys = ["good", "third", "grey", "never", "always", "panics", "hangs"];
    let effects = keys.map(|key| Effect::new(key, "test", &key));
    // From outside of its process: it looks by itself.
    let _ = running.store.enqueue("history", &effects).await.unwrap();
    running.settled(2).await;
    running.note(Some("2 effects given up")).await;
    let counted = |key: &str| tries.lock().unwrap().get(key).map_or(0, Vec::len);
    for (key, count) in [("good", 1), ("third", 3), ("grey", 2), ("never", 1), ("panics", 2), ("hangs", 2)] {
        assert_eq!(counted(key), count, "{key}");
    }
    assert!(counted("always") > 4, "tried {} times in a second", counted("always"));
    let grey = tries.lock().unwrap()["grey"].clone();
    assert!(grey[1] - grey[0] >= Duration::from_millis(400), "{:?}", grey[1] - grey[0]);
    // The same again is not wanted again, and what was given up may be tried by a person.
    assert_eq!(running.store.enqueue("history", &effects).await.unwrap().effects, 0);
    let never = ["never".to_owned()];
    assert_eq!(running.store.effects_again("history", Some(&never)).await.unwrap(), 1);
    running.settled(2).await;
    wait_until(LIMIT, "it was tried once more", async || counted("never") == 2).await;
    running.stop().await;
}

#[tokio::test]
async fn a_stop_lets_what_is_under_way_end_and_marks_it() {
    let (begun, mut beginning) = tokio::sync::mpsc::unbounded_channel();
    let running = Running::start(move |_| {
        let _ = begun.send(());
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok(())
        })
    })
    .await;
    let _ = running.store.enqueue("history", &[Effect::new("slow", "test", &1)]).await.unwrap();
    beginning.recv().await.unwrap();
    let store = running.store.clone();
    let _site = {
        running.shutdown.cancel();
        running.task.await.unwrap().unwrap();
        running.site
    };
    assert_eq!(store.outbox_figures("history").await.unwrap().waiting, 0);
}

#[tokio::test]
async fn timers_fire_never_early_soon_after_and_once() {
    let running = Running::start(|_| Box::pin(async { Ok(()) })).await;
    let begin = Utc::now() + TimeDelta::seconds(1);
    let at = |n: i64| begin + TimeDelta::milliseconds(20 * n);
    let all: Vec<Timer> = (0..60).map(|n| Timer::new(format!("t{n:02}"), at(n), &n)).collect();
    let _ = running.store.set_timers("history", &all).await.unwrap();
    wait_until(LIMIT, "all fired", async || running.fired.lock().unwrap().len() == all.len()).await;
    let fired = running.fired.lock().unwrap().clone();
    let mut late: Vec<i64> = fired.iter().map(|(timer, at)| (*at - timer.due_at).num_microseconds().unwrap()).collect();
    late.sort_unstable();
    assert!(late[0] >= 0, "fired {} µs early", -late[0]);
    assert!(late[late.len() / 2] < 50_000, "half of them more than {} µs late", late[late.len() / 2]);
    let mut keys: Vec<&str> = fired.iter().map(|(timer, _)| timer.key.as_str()).collect();
    keys.dedup();
    assert_eq!(keys.len(), all.len());
    assert!(running.store.next_timers("history", 1).await.unwrap().is_empty());
    running.stop().await;
}

/// A timer that was moved after it was read, but before it was fired.
#[tokio::test]
async fn a_timer_that_was_moved_or_cancelled_does_not_fire() {
    let site = ServiceSite::<Probe>::new(62).await;
    let store = Store::open(&Connect::new(site.postgres.url(DatabaseRole::History), None)).unwrap();
    let (now, later) = (Utc::now(), Utc::now() + TimeDelta::hours(1));
    let timers = ["moved", "stays"].map(|key| Timer::new(key, now, &0));
    let _ = store.set_timers("history", &timers).await.unwrap();
    let read = store.next_timers("history", 10).await.unwrap();
    let _ = store.set_timers("history", &[Timer::new("moved", later, &1)]).await.unwrap();
    let fired = Fired::default();
    let _ = store.fire_timers("history", &read, &mut Noting(fired.clone())).await.unwrap();
    let _ = store.fire_timers("history", &read, &mut Noting(fired.clone())).await.unwrap();
    let fired: Vec<String> = fired.lock().unwrap().iter().map(|(timer, _)| timer.key.clone()).collect();
    assert_eq!(fired, ["stays"]);
    assert_eq!(store.next_timers("history", 10).await.unwrap()[0].key, "moved");
}

#[tokio::test]
async fn a_service_changes_its_own_rows_only() {
    let site = ServiceSite::<Probe>::new(63).await;
    let store = Store::open(&Connect::new(site.postgres.url(DatabaseRole::Monitor), None)).unwrap();
    let effect = [Effect::new("k", "test", &1)];
    assert_eq!(store.enqueue("monitor", &effect).await.unwrap().effects, 1);
    let refused = store.enqueue("daily-plan", &effect).await.unwrap_err();
    assert!(format!("{:?}", refused).contains("42501"), "{refused:?}");
    let refused = store.set_timers("history", &[Timer::new("k", Utc::now(), &1)]).await.unwrap_err();
    assert!(format!("{:?}", refused).contains("42501"), "{refused:?}");
    let refused = store.open_position("history", "ORDO-default-JOURNAL", "i").await.unwrap_err();
    assert!(format!("{:?}", refused).contains("42501"), "{refused:?}");
    assert_eq!(store.open_position("monitor", "ORDO-default-JOURNAL", "i").await.unwrap().sequence, 0);
}
