//! What this instance says of itself: one place that the heartbeat, the status file and the log read from.

use chrono::Utc;
use ordo_contract::commit::EVENT_LEVEL;
use ordo_contract::heartbeat::{Activity, Heartbeat, Link};
use ordo_domain::{Instant, NodeName};
use ordo_runtime::{Health, HealthState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Cheap to clone; every part of the process speaks through it.
#[derive(Clone)]
pub(crate) struct Status {
    inner: Arc<Inner>,
}

struct Inner {
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
    nats: Link,
    database: Link,
}

impl Status {
    pub(crate) fn new(instance: &str, node: NodeName, health: Health) -> Self {
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
            nats: link("NATS"),
            database: link("PostgreSQL"),
        };
        Self {
            inner: Arc::new(Inner {
                instance: instance.to_owned(),
                node,
                started_at: now,
                health,
                said: Mutex::new(said),
                changed: Notify::new(),
            }),
        }
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
        for link in [&copy.nats, &copy.database] {
            self.inner.health.link(&link.to.to_lowercase(), link.error.clone().unwrap_or_else(|| "ok".to_owned()));
        }
    }

    /// Resolves when the activity or the trouble changed: a heartbeat is due at once.
    pub(crate) async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    pub(crate) fn activity(&self, activity: Activity) {
        self.change(|said| said.activity = activity);
        self.inner.changed.notify_one();
    }

    /// Says loudly that something does not go on, once until it changes; `None`: it goes on.
    pub(crate) fn trouble(&self, trouble: Option<String>) {
        let before = self.lock().trouble.clone();
        if before == trouble {
            return;
        }
        match &trouble {
            Some(text) => tracing::error!(trouble = text, "history does not go on"),
            None => tracing::info!("history goes on"),
        }
        self.change(|said| said.trouble = trouble);
        self.inner.changed.notify_one();
    }

    pub(crate) fn position(&self, sequence: u64, epoch: u64) {
        self.change(|said| {
            said.position = Some(sequence);
            said.epoch = said.epoch.max(epoch);
        });
    }

    pub(crate) fn lag_behind(&self, last: Option<u64>) {
        self.change(|said| said.lag = said.position.zip(last).map(|(ours, last)| last.saturating_sub(ours)));
    }

    /// Nothing of the journal is known to be missing in the database.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.lock().lag == Some(0)
    }

    pub(crate) fn probed(&self, database: bool, outcome: Result<Duration, String>) {
        self.change(|said| {
            let link = if database { &mut said.database } else { &mut said.nats };
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
            role: "history".into(),
            instance: self.inner.instance.clone(),
            node: self.inner.node.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            event_level: EVENT_LEVEL,
            activity: said.activity,
            started_at: self.inner.started_at,
            at: Utc::now(),
            epoch: said.epoch,
            links: vec![said.nats, said.database],
            lag: said.lag,
            agent: None,
            note: said.trouble,
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
    for link in [&said.nats, &said.database] {
        if let (false, Some(error)) = (link.ok, &link.error) {
            return (HealthState::Degraded, format!("{word}, no link to {}: {error}", link.to));
        }
    }
    let at = said.position.map(|p| format!(", at journal {p}")).unwrap_or_default();
    let lag = said.lag.filter(|lag| *lag > 0).map(|lag| format!(", {lag} behind")).unwrap_or_default();
    (HealthState::Ready, format!("{word}{at}{lag}"))
}
