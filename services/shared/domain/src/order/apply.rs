//! What events do to orders. Each function names the states that its event can meet; everything else is refused.
//!
//! [`change`] keeps the indexes of the site (timers, queues) in step with the order, whatever the event.

use super::{
    Order, OrderState,
    event::*,
    state::{Mark, Parent, StepResult, TryState},
};
use crate::{
    Failure, Instant, OrderId, Outcome, Position, Site,
    apply::{Applied, misfit, unknown_order},
    lock,
    site::Adding,
};
use chrono::TimeDelta;
use std::{collections::BTreeMap, sync::Arc};

/// Planned starts are known for this long; older ones are refused as lying below the watermark.
const STARTS_KNOWN: TimeDelta = TimeDelta::days(32);
/// How far the watermark may lag, so that it does not move with every start.
const WATERMARK_STEP: TimeDelta = TimeDelta::days(1);

impl Order {
    pub(crate) fn enter(&mut self, state: OrderState, at: Instant) {
        self.state = state;
        self.since = at;
    }

    fn go_to(&mut self, to: &Position, left: &[crate::Label], at: Instant) {
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
pub(crate) fn change(
    site: &mut Site,
    id: &OrderId,
    f: impl FnOnce(&mut Order) -> Result<(), &'static str>,
) -> Applied {
    let order = site.orders.get_mut(id).ok_or_else(|| unknown_order(id))?;
    let timer = order.timer();
    let queued = match &order.state {
        OrderState::Queued { demands } => Some(demands.clone()),
        _ => None,
    };
    f(order).map_err(|why| misfit(format_args!("order {id}"), word(order), why))?;
    let next = order.timer();
    let left_queue = !matches!(order.state, OrderState::Queued { .. });
    if timer != next {
        if let Some(timer) = timer {
            site.timers.remove(&(timer, id.clone()));
        }
        if let Some(next) = next {
            site.timers.insert((next, id.clone()));
        }
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

fn is_free(order: &Order) -> Result<(), &'static str> {
    if order.suspended { Err("it is suspended") } else { Ok(()) }
}

pub(crate) fn added(site: &mut Site, at: Instant, e: &OrderAdded) -> Applied {
    let refuse = |why: &str| Err(misfit(format_args!("order {}", e.order), "known", why));
    if site.orders.contains_key(&e.order) {
        return refuse("it was added already");
    }
    if site.counters.get(&e.business_day).is_some_and(|last| *last >= e.counter) {
        return refuse("its counter was used already");
    }
    if let Some(start) = &e.start {
        if site.starts.known.contains_key(start) {
            return refuse("its planned start was made already");
        }
        site.starts.known.insert(start.clone(), e.order.clone());
        raise_watermark(site, &start.schedule, at);
    }
    site.counters.insert(e.business_day, e.counter);
    if let Some(command) = &e.command {
        let adding = site.adding.get_or_insert_with(|| Adding { command: command.clone(), orders: vec![] });
        if adding.command != *command {
            *adding = Adding { command: command.clone(), orders: vec![] };
        }
        adding.orders.push(e.order.clone());
    }
    let order = Order {
        id: e.order.clone(),
        workflow: shared(site, &e.workflow),
        title: e.title.clone(),
        folder: e.folder.clone(),
        tags: e.tags.clone(),
        business_day: e.business_day,
        priority: e.priority,
        due_at: e.due_at,
        late: e.late,
        start: e.start.clone(),
        by: e.by.clone(),
        arguments: Arc::new(e.arguments.clone()),
        results: BTreeMap::new(),
        parent: None,
        used_branches: Default::default(),
        position: None,
        tries: BTreeMap::new(),
        state: OrderState::Scheduled,
        suspended: e.held,
        mark: None,
        added_at: at,
        started_at: None,
        since: at,
        attempt: 0,
        runs: BTreeMap::new(),
    };
    if let Some(timer) = order.timer() {
        site.timers.insert((timer, e.order.clone()));
    }
    site.orders.insert(e.order.clone(), order);
    Ok(())
}

/// The same texts as the deployed version has: 100,000 waiting orders do not hold as many copies.
fn shared(site: &Site, workflow: &WorkflowRef) -> WorkflowRef {
    if let Some((name, deployed)) = site.workflows.get_key_value(&workflow.name)
        && let Some(hash) = deployed.versions.get(&workflow.version)
        && *hash == workflow.hash
    {
        return WorkflowRef { name: name.clone(), version: workflow.version, hash: hash.clone() };
    }
    workflow.clone()
}

fn raise_watermark(site: &mut Site, schedule: &str, at: Instant) {
    let wanted = at - STARTS_KNOWN;
    let watermark = site.starts.watermarks.entry(schedule.to_owned()).or_insert(wanted);
    if *watermark + WATERMARK_STEP < wanted {
        *watermark = wanted;
        site.starts.known.retain(|key, _| key.schedule != schedule || key.instant >= wanted);
    }
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
            born.push((last.to_owned(), branch(order, child, at)));
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

fn branch(parent: &Order, child: &Child, at: Instant) -> Order {
    let called = child.call.as_ref();
    Order {
        id: child.order.clone(),
        workflow: called.map_or_else(|| parent.workflow.clone(), |c| c.workflow.clone()),
        title: called.map_or_else(|| parent.title.clone(), |c| c.title.clone()),
        folder: called.map_or_else(|| parent.folder.clone(), |c| c.folder.clone()),
        tags: parent.tags.clone(),
        business_day: parent.business_day,
        priority: parent.priority,
        due_at: None,
        late: parent.late,
        start: None,
        by: parent.by.clone(),
        arguments: called.map_or_else(|| parent.arguments.clone(), |c| Arc::new(c.arguments.clone())),
        results: BTreeMap::new(),
        parent: Some(Parent { order: parent.id.clone(), branch: child.branch.clone(), called: called.is_some() }),
        used_branches: Default::default(),
        position: child.position.clone(),
        tries: BTreeMap::new(),
        state: if child.position.is_some() { OrderState::Ready } else { OrderState::Finished },
        suspended: false,
        mark: None,
        added_at: at,
        started_at: Some(at),
        since: at,
        attempt: 0,
        runs: BTreeMap::new(),
    }
}

/// Its branches, when all of them have ended.
fn ended_children(site: &Site, id: &OrderId) -> Result<Vec<OrderId>, &'static str> {
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
fn remove_children(site: &mut Site, children: &[OrderId]) {
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
            OrderState::Failed { .. } | OrderState::Finished | OrderState::Cancelled => return Err("it has ended already"),
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

fn end(order: &mut Order, state: OrderState, at: Instant) {
    order.mark = None;
    order.suspended = false;
    order.tries.clear();
    order.runs.clear();
    order.enter(state, at);
}

fn note_end(site: &mut Site, id: &OrderId) {
    if site.orders.get(id).is_some_and(|o| o.parent.is_none()) {
        site.ended.push(id.clone());
    }
}

pub(crate) fn cancel_requested(site: &mut Site, e: &OrderCancelRequested) -> Applied {
    change(site, &e.order, |order| {
        let before = match (&order.state, order.mark) {
            (OrderState::Processing { .. } | OrderState::Processed { .. } | OrderState::Forked { .. }, mark) => mark,
            _ => return Err("it can only be cancelled at once, or not at all"),
        };
        let kill = e.kill || matches!(before, Some(Mark::Cancel { kill: true }));
        order.mark = Some(Mark::Cancel { kill });
        Ok(())
    })
}

pub(crate) fn cancelled(site: &mut Site, at: Instant, e: &OrderCancelled) -> Applied {
    let children = ended_children(site, &e.order);
    change(site, &e.order, |order| {
        match &order.state {
            OrderState::Scheduled
            | OrderState::Ready
            | OrderState::Queued { .. }
            | OrderState::Processed { .. }
            | OrderState::Retrying { .. }
            | OrderState::Failed { .. } => {}
            OrderState::Forked { .. } => children.as_ref().map(|_| ()).map_err(|why| *why)?,
            OrderState::Processing { .. } => return Err("its job runs"),
            OrderState::Finished | OrderState::Cancelled => return Err("it has ended already"),
        }
        end(order, OrderState::Cancelled, at);
        Ok(())
    })?;
    remove_children(site, &children.unwrap_or_default());
    note_end(site, &e.order);
    Ok(())
}

pub(crate) fn suspend_requested(site: &mut Site, e: &OrderSuspendRequested) -> Applied {
    change(site, &e.order, |order| {
        is_free(order)?;
        let before = match (&order.state, order.mark) {
            (_, Some(Mark::Cancel { .. })) => return Err("it is being cancelled"),
            (OrderState::Processing { .. } | OrderState::Processed { .. } | OrderState::Forked { .. }, mark) => mark,
            _ => return Err("it can only be suspended at once, or not at all"),
        };
        let kill = e.kill || matches!(before, Some(Mark::Suspend { kill: true }));
        order.mark = Some(Mark::Suspend { kill });
        Ok(())
    })
}

pub(crate) fn suspended(site: &mut Site, at: Instant, e: &OrderSuspended) -> Applied {
    change(site, &e.order, |order| {
        is_free(order)?;
        if matches!(order.mark, Some(Mark::Cancel { .. })) {
            return Err("it is being cancelled");
        }
        match &order.state {
            OrderState::Scheduled
            | OrderState::Ready
            | OrderState::Retrying { .. }
            | OrderState::Forked { .. }
            | OrderState::Failed { .. } => {}
            // It gives up its place: nobody behind it shall wait for a person.
            OrderState::Queued { .. } => order.state = OrderState::Ready,
            OrderState::Processing { .. } => return Err("its job runs"),
            OrderState::Processed { .. } => return Err("what follows its step is not decided yet"),
            OrderState::Finished | OrderState::Cancelled => return Err("it has ended already"),
        }
        order.suspended = true;
        order.mark = None;
        order.since = at;
        Ok(())
    })
}

pub(crate) fn resumed(site: &mut Site, at: Instant, e: &OrderResumed) -> Applied {
    change(site, &e.order, |order| {
        let was_asked = matches!(order.mark, Some(Mark::Suspend { .. }));
        match &order.state {
            OrderState::Finished | OrderState::Cancelled => return Err("it has ended already"),
            OrderState::Failed { .. } => {}
            _ if order.suspended => {}
            OrderState::Processing { .. } | OrderState::Processed { .. } | OrderState::Forked { .. } if was_asked => {}
            _ => return Err("it is neither suspended nor failed"),
        }
        if e.to.is_some()
            && matches!(order.state, OrderState::Processing { .. } | OrderState::Processed { .. } | OrderState::Forked { .. })
        {
            return Err("it cannot leave a step that has not ended");
        }
        if was_asked {
            order.mark = None;
        }
        order.suspended = false;
        order.since = at;
        resume_at(order, e, at);
        Ok(())
    })
}

fn resume_at(order: &mut Order, e: &OrderResumed, at: Instant) {
    if matches!(order.state, OrderState::Failed { .. }) {
        // A person has looked at it: its try blocks count from the start again.
        order.tries.values_mut().for_each(|t| t.attempt = if t.caught.is_none() { 1 } else { t.attempt });
        order.enter(OrderState::Ready, at);
    }
    // Not started yet: it starts when it is due, and a person's resume is not late.
    if order.state == OrderState::Scheduled && order.due_at.is_none_or(|due| due <= at) {
        order.enter(OrderState::Ready, at);
    }
    if let Some(to) = &e.to {
        let waits_to_start = order.state == OrderState::Scheduled;
        order.go_to(to, &e.left, at);
        if waits_to_start {
            order.state = OrderState::Scheduled;
        }
    }
}

pub(crate) fn forgotten(site: &mut Site, e: &OrdersForgotten) -> Applied {
    for id in &e.orders {
        let order = site.orders.get(id).ok_or_else(|| unknown_order(id))?;
        if !order.state.is_terminated() || order.parent.is_some() {
            return Err(misfit(format_args!("order {id}"), word(order), "only ended top orders are forgotten"));
        }
    }
    for id in &e.orders {
        site.orders.remove(id);
    }
    site.ended.retain(|id| site.orders.contains_key(id));
    Ok(())
}
