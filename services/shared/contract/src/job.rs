//! Messages of JOBS: a run to start, a run to end.

use ordo_domain::{AgentName, Instant, Label, OrderId, Position, RunId, WorkflowName, run::JobSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Subject `ordo.<site>.job.<agent>.start.<run>`. At most 32 KiB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobMessage {
    pub v: u32,
    pub run: RunId,
    pub order: OrderId,
    pub workflow: WorkflowName,
    pub position: Position,
    pub job: Label,
    pub agent: AgentName,
    pub attempt: u32,
    pub priority: i16,
    /// Of the controller that sent it.
    pub epoch: u64,
    pub dispatched_at: Instant,
    pub spec: JobSpec,
}

/// Subject `ordo.<site>.job.<agent>.kill.<instance>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KillMessage {
    pub v: u32,
    pub run: RunId,
    pub epoch: u64,
}
