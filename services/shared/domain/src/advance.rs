//! What follows by itself from the state: orders take their next steps. A function of state, time and definitions alone,
//! so that a crash between a decision and its follow-up leaves nothing stuck.
//!
//! All definitions that orders of the site are pinned to, and those of the workflows they call, must be at hand in `ctx`: a
//! missing one fails the order.

use crate::{
    Ctx, Event, Instant, OrderId, Site,
    apply::{NotApplicable, apply},
    limit,
    order::{Order, OrderState, advance as order, event::Resource, series},
};
use std::collections::{BTreeSet, VecDeque};

/// Steps of one order in one decision: one that would go on for ever lets the others go on too.
const STEPS_PER_ORDER: usize = 200;
/// Events of one decision, as JSON. One more event can come on top, and a commit takes 256 KiB.
const DECISION_BYTES: usize = 80 * 1024;

/// Of [`due`].
const DUE_AT_ONCE: usize = 1_000;

/// What [`settle`] and [`settle_touched`] made of the state.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settled {
    /// Applied already, in this order: one decision.
    pub events: Vec<Event>,
    /// Orders that can go on but did not, because the decision would have become too large: call [`settle_touched`] with
    /// them for the next decision, cause `Advance`.
    pub rest: Vec<OrderId>,
}

/// One round: what follows for the first of these orders that can go on. Empty when none can.
pub fn advance(site: &Site, touched: &[OrderId], ctx: Ctx) -> Vec<Event> {
    let known = touched.iter().filter_map(|id| site.orders.get(id));
    known.map(|o| order::next(site, o, ctx)).find(|events| !events.is_empty()).unwrap_or_default()
}

/// Applies the events of a decision, then all that follows from them. On an error the state is not to be used any more.
pub fn settle(site: &mut Site, events: Vec<Event>, ctx: Ctx) -> Result<Settled, NotApplicable> {
    let mut settling = Settling::new(site, ctx);
    for event in events {
        settling.apply(event, None)?;
    }
    settling.run()
}

/// Lets these orders go on as far as they can: due timers, activation, the rest of a decision.
pub fn settle_touched(site: &mut Site, touched: Vec<OrderId>, ctx: Ctx) -> Result<Settled, NotApplicable> {
    let mut settling = Settling::new(site, ctx);
    for order in touched {
        settling.touch(&order);
    }
    settling.run()
}

/// Orders whose time has come, the earliest first, at most a thousand: ask again when they have gone on.
pub fn due(site: &Site, now: Instant) -> Vec<OrderId> {
    let due = site.timers.iter().take_while(|(at, _)| *at <= now);
    due.take(DUE_AT_ONCE).map(|(_, order)| order.clone()).collect()
}

/// When the next order starts or goes on by itself.
pub fn next_timer(site: &Site) -> Option<Instant> {
    site.timers.first().map(|(at, _)| *at)
}

/// All orders for which something could follow: for [`settle_touched`] after an activation. Those that only wait for their
/// time are not among them: [`due`] tells them.
pub fn everything(site: &Site) -> Vec<OrderId> {
    let can_go_on = |order: &&Order| match order.state {
        OrderState::Scheduled | OrderState::Retrying { .. } => order.timer().is_none() && !order.suspended,
        OrderState::Finished | OrderState::Cancelled | OrderState::Failed { .. } => false,
        // Only the first of a queue can go.
        OrderState::Queued { .. } => false,
        OrderState::Ready
        | OrderState::Processing { .. }
        | OrderState::Processed { .. }
        | OrderState::Forked { .. } => true,
    };
    let first = site.resources.0.values().filter_map(|usage| usage.queue.first()).map(|(_, _, order)| order);
    first.chain(site.orders.values().filter(can_go_on).map(|order| &order.id)).cloned().collect()
}

/// The state, and the orders that may go on: those touched by events, each once.
struct Settling<'a, 'c> {
    site: &'a mut Site,
    ctx: Ctx<'c>,
    events: Vec<Event>,
    bytes: usize,
    waiting: VecDeque<OrderId>,
    /// Those that may have the turn in a queue now come after all others: what has happened may also end them.
    next_in_queue: VecDeque<OrderId>,
    known: BTreeSet<OrderId>,
}

impl<'a, 'c> Settling<'a, 'c> {
    fn new(site: &'a mut Site, ctx: Ctx<'c>) -> Self {
        let (waiting, next_in_queue) = (VecDeque::new(), VecDeque::new());
        Self { site, ctx, events: vec![], bytes: 0, waiting, next_in_queue, known: BTreeSet::new() }
    }

    fn touch(&mut self, order: &OrderId) {
        if !self.known.contains(order) {
            self.known.insert(order.clone());
            self.waiting.push_back(order.clone());
        }
    }

    /// One order after the other, each as far as it goes.
    fn run(mut self) -> Result<Settled, NotApplicable> {
        let mut rest = vec![];
        while let Some(id) = self.waiting.pop_front().or_else(|| self.next_in_queue.pop_front()) {
            self.known.remove(&id);
            if self.bytes >= DECISION_BYTES {
                rest.push(id);
                continue;
            }
            if self.go_on(&id)? {
                rest.push(id);
            }
        }
        Ok(Settled { events: self.events, rest })
    }

    /// Whether it could go on still.
    fn go_on(&mut self, id: &OrderId) -> Result<bool, NotApplicable> {
        for _ in 0..STEPS_PER_ORDER {
            let Some(order) = self.site.orders.get(id) else { return Ok(false) };
            let next = order::next(self.site, order, self.ctx);
            if next.is_empty() {
                return Ok(false);
            }
            for event in next {
                self.apply(event, Some(id))?;
            }
            if self.bytes >= DECISION_BYTES {
                let order = self.site.orders.get(id);
                return Ok(order.is_some_and(|order| !order::next(self.site, order, self.ctx).is_empty()));
            }
        }
        Ok(true)
    }

    /// Applies an event and notes whom it touches, but for the order whose turn it is.
    fn apply(&mut self, event: Event, turn: Option<&OrderId>) -> Result<(), NotApplicable> {
        let freed = self.freed(&event);
        apply(self.site, self.ctx.now, &event)?;
        let mut touched = vec![];
        if let Some(order) = event.order() {
            touched.push(order.clone());
            if let Some(parent) = self.awaiting(order) {
                touched.push(parent.clone());
            }
        }
        if let Event::OrderForked(e) = &event {
            touched.extend(e.children.iter().map(|c| c.order.clone()));
        }
        if let Some(next) = self.next_in_series(&event) {
            touched.push(next);
        }
        for order in touched.iter().filter(|order| Some(*order) != turn) {
            self.touch(order);
        }
        for resource in &freed {
            let queue = self.site.resources.0.get(resource).map(|usage| &usage.queue);
            if let Some((_, _, first)) = queue.and_then(|q| q.first())
                && self.known.insert(first.clone())
            {
                self.next_in_queue.push_back(first.clone());
            }
        }
        self.bytes += limit::json_bytes(&event);
        self.events.push(event);
        Ok(())
    }

    /// Who may start because an earlier order of its series has come to its end.
    fn next_in_series(&self, event: &Event) -> Option<OrderId> {
        let order = self.site.orders.get(event.order()?)?;
        if !order.state.is_ended() {
            return None;
        }
        series::next_in(self.site, order).cloned()
    }

    /// The parent of a branch that has ended or come to rest.
    fn awaiting(&self, order: &OrderId) -> Option<&OrderId> {
        let order = self.site.orders.get(order)?;
        let parent = &order.parent.as_ref()?.order;
        (order.suspended || order.state.is_ended()).then_some(parent)
    }

    /// Resources in which, by this event, somebody new may have the turn. Asked before it is applied.
    fn freed(&self, event: &Event) -> Vec<Resource> {
        let mut freed = vec![];
        if let Some(order) = event.order().and_then(|id| self.site.orders.get(id))
            && let OrderState::Queued { demands } = &order.state
        {
            freed.extend(demands.iter().map(|d| d.resource.clone()));
        }
        match event {
            Event::RunEnded(e) => {
                let run = self.site.runs.get(&e.run);
                freed.extend(run.into_iter().flat_map(|r| &r.resources).map(|d| d.resource.clone()));
            }
            Event::LockDeployed(e) => freed.push(Resource::Lock(e.lock.name.clone())),
            _ => {}
        }
        freed
    }
}
