//! What events do to orders; see also `birth.rs` and `control.rs`. Each function names the states that its event can meet; everything else is refused.
//!
//! [`change`] keeps the indexes of the site (timers, queues) in step with the order, whatever the event.

use super::{
    Order, OrderState, birth,
    event::*,
    state::{Mark, StepResult, TryState},
};
use crate::{
    Failure, Instant, OrderId, Outcome, Position, Site,
    apply::{Applied, misfit, unknown_order},
    lock,
};
use std::collections::{BTreeMap, BTreeSet};

impl Order {
    pub(crate) fn enter(&mut self, state: OrderState, at: Instant) {
        self.state = state;
        self.since = at;
    }

    pub(super) fn go_to(&mut self, to: &Position, left: &[crate::Label], at: Instant) {
        self.position = Some(to.clone());
        self.attempt = 0;
        self.leave(left);
        self.enter(OrderState::Ready, at);
    }

    fn leave(&mut self, left: &[crate::Label]) {
        for block in left {
            self.tries.remove(block);
        }
        if self.tries.is_empty() {
            self.runs.clear();
        }
    }
}

/// Changes one order, with its timer and its places in queues. The function checks before it changes anything.
pub(crate) fn change(site: &mut Site, id: &OrderId, f: impl FnOnce(&mut Order) -> Result<(), &'static str>) -> Applied {
    let order = site.orders.get_mut(id).ok_or_else(|| unknown_order(id))?;
    let timer = order.timer();
    let place = order.place_in_series();
    let queued = match &order.state {
        OrderState::Queued { demands } => Some(demands.clone()),
        _ => None,
    };
    f(order).map_err(|why| misfit(format_args!("order {id}"), word(order), why))?;
    let next = order.timer();
    let next_place = order.place_in_series();
    let series = if place == next_place { None } else { order.series() };
    let left_queue = !matches!(order.state, OrderState::Queued { .. });
    if timer != next {
        if let Some(timer) = timer {
            site.timers.remove(&(timer, id.clone()));
        }
        if let Some(next) = next {
            site.timers.insert((next, id.clone()));
        }
    }
    if let Some(series) = series {
        site.series.moved(series, id, place, next_place);
    }
    if let Some(demands) = queued
        && left_queue
    {
        lock::apply::dequeue(site, id, &demands);
    }
    Ok(())
}

fn word(order: &Order) -> String {
    let suspended = if order.suspended { ", suspended" } else { "" };
    let mark = match order.mark {
        None => "",
        Some(Mark::Cancel { .. }) => ", to be cancelled",
        Some(Mark::Suspend { .. }) => ", to be suspended",
    };
    format!("{}{suspended}{mark}", order.state.word())
}

fn stands_at(order: &Order, position: &Position) -> Result<(), &'static str> {
    match &order.position {
        Some(at) if at == position => Ok(()),
        _ => Err("it is at another step"),
    }
}

pub(super) fn is_free(order: &Order) -> Result<(), &'static str> {
    if order.suspended { Err("it is suspended") } else { Ok(()) }
}

pub(crate) fn waits(site: &mut Site, e: &OrderWaits) -> Applied {
    change(site, &e.order, |order| {
        is_free(order)?;
        if order.state != OrderState::Scheduled || order.start.is_none() {
            return Err("only a planned order that has not started waits behind another");
        }
        order.behind = Some(e.earlier.clone());
        Ok(())
    })
}

pub(crate) fn started(site: &mut Site, at: Instant, e: &OrderStarted) -> Applied {
    change(site, &e.order, |order| {
        is_free(order)?;
        match order.state {
            OrderState::Scheduled => {}
            OrderState::Ready if order.started_at.is_none() => {}
            _ => return Err("it has started already"),
        }
        order.started_at = Some(at);
        order.behind = None;
        order.go_to(&e.position, &[], at);
        Ok(())
    })
}

pub(crate) fn moved(site: &mut Site, at: Instant, e: &OrderMoved) -> Applied {
    change(site, &e.order, |order| {
        is_free(order)?;
        match &order.state {
            OrderState::Ready if order.started_at.is_some() => {}
            OrderState::Processed { outcome } if !outcome.is_failed() => {}
            OrderState::Processed { .. } => return Err("its step has failed"),
            _ => return Err("only a ready order, or one whose step has ended well, moves"),
        }
        order.go_to(&e.to, &e.left, at);
        Ok(())
    })
}

pub(crate) fn tried(site: &mut Site, at: Instant, e: &OrderTried) -> Applied {
    change(site, &e.order, |order| {
        is_free(order)?;
        if order.state != OrderState::Ready {
            return Err("only a ready order enters a try block");
        }
        stands_at(order, &e.block)?;
        order.tries.insert(e.block.label(), TryState::default());
        order.go_to(&e.to, &[], at);
        Ok(())
    })
}

pub(crate) fn queued(site: &mut Site, at: Instant, e: &OrderQueued) -> Applied {
    let mut priority = 0;
    change(site, &e.order, |order| {
        is_free(order)?;
        if order.state != OrderState::Ready {
            return Err("only a ready order queues for resources");
        }
        stands_at(order, &e.position)?;
        priority = order.priority;
        order.enter(OrderState::Queued { demands: e.resources.clone() }, at);
        Ok(())
    })?;
    lock::apply::enqueue(site, &e.order, priority, &e.resources);
    Ok(())
}

pub(crate) fn forked(site: &mut Site, at: Instant, e: &OrderForked) -> Applied {
    if let Some(child) = e.children.iter().find(|c| site.orders.contains_key(&c.order)) {
        return Err(misfit(format_args!("order {}", child.order), "known", "a branch with this id is there already"));
    }
    let mut born = Vec::with_capacity(e.children.len());
    change(site, &e.order, |order| {
        is_free(order)?;
        if order.state != OrderState::Ready {
            return Err("only a ready order forks");
        }
        stands_at(order, &e.position)?;
        for child in &e.children {
            let last = child.order.as_str().strip_prefix(order.id.as_str()).and_then(|rest| rest.strip_prefix(':'));
            let Some(last) = last else { return Err("the id of a branch does not begin with its own") };
            born.push((last.to_owned(), birth::branch(order, child, at)));
        }
        order.used_branches.extend(born.iter().map(|(last, _)| last.clone()));
        let children = e.children.iter().map(|c| c.order.clone()).collect();
        order.enter(OrderState::Forked { when_failed: e.when_failed, children }, at);
        Ok(())
    })?;
    for (_, child) in born {
        site.orders.insert(child.id.clone(), child);
    }
    Ok(())
}

/// Its branches, when all of them have ended.
pub(super) fn ended_children(site: &Site, id: &OrderId) -> Result<Vec<OrderId>, &'static str> {
    let Some(Order { state: OrderState::Forked { children, .. }, .. }) = site.orders.get(id) else { return Ok(vec![]) };
    let is_ended = |child: &OrderId| site.orders.get(child).is_none_or(|c| c.state.is_ended());
    if children.iter().all(is_ended) { Ok(children.clone()) } else { Err("not all its branches have ended") }
}

pub(crate) fn joined(site: &mut Site, at: Instant, e: &OrderJoined) -> Applied {
    let children = ended_children(site, &e.order);
    let mut results = BTreeMap::new();
    for child in children.iter().flatten().filter_map(|id| site.orders.get(id)) {
        if child.parent.as_ref().is_some_and(|p| p.called) {
            // What a called workflow computed stays its own; the caller sees whether it ended well.
            let return_code = i32::from(e.outcome.is_failed());
            results.insert(e.position.label(), StepResult { return_code, values: BTreeMap::new() });
        } else if !matches!(e.outcome, Outcome::Failed { failure: Failure::VariablesTooLarge { .. } }) {
            results.extend(child.results.iter().map(|(label, result)| (label.clone(), result.clone())));
        }
    }
    change(site, &e.order, |order| {
        is_free(order)?;
        if !matches!(order.state, OrderState::Forked { .. }) {
            return Err("it has no branches");
        }
        stands_at(order, &e.position)?;
        children.as_ref().map_err(|why| *why)?;
        order.results.extend(results);
        order.enter(OrderState::Processed { outcome: e.outcome.clone() }, at);
        Ok(())
    })?;
    remove_children(site, &children.unwrap_or_default());
    Ok(())
}

/// Ended branches have no branches of their own in the state.
pub(super) fn remove_children(site: &mut Site, children: &[OrderId]) {
    for child in children {
        site.orders.remove(child);
    }
}

fn can_fail(order: &Order, failed_at: &Position) -> Result<(), &'static str> {
    is_free(order)?;
    match &order.state {
        OrderState::Ready | OrderState::Queued { .. } => stands_at(order, failed_at),
        OrderState::Processed { outcome } if outcome.is_failed() => stands_at(order, failed_at),
        _ => Err("no step of it has failed"),
    }
}

pub(crate) fn caught(site: &mut Site, at: Instant, e: &OrderCaught) -> Applied {
    change(site, &e.order, |order| {
        can_fail(order, &e.failed_at)?;
        let known = order.tries.remove(e.block.label().as_str()).unwrap_or_default();
        order.go_to(&e.to, &e.left, at);
        let caught = Some((e.failed_at.clone(), e.failure.clone()));
        order.tries.insert(e.block.label(), TryState { attempt: known.attempt, caught, retried: None });
        if e.to == e.block {
            order.enter(OrderState::Processed { outcome: Outcome::Succeeded }, at);
        }
        Ok(())
    })
}

pub(crate) fn retrying(site: &mut Site, at: Instant, e: &OrderRetrying) -> Applied {
    change(site, &e.order, |order| {
        can_fail(order, &e.failed_at)?;
        let retried = Some((e.failed_at.clone(), e.failure.clone()));
        order.tries.values_mut().for_each(|other| other.retried = None);
        order.tries.insert(e.block.label(), TryState { attempt: e.attempt, caught: None, retried });
        order.go_to(&e.to, &e.left, at);
        order.enter(OrderState::Retrying { until: e.until }, at);
        Ok(())
    })
}

pub(crate) fn awoke(site: &mut Site, at: Instant, e: &OrderAwoke) -> Applied {
    change(site, &e.order, |order| {
        is_free(order)?;
        if !matches!(order.state, OrderState::Retrying { .. }) {
            return Err("it does not wait for a retry");
        }
        order.enter(OrderState::Ready, at);
        Ok(())
    })
}

/// Also where an order cannot be decided at all: then it meets nearly any state.
pub(crate) fn failed(site: &mut Site, at: Instant, e: &OrderFailed) -> Applied {
    let children = ended_children(site, &e.order);
    change(site, &e.order, |order| {
        match &order.state {
            OrderState::Scheduled
            | OrderState::Ready
            | OrderState::Queued { .. }
            | OrderState::Processed { .. }
            | OrderState::Retrying { .. } => {}
            OrderState::Forked { .. } => children.as_ref().map(|_| ()).map_err(|why| *why)?,
            OrderState::Processing { .. } => return Err("its job runs"),
            OrderState::Failed { .. } | OrderState::Finished | OrderState::Cancelled => {
                return Err("it has ended already");
            }
        }
        order.mark = None;
        order.enter(OrderState::Failed { failure: e.failure.clone() }, at);
        Ok(())
    })?;
    remove_children(site, &children.unwrap_or_default());
    Ok(())
}

pub(crate) fn finished(site: &mut Site, at: Instant, e: &OrderFinished) -> Applied {
    change(site, &e.order, |order| {
        is_free(order)?;
        match &order.state {
            OrderState::Scheduled | OrderState::Ready => {}
            OrderState::Processed { outcome } if !outcome.is_failed() => {}
            OrderState::Processed { .. } => return Err("its step has failed"),
            _ => return Err("it is not at its end"),
        }
        end(order, OrderState::Finished, at);
        Ok(())
    })?;
    note_end(site, &e.order);
    Ok(())
}

pub(super) fn end(order: &mut Order, state: OrderState, at: Instant) {
    order.mark = None;
    order.behind = None;
    order.suspended = false;
    order.tries.clear();
    order.runs.clear();
    order.enter(state, at);
}

pub(super) fn note_end(site: &mut Site, id: &OrderId) {
    if site.orders.get(id).is_some_and(|o| o.parent.is_none()) {
        site.ended.push(id.clone());
    }
}

pub(crate) fn forgotten(site: &mut Site, e: &OrdersForgotten) -> Applied {
    for id in &e.orders {
        let order = site.orders.get(id).ok_or_else(|| unknown_order(id))?;
        if !order.state.is_terminated() || order.parent.is_some() {
            return Err(misfit(format_args!("order {id}"), word(order), "only ended top orders are forgotten"));
        }
    }
    let mut forgotten: BTreeSet<OrderId> = e.orders.iter().cloned().collect();
    for id in &e.orders {
        site.orders.remove(id);
    }
    // Nearly always the first ones.
    let first = site.ended.iter().take_while(|id| forgotten.remove(*id)).count();
    site.ended.drain(..first);
    if !forgotten.is_empty() {
        site.ended.retain(|id| !forgotten.contains(id));
    }
    Ok(())
}
