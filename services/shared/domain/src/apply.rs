//! What an event does to the state: dispatch only, the effects are in the `apply.rs` of each entity.

use crate::{
    Event, Instant, OrderId, Site, agent,
    catalog::apply as catalog,
    controller, lock,
    order::{apply as order, birth, control},
    run::apply as run,
    workflow,
};
use std::fmt::Display;

/// An event that does not fit the state it met: a bug, or a journal that is not ours. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event} does not fit {what} ({state}): {why}")]
pub struct NotApplicable {
    pub event: &'static str,
    /// The order, run, or other thing that it is about.
    pub what: String,
    /// In one word.
    pub state: String,
    pub why: String,
}

pub(crate) type Applied = Result<(), NotApplicable>;

/// The name of the event is filled in by [`apply`].
pub(crate) fn misfit(what: impl Display, state: impl Display, why: impl Display) -> NotApplicable {
    NotApplicable { event: "", what: what.to_string(), state: state.to_string(), why: why.to_string() }
}

pub(crate) fn unknown_order(order: &OrderId) -> NotApplicable {
    misfit(format_args!("order {order}"), "unknown", "there is no such order")
}

/// Total and deterministic; never decides, never evaluates. `at` is the time of the commit that holds the event.
pub fn apply(site: &mut Site, at: Instant, event: &Event) -> Result<(), NotApplicable> {
    let applied = match event {
        Event::OrderAdded(e) => birth::added(site, at, e),
        Event::OrderWaits(e) => order::waits(site, e),
        Event::OrderStarted(e) => order::started(site, at, e),
        Event::OrderMoved(e) => order::moved(site, at, e),
        Event::OrderTried(e) => order::tried(site, at, e),
        Event::OrderQueued(e) => order::queued(site, at, e),
        Event::OrderForked(e) => order::forked(site, at, e),
        Event::OrderJoined(e) => order::joined(site, at, e),
        Event::OrderCaught(e) => order::caught(site, at, e),
        Event::OrderRetrying(e) => order::retrying(site, at, e),
        Event::OrderAwoke(e) => order::awoke(site, at, e),
        Event::OrderFailed(e) => order::failed(site, at, e),
        Event::OrderFinished(e) => order::finished(site, at, e),
        Event::OrderCancelRequested(e) => control::cancel_requested(site, e),
        Event::OrderCancelled(e) => control::cancelled(site, at, e),
        Event::OrderSuspendRequested(e) => control::suspend_requested(site, e),
        Event::OrderSuspended(e) => control::suspended(site, at, e),
        Event::OrderResumed(e) => control::resumed(site, at, e),
        Event::OrdersForgotten(e) => order::forgotten(site, e),
        Event::RunDispatched(e) => run::dispatched(site, at, e),
        Event::RunClaimed(e) => run::claimed(site, at, e),
        Event::RunKillRequested(e) => run::kill_requested(site, e),
        Event::RunEnded(e) => run::ended(site, at, e),
        // It says that the state stays as it is.
        Event::ReportRefused(_) => Ok(()),
        Event::WorkflowDeployed(e) => workflow::apply::deployed(site, at, e),
        Event::WorkflowRemoved(e) => catalog::workflow_removed(site, e),
        Event::LockDeployed(e) => lock::apply::deployed(site, e),
        Event::DefinitionDeployed(e) => catalog::deployed(site, at, e),
        Event::DefinitionRemoved(e) => catalog::removed(site, e),
        Event::ScheduleSuspended(e) => catalog::suspended(site, e),
        Event::ScheduleResumed(e) => catalog::resumed(site, e),
        // They say that no order is made.
        Event::StartSkipped(_) | Event::StartNotPlanned(_) => Ok(()),
        Event::AgentAdded(e) => agent::apply::added(site, e),
        Event::AgentReady(e) => agent::apply::ready(site, e),
        Event::AgentStopped(e) => agent::apply::stopped(site, e),
        Event::ControllerActivated(e) => controller::apply::activated(site, e),
        Event::ControllerHandedOver(e) => controller::apply::handed_over(site, e),
        Event::RoleHeld(e) => controller::apply::role_held(site, e),
        Event::CommandAccepted(e) => controller::apply::command_accepted(site, at, e),
        Event::CommandRefused(e) => controller::apply::command_refused(site, at, e),
        Event::CommandFailed(e) => controller::apply::command_failed(site, at, e),
        // The reader compares it before it applies it.
        Event::StateDigest(_) => Ok(()),
    };
    applied.map_err(|e| NotApplicable { event: event.name(), ..e })
}
