//! What a run is while it is known: from its dispatch to its end.

use super::JobSpec;
use crate::{AgentName, InstanceId, Instant, Label, OrderId, Position, RunId, order::event::Demand};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub order: OrderId,
    pub position: Position,
    pub job: Label,
    pub agent: AgentName,
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Demand>,
    pub state: RunState,
    #[serde(default)]
    pub kill_requested: bool,
    pub dispatched_at: Instant,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Sent; nobody has claimed it. The spec is kept to send the same again.
    Dispatched {
        spec: Box<JobSpec>,
    },
    Claimed {
        instance: InstanceId,
        at: Instant,
    },
}
