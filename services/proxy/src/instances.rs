//! Heartbeats of all instances, followed. What is kept is when the server took each one: a wrong clock on a node makes
//! nothing look fresh.

use crate::serve::Proxy;
use chrono::TimeDelta;
use ordo_contract::heartbeat::{Heartbeat, PERIOD};
use ordo_domain::Instant;
use ordo_journal::Entry;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// By key of the bucket: `<role>.<instance>`, agents `agent-<name>.<instance>`.
#[derive(Debug, Default)]
pub struct Instances {
    by_key: Mutex<BTreeMap<String, Heartbeat>>,
}

impl Instances {
    /// All, with `at` = when the server took it.
    pub fn all(&self) -> BTreeMap<String, Heartbeat> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Of one role (or `agent-<name>`), by instance.
    pub fn of(&self, role: &str) -> BTreeMap<String, Heartbeat> {
        let all = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = all.iter().filter_map(|(key, beat)| {
            let (of, instance) = key.split_once('.')?;
            (of == role).then(|| (instance.to_owned(), beat.clone()))
        });
        ours.collect()
    }

    fn note(&self, entry: Entry) {
        let mut all = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(value) = entry.value else {
            all.remove(&entry.key);
            return;
        };
        match serde_json::from_slice::<Heartbeat>(&value) {
            Ok(mut beat) => {
                let nanos = i64::try_from(entry.stored_at.as_nanos()).unwrap_or_default();
                beat.at = Instant::from_timestamp_nanos(nanos);
                all.insert(entry.key, beat);
            }
            Err(error) => tracing::warn!(key = entry.key, %error, "heartbeat cannot be read"),
        }
    }
}

/// Whether it was heard of within its time.
pub fn is_fresh(beat: &Heartbeat, now: Instant) -> bool {
    now - beat.at <= TimeDelta::from_std(PERIOD * 3).unwrap_or(TimeDelta::seconds(6))
}

/// Follows the bucket until `shutdown`, whatever happens on the way.
pub async fn follow(proxy: Arc<Proxy>, shutdown: CancellationToken) {
    let mut failing = false;
    loop {
        let watching = async {
            let mut watch = proxy.bus.instances().watch(">").await?;
            loop {
                // Heartbeats come all the time: silence is a reason to ask again.
                let Ok(entry) = tokio::time::timeout(PERIOD * 2, watch.next()).await else { continue };
                proxy.instances.note(entry?);
            }
        };
        let stopped: Result<(), ordo_journal::FollowError> = tokio::select! {
            () = shutdown.cancelled() => return,
            stopped = watching => stopped,
        };
        if let Err(error) = stopped
            && !std::mem::replace(&mut failing, true)
        {
            tracing::warn!(%error, "heartbeats cannot be followed, trying on");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
        }
    }
}
