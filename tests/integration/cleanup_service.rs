//! The service with a real controller and proxy: runs by request and by window, over restarts and by twins, and by the
//! retention that is deployed.

use crate::bus_site::Site;
use crate::cleanup_store::{old_orders, rows, sql};
use chrono::{TimeDelta, Utc};
use ordo_cli::{Client, DeployText, deploy_texts, settings::Settings};
use ordo_contract::request::Nothing;
use ordo_contract::request::catalog::DeployedReply;
use ordo_contract::request::cleanup::{
    CleanupRunLine, CleanupRunReply, CleanupRunRequest, CleanupStatusReply, RUN, STATUS,
};
use ordo_contract::request::proxy::DEFINITION_DEPLOYED;
use ordo_domain::retention::RetentionKind;
use ordo_runtime::{BusSettings, CancellationToken, RoleSettings};
use ordo_testkit::{DatabaseRole, TestFolder, TestPostgres, User, wait_until};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;

pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Stage {
    pub site: Site,
    pub postgres: TestPostgres,
    folder: TestFolder,
    pub person: Client,
    _others: DropGuard,
}

pub struct Running {
    task: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Running {
    fn of<F>(start: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        Self { task: tokio::spawn(start(shutdown.clone())), shutdown }
    }

    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

impl Stage {
    async fn start() -> Self {
        Self::start_on(Site::start().await).await
    }

    /// On a site that may have a journal already.
    pub async fn start_on(site: Site) -> Self {
        let postgres = TestPostgres::start().await;
        let folder = TestFolder::new("cleanup");
        let role = |user: User, instance: &str| role(&site, &folder, &user, instance);
        let controller = ordo_controller::Config {
            role: role(User::Controller, "c1"),
            journal: ordo_controller::config::JournalConfig { scale_down: 64, ..Default::default() },
            ..Default::default()
        };
        let proxy = ordo_proxy::Config { role: role(User::Proxy, "p1") };
        // Its future stays on the thread where it began.
        let stop = CancellationToken::new();
        let others = stop.clone().drop_guard();
        std::thread::spawn({
            let stop = stop.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(ordo_controller::run(controller, stop))
            }
        });
        tokio::spawn(ordo_proxy::run(proxy, stop));
        let bus = site.config(&User::Person("ops".into()));
        let settings =
            Settings { url: bus.url, creds: bus.creds, ca: None, site: bus.site, user: "ops".into(), env_file: None };
        let person = Client::open(settings).await.unwrap();
        let stage = Self { site, postgres, folder, person, _others: others };
        wait_until(LIMIT, "a proxy answers", async || {
            let asked = stage.person.ask::<_, DeployedReply>("proxy", DEFINITION_DEPLOYED, &Nothing {}).await;
            asked.is_ok_and(|deployed| deployed.sequence > 0)
        })
        .await;
        stage
    }

    pub fn cleanup(&self, instance: &str) -> Running {
        let config = ordo_cleanup::Config {
            role: role(&self.site, &self.folder, &User::Cleanup, instance),
            database: self.postgres.settings(DatabaseRole::Cleanup),
        };
        Running::of(|stop| ordo_cleanup::run(config, stop))
    }

    async fn ask_to_run(&self, dry_run: bool) -> CleanupRunReply {
        let request = CleanupRunRequest { dry_run };
        let deadline = Some(tokio::time::Instant::now() + LIMIT);
        let reply = self.person.ask_patiently("cleanup", RUN, &request, Duration::from_secs(10), deadline).await;
        reply.unwrap().expect("somebody is active in time")
    }

    pub async fn status(&self) -> CleanupStatusReply {
        let deadline = Some(tokio::time::Instant::now() + LIMIT);
        let reply = self.person.ask_patiently("cleanup", STATUS, &Nothing {}, Duration::from_secs(10), deadline).await;
        reply.unwrap().expect("somebody answers in time")
    }

    pub async fn run(&self, dry_run: bool) -> CleanupRunLine {
        let begun = self.ask_to_run(dry_run).await.run.run;
        self.ended(begun).await
    }

    async fn ended(&self, run: i64) -> CleanupRunLine {
        let mut found = None;
        wait_until(LIMIT, "the end of the run", async || {
            let status = self.status().await;
            found = status.runs.into_iter().find(|other| other.run == run && other.state != "running");
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    pub async fn deploy(&self, text: String) {
        deploy_texts(&self.person, &[DeployText { file: "retention.yaml".into(), text }]).await.unwrap();
    }
}

fn role(site: &Site, folder: &TestFolder, user: &User, instance: &str) -> RoleSettings {
    let bus = site.config(user);
    RoleSettings {
        site: "default".into(),
        instance: instance.into(),
        node: "node-a".into(),
        data: folder.join(format!("{}-{instance}", user.name())),
        nats: BusSettings { url: bus.url, creds: bus.creds, ..BusSettings::default() },
    }
}

fn orders(run: &CleanupRunLine) -> u64 {
    let step = run.steps.iter().find(|step| step.kind == RetentionKind::Orders).unwrap();
    step.counts.get("orders").copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_counts_cleans_up_and_then_counts_zero() {
    let stage = Stage::start().await;
    old_orders(&stage.postgres, "old", 400, Utc::now() - TimeDelta::days(100)).await;
    old_orders(&stage.postgres, "young", 5, Utc::now() - TimeDelta::days(1)).await;
    let cleanup = stage.cleanup("x1");
    let dry = stage.run(true).await;
    assert_eq!((dry.state.as_str(), orders(&dry)), ("done", 800), "{dry:#?}");
    assert_eq!(dry.steps.len(), RetentionKind::ALL.len() - 1, "failed orders stay by default");
    assert_eq!(rows(&stage.postgres, "orders").await, 810);
    let run = stage.run(false).await;
    assert_eq!((run.state.as_str(), orders(&run)), ("done", 800), "{run:#?}");
    assert_eq!(run.asked_by.as_deref(), Some("ops"));
    assert_eq!(rows(&stage.postgres, "orders").await, 10);
    assert_eq!(orders(&stage.run(true).await), 0);
    cleanup.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_twin_goes_on_where_the_killed_one_was() {
    let stage = Stage::start().await;
    old_orders(&stage.postgres, "old", 3000, Utc::now() - TimeDelta::days(100)).await;
    stage.deploy("retention: default\nbatch: 10\nwindow: { days: [] }\n".into()).await;
    let first = stage.cleanup("x1");
    wait_until(LIMIT, "the retention", async || stage.status().await.version == Some(1)).await;
    let second = stage.cleanup("x2");
    let run = stage.ask_to_run(false).await.run.run;
    wait_until(LIMIT, "some batches", async || rows(&stage.postgres, "orders").await < 5_500).await;
    first.kill().await;
    let ended = stage.ended(run).await;
    assert_eq!((ended.state.as_str(), orders(&ended)), ("done", 6000), "{ended:#?}");
    assert_eq!(rows(&stage.postgres, "orders").await, 0);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_that_keeps_more_holds_at_once_also_in_the_run_that_is_under_way() {
    let stage = Stage::start().await;
    old_orders(&stage.postgres, "old", 3000, Utc::now() - TimeDelta::days(100)).await;
    stage.deploy("retention: default\nbatch: 10\nwindow: { days: [] }\n".into()).await;
    let cleanup = stage.cleanup("x1");
    wait_until(LIMIT, "the retention", async || stage.status().await.version == Some(1)).await;
    let run = stage.ask_to_run(false).await.run.run;
    wait_until(LIMIT, "some batches", async || rows(&stage.postgres, "orders").await < 5_900).await;
    stage.deploy("retention: default\nbatch: 10\nwindow: { days: [] }\nkeep: { orders: forever }\n".into()).await;
    let ended = stage.ended(run).await;
    let left = rows(&stage.postgres, "orders").await;
    assert!(left > 0 && left == 6000 - orders(&ended), "{left} are left: {ended:#?}");
    let note = ended.steps.iter().find(|step| step.kind == RetentionKind::Orders).unwrap().note.clone();
    assert_eq!(note.as_deref(), Some("kept for longer by version 2 of the retention"));
    cleanup.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_begun_before_it_is_known_which_retention_holds() {
    let stage = Stage::start().await;
    old_orders(&stage.postgres, "old", 20, Utc::now() - TimeDelta::days(100)).await;
    let first = "retention: default\nwindow: { from: 00:00, to: 00:00 }\nkeep: { orders: 20d }\n";
    stage.deploy(first.into()).await;
    stage.deploy("retention: default\nwindow: { from: 00:00, to: 00:00 }\nkeep: { orders: forever }\n".into()).await;
    // The rows are an older copy: by them the first one holds, and its window is open.
    let hash = &ordo_domain::definition::read("retention.yaml", first).unwrap().items[0].hash;
    let stale = format!("INSERT INTO cleanup_retention (version, hash, deployed_at) VALUES (1, '{hash}', now())");
    sql(&stage.postgres, DatabaseRole::Owner, stale).await.unwrap();
    let cleanup = stage.cleanup("x1");
    let mut runs = Vec::new();
    wait_until(LIMIT, "a run of the window", async || {
        runs = stage.status().await.runs;
        runs.iter().any(|run| run.state == "done")
    })
    .await;
    assert!(runs.len() == 1 && runs[0].steps.iter().all(|step| step.kind != RetentionKind::Orders), "{runs:#?}");
    assert_eq!(rows(&stage.postgres, "orders").await, 40);
    cleanup.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_closes_ends_the_run_and_the_next_one_goes_on() {
    let stage = Stage::start().await;
    old_orders(&stage.postgres, "old", 3000, Utc::now() - TimeDelta::days(100)).await;
    stage.deploy("retention: default\nbatch: 10\nwindow: { days: [] }\n".into()).await;
    let cleanup = stage.cleanup("x1");
    wait_until(LIMIT, "the retention", async || stage.status().await.version == Some(1)).await;
    let run = stage.ask_to_run(false).await.run.run;
    wait_until(LIMIT, "some batches", async || rows(&stage.postgres, "orders").await < 5_900).await;
    cleanup.kill().await;
    // As if it had been begun by a window that is closed now.
    let closed = "UPDATE cleanup_runs SET until = now(), asked_by = NULL";
    sql(&stage.postgres, DatabaseRole::Owner, closed).await.unwrap();
    let cleanup = stage.cleanup("x1");
    let ended = stage.ended(run).await;
    assert_eq!(ended.state, "stopped", "{ended:#?}");
    let left = rows(&stage.postgres, "orders").await;
    assert!(left > 0 && left == 6000 - orders(&ended), "{left} are left: {ended:#?}");
    let next = stage.run(false).await;
    assert_eq!((next.state.as_str(), orders(&next)), ("done", left));
    cleanup.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_by_itself_in_the_window_of_the_retention_that_is_deployed() {
    let stage = Stage::start().await;
    old_orders(&stage.postgres, "old", 20, Utc::now() - TimeDelta::days(30)).await;
    let (from, to) = (Utc::now() - TimeDelta::hours(1), Utc::now() + TimeDelta::hours(2));
    let (from, to) = (from.format("%H:%M"), to.format("%H:%M"));
    stage.deploy(format!("retention: default\nwindow: {{ from: {from}, to: {to} }}\nkeep: {{ orders: 20d }}\n")).await;
    let cleanup = stage.cleanup("x1");
    let mut found = None;
    wait_until(LIMIT, "a run of the window", async || {
        found = stage.status().await.runs.into_iter().find(|run| run.state == "done" && run.asked_by.is_none());
        found.is_some()
    })
    .await;
    let run = found.unwrap();
    assert_eq!(orders(&run), 40);
    assert!(run.until.is_some_and(|until| until > Utc::now()));
    // Once in a window.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let status = stage.status().await;
    assert_eq!(status.runs.len(), 1, "{:#?}", status.runs);
    // What is removed holds no longer.
    let gone = ordo_contract::request::catalog::DefinitionRemoveRequest {
        items: vec![ordo_domain::catalog::RemoveItem::Definition {
            kind: ordo_domain::catalog::DefinitionKind::Retention,
            name: "default".parse().unwrap(),
        }],
        asked: Default::default(),
    };
    let _: ordo_contract::request::catalog::DoneReply =
        stage.person.ask("proxy", ordo_contract::request::proxy::DEFINITION_REMOVE, &gone).await.unwrap();
    wait_until(LIMIT, "the defaults", async || stage.status().await.version.is_none()).await;
    cleanup.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_was_purged_before_it_ever_ran_is_no_trouble() {
    let stage = Stage::start().await;
    stage.deploy("retention: default\nkeep: { orders: 11d }\nwindow: { days: [] }\n".into()).await;
    let controller = stage.site.bus(&User::Controller).await;
    let last = controller.last_sequence(ordo_contract::name::StreamKind::Journal).await.unwrap();
    controller.purge_journal(last).await.unwrap();
    let cleanup = stage.cleanup("x1");
    wait_until(LIMIT, "the retention", async || stage.status().await.version == Some(1)).await;
    stage.deploy("retention: default\nkeep: { orders: 12d }\nwindow: { days: [] }\n".into()).await;
    wait_until(LIMIT, "the new one", async || stage.status().await.version == Some(2)).await;
    let noted =
        sql(&stage.postgres, DatabaseRole::Owner, "SELECT count(*) FROM projections WHERE reader = 'cleanup'").await;
    assert_eq!(noted.unwrap(), "1");
    cleanup.stop().await;
}
