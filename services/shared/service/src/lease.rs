//! Waits for the lease, and works while it is ours.

use crate::LeasedService;
use crate::active::{Active, Instance};
use crate::stop::{Stop, chain};
use ordo_contract::heartbeat::Activity;
use ordo_journal::{Lease, LeaseConfig, LeaseEvent};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

/// After trouble that waiting does not heal: others get their chance, and a person may have repaired it.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// For work that was told to stop. What is not done by then is dropped where it is.
const GRACE: Duration = Duration::from_secs(10);

/// Again and again, until told to stop. The lease is given up for whoever comes first.
pub(crate) async fn be_of_use<S: LeasedService>(
    service: &S,
    here: &Instance,
    config: &LeaseConfig,
    ending: &CancellationToken,
) {
    while !ending.is_cancelled() {
        here.status.activity(Activity::Standby);
        let (lease, mut events) = Lease::start(&here.bus, config.clone());
        here.follow_holder(lease.seen());
        let stopped = hold(service, here, &lease, &mut events, ending).await;
        let _ = tokio::time::timeout(Duration::from_secs(1), lease.release()).await;
        drop(lease);
        let why = match stopped {
            Stop::Told => continue,
            Stop::Fenced(error) => {
                tracing::warn!(error = chain(&error), "another instance wrote, not active any more");
                continue;
            }
            Stop::Broken(why) | Stop::Trouble(why) => why,
        };
        here.status.trouble(Some(why));
        here.status.activity(Activity::Standby);
        tokio::select! {
            () = ending.cancelled() => {}
            () = tokio::time::sleep(TRY_AGAIN) => {}
        }
    }
}

/// Until told to stop, or being active ended with more than the loss of the lease.
async fn hold<S: LeasedService>(
    service: &S,
    here: &Instance,
    lease: &Lease,
    events: &mut UnboundedReceiver<LeaseEvent>,
    ending: &CancellationToken,
) -> Stop {
    loop {
        let event = tokio::select! {
            () = ending.cancelled() => return Stop::Told,
            event = events.recv() => event,
        };
        match event {
            None => return Stop::Told,
            Some(LeaseEvent::Gained { by, .. }) => tracing::info!(?by, "active"),
            Some(LeaseEvent::Resumed { .. }) => tracing::info!("active again"),
            Some(LeaseEvent::Paused | LeaseEvent::Lost { .. }) => continue,
        }
        if !lease.holds() {
            continue;
        }
        match work(service, here, events, ending).await {
            Stop::Told if !ending.is_cancelled() => here.status.activity(Activity::Standby),
            other => return other,
        }
    }
}

/// Until the lease is not ours any more, or the work itself ends. What it is doing then is left half-done after a while:
/// a transaction that is not committed did not happen, an effect that is not noted is tried again.
async fn work<S: LeasedService>(
    service: &S,
    here: &Instance,
    events: &mut UnboundedReceiver<LeaseEvent>,
    ending: &CancellationToken,
) -> Stop {
    let stop = ending.child_token();
    let active = Active { instance: here.clone(), stop: stop.clone() };
    here.status.activity(Activity::Active);
    let working = service.work(&active);
    tokio::pin!(working);
    let too_late = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::pin!(too_late);
    loop {
        tokio::select! {
            ended = &mut working => return match ended {
                Err(why) => why,
                Ok(()) if stop.is_cancelled() => Stop::Told,
                Ok(()) => Stop::Trouble("its work ended although nobody told it to".to_owned()),
            },
            () = &mut too_late => {
                tracing::warn!(seconds = GRACE.as_secs(), "work did not end in time, dropped");
                return Stop::Told;
            }
            event = events.recv(), if !stop.is_cancelled() => match event {
                Some(LeaseEvent::Gained { .. } | LeaseEvent::Resumed { .. }) => {}
                Some(LeaseEvent::Paused) => {
                    tracing::warn!("lease not renewed in time, pausing");
                    stop.cancel();
                }
                Some(LeaseEvent::Lost { why }) => {
                    tracing::warn!(why, "not active any more");
                    stop.cancel();
                }
                None => stop.cancel(),
            },
        }
    }
}
