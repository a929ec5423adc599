//! What an order is.

use super::{
    command::{Overlap, StartKey},
    event::{Demand, WorkflowRef},
};
use crate::{
    Arguments, BranchName, Failure, Instant, Label, OrderId, Outcome, Position, RunId, Value, VariableName,
    command::By,
    workflow::{LatePolicy, WhenFailed},
};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    pub id: OrderId,
    pub workflow: WorkflowRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    pub business_day: NaiveDate,
    pub priority: i16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Instant>,
    pub late: LatePolicy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartKey>,
    #[serde(default, skip_serializing_if = "Overlap::is_start")]
    pub overlap: Overlap,
    /// It is due, and waits for its turn in its series: behind this order when it began to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<OrderId>,
    pub by: By,
    /// Shared with branches.
    pub arguments: Arc<Arguments>,
    /// Of the steps that have ended, by label.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub results: BTreeMap<Label, StepResult>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Last parts of the ids of all children it ever had.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub used_branches: BTreeSet<String>,
    /// None before it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// The try blocks it is in, by their label.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tries: BTreeMap<Label, TryState>,
    pub state: OrderState,
    /// Orthogonal to the state: it takes no next step. Held orders are suspended from the start.
    #[serde(default)]
    pub suspended: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    pub added_at: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Instant>,
    /// When it came into its present state: since when it waits.
    pub since: Instant,
    /// Runs of the present step so far, lost ones included; 0 when it has just come there.
    #[serde(default)]
    pub attempt: u32,
    /// Runs of the steps of the try blocks that it is in, over all their attempts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runs: BTreeMap<Label, u32>,
}

impl Order {
    /// When it starts or goes on by itself.
    pub fn timer(&self) -> Option<Instant> {
        match self.state {
            _ if self.suspended => None,
            OrderState::Scheduled if self.behind.is_some() => None,
            OrderState::Scheduled => self.due_at,
            OrderState::Retrying { until } => Some(until),
            _ => None,
        }
    }

    /// The order that it takes its variables from, where it is a branch of a fork.
    pub fn branch_parent(&self) -> Option<&OrderId> {
        self.parent.as_ref().filter(|p| !p.called).map(|p| &p.order)
    }

    /// Of the run to come, from 1, over lost runs and the attempts of try blocks.
    pub fn next_attempt(&self) -> u32 {
        let known = self.position.as_ref().and_then(|p| self.runs.get(p.label().as_str()));
        self.attempt.max(known.copied().unwrap_or(0)) + 1
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Not started: due later, at once, or held.
    Scheduled,
    /// Between steps: the next decision is due.
    Ready,
    /// Waits at a job for resources.
    Queued {
        demands: Vec<Demand>,
    },
    /// Its job is sent, or runs: see the run.
    Processing {
        run: RunId,
    },
    /// The step at its position has ended; what follows is not decided yet.
    Processed {
        outcome: Outcome,
    },
    Retrying {
        until: Instant,
    },
    Forked {
        when_failed: WhenFailed,
        children: Vec<OrderId>,
    },
    Failed {
        failure: Failure,
    },
    Finished,
    Cancelled,
}

impl OrderState {
    /// One word for people and machines.
    pub fn word(&self) -> &'static str {
        match self {
            OrderState::Scheduled => "scheduled",
            OrderState::Ready => "ready",
            OrderState::Queued { .. } => "queued",
            OrderState::Processing { .. } => "running",
            OrderState::Processed { .. } => "processed",
            OrderState::Retrying { .. } => "retrying",
            OrderState::Forked { .. } => "forked",
            OrderState::Failed { .. } => "failed",
            OrderState::Finished => "finished",
            OrderState::Cancelled => "cancelled",
        }
    }

    /// As a branch: nothing follows in it by itself.
    pub fn is_ended(&self) -> bool {
        self.is_terminated() || matches!(self, OrderState::Failed { .. })
    }

    /// Nothing can happen to it any more.
    pub fn is_terminated(&self) -> bool {
        matches!(self, OrderState::Finished | OrderState::Cancelled)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    pub order: OrderId,
    pub branch: BranchName,
    /// A called workflow does not see the variables of its caller.
    pub called: bool,
}

/// What expressions read as `label.returnCode` and `label.<result>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    pub return_code: i32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<VariableName, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TryState {
    /// From 1.
    pub attempt: u32,
    /// In the catch steps: the failure they see as `error`, and where it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caught: Option<(Position, Failure)>,
    /// The failure that the present attempt follows; only of the block that was tried again last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried: Option<(Position, Failure)>,
}

impl Default for TryState {
    fn default() -> Self {
        Self { attempt: 1, caught: None, retried: None }
    }
}

/// Asked for, not yet carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    Cancel { kill: bool },
    Suspend { kill: bool },
}
