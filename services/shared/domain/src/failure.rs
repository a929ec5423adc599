//! How a step or an order ended, as code and arguments, so that it can be said in several languages.

use crate::{BranchName, LockName, OrderId, Span, WorkflowName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why something failed. `Display` is the English text; the code is the name of the variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[serde(tag = "code", content = "arguments", rename_all = "snake_case")]
pub enum Failure {
    #[error("exit code {return_code}")]
    ExitCode { return_code: i32 },
    #[error("ended by signal {signal}")]
    Signal { signal: i32 },
    #[error("timed out after {limit}")]
    TimedOut { limit: Span },
    #[error("killed: {reason}")]
    Killed { reason: String },
    #[error("not started: {reason}")]
    NotStarted { reason: String },
    #[error("run lost: {reason}")]
    RunLost { reason: String },
    #[error("{message}")]
    Fail { message: String },
    #[error("expression {expression:?} failed: {reason}")]
    Expression { expression: String, reason: String },
    #[error("result {name:?}: {reason}")]
    Result { name: String, reason: String },
    #[error("branch {branch} failed ({order})")]
    BranchFailed { branch: BranchName, order: OrderId },
    #[error("cancelled in branch {branch} ({order})")]
    BranchCancelled { branch: BranchName, order: OrderId },
    #[error("started {late_by} late, more than its grace allows")]
    Late { late_by: Span },
    #[error("variables are {bytes} bytes, the limit is {limit}")]
    VariablesTooLarge { bytes: u64, limit: u64 },
    #[error("job message is {bytes} bytes, the limit is {limit}")]
    JobTooLarge { bytes: u64, limit: u64 },
    #[error("lock {lock} is not defined")]
    UnknownLock { lock: LockName },
    #[error("lock {lock} has capacity {capacity}, {wanted} wanted")]
    LockTooSmall { lock: LockName, capacity: u32, wanted: u32 },
    #[error("workflow {workflow} is not deployed")]
    UnknownWorkflow { workflow: WorkflowName },
    #[error("call of {workflow}: {reason}")]
    CallRefused { workflow: WorkflowName, reason: String },
    #[error("forks and calls inside each other: more than {limit} levels")]
    TooDeep { limit: u64 },
    #[error("the definition of this order is missing or broken: {reason}")]
    Definition { reason: String },
    #[error("internal error: {reason}")]
    Internal { reason: String },
}

impl Failure {
    /// The name of the variant, as in JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Failure::ExitCode { .. } => "exit_code",
            Failure::Signal { .. } => "signal",
            Failure::TimedOut { .. } => "timed_out",
            Failure::Killed { .. } => "killed",
            Failure::NotStarted { .. } => "not_started",
            Failure::RunLost { .. } => "run_lost",
            Failure::Fail { .. } => "fail",
            Failure::Expression { .. } => "expression",
            Failure::Result { .. } => "result",
            Failure::BranchFailed { .. } => "branch_failed",
            Failure::BranchCancelled { .. } => "branch_cancelled",
            Failure::Late { .. } => "late",
            Failure::VariablesTooLarge { .. } => "variables_too_large",
            Failure::JobTooLarge { .. } => "job_too_large",
            Failure::UnknownLock { .. } => "unknown_lock",
            Failure::LockTooSmall { .. } => "lock_too_small",
            Failure::UnknownWorkflow { .. } => "unknown_workflow",
            Failure::CallRefused { .. } => "call_refused",
            Failure::TooDeep { .. } => "too_deep",
            Failure::Definition { .. } => "definition",
            Failure::Internal { .. } => "internal",
        }
    }

    /// What expressions read as `error.returnCode`.
    pub fn return_code(&self) -> Option<i32> {
        match self {
            Failure::ExitCode { return_code } => Some(*return_code),
            _ => None,
        }
    }
}

/// The end of a step or of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    /// The exit code is one of the job's warning codes; the order goes on.
    Warning {
        return_code: i32,
    },
    Failed {
        #[serde(flatten)]
        failure: Failure,
    },
}

impl Outcome {
    pub fn is_failed(&self) -> bool {
        matches!(self, Outcome::Failed { .. })
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Outcome::Failed { failure }
    }
}
