//! Cancel, suspend and resume. What they mean for the branches of an order follows from the state: see [`super::family`].

use super::{
    Order, OrderState,
    command::{CancelOrders, ResumeOrders, SuspendOrders},
    event::{CancelReason, OrderCancelled, OrderResumed},
    family,
    state::Mark,
};
use crate::{
    Ctx, Event, Label, OrderId, Position, Refusal, Site,
    command::{Accepted, By},
    ctx::LoadedWorkflow,
    limit,
    workflow::{Block, WhenFailed},
};
use std::collections::BTreeSet;

/// Orders of such a command in one decision.
const PER_PART: usize = 200;

pub(crate) fn parts(orders: &[OrderId]) -> usize {
    orders.len().div_ceil(PER_PART)
}

/// The service that cancels by retention. It judges by rows that may be behind: what goes on again is not its business.
const CLEANUP: &str = "cleanup";

pub(crate) fn cancel(
    site: &Site,
    by: &By,
    command: &CancelOrders,
    part: u32,
) -> Result<(Vec<Event>, Accepted), Refusal> {
    if command.replan {
        return replan(site, command, part);
    }
    each(site, &command.orders, part, |order| {
        is_own_master(site, order, true)?;
        if by.user.as_str() == CLEANUP && !matches!(order.state, OrderState::Failed { .. }) {
            let reason = format!("{} has not failed, it is {}: the cleanup leaves it", order.id, order.state.word());
            return Err(Refusal::Failed { reason });
        }
        Ok(family::cancel(site, order, command.kill, CancelReason::Requested))
    })
}

/// Those that have not started; the others, and those that are gone, are what the plan will read of them.
fn replan(site: &Site, command: &CancelOrders, part: u32) -> Result<(Vec<Event>, Accepted), Refusal> {
    let is_planned = |order: &Order| order.start.is_some() && order.state == OrderState::Scheduled;
    let known: Vec<OrderId> = command.orders.iter().filter(|id| site.orders.contains_key(*id)).cloned().collect();
    if known.is_empty() {
        return Ok((vec![], Accepted::Orders { orders: vec![] }));
    }
    each(site, &known, part, |order| {
        let reason = CancelReason::Replanned;
        let cancelled = || OrderCancelled { order: order.id.clone(), reason }.into();
        Ok(if is_planned(order) { vec![cancelled()] } else { vec![] })
    })
}

pub(crate) fn suspend(site: &Site, command: &SuspendOrders, part: u32) -> Result<(Vec<Event>, Accepted), Refusal> {
    each(site, &command.orders, part, |order| {
        is_own_master(site, order, false)?;
        match order.mark {
            Some(Mark::Cancel { .. }) => return Err(Refusal::OrderCancelling { order: order.id.clone() }),
            Some(Mark::Suspend { kill }) if kill || !command.kill => {
                return Err(Refusal::OrderSuspended { order: order.id.clone() });
            }
            _ if order.suspended => return Err(Refusal::OrderSuspended { order: order.id.clone() }),
            _ => {}
        }
        Ok(family::suspend(site, order, command.kill))
    })
}

pub(crate) fn resume(
    site: &Site,
    command: &ResumeOrders,
    part: u32,
    ctx: Ctx,
) -> Result<(Vec<Event>, Accepted), Refusal> {
    each(site, &command.orders, part, |order| {
        is_own_master(site, order, true)?;
        let is_failed = matches!(order.state, OrderState::Failed { .. });
        let is_asked = matches!(order.mark, Some(Mark::Suspend { .. }));
        if !is_failed && !order.suspended && !is_asked {
            return Err(not_resumable(order));
        }
        let Some(wanted) = &command.position else {
            return Ok(vec![OrderResumed { order: order.id.clone(), to: None, left: vec![] }.into()]);
        };
        let (to, left) = target(order, wanted, ctx)?;
        Ok(vec![OrderResumed { order: order.id.clone(), to: Some(to), left }.into()])
    })
}

fn not_resumable(order: &Order) -> Refusal {
    let state = if order.suspended || order.mark.is_some() {
        format!("{} and cannot leave its step before that has ended", order.state.word())
    } else {
        order.state.word().into()
    };
    Refusal::OrderNotResumable { order: order.id.clone(), state }
}

/// Asks for each order of the part. Part 1 asks for all: if one is refused, all are. Later parts pass over orders that
/// have changed since.
fn each(
    site: &Site,
    ids: &[OrderId],
    part: u32,
    mut ask: impl FnMut(&Order) -> Result<Vec<Event>, Refusal>,
) -> Result<(Vec<Event>, Accepted), Refusal> {
    if ids.is_empty() {
        return Err(Refusal::Empty { what: "the list of orders".into() });
    }
    let (count, limit) = (ids.len() as u64, limit::ORDERS_PER_COMMAND as u64);
    if count > limit {
        return Err(Refusal::TooMany { what: "orders in one command".into(), count, limit });
    }
    let skipped = PER_PART * part.saturating_sub(1) as usize;
    let mut seen: BTreeSet<&OrderId> = ids.iter().take(skipped).collect();
    let mut events = vec![];
    for (i, id) in ids.iter().enumerate().skip(skipped) {
        if part > 1 && i >= skipped + PER_PART {
            break;
        }
        if !seen.insert(id) {
            continue;
        }
        let known = site.orders.get(id).ok_or_else(|| Refusal::OrderUnknown { order: id.clone() });
        match known.and_then(&mut ask) {
            Ok(asked) if i < skipped + PER_PART => events.extend(asked),
            Ok(_) => {}
            Err(refusal) if part <= 1 => return Err(refusal),
            Err(_) => {}
        }
    }
    let mut seen = BTreeSet::new();
    let orders = ids.iter().filter(|id| seen.insert(*id)).cloned().collect();
    Ok((events, Accepted::Orders { orders }))
}

/// Branches do what their order does, but for a failed one that its fork waits for: that can be resumed or cancelled.
fn is_own_master(site: &Site, order: &Order, also_as_failed_branch: bool) -> Result<(), Refusal> {
    if order.state.is_terminated() {
        let state = order.state.word().into();
        return Err(Refusal::OrderTerminated { order: order.id.clone(), state });
    }
    let Some(parent) = &order.parent else { return Ok(()) };
    let is_awaited = also_as_failed_branch
        && matches!(order.state, OrderState::Failed { .. })
        && site.orders.get(&parent.order).is_some_and(|p| {
            p.mark.is_none()
                && !p.suspended
                && matches!(p.state, OrderState::Forked { when_failed: WhenFailed::Wait, .. })
        });
    if is_awaited {
        Ok(())
    } else {
        Err(Refusal::OrderIsChild { order: order.id.clone(), parent: parent.order.clone() })
    }
}

/// Any step in the same fork branch, by its position or its label alone.
fn target(order: &Order, wanted: &Position, ctx: Ctx) -> Result<(Position, Vec<Label>), Refusal> {
    if matches!(order.state, OrderState::Processing { .. } | OrderState::Processed { .. } | OrderState::Forked { .. }) {
        return Err(not_resumable(order));
    }
    let loaded = ctx.definitions.workflow(&order.workflow.hash).ok_or_else(|| Refusal::DefinitionInvalid {
        definition: format!("workflow {}", order.workflow.name),
        reason: format!("the body of version {} is missing or broken", order.workflow.version),
    })?;
    let here = order.position.as_ref().map(Position::label);
    let branch = here.as_ref().and_then(|label| loaded.branch_of(label));
    let label = wanted.label();
    let prefix = order.position.as_ref().map_or("", Position::prefix);
    let is_there = loaded.step(&label).is_some()
        && loaded.branch_of(&label) == branch
        && (wanted.prefix().is_empty() || wanted.prefix() == prefix);
    if !is_there {
        return Err(Refusal::PositionUnknown {
            order: order.id.clone(),
            position: wanted.to_string(),
            steps: steps_of(&loaded, branch),
        });
    }
    let to = order.position.as_ref().map_or_else(|| Position::from(&label), |p| p.sibling(&label));
    Ok((to, left(order, &loaded, &label)))
}

/// Blocks count from their first attempt again, but for one in whose catch steps the order stays.
fn left(order: &Order, loaded: &LoadedWorkflow, to: &Label) -> Vec<Label> {
    let stays = |block: &Label| {
        order.tries.get(block).is_some_and(|t| t.caught.is_some())
            && loaded.enclosing(to).any(|(outer, side)| outer == block && *side == Block::Catch)
    };
    order.tries.keys().filter(|block| !stays(block)).cloned().collect()
}

fn steps_of(loaded: &LoadedWorkflow, branch: Option<(&Label, &crate::BranchName)>) -> String {
    const SHOWN: usize = 30;
    let steps = loaded.steps().into_iter().map(|s| &s.label);
    let there: Vec<&str> = steps.filter(|label| loaded.branch_of(label) == branch).map(Label::as_str).collect();
    let shown = there.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if there.len() > SHOWN { format!("{shown}, …") } else { shown }
}
