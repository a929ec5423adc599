//! Follows the heartbeats and tells who is missing.

use crate::presence::{Presence, Seen, telling};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use ordo_contract::heartbeat::Heartbeat;
use ordo_journal::{Entry, FollowError};
use ordo_service::{Active, Stop, chain};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

const TICK: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(500);

/// Until told to stop.
pub(crate) async fn run(active: &Active, zone: Tz) -> Result<(), Stop> {
    let mut presence = Presence::new(Instant::now());
    loop {
        match follow(active, zone, &mut presence).await {
            Err(Trouble::Stop(stop)) => return Err(stop),
            Err(Trouble::Follow(error)) => {
                tracing::warn!(error = chain(&error), "heartbeats cannot be followed, trying on");
            }
            Ok(never) => match never {},
        }
        tokio::select! {
            () = active.stop.cancelled() => return Err(Stop::Told),
            () = tokio::time::sleep(AGAIN) => {}
        }
        presence.begin_anew(Instant::now());
    }
}

enum Trouble {
    Stop(Stop),
    Follow(FollowError),
}

async fn follow(active: &Active, zone: Tz, presence: &mut Presence) -> Result<std::convert::Infallible, Trouble> {
    let mut watch = active.bus.instances().watch(">").await.map_err(Trouble::Follow)?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let link = active.bus.link();
    let mut connected_times = link.borrow().times;
    loop {
        let seen = tokio::select! {
            () = active.stop.cancelled() => return Err(Trouble::Stop(Stop::Told)),
            entry = watch.next() => heard(presence, &entry.map_err(Trouble::Follow)?),
            _ = tick.tick() => {
                let times = link.borrow().times;
                if times != connected_times {
                    connected_times = times;
                    presence.begin_anew(Instant::now());
                }
                presence.tick(active.role, Instant::now(), Utc::now())
            }
        };
        if !seen.is_empty() {
            tell(active, zone, seen).await.map_err(Trouble::Stop)?;
            // Whoever was silent while the database was away is judged anew.
            presence.waited(Instant::now());
        }
    }
}

fn heard(presence: &mut Presence, entry: &Entry) -> Vec<Seen> {
    let beat: Option<Heartbeat> = match &entry.value {
        None => None,
        Some(value) => match serde_json::from_slice(value) {
            Ok(beat) => Some(beat),
            Err(error) => {
                tracing::debug!(key = entry.key, %error, "heartbeat cannot be read");
                return Vec::new();
            }
        },
    };
    let stored_at =
        DateTime::<Utc>::from_timestamp_nanos(i64::try_from(entry.stored_at.as_nanos()).unwrap_or_default());
    presence.heard(&entry.key, beat, stored_at, Instant::now()).into_iter().collect()
}

async fn tell(active: &Active, zone: Tz, seen: Vec<Seen>) -> Result<(), Stop> {
    let left = active
        .retry(|| {
            let seen = seen.clone();
            active.store().monitor_tell(zone, move |rules| telling(seen, rules))
        })
        .await?;
    active.wakes.left(left);
    Ok(())
}
