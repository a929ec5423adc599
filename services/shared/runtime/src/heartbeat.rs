//! Keeps an instance's own key in the bucket `ordo-<site>-instance` fresh.

use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often an instance writes its key when nothing else is said. Readers call it unknown after three of them.
pub const EVERY: Duration = Duration::from_secs(1);

/// Calls `publish` at once and then every `every`, until `shutdown`. A failure is said once when it begins and once
/// when it ends: the bus being away for an hour is one line, not 3,600. A call is given `every` × 3 and then dropped,
/// so that a hanging bus never stops the heart for good.
pub async fn run<E: std::fmt::Display>(
    every: Duration,
    shutdown: CancellationToken,
    mut publish: impl AsyncFnMut() -> Result<(), E>,
) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let problem = tokio::select! {
            () = shutdown.cancelled() => return,
            outcome = tokio::time::timeout(every * 3, publish()) => match outcome {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {} ms", every.as_millis() * 3)),
            },
        };
        match problem {
            Some(error) if !failing => {
                failing = true;
                tracing::warn!(error, "heartbeat not written, trying on");
            }
            None if failing => {
                failing = false;
                tracing::info!("heartbeat written again");
            }
            _ => {}
        }
    }
}
