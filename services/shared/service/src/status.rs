//! What this instance says of itself: one place that the heartbeat, the status file and the log read from.

use chrono::Utc;
use ordo_contract::commit::EVENT_LEVEL;
use ordo_contract::heartbeat::{Activity, Heartbeat, Link};
use ordo_domain::{Instant, NodeName};
use ordo_runtime::{Health, HealthState};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Where a link leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    Bus,
    Database,
}

/// Cheap to clone; every part of the process speaks through it.
#[derive(Clone)]
pub struct Status {
    inner: Arc<Inner>,
}

struct Inner {
    role: &'static str,
    instance: String,
    node: NodeName,
    started_at: Instant,
    health: Health,
    said: Mutex<Said>,
    changed: Notify,
}

#[derive(Clone)]
struct Said {
    activity: Activity,
    epoch: u64,
    /// Journal sequence that is in the database.
    position: Option<u64>,
    lag: Option<u64>,
    /// Why it does not go on, for people.
    trouble: Option<String>,
    /// What else people should know, by what it is about.
    notes: BTreeMap<&'static str, String>,
    bus: Link,
    database: Option<Link>,
}

impl Said {
    fn links(&self) -> impl Iterator<Item = &Link> {
        std::iter::once(&self.bus).chain(&self.database)
    }

    fn note(&self) -> Option<String> {
        let parts: Vec<&str> = self.trouble.iter().chain(self.notes.values()).map(String::as_str).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

impl Status {
    pub(crate) fn new(role: &'static str, instance: &str, node: NodeName, health: Health, database: bool) -> Self {
        let now = Utc::now();
        let link = |to: &str| Link {
            to: to.to_owned(),
            ok: false,
            rtt_ms: None,
            probed_at: now,
            error: Some("not probed yet".into()),
        };
        let said = Said {
            activity: Activity::Starting,
            epoch: 0,
            position: None,
            lag: None,
            trouble: None,
            notes: BTreeMap::new(),
            bus: link("NATS"),
            database: database.then(|| link("PostgreSQL")),
        };
        let (instance, said, changed) = (instance.to_owned(), Mutex::new(said), Notify::new());
        Self { inner: Arc::new(Inner { role, instance, node, started_at: now, health, said, changed }) }
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.inner.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Said)) {
        let mut said = self.lock();
        change(&mut said);
        let copy = said.clone();
        drop(said);
        let (state, detail) = health_of(&copy);
        self.inner.health.set(state, detail);
        for link in copy.links() {
            self.inner.health.link(&link.to.to_lowercase(), link.error.clone().unwrap_or_else(|| "ok".to_owned()));
        }
    }

    /// Resolves when the activity or the note changed: a heartbeat is due at once.
    pub(crate) async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    pub(crate) fn activity(&self, activity: Activity) {
        self.change(|said| said.activity = activity);
        self.inner.changed.notify_one();
    }

    pub(crate) fn is_active(&self) -> bool {
        self.lock().activity == Activity::Active
    }

    /// Says loudly that something does not go on, once until it changes; `None`: it goes on.
    pub fn trouble(&self, trouble: Option<String>) {
        let before = self.lock().trouble.clone();
        if before == trouble {
            return;
        }
        match &trouble {
            Some(text) => tracing::error!(role = self.inner.role, trouble = text, "service does not go on"),
            None => tracing::info!(role = self.inner.role, "service goes on"),
        }
        self.change(|said| said.trouble = trouble);
        self.inner.changed.notify_one();
    }

    /// What people should know although it goes on: `status.note("outbox", Some("3 effects given up".into()))`. Shown
    /// in the heartbeat and in the status file, until it is `None`.
    pub fn note(&self, about: &'static str, note: Option<String>) {
        if self.lock().notes.get(about) == note.as_ref() {
            return;
        }
        self.change(|said| match note {
            Some(note) => drop(said.notes.insert(about, note)),
            None => drop(said.notes.remove(about)),
        });
        self.inner.changed.notify_one();
    }

    /// The journal is in the rows up to here.
    pub fn position(&self, sequence: u64, epoch: u64) {
        self.change(|said| {
            said.position = Some(sequence);
            said.epoch = said.epoch.max(epoch);
        });
    }

    pub(crate) fn lag_behind(&self, last: Option<u64>) {
        self.change(|said| said.lag = said.position.zip(last).map(|(ours, last)| last.saturating_sub(ours)));
    }

    /// Nothing of the journal is known to be missing in the database.
    pub fn is_caught_up(&self) -> bool {
        self.lock().lag == Some(0)
    }

    /// A way does not work now.
    pub fn failed(&self, to: To, error: String) {
        self.probed(to, Err(error));
    }

    pub(crate) fn probed(&self, to: To, outcome: Result<Duration, String>) {
        self.change(|said| {
            let link = match to {
                To::Bus => &mut said.bus,
                To::Database => match &mut said.database {
                    Some(link) => link,
                    None => return,
                },
            };
            let was = link.ok;
            link.probed_at = Utc::now();
            link.ok = outcome.is_ok();
            link.rtt_ms = outcome.as_ref().ok().map(|rtt| rtt.as_secs_f64() * 1000.0);
            link.error = outcome.err();
            if was && !link.ok {
                tracing::warn!(link = link.to, error = link.error, "link lost");
            } else if !was && link.ok {
                tracing::info!(link = link.to, "link works");
            }
        });
    }

    pub(crate) fn heartbeat(&self) -> Heartbeat {
        let said = self.lock().clone();
        Heartbeat {
            role: self.inner.role.into(),
            instance: self.inner.instance.clone(),
            node: self.inner.node.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            event_level: EVENT_LEVEL,
            activity: said.activity,
            started_at: self.inner.started_at,
            at: Utc::now(),
            epoch: said.epoch,
            links: said.links().cloned().collect(),
            lag: said.lag,
            agent: None,
            note: said.note(),
        }
    }
}

fn health_of(said: &Said) -> (HealthState, String) {
    let word = match said.activity {
        Activity::Starting => {
            return (HealthState::Starting, said.trouble.clone().unwrap_or_else(|| "starting".into()));
        }
        Activity::Stopping => return (HealthState::Stopping, "stopping".into()),
        Activity::Active => "active",
        Activity::Standby => "standby",
    };
    if let Some(trouble) = &said.trouble {
        return (HealthState::Degraded, format!("{word}, {trouble}"));
    }
    for link in said.links() {
        if let (false, Some(error)) = (link.ok, &link.error) {
            return (HealthState::Degraded, format!("{word}, no link to {}: {error}", link.to));
        }
    }
    let at = said.position.map(|p| format!(", at journal {p}")).unwrap_or_default();
    let lag = said.lag.filter(|lag| *lag > 0).map(|lag| format!(", {lag} behind")).unwrap_or_default();
    let notes: String = said.notes.values().map(|note| format!("; {note}")).collect();
    (HealthState::Ready, format!("{word}{at}{lag}{notes}"))
}
