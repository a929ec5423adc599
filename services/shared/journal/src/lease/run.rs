//! The task behind a [`Lease`](super::Lease): standby and holder, one loop each.

use super::key::{Key, Seen, Written};
use super::rules::{Takeover, View};
use super::{LeaseConfig, LeaseEvent, Order, boottime};
use crate::bus::{Bus, Link};
use crate::error::BusError;
use crate::follow::{Follow, FollowError, FollowFrom};
use ordo_contract::lease::LeaseValue;
use ordo_contract::name::{kv_stream, kv_subject};
use ordo_domain::InstanceId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// How often a standby looks at its clock, and a holder in trouble tries again.
const TICK: Duration = Duration::from_millis(100);

pub(super) struct Runner {
    bus: Bus,
    config: LeaseConfig,
    key: Key,
    orders: mpsc::Receiver<Order>,
    events: mpsc::UnboundedSender<LeaseEvent>,
    candidate: watch::Receiver<bool>,
    seen: watch::Sender<Option<LeaseValue>>,
    valid_until: Arc<AtomicU64>,
    link: watch::Receiver<Link>,
    /// On our own clock.
    connected_at: Option<Duration>,
}

/// A lease that we hold.
struct Held {
    revision: u64,
    value: LeaseValue,
    /// When the last renewal that was acknowledged was sent.
    sent_at: Duration,
    paused: bool,
}

/// What comes after holding.
enum Next {
    Stand,
    End,
}

impl Runner {
    pub(super) fn new(
        bus: Bus,
        config: LeaseConfig,
        orders: mpsc::Receiver<Order>,
        events: mpsc::UnboundedSender<LeaseEvent>,
        candidate: watch::Receiver<bool>,
        seen: watch::Sender<Option<LeaseValue>>,
        valid_until: Arc<AtomicU64>,
    ) -> Self {
        let (key, link) = (Key::new(&bus, config.times.ttl), bus.link());
        Self {
            bus,
            config,
            key,
            orders,
            events,
            candidate,
            seen,
            valid_until,
            link,
            connected_at: Some(Duration::ZERO),
        }
    }

    pub(super) async fn run(mut self) {
        let bus = self.bus.clone();
        loop {
            let held = tokio::select! {
                () = bus.closed() => return,
                held = self.stand() => held,
            };
            let Some(held) = held else { return };
            if matches!(self.keep(held).await, Next::End) {
                return;
            }
        }
    }

    // Standing by.

    /// Watches the key until it is ours. `None` = the handle is gone.
    async fn stand(&mut self) -> Option<Held> {
        let (gone_sender, mut gone_receiver) = mpsc::unbounded_channel();
        let mut probe = Probe { asked: None, task: None, gone: gone_sender };
        let mut gone: Option<InstanceId> = None;
        let mut watch: Option<Follow> = None;
        let mut seen = Seen::nothing();
        let mut seen_at = boottime();
        let mut known = false;
        loop {
            if watch.is_none() {
                watch = self.watch().await.ok();
                known = watch.as_ref().is_some_and(|w| w.pending() == 0);
                (seen, seen_at) = (Seen::nothing(), boottime());
            }
            tokio::select! {
                news = next_of(&mut watch) => match news {
                    Ok(news) => {
                        let is_caught_up = watch.as_ref().is_some_and(|w| w.pending() == 0);
                        known = known || is_caught_up;
                        (seen, seen_at) = (news, boottime());
                        self.seen.send_replace(seen.value.clone());
                        gone = None;
                    }
                    Err(error) => {
                        tracing::debug!(%error, "lease watch starts again");
                        watch = None;
                        sleep(TICK).await;
                        continue;
                    }
                },
                instance = gone_receiver.recv() => gone = instance,
                order = self.orders.recv() => match order {
                    Some(order) => refuse(order),
                    None => return None,
                },
                changed = self.link.changed() => {
                    changed.ok()?;
                    self.note_link();
                }
                () = sleep(TICK) => {}
            }
            if !known {
                continue;
            }
            let times = self.config.times;
            let view = View {
                me: &self.config.instance,
                seen: &seen,
                seen_at,
                now: boottime(),
                connected_at: self.connected_at,
                reconnected: self.link.borrow().times > 1,
                gone: gone.as_ref(),
                times: &times,
            };
            probe.look_at(&self.bus, view.suspect(), times.probe);
            let Some(by) = view.may_take().filter(|_| *self.candidate.borrow()) else { continue };
            if let Some(held) = self.take(seen.revision, by).await {
                return Some(held);
            }
            // Somebody was faster, or nothing is known: look again, from the start of the key.
            (gone, watch) = (None, None);
            sleep(TICK / 2).await;
        }
    }

    async fn watch(&self) -> Result<Follow, FollowError> {
        let bucket = self.bus.names().lease_bucket();
        let mut from = FollowFrom::filtered(kv_stream(&bucket), kv_subject(&bucket, &self.key.name), 1);
        from.last_per_subject = true;
        self.bus.follow(from).await
    }

    fn note_link(&mut self) {
        let link = *self.link.borrow_and_update();
        self.connected_at = link.up.then(boottime);
    }

    async fn take(&mut self, revision: u64, by: Takeover) -> Option<Held> {
        let value = LeaseValue::Active {
            active: self.config.instance.clone(),
            node: self.config.node.clone(),
            since: chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()),
            to: None,
        };
        let sent_at = boottime();
        let revision = match self.key.write(revision, &value).await {
            Written::Done(revision) => revision,
            Written::Conflict => return None,
            Written::Trouble(error) => {
                tracing::debug!(%error, "lease not taken");
                return None;
            }
        };
        self.prolong(sent_at);
        self.seen.send_replace(Some(value.clone()));
        tracing::info!(revision, ?by, "lease taken");
        self.tell(LeaseEvent::Gained { revision, by });
        Some(Held { revision, value, sent_at, paused: false })
    }

    // Holding.

    /// Renews until the lease is given away or lost.
    async fn keep(&mut self, mut held: Held) -> Next {
        let mut renew_at = Instant::now() + self.config.times.renew;
        loop {
            let stop_in = (held.sent_at + self.config.times.stop).saturating_sub(boottime());
            tokio::select! {
                biased;
                () = sleep(stop_in), if !held.paused => self.pause(&mut held),
                () = self.bus.closed() => return self.lose("the connection was closed").into_end(),
                order = self.orders.recv() => match order {
                    Some(order) => {
                        if let Some(next) = self.carry_out(order, &mut held).await {
                            return next;
                        }
                    }
                    None => return Next::End,
                },
                _ = self.link.changed() => {
                    self.note_link();
                    renew_at = Instant::now();
                }
                () = sleep_until(renew_at) => {
                    let sent = Instant::now();
                    if let Err(why) = self.renew(&mut held).await {
                        return self.lose(&why).into_stand();
                    }
                    let is_fine = !held.paused && held.sent_at + self.config.times.renew > boottime();
                    renew_at = if is_fine { sent + self.config.times.renew } else { Instant::now() + TICK };
                }
            }
        }
    }

    /// Writes the key once more. `Err` = it is another's.
    async fn renew(&mut self, held: &mut Held) -> Result<(), String> {
        let sent_at = boottime();
        let written = {
            let write = self.key.write(held.revision, &held.value);
            tokio::pin!(write);
            loop {
                let stop_in = (held.sent_at + self.config.times.stop).saturating_sub(boottime());
                tokio::select! {
                    written = &mut write => break written,
                    () = sleep(stop_in), if !held.paused => {
                        held.paused = true;
                        let _ = self.events.send(LeaseEvent::Paused);
                    }
                }
            }
        };
        match written {
            Written::Done(revision) => {
                held.revision = revision;
                held.sent_at = sent_at;
                self.prolong(sent_at);
                if std::mem::take(&mut held.paused) {
                    tracing::info!(revision, "lease renewed after all");
                    self.tell(LeaseEvent::Resumed { revision });
                }
                Ok(())
            }
            Written::Trouble(error) => {
                tracing::debug!(%error, "lease not renewed, trying on");
                Ok(())
            }
            Written::Conflict => self.after_conflict(held).await,
        }
    }

    /// The key has another revision than ours: a renewal of ours whose ack was lost, our own expiry, or another. What
    /// is read only tells which revision the next write replaces.
    async fn after_conflict(&mut self, held: &mut Held) -> Result<(), String> {
        match self.key.read().await {
            Ok(Seen { revision, genuine: false, .. }) => {
                tracing::warn!(revision, "somebody without the right to wrote the lease, writing over it");
                held.revision = revision;
                Ok(())
            }
            Ok(seen) if seen.unreadable => Err("the key holds what this build cannot read".to_owned()),
            Ok(Seen { revision, value: Some(value), .. }) if value == held.value => {
                held.revision = revision;
                Ok(())
            }
            Ok(Seen { revision, value: None, .. }) => {
                // It ran out or was cleared, and nobody took it yet. Ours again if our write is the first.
                held.revision = revision;
                Ok(())
            }
            Ok(Seen { value: Some(LeaseValue::Active { active, .. }), .. }) => Err(format!("{active} took it")),
            Ok(Seen { value: Some(LeaseValue::Held { held_by, .. }), .. }) => Err(format!("held by {held_by}")),
            Err(error) => {
                tracing::debug!(%error, "lease conflict not yet understood");
                Ok(())
            }
        }
    }

    /// Carries an order out; `Some` when the lease is given away.
    async fn carry_out(&mut self, order: Order, held: &mut Held) -> Option<Next> {
        let (written, done, next, why) = match order {
            Order::HandOver { to, done } => {
                let mut value = held.value.clone();
                let why = format!("handed over to {to}");
                if let LeaseValue::Active { to: place, .. } = &mut value {
                    *place = Some(to);
                }
                (self.key.write(held.revision, &value).await, done, Next::Stand, why)
            }
            Order::Release { done } => (self.key.clear(held.revision).await, done, Next::End, "released".to_owned()),
            Order::Hold { who, why, done } => {
                let value = LeaseValue::Held { held_by: self.config.instance.clone(), who, why };
                (self.key.hold(held.revision, &value).await, done, Next::End, "held while away".to_owned())
            }
        };
        match written {
            Written::Done(_) => {
                self.lose(&why);
                let _ = done.send(Ok(()));
                Some(next)
            }
            Written::Conflict => {
                let text = format!("{why}: the lease was renewed or taken meanwhile, ask again");
                let _ = done.send(Err(BusError::new(crate::BusErrorKind::Rejected, text)));
                None
            }
            Written::Trouble(error) => {
                let _ = done.send(Err(error));
                None
            }
        }
    }

    fn pause(&mut self, held: &mut Held) {
        held.paused = true;
        tracing::warn!("lease not renewed in time, starting nothing until it is");
        self.tell(LeaseEvent::Paused);
    }

    fn lose(&mut self, why: &str) -> Lost {
        self.valid_until.store(0, Ordering::Release);
        tracing::info!(why, "lease given up");
        self.tell(LeaseEvent::Lost { why: why.to_owned() });
        Lost
    }

    fn prolong(&self, sent_at: Duration) {
        let until = (sent_at + self.config.times.stop).as_nanos();
        self.valid_until.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn tell(&self, event: LeaseEvent) {
        // Nobody listening means that the owner is gone; the task ends by the orders' channel.
        let _ = self.events.send(event);
    }
}

struct Lost;

impl Lost {
    fn into_end(self) -> Next {
        Next::End
    }

    fn into_stand(self) -> Next {
        Next::Stand
    }
}

fn refuse(order: Order) {
    let (Order::HandOver { done, .. } | Order::Release { done } | Order::Hold { done, .. }) = order;
    let text = "this instance does not hold the lease; ask the one that does";
    let _ = done.send(Err(BusError::new(crate::BusErrorKind::Rejected, text)));
}

async fn next_of(watch: &mut Option<Follow>) -> Result<Seen, FollowError> {
    match watch {
        Some(watch) => watch.next().await.map(|message| Seen::of(&message)),
        None => {
            sleep(TICK * 3).await;
            Err(FollowError::Bus(BusError::new(crate::BusErrorKind::Unreachable, "the lease bucket cannot be read")))
        }
    }
}

/// Asks again and again whether the holder's process is there.
struct Probe {
    asked: Option<InstanceId>,
    task: Option<tokio::task::JoinHandle<()>>,
    gone: mpsc::UnboundedSender<InstanceId>,
}

impl Probe {
    fn look_at(&mut self, bus: &Bus, suspect: Option<&InstanceId>, every: Duration) {
        if self.asked.as_ref() == suspect {
            return;
        }
        self.stop();
        self.asked = suspect.cloned();
        if let Some(instance) = self.asked.clone() {
            let (bus, gone) = (bus.clone(), self.gone.clone());
            self.task = Some(tokio::spawn(ask_for_ever(bus, instance, every, gone)));
        }
    }

    fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn ask_for_ever(bus: Bus, instance: InstanceId, every: Duration, gone: mpsc::UnboundedSender<InstanceId>) {
    let role = bus.user().to_owned();
    let mut missed = 0;
    loop {
        sleep(if missed == 0 { every } else { TICK }).await;
        match bus.ping(&role, instance.as_str(), every).await {
            Ok(false) => missed += 1,
            // No answer proves nothing: the holder may be busy, the bus slow.
            Ok(true) | Err(_) => missed = 0,
        }
        if missed >= 3 && gone.send(instance.clone()).is_err() {
            return;
        }
    }
}
