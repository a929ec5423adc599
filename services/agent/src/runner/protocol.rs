//! What the agent (or a person's tool) and a runner say to each other: one JSON object a line, over the socket
//! `runner/<id>.sock` in the data folder. Requests are answered in the order of the connection they came by; `Output`
//! and `Ended` go to the attached agent unasked.

use ordo_domain::{EnvValue, Instant, Label, OrderId, Position, RunId, WorkflowName, run::RunFacts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Rises when a runner and an agent of different builds would not understand each other.
pub const PROTOCOL: u32 = 1;
/// Longest line: a start holds a job message.
pub const LINE_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// I am the agent of this data folder: tell me of ends and output from now on. An earlier agent's connection is
    /// read to its end and closed first, so that after the answer nothing of it is under way.
    Attach {
        build: String,
    },
    Start(Box<StartRequest>),
    Kill {
        run: RunId,
    },
    /// What runs.
    List,
    /// Start nothing more, end when the last run has; another runner takes over.
    Drain,
    /// End the runs of runners that died.
    Sweep,
    /// End. `kill`: with all runs, else only if there is none.
    Stop {
        kill: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Attached {
        protocol: u32,
        runner: String,
        pid: u32,
        build: String,
        capacity: u32,
        runs: Vec<RunId>,
    },
    /// Its process runs.
    Started {
        run: RunId,
        at: Instant,
    },
    /// Nothing was spawned and no folder taken.
    Refused {
        run: RunId,
        refusal: StartRefusal,
    },
    /// So many frames of its first part lie on disk.
    Output {
        run: RunId,
        frames: u32,
    },
    /// It has ended, and `end.json` says so.
    Ended {
        run: RunId,
        facts: Box<EndFacts>,
    },
    /// The kill is under way; or there was nothing to kill.
    Killing {
        run: RunId,
        known: bool,
    },
    Running {
        runs: Vec<RunId>,
    },
    Draining,
    /// These were lost with their runners; their folders have an end now.
    Swept {
        lost: Vec<RunId>,
    },
    /// `None`: it runs on, because these do.
    Stopping {
        runs: Vec<RunId>,
    },
    Misunderstood {
        reason: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum StartRefusal {
    /// Its folder exists: it was started before.
    #[error("this run was started before")]
    Taken,
    #[error("the runner is draining")]
    Draining,
    /// Another attempt may be in time.
    #[error("more than the allowed time has passed since the claim")]
    TooLate,
    #[error("{0}")]
    NotPossible(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartRequest {
    pub meta: RunMeta,
    /// Program and arguments; the program is looked up in the job's PATH unless it has a slash.
    pub arguments: Vec<String>,
    /// PATH, HOME and what else every job here gets. The job's own wins.
    pub base_env: BTreeMap<String, String>,
    pub env: BTreeMap<String, EnvValue>,
    pub directory: Option<String>,
    pub timeout_ms: Option<u64>,
    pub kill_after_ms: u64,
    /// CLOCK_BOOTTIME in milliseconds after which it may not be spawned any more.
    pub spawn_before_ms: u64,
    /// Kept of its output.
    pub output_bytes: u64,
    pub secrets: PathBuf,
}

/// What a run is, for those who find its folder: the first line of `run.json`, written before the spawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMeta {
    pub run: RunId,
    pub order: OrderId,
    pub workflow: WorkflowName,
    pub position: Position,
    pub job: Label,
    pub attempt: u32,
    /// The runner that holds it; set by the runner.
    #[serde(default)]
    pub runner: String,
    /// The boot of the machine; set by the runner.
    #[serde(default)]
    pub boot: String,
}

/// The second line of `run.json`: enough to know a process again after its runner died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MainProcess {
    pub pid: i32,
    /// CLOCK_BOOTTIME in milliseconds before and after its spawn: its start time lies between.
    pub after_ms: u64,
    pub before_ms: u64,
    pub at: Instant,
}

/// The end of a run as the runner knows it: in `end.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndFacts {
    /// Without results: the agent reads them out of `results` by the kinds that the job declared.
    pub facts: RunFacts,
    /// The job's results file, masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<String>,
    /// Why there is none, although there is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results_error: Option<String>,
    /// Frames in `output`; the others lie in `tail.<n>`.
    pub head_frames: u32,
    /// Bytes dropped between the two.
    #[serde(default)]
    pub omitted: u64,
}
