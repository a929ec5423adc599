//! What an order does next by itself, from its state.

use super::{Order, OrderState, event::*, family, series, state::Mark};
use crate::{
    Ctx, Event, Failure, Outcome, Position, Site, Span,
    ctx::LoadedWorkflow,
    step::{self, Here},
    workflow::LateAction,
};
use chrono::TimeDelta;
use std::sync::Arc;

/// A start this much behind its time is worth telling.
const NOTEWORTHY_DELAY: TimeDelta = TimeDelta::seconds(1);

/// The events of its next step; none when it waits.
pub(crate) fn next(site: &Site, order: &Order, ctx: Ctx) -> Vec<Event> {
    match &order.state {
        OrderState::Finished | OrderState::Cancelled | OrderState::Failed { .. } => vec![],
        OrderState::Forked { when_failed, children } => family::advance(site, order, children, *when_failed),
        OrderState::Processing { .. } => {
            let (Some(Mark::Cancel { kill }) | Some(Mark::Suspend { kill })) = order.mark else { return vec![] };
            family::kill_run(site, order, kill).into_iter().collect()
        }
        _ if matches!(order.mark, Some(Mark::Cancel { .. })) => {
            vec![OrderCancelled { order: order.id.clone(), reason: family::reason(site, order) }.into()]
        }
        // A step that has ended is followed up first: a suspended order stands before its next one.
        OrderState::Processed { outcome } => with_body(order, ctx, |loaded, position| {
            let here = Here::new(site, order, loaded, position, ctx);
            match outcome {
                Outcome::Failed { failure } => step::fall(&here, failure.clone()),
                Outcome::Succeeded | Outcome::Warning { .. } => step::go_on(&here),
            }
        }),
        _ if matches!(order.mark, Some(Mark::Suspend { .. })) => {
            vec![OrderSuspended { order: order.id.clone() }.into()]
        }
        _ if order.suspended => vec![],
        OrderState::Scheduled => match order.due_at {
            Some(due) if due > ctx.now => vec![],
            due => begin(site, order, due.map_or(TimeDelta::zero(), |due| ctx.now - due), ctx),
        },
        OrderState::Ready if order.started_at.is_none() => {
            start(order, order.due_at.map_or(TimeDelta::zero(), |due| ctx.now - due), ctx)
        }
        OrderState::Ready | OrderState::Queued { .. } => {
            with_body(order, ctx, |loaded, position| step::take(&Here::new(site, order, loaded, position, ctx)))
        }
        OrderState::Retrying { until } if *until > ctx.now => vec![],
        OrderState::Retrying { .. } => vec![OrderAwoke { order: order.id.clone() }.into()],
    }
}

/// It is due. What it waited for behind another one does not make it late.
fn begin(site: &Site, order: &Order, delay: TimeDelta, ctx: Ctx) -> Vec<Event> {
    let missed = if order.behind.is_none() { too_late(order, delay) } else { vec![] };
    match missed.is_empty() {
        true => series::held_back(site, order).unwrap_or_else(|| start(order, delay, ctx)),
        false => missed,
    }
}

fn too_late(order: &Order, delay: TimeDelta) -> Vec<Event> {
    let is_late = order.late.grace.is_some_and(|grace| delay > grace.to_chrono());
    let late_by = Span::from_chrono(delay);
    match order.late.then {
        LateAction::Skip if is_late => {
            vec![OrderCancelled { order: order.id.clone(), reason: CancelReason::Late { late_by } }.into()]
        }
        LateAction::Fail if is_late => fail(order, Failure::Late { late_by }),
        LateAction::Run | LateAction::Skip | LateAction::Fail => vec![],
    }
}

fn start(order: &Order, delay: TimeDelta, ctx: Ctx) -> Vec<Event> {
    let loaded = match body(order, ctx) {
        Ok(loaded) => loaded,
        Err(failure) => return fail(order, failure),
    };
    let late_by = (delay > NOTEWORTHY_DELAY).then(|| Span::from_chrono(delay));
    match order.position.clone().or_else(|| loaded.first().map(Position::from)) {
        Some(position) => vec![OrderStarted { order: order.id.clone(), position, late_by }.into()],
        None => vec![OrderFinished { order: order.id.clone(), message: None }.into()],
    }
}

fn with_body(order: &Order, ctx: Ctx, f: impl FnOnce(&LoadedWorkflow, &Position) -> Vec<Event>) -> Vec<Event> {
    match (body(order, ctx), &order.position) {
        (Ok(loaded), Some(position)) => f(&loaded, position),
        (Ok(_), None) => fail(order, Failure::Internal { reason: "a started order stands nowhere".into() }),
        (Err(failure), _) => fail(order, failure),
    }
}

fn body(order: &Order, ctx: Ctx) -> Result<Arc<LoadedWorkflow>, Failure> {
    ctx.definitions.workflow(&order.workflow.hash).ok_or_else(|| {
        let (name, version) = (&order.workflow.name, order.workflow.version);
        Failure::Definition { reason: format!("version {version} of workflow {name} cannot be loaded") }
    })
}

/// No try block catches it: the order stays where it is.
fn fail(order: &Order, failure: Failure) -> Vec<Event> {
    vec![OrderFailed { order: order.id.clone(), position: order.position.clone(), failure }.into()]
}
