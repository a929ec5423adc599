//! Who is active in a role. One key per role in the lease bucket, taken, renewed, handed over and released by raw
//! publishes that state the revision they replace and carry a time to live. The library's `create` and `update` are
//! never used here: over the marker of an expired key they make a lease that never expires (tested).
//!
//! Only the outcome of such a write decides, never a read. And no lease decides about facts: a holder that lost it
//! without knowing is stopped by the journal's fence (`append.rs`). The lease only sees to it that there is one active
//! instance soon, and rarely two that try.

mod key;
mod rules;
mod run;

use crate::bus::Bus;
use crate::error::{BusError, BusErrorKind};
use key::{Key, Written};
use nix::time::{ClockId, clock_gettime};
use ordo_contract::lease::LeaseValue;
use ordo_domain::{InstanceId, NodeName};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

pub use rules::Takeover;

/// The times of a lease. The defaults are those of the design; tests that need others say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// When the server forgets a lease that is not renewed. Whole seconds.
    pub ttl: Duration,
    pub renew: Duration,
    /// When the holder stops by itself, counted from when it *sent* its last renewal that was acknowledged.
    pub stop: Duration,
    /// When a standby that saw no new revision takes over, on its own clock.
    pub silence: Duration,
    /// How often a standby asks whether the holder's process is there.
    pub probe: Duration,
    /// How long after its own reconnect a standby takes nothing over: the holder renews first.
    pub settle: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(2),
            renew: Duration::from_millis(600),
            stop: Duration::from_millis(1400),
            silence: Duration::from_secs(3),
            probe: Duration::from_millis(300),
            settle: Duration::from_millis(700),
        }
    }
}

/// Who wants to be active in what. The role is the user of the bus.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    pub instance: InstanceId,
    pub node: NodeName,
    pub times: LeaseTimes,
}

impl LeaseConfig {
    pub fn new(instance: InstanceId, node: NodeName) -> Self {
        Self { instance, node, times: LeaseTimes::default() }
    }
}

/// What happened to our lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseEvent {
    /// We are active. Fence before anything else.
    Gained { revision: u64, by: Takeover },
    /// Not renewed in time. Keep the state and what runs, start nothing.
    Paused,
    /// Renewed after all. If another was active in between, the fence says so at the next append.
    Resumed { revision: u64 },
    /// Not ours any more.
    Lost { why: String },
}

enum Order {
    HandOver { to: InstanceId, done: oneshot::Sender<Result<(), BusError>> },
    Release { done: oneshot::Sender<Result<(), BusError>> },
    Hold { who: String, why: String, done: oneshot::Sender<Result<(), BusError>> },
}

/// Handle of the task that takes and keeps the lease. Dropping it ends the task and leaves the lease to expire.
pub struct Lease {
    orders: mpsc::Sender<Order>,
    valid_until: Arc<AtomicU64>,
    candidate: watch::Sender<bool>,
    seen: watch::Receiver<Option<LeaseValue>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
        self.valid_until.store(0, Ordering::Release);
    }
}

impl Lease {
    /// Starts to watch the lease of the bus's role and to take it whenever the rules allow. Serve `instance.ping`
    /// first, see [`Bus::serve`].
    pub fn start(bus: &Bus, config: LeaseConfig) -> (Self, mpsc::UnboundedReceiver<LeaseEvent>) {
        let (orders, order_receiver) = mpsc::channel(4);
        let (events, event_receiver) = mpsc::unbounded_channel();
        let (candidate, candidate_receiver) = watch::channel(true);
        let (seen_sender, seen) = watch::channel(None);
        let valid_until = Arc::new(AtomicU64::new(0));
        let runner = run::Runner::new(
            bus.clone(),
            config,
            order_receiver,
            events,
            candidate_receiver,
            seen_sender,
            valid_until.clone(),
        );
        let task = tokio::spawn(runner.run());
        (Self { orders, valid_until, candidate, seen, task }, event_receiver)
    }

    /// True while our last acknowledged renewal is young enough, by CLOCK_BOOTTIME. Ask before every effect.
    pub fn holds(&self) -> bool {
        boottime() < Duration::from_nanos(self.valid_until.load(Ordering::Acquire))
    }

    /// A standby that is not in sync, or whose state differs, must not take over.
    pub fn set_candidate(&self, candidate: bool) {
        self.candidate.send_replace(candidate);
    }

    /// What lies in the key, as far as seen: for status.
    pub fn seen(&self) -> watch::Receiver<Option<LeaseValue>> {
        self.seen.clone()
    }

    /// Gives the lease to another instance, which takes it at once; we become standby.
    pub async fn hand_over(&self, to: &InstanceId) -> Result<(), BusError> {
        self.order(|done| Order::HandOver { to: to.clone(), done }).await
    }

    /// Gives the lease up for whoever comes first, and ends.
    pub async fn release(&self) -> Result<(), BusError> {
        self.order(|done| Order::Release { done }).await
    }

    /// Keeps the role for this instance while it is away: nobody takes it until it is back or a person decides. Call
    /// it after `RoleHeld` is in the journal. Ends.
    pub async fn hold(&self, who: &str, why: &str) -> Result<(), BusError> {
        self.order(|done| Order::Hold { who: who.to_owned(), why: why.to_owned(), done }).await
    }

    async fn order(&self, make: impl FnOnce(oneshot::Sender<Result<(), BusError>>) -> Order) -> Result<(), BusError> {
        let ended = || BusError::new(BusErrorKind::Closed, "the lease is not looked after any more");
        let (done, outcome) = oneshot::channel();
        self.orders.send(make(done)).await.map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())?
    }
}

/// A person declared the instance lost that holds the role of the bus's user: frees the role. `false` = it is not held
/// by that instance (any more).
pub async fn confirm_loss(bus: &Bus, held_by: &InstanceId) -> Result<bool, BusError> {
    let key = Key::new(bus, LeaseTimes::default().ttl);
    let seen = key.read().await?;
    match &seen.value {
        Some(LeaseValue::Held { held_by: holder, .. }) if holder == held_by => {}
        _ => return Ok(false),
    }
    match key.clear(seen.revision).await {
        Written::Done(_) => Ok(true),
        Written::Conflict => Ok(false),
        Written::Trouble(error) => Err(error),
    }
}

/// Runs on while the machine sleeps: a lease must not look fresh after a suspend.
fn boottime() -> Duration {
    // Linux has had this clock since 2.6.39. Should it fail, everything looks expired, which is the safe side.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
}
