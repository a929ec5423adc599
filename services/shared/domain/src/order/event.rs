//! What happened to orders. Every value that was computed to decide is in the event: `apply` evaluates nothing.

use super::command::{Overlap, StartKey};
use crate::{
    Arguments, BranchName, CommandId, ContentHash, Failure, Instant, Label, LockName, OrderId, Outcome, Position, Span,
    WorkflowName, command::By, workflow::LatePolicy, workflow::WhenFailed,
};
use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A workflow as an order runs it: its version stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowRef {
    pub name: WorkflowName,
    /// 1, 2, 3, … for people.
    pub version: u32,
    pub hash: ContentHash,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderAdded {
    pub order: OrderId,
    pub workflow: WorkflowRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    pub business_day: NaiveDate,
    #[serde(default)]
    pub priority: i16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Instant>,
    #[serde(default)]
    pub held: bool,
    #[serde(default)]
    pub late: LatePolicy,
    /// Defaults filled in; secrets are not among them.
    #[serde(default)]
    pub arguments: Arguments,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartKey>,
    #[serde(default, skip_serializing_if = "Overlap::is_start")]
    pub overlap: Overlap,
    pub by: By,
    /// The per-day counter in the id.
    pub counter: u64,
    /// Given while the command is decided in several parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
}

/// It is due, and waits until an earlier order of its series has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderWaits {
    pub order: OrderId,
    pub earlier: OrderId,
}

/// The order left its waiting place and stands at its first step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderStarted {
    pub order: OrderId,
    pub position: Position,
    /// Behind `due_at`, when that is more than a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_by: Option<Span>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderMoved {
    pub order: OrderId,
    pub to: Position,
    /// The try blocks that it is no longer in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Label>,
}

/// A try block was entered; `to` is its first step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderTried {
    pub order: OrderId,
    /// The try step.
    pub block: Position,
    pub to: Position,
}

/// The order waits at a job for locks or for a free place under the job's parallel limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderQueued {
    pub order: OrderId,
    pub position: Position,
    /// All that the job needs, in the order of their names.
    pub resources: Vec<Demand>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Demand {
    pub resource: Resource,
    pub weight: u32,
}

/// What orders can queue for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    Lock(LockName),
    /// The parallel limit of a job.
    Job {
        workflow: WorkflowName,
        job: Label,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderForked {
    pub order: OrderId,
    pub position: Position,
    pub when_failed: WhenFailed,
    pub children: Vec<Child>,
}

/// A branch of a fork, or the called workflow of a `call`. It inherits all that is not given here from its parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Child {
    pub order: OrderId,
    pub branch: BranchName,
    /// Where it begins. None: an empty branch, it is finished at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// For `call`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Called>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Called {
    pub workflow: WorkflowRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    #[serde(default)]
    pub arguments: Arguments,
}

/// All branches have ended; they leave the state, their results become the parent's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderJoined {
    pub order: OrderId,
    pub position: Position,
    pub outcome: Outcome,
}

/// A failure inside a try block went to its catch steps. `to` is the first of them, or the block itself where it has none:
/// then the block is over and the order goes on behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCaught {
    pub order: OrderId,
    pub block: Position,
    pub failed_at: Position,
    pub failure: Failure,
    pub to: Position,
    /// The try blocks that it is no longer in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Label>,
}

/// A failure inside a try block: its steps are tried again at `until`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderRetrying {
    pub order: OrderId,
    pub block: Position,
    pub failed_at: Position,
    pub failure: Failure,
    /// Of the coming attempt, from 2.
    pub attempt: u32,
    pub until: Instant,
    pub to: Position,
    /// The try blocks that it is no longer in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Label>,
}

/// The delay is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderAwoke {
    pub order: OrderId,
}

/// Stays in the state, to be resumed or cancelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderFailed {
    pub order: OrderId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    pub failure: Failure,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderFinished {
    pub order: OrderId,
    /// Of a `finish` step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Carried out when the running job or the branches have ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCancelRequested {
    pub order: OrderId,
    pub kill: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCancelled {
    pub order: OrderId,
    pub reason: CancelReason,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    Requested,
    /// Its late policy says skip.
    Late {
        late_by: Span,
    },
    /// It was due while an earlier order of its schedule still ran, and its schedule says skip.
    Overlap {
        earlier: OrderId,
    },
    /// The daily plan took it back before it started: the schedule was changed, suspended or removed.
    Replanned,
    /// Another branch failed and the fork cancels the others.
    BranchFailed,
    /// The order it is a branch of was cancelled.
    ParentCancelled,
}

/// Carried out before the next step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderSuspendRequested {
    pub order: OrderId,
    pub kill: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderSuspended {
    pub order: OrderId,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderResumed {
    pub order: OrderId,
    /// Where it goes on, if elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Position>,
    /// The try blocks that it is no longer in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Label>,
}

/// History has passed their end: they leave the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrdersForgotten {
    pub orders: Vec<OrderId>,
}
