//! Fires what lies in the table `timers` when it is due: never before, and while this process lives to the millisecond.
//! What was due while nobody was there fires as soon as somebody is.

use crate::active::Active;
use crate::retry::{BackOff, Passing, Pause};
use crate::stop::Stop;
use chrono::{DateTime, Utc};
use ordo_store::{Fire, Timer};
use std::time::Duration;

/// Fired in one transaction, at most.
const BATCH: usize = 200;
/// A clock may be set, and somebody else may have written into the table: never wait longer than this.
const LOOK: Duration = Duration::from_secs(10);

/// Fires the timers of this service until told to stop.
///
/// # Errors
/// Told to stop, or what no waiting heals.
pub async fn run<F: Fire>(active: &Active, mut fire: F) -> Result<(), Stop> {
    loop {
        let next = active.retry(|| active.store().next_timers(active.role, BATCH)).await?;
        let now = Utc::now();
        let due = &next[..next.partition_point(|timer| timer.due_at <= now)];
        if due.is_empty() {
            wait(active, next.first().map(|timer| timer.due_at)).await?;
            continue;
        }
        if F::BY_ROWS {
            // What was due while nobody was there may long be over, as the journal says. Timers that were cancelled
            // meanwhile, or moved, do not fire.
            active.caught_up().await?;
        }
        fire_all(active, due, &mut fire).await?;
    }
}

/// Until a timer is due, or an earlier one was set.
async fn wait(active: &Active, first: Option<DateTime<Utc>>) -> Result<(), Stop> {
    let now = Utc::now();
    let pause = first.map_or(LOOK, |first| (first - now).to_std().unwrap_or_default().min(LOOK));
    let sleep = tokio::time::sleep(pause);
    tokio::pin!(sleep);
    loop {
        tokio::select! {
            () = active.stop.cancelled() => return Err(Stop::Told),
            () = &mut sleep => return Ok(()),
            set = active.wakes.timer_set() => {
                if first.is_none_or(|first| set < first) {
                    return Ok(());
                }
            }
        }
    }
}

async fn fire_all<F: Fire>(active: &Active, due: &[Timer], fire: &mut F) -> Result<(), Stop> {
    let mut pause = Pause::new(BackOff::NEAR);
    loop {
        if active.stop.is_cancelled() {
            return Err(Stop::Told);
        }
        match active.store().fire_timers(active.role, due, fire).await {
            Ok(left) => {
                active.wakes.left(left);
                return Ok(());
            }
            Err(error) if error.passes() => active.status.failed(error.to(), crate::chain(&error)),
            Err(error) => return Err(error.into()),
        }
        pause.wait(&active.stop).await?;
    }
}
