//! What happened to runs.

use super::{JobSpec, RunFacts};
use crate::{AgentName, InstanceId, Label, OrderId, Outcome, Position, RunId, order::event::Demand};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The job is given to its agent. Its resources are taken by this event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunDispatched {
    pub run: RunId,
    pub order: OrderId,
    pub position: Position,
    pub job: Label,
    pub agent: AgentName,
    /// From 1, over retries and lost runs of this step.
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Demand>,
    pub spec: JobSpec,
}

/// An instance of the agent has won it and spawns it now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunClaimed {
    pub run: RunId,
    pub instance: InstanceId,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunKillRequested {
    pub run: RunId,
}

/// Frees its resources. A lost run of a restartable job leaves its order at the same step, to be sent again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunEnded {
    pub run: RunId,
    pub order: OrderId,
    pub position: Position,
    pub facts: RunFacts,
    /// As the job's exit codes judge it. None: the step will be run again (lost and restartable, or killed by suspend).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// A report that does not fit: of an unknown run, by the wrong agent or instance, or once more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportRefused {
    pub agent: AgentName,
    pub instance: InstanceId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    pub reason: ReportRefusal,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportRefusal {
    RunUnknown,
    RunEnded,
    WrongAgent,
    WrongInstance,
    /// Not claimed by anybody.
    NotClaimed,
    AgentUnknown,
    /// The message could not be read.
    Malformed {
        reason: String,
    },
    Repeated,
}
