//! A service that does as little as one can with every mechanism: an effect for each order, and for each claimed run a
//! timer whose firing is an effect, too. Effects are lines in a file, which no crash takes back.

use crate::service_site::{Candidate, ServiceSite, die_at, note};
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use ordo_contract::request::catalog::DeployedReply;
use ordo_domain::Event;
use ordo_journal::{Call, CallError};
use ordo_runtime::{CancellationToken, DatabaseSettings, RoleSettings};
use ordo_service::{Active, BackOff, Failed, Instance, LeasedService, OutboxPolicy, Part, Stop, answer};
use ordo_service::{outbox, project, timers};
use ordo_store::{Decoded, Effect, Fire, Rows, Store, StoreError, Timer, Tx};
use ordo_testkit::{DatabaseRole, User};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// With the rights of history, which has them all.
pub struct Probe {
    folder: PathBuf,
}

pub const POLICY: OutboxPolicy = OutboxPolicy {
    at_a_time: 4,
    limit: Duration::from_secs(5),
    back_off: BackOff { first: Duration::from_millis(20), longest: Duration::from_millis(200) },
    give_up_after: Duration::from_secs(30),
    keep: Duration::from_secs(3600),
};
const TIMER: TimeDelta = TimeDelta::milliseconds(40);

struct ProbeRows {
    folder: PathBuf,
    began: Option<u64>,
}

impl Rows for ProbeRows {
    const READER: &'static str = "history";

    async fn prepare(&mut self, _: &Store, _: &[Decoded<'_>]) -> Result<(), StoreError> {
        die_at("before the transaction");
        Ok(())
    }

    async fn write(&mut self, tx: &mut Tx<'_>, batch: &[Decoded<'_>]) -> Result<(), StoreError> {
        die_at("in the transaction, the position moved");
        let (mut effects, mut timers) = (Vec::new(), Vec::new());
        for (_, event) in batch.iter().flat_map(|decoded| decoded.events()) {
            match event {
                Event::OrderAdded(e) => effects.push(Effect::new(format!("added:{}", e.order), "added", &e.order)),
                Event::RunClaimed(e) => {
                    timers.push(Timer::new(format!("claimed:{}", e.run), Utc::now() + TIMER, &e.run))
                }
                _ => {}
            }
        }
        tx.enqueue(&effects).await?;
        tx.set_timers(&timers).await?;
        die_at("in the transaction, the rows written");
        Ok(())
    }

    const CAN_BEGIN: bool = true;

    async fn begin(&mut self, _: &mut Tx<'_>, picture: &DeployedReply) -> Result<(), StoreError> {
        self.began = Some(picture.sequence);
        Ok(())
    }

    fn committed(&mut self) {
        if let Some(began) = self.began.take() {
            note(&self.folder.join("began"), &began.to_string());
        }
        die_at("after the commit, before the acknowledgement");
    }
}

struct ProbeTimers;

impl Fire for ProbeTimers {
    async fn fire(&mut self, tx: &mut Tx<'_>, due: &[Timer]) -> Result<(), StoreError> {
        die_at("in a timer, nothing done");
        let early = due.iter().find(|timer| timer.due_at > Utc::now());
        assert!(early.is_none(), "fired before its time: {early:?}");
        let effects: Vec<Effect> =
            due.iter().map(|timer| Effect::new(timer.key.clone(), "claimed", &timer.key)).collect();
        tx.enqueue(&effects).await?;
        die_at("in a timer, all done and not committed");
        Ok(())
    }
}

impl LeasedService for Probe {
    const ROLE: &'static str = "history";
    const RUNS: bool = true;

    fn description(&self, _: &str) -> String {
        "A service of tests".into()
    }

    fn endpoints(&self) -> Vec<(&'static str, &'static str)> {
        vec![("probe", "whoever")]
    }

    fn active_endpoints(&self) -> Vec<(&'static str, &'static str)> {
        vec![("probe", "active")]
    }

    async fn answer(&self, here: &Instance, call: &Call) -> Result<Bytes, CallError> {
        match call.verb.as_str() {
            "whoever" | "active" => answer::encode(&[&here.settings.instance, &call.user]),
            _ => Err(answer::not_served(call)),
        }
    }

    async fn work(&self, active: &Active) -> Result<(), Stop> {
        let parts: Vec<Part<'_>> = vec![
            Box::pin(project::run(active, ProbeRows { folder: self.folder.clone(), began: None }, 5)),
            Box::pin(timers::run(active, ProbeTimers)),
            Box::pin(outbox::run(active, POLICY, |effect| {
                let line = format!("{} {}", active.settings.instance, effect.key);
                async move {
                    die_at("before an effect");
                    // Some fail, each once.
                    if effect.tries == 0 && effect.key.bytes().map(usize::from).sum::<usize>().is_multiple_of(5) {
                        return Err(Failed::Again("not the first time".into()));
                    }
                    note(&self.folder.join("effects"), &line);
                    die_at("after an effect, before its mark");
                    Ok(())
                }
            })),
            Box::pin(runs(active, &self.folder)),
        ];
        active.together(parts).await
    }
}

/// Notes each "run now".
async fn runs(active: &Active, folder: &Path) -> Result<(), Stop> {
    let mut runs = active.wakes.runs();
    loop {
        tokio::select! {
            () = active.stop.cancelled() => return Err(Stop::Told),
            _ = runs.changed() => note(&folder.join("runs"), &active.settings.instance),
        }
    }
}

impl Probe {
    /// How often each effect happened.
    pub fn effects(site: &ServiceSite<Self>) -> BTreeMap<String, usize> {
        let mut effects = BTreeMap::new();
        let text = std::fs::read_to_string(site.folder.join("effects")).unwrap_or_default();
        for line in text.lines() {
            *effects.entry(line.split_once(' ').unwrap().1.to_owned()).or_default() += 1;
        }
        effects
    }

    /// Effects that happened more than once, beyond the first.
    pub fn repeats(site: &ServiceSite<Self>) -> usize {
        Self::effects(site).values().map(|count| count - 1).sum()
    }
}

impl Candidate for Probe {
    const ROLE: &'static str = "history";
    const DATABASE: DatabaseRole = DatabaseRole::History;

    fn user() -> User {
        User::History
    }

    async fn run(
        role: RoleSettings,
        database: DatabaseSettings,
        folder: PathBuf,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        ordo_service::run(Probe { folder }, role, Some(database), shutdown).await
    }

    async fn missing(site: &ServiceSite<Self>) -> Vec<String> {
        let mut wanted = std::collections::BTreeSet::new();
        for (_, _, event) in &site.life.events {
            if let Some(added) = event.get("OrderAdded") {
                wanted.insert(format!("added:{}", added["order"].as_str().unwrap()));
            }
            if let Some(claimed) = event.get("RunClaimed") {
                wanted.insert(format!("claimed:{}", claimed["run"].as_str().unwrap()));
            }
        }
        let happened = Self::effects(site);
        let foreign: Vec<_> = happened.keys().filter(|key| !wanted.contains(*key)).collect();
        assert!(foreign.is_empty(), "nobody asked for {foreign:?}");
        let mut missing: Vec<String> = wanted.into_iter().filter(|key| !happened.contains_key(key)).collect();
        // Marked, too: else they would happen again.
        match site.store().outbox_figures(<Self as Candidate>::ROLE).await {
            Ok(figures) if figures.waiting + figures.given_up == 0 => {}
            other => missing.push(format!("{other:?}")),
        }
        missing
    }

    fn points() -> Vec<&'static str> {
        vec![
            "before the transaction",
            "in the transaction, the position moved",
            "in the transaction, the rows written",
            "after the commit, before the acknowledgement",
            "before an effect",
            "after an effect, before its mark",
            "in a timer, nothing done",
            "in a timer, all done and not committed",
        ]
    }
}
