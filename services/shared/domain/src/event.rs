//! Everything that can have happened. In JSON: `{"OrderStarted": {"order": "…", "position": "dump"}}`.
//!
//! A released event never changes: a new field is optional with a default, or it becomes a new variant.

use crate::{OrderId, RunId, agent, catalog, controller, definition, lock, order, run};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! events {
    ($($variant:ident($path:path)),* $(,)?) => {
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub enum Event { $($variant($path)),* }

        impl Event {
            /// The name of the variant, as in JSON.
            pub fn name(&self) -> &'static str {
                match self { $(Event::$variant(_) => stringify!($variant)),* }
            }
            /// The names of all variants.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($variant)),*];
        }
        $(impl From<$path> for Event {
            fn from(e: $path) -> Self { Event::$variant(e) }
        })*
    };
}

events! {
    OrderAdded(order::event::OrderAdded),
    OrderWaits(order::event::OrderWaits),
    OrderStarted(order::event::OrderStarted),
    OrderMoved(order::event::OrderMoved),
    OrderTried(order::event::OrderTried),
    OrderQueued(order::event::OrderQueued),
    OrderForked(order::event::OrderForked),
    OrderJoined(order::event::OrderJoined),
    OrderCaught(order::event::OrderCaught),
    OrderRetrying(order::event::OrderRetrying),
    OrderAwoke(order::event::OrderAwoke),
    OrderFailed(order::event::OrderFailed),
    OrderFinished(order::event::OrderFinished),
    OrderCancelRequested(order::event::OrderCancelRequested),
    OrderCancelled(order::event::OrderCancelled),
    OrderSuspendRequested(order::event::OrderSuspendRequested),
    OrderSuspended(order::event::OrderSuspended),
    OrderResumed(order::event::OrderResumed),
    OrdersForgotten(order::event::OrdersForgotten),
    RunDispatched(run::event::RunDispatched),
    RunClaimed(run::event::RunClaimed),
    RunKillRequested(run::event::RunKillRequested),
    RunEnded(run::event::RunEnded),
    ReportRefused(run::event::ReportRefused),
    WorkflowDeployed(definition::WorkflowDeployed),
    WorkflowRemoved(catalog::WorkflowRemoved),
    LockDeployed(lock::LockDeployed),
    DefinitionDeployed(catalog::DefinitionDeployed),
    DefinitionRemoved(catalog::DefinitionRemoved),
    ScheduleSuspended(catalog::ScheduleSuspended),
    ScheduleResumed(catalog::ScheduleResumed),
    StartSkipped(catalog::StartSkipped),
    StartNotPlanned(catalog::StartNotPlanned),
    AgentAdded(agent::AgentAdded),
    AgentReady(agent::AgentReady),
    AgentStopped(agent::AgentStopped),
    ControllerActivated(controller::ControllerActivated),
    ControllerHandedOver(controller::ControllerHandedOver),
    RoleHeld(controller::RoleHeld),
    CommandAccepted(controller::CommandAccepted),
    CommandRefused(controller::CommandRefused),
    CommandFailed(controller::CommandFailed),
    StateDigest(controller::StateDigest),
}

impl Event {
    /// The order that this happened to, where it is one.
    pub fn order(&self) -> Option<&OrderId> {
        match self {
            Event::OrderAdded(e) => Some(&e.order),
            Event::OrderWaits(e) => Some(&e.order),
            Event::OrderStarted(e) => Some(&e.order),
            Event::OrderMoved(e) => Some(&e.order),
            Event::OrderTried(e) => Some(&e.order),
            Event::OrderQueued(e) => Some(&e.order),
            Event::OrderForked(e) => Some(&e.order),
            Event::OrderJoined(e) => Some(&e.order),
            Event::OrderCaught(e) => Some(&e.order),
            Event::OrderRetrying(e) => Some(&e.order),
            Event::OrderAwoke(e) => Some(&e.order),
            Event::OrderFailed(e) => Some(&e.order),
            Event::OrderFinished(e) => Some(&e.order),
            Event::OrderCancelRequested(e) => Some(&e.order),
            Event::OrderCancelled(e) => Some(&e.order),
            Event::OrderSuspendRequested(e) => Some(&e.order),
            Event::OrderSuspended(e) => Some(&e.order),
            Event::OrderResumed(e) => Some(&e.order),
            Event::RunDispatched(e) => Some(&e.order),
            Event::RunEnded(e) => Some(&e.order),
            Event::CommandFailed(e) => e.order.as_ref(),
            Event::OrdersForgotten(_)
            | Event::RunClaimed(_)
            | Event::RunKillRequested(_)
            | Event::ReportRefused(_)
            | Event::WorkflowDeployed(_)
            | Event::WorkflowRemoved(_)
            | Event::LockDeployed(_)
            | Event::DefinitionDeployed(_)
            | Event::DefinitionRemoved(_)
            | Event::ScheduleSuspended(_)
            | Event::ScheduleResumed(_)
            | Event::StartSkipped(_)
            | Event::StartNotPlanned(_)
            | Event::AgentAdded(_)
            | Event::AgentReady(_)
            | Event::AgentStopped(_)
            | Event::ControllerActivated(_)
            | Event::ControllerHandedOver(_)
            | Event::RoleHeld(_)
            | Event::CommandAccepted(_)
            | Event::CommandRefused(_)
            | Event::StateDigest(_) => None,
        }
    }

    /// The run that this happened to, where it is one.
    pub fn run(&self) -> Option<&RunId> {
        match self {
            Event::RunDispatched(e) => Some(&e.run),
            Event::RunClaimed(e) => Some(&e.run),
            Event::RunKillRequested(e) => Some(&e.run),
            Event::RunEnded(e) => Some(&e.run),
            Event::ReportRefused(e) => e.run.as_ref(),
            _ => None,
        }
    }
}
