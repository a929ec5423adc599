//! What an order does with its branches, and what is done to a branch: a function of the state of both, so that it goes
//! on after a crash in between.

use super::{Order, OrderState, event::*, state::Mark};
use crate::{Event, Failure, OrderId, Outcome, Site, limit, workflow::WhenFailed};

/// Events about branches in one go: a decision stays small.
const BRANCH_EVENTS: usize = 100;

/// What follows for an order with branches.
pub(crate) fn advance(site: &Site, order: &Order, children: &[OrderId], when_failed: WhenFailed) -> Vec<Event> {
    let branches = || children.iter().filter_map(|id| site.orders.get(id));
    if let Some(Mark::Cancel { kill }) = order.mark {
        let events = some(branches().flat_map(|b| cancel_branch(site, b, kill, CancelReason::ParentCancelled)));
        if events.is_empty() && branches().all(|b| b.state.is_ended()) {
            return vec![OrderCancelled { order: order.id.clone(), reason: reason(site, order) }.into()];
        }
        return events;
    }
    if let Some(Mark::Suspend { kill }) = order.mark {
        let events = some(branches().flat_map(|b| suspend_branch(site, b, kill)));
        if events.is_empty() && branches().all(|b| b.suspended || b.state.is_ended()) {
            return vec![OrderSuspended { order: order.id.clone() }.into()];
        }
        return events;
    }
    if order.suspended {
        return some(branches().flat_map(|b| suspend_branch(site, b, false)));
    }
    let stopped = branches().filter(|b| !b.state.is_ended() && is_stopped(b));
    let events = some(stopped.map(|b| OrderResumed { order: b.id.clone(), to: None, left: vec![] }.into()));
    if !events.is_empty() {
        return events;
    }
    let failed = branches().any(|b| matches!(b.state, OrderState::Failed { .. }));
    if failed && when_failed == WhenFailed::CancelOthers {
        let events = some(branches().flat_map(|b| cancel_branch(site, b, true, CancelReason::BranchFailed)));
        if !events.is_empty() {
            return events;
        }
    }
    let is_over = |b: &Order| match when_failed {
        WhenFailed::Wait => b.state.is_terminated(),
        WhenFailed::Join | WhenFailed::CancelOthers => b.state.is_ended(),
    };
    if branches().all(is_over) { join(site, order, children) } else { vec![] }
}

fn some(events: impl Iterator<Item = Event>) -> Vec<Event> {
    events.take(BRANCH_EVENTS).collect()
}

fn is_stopped(branch: &Order) -> bool {
    branch.suspended || matches!(branch.mark, Some(Mark::Suspend { .. }))
}

fn join(site: &Site, order: &Order, children: &[OrderId]) -> Vec<Event> {
    let Some(position) = order.position.clone() else { return vec![] };
    let outcome = outcome(site, order, children);
    vec![OrderJoined { order: order.id.clone(), position, outcome }.into()]
}

fn outcome(site: &Site, order: &Order, children: &[OrderId]) -> Outcome {
    let mut cancelled = None;
    for child in children.iter().filter_map(|id| site.orders.get(id)) {
        let Some(parent) = &child.parent else { continue };
        let (branch, order) = (parent.branch.clone(), child.id.clone());
        match child.state {
            OrderState::Failed { .. } => return Failure::BranchFailed { branch, order }.into(),
            OrderState::Cancelled => cancelled = cancelled.or(Some(Failure::BranchCancelled { branch, order })),
            _ => {}
        }
    }
    if let Some(failure) = cancelled {
        return failure.into();
    }
    let joined = children.iter().filter_map(|id| site.orders.get(id)).filter(|c| c.branch_parent().is_some());
    let more: usize = joined.filter(|c| !c.results.is_empty()).map(|c| limit::json_bytes(&c.results)).sum();
    if more > 0 {
        let bytes = more + limit::json_bytes(&order.results) + limit::json_bytes(&*order.arguments);
        if bytes > limit::ORDER_VARIABLES_BYTES {
            let limit = limit::ORDER_VARIABLES_BYTES as u64;
            return Failure::VariablesTooLarge { bytes: bytes as u64, limit }.into();
        }
    }
    Outcome::Succeeded
}

/// Why an order that is to be cancelled is cancelled.
pub(crate) fn reason(site: &Site, order: &Order) -> CancelReason {
    let Some(parent) = order.parent.as_ref().and_then(|p| site.orders.get(&p.order)) else {
        return CancelReason::Requested;
    };
    match parent.mark {
        Some(Mark::Cancel { .. }) => CancelReason::ParentCancelled,
        _ => CancelReason::BranchFailed,
    }
}

fn cancel_branch(site: &Site, branch: &Order, kill: bool, reason: CancelReason) -> Vec<Event> {
    if branch.state.is_ended() { vec![] } else { cancel(site, branch, kill, reason) }
}

/// At once, or a mark where a job or branches must end first. Nothing when that was asked already.
pub(crate) fn cancel(site: &Site, order: &Order, kill: bool, reason: CancelReason) -> Vec<Event> {
    match &order.state {
        OrderState::Finished | OrderState::Cancelled => vec![],
        OrderState::Processing { .. } | OrderState::Processed { .. } | OrderState::Forked { .. } => {
            if matches!(order.mark, Some(Mark::Cancel { kill: known }) if known || !kill) {
                return vec![];
            }
            let mut events = vec![OrderCancelRequested { order: order.id.clone(), kill }.into()];
            events.extend(kill_run(site, order, kill));
            events
        }
        OrderState::Scheduled
        | OrderState::Ready
        | OrderState::Queued { .. }
        | OrderState::Retrying { .. }
        | OrderState::Failed { .. } => vec![OrderCancelled { order: order.id.clone(), reason }.into()],
    }
}

fn suspend_branch(site: &Site, branch: &Order, kill: bool) -> Vec<Event> {
    if branch.state.is_ended() { vec![] } else { suspend(site, branch, kill) }
}

/// At once, or a mark where a job or branches must come to rest first. Nothing when that was asked already.
pub(crate) fn suspend(site: &Site, order: &Order, kill: bool) -> Vec<Event> {
    match (&order.state, order.mark) {
        (OrderState::Finished | OrderState::Cancelled, _) | (_, Some(Mark::Cancel { .. })) => vec![],
        _ if order.suspended => vec![],
        (OrderState::Processing { .. } | OrderState::Processed { .. } | OrderState::Forked { .. }, mark) => {
            if matches!(mark, Some(Mark::Suspend { kill: known }) if known || !kill) {
                return vec![];
            }
            let mut events = vec![OrderSuspendRequested { order: order.id.clone(), kill }.into()];
            events.extend(kill_run(site, order, kill));
            events
        }
        _ => vec![OrderSuspended { order: order.id.clone() }.into()],
    }
}

/// The kill of the order's run, once.
pub(crate) fn kill_run(site: &Site, order: &Order, kill: bool) -> Option<Event> {
    let OrderState::Processing { run } = &order.state else { return None };
    let is_wanted = kill && site.runs.get(run).is_some_and(|r| !r.kill_requested);
    is_wanted.then(|| crate::run::event::RunKillRequested { run: run.clone() }.into())
}
