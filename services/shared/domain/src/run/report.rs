//! What agents report. The envelope with agent, instance and epoch is in the contract crate.

use crate::{InstanceId, Instant, NodeName, RunId, Span, Value, VariableName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The claim: the first of these for a run wins, by its subject. The agent spawns only after it.
    Accepted {
        run: RunId,
    },
    /// The controller's claim of a run that must not start any more.
    Refused {
        run: RunId,
    },
    Ended {
        run: RunId,
        facts: RunFacts,
    },
    /// An instance has started, or came back after its connection was lost.
    Ready {
        node: NodeName,
        version: String,
    },
    /// An instance stops in order; its runner's jobs go on.
    Stopping,
}

/// How a run ended, as measured at the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunFacts {
    pub end: RunEnd,
    /// None when it never started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Instant>,
    pub ended_at: Instant,
    #[serde(default)]
    pub usage: Usage,
    #[serde(default)]
    pub output: OutputSummary,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub results: BTreeMap<VariableName, Value>,
    /// Why the results could not be read, with name and reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results_error: Option<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    Exited {
        code: i32,
    },
    Signalled {
        signal: i32,
    },
    TimedOut {
        limit: Span,
    },
    /// By a kill that the controller asked for.
    Killed,
    /// Nothing was spawned: no such directory, no such program, disk full, secret missing, …
    NotStarted {
        reason: String,
        /// The reason has nothing to do with the job, such as an agent that stopped in between: it is sent again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// Its runner died: whether it did its work is not known.
    Lost {
        reason: String,
    },
}

impl RunEnd {
    /// What expressions read as `label.returnCode`: the exit code, 128 + signal as shells do, -1 where there is neither.
    pub fn return_code(&self) -> i32 {
        match self {
            RunEnd::Exited { code } => *code,
            RunEnd::Signalled { signal } => 128i32.saturating_add(*signal),
            RunEnd::TimedOut { .. } | RunEnd::Killed | RunEnd::NotStarted { .. } | RunEnd::Lost { .. } => -1,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    pub cpu_user_ms: u64,
    pub cpu_system_ms: u64,
    pub memory_peak_bytes: u64,
}

/// What the job printed. A log in history is complete when its chunks and bytes match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct OutputSummary {
    /// Printed by the job, kept or not.
    pub bytes: u64,
    pub lines: u64,
    /// Kept: the first and the last part when the limit cut the middle.
    pub kept_bytes: u64,
    /// Numbered from 1.
    pub chunks: u32,
}

/// For reading what an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentInstance {
    pub instance: InstanceId,
    pub node: NodeName,
    pub version: String,
}
