//! Why a command is not carried out: true statements, as code and arguments.

use crate::catalog::DefinitionKind;
use crate::{AgentName, DefinitionName, InvalidId, LockName, OrderId, VariableName, WorkflowName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `Display` is the English text with what would be right; the code is the name of the variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[serde(tag = "code", content = "arguments", rename_all = "snake_case")]
pub enum Refusal {
    #[error("workflow {workflow} is not deployed; `ordo workflow list` shows what is")]
    WorkflowUnknown { workflow: WorkflowName },
    #[error("order {order} is not known here; `ordo history orders` shows ended ones")]
    OrderUnknown { order: OrderId },
    #[error("order {order} has {state} already")]
    OrderTerminated { order: OrderId, state: String },
    #[error("order {order} is {state}; only a suspended, held or failed order can be resumed")]
    OrderNotResumable { order: OrderId, state: String },
    #[error("order {order} is suspended already")]
    OrderSuspended { order: OrderId },
    #[error("order {order} is being cancelled")]
    OrderCancelling { order: OrderId },
    #[error("order {order} is a branch of {parent}: ask that of {parent}")]
    OrderIsChild { order: OrderId, parent: OrderId },
    #[error("position {position} is not a step that order {order} can go to; its steps: {steps}")]
    PositionUnknown { order: OrderId, position: String, steps: String },
    #[error("parameter {parameter} of workflow {workflow} is missing: it has no default")]
    ParameterMissing { workflow: WorkflowName, parameter: VariableName },
    #[error("workflow {workflow} has no parameter {parameter}; it has: {known}")]
    ParameterUnknown { workflow: WorkflowName, parameter: VariableName, known: String },
    #[error("parameter {parameter} of workflow {workflow} must be a {expected}, not a {found}")]
    ParameterType { workflow: WorkflowName, parameter: VariableName, expected: String, found: String },
    #[error("parameter {parameter} of workflow {workflow}: {reason}")]
    ParameterInvalid { workflow: WorkflowName, parameter: VariableName, reason: String },
    #[error("{what} is {bytes} bytes; the limit is {limit}")]
    TooLarge { what: String, bytes: u64, limit: u64 },
    #[error("{count} {what}; the limit is {limit}")]
    TooMany { what: String, count: u64, limit: u64 },
    #[error("{text:?} is not a valid {what}: {rule}")]
    InvalidId { what: String, text: String, rule: String },
    #[error("nothing to do: {what} is empty")]
    Empty { what: String },
    #[error("{definition}: {reason}")]
    DefinitionInvalid { definition: String, reason: String },
    #[error("{kind} {name} is not deployed; `ordo definition list` shows what is")]
    DefinitionUnknown { kind: DefinitionKind, name: DefinitionName },
    #[error("{definition} cannot be removed: it is used by {referrers}")]
    DefinitionInUse { definition: String, referrers: String },
    #[error("lock {lock} is not defined; deploy it together with what uses it")]
    LockUnknown { lock: LockName },
    #[error("agent {agent} exists already")]
    AgentExists { agent: AgentName },
    #[error("agent {agent} is not known; `ordo agent list` shows who is")]
    AgentUnknown { agent: AgentName },
    #[error("the start of {schedule} at {instant} lies below the schedule's watermark {watermark}")]
    StartBelowWatermark { schedule: String, instant: String, watermark: String },
    #[error("the start of {schedule} at {instant} is known already, as order {order}")]
    StartKnown { schedule: String, instant: String, order: OrderId },
    #[error("the journal is {percent} % full; new orders are refused above 80 %")]
    JournalFull { percent: u64 },
    #[error("the command could not be carried out: {reason}")]
    Failed { reason: String },
}

impl Refusal {
    /// Whether the thing asked about does not exist (exit code 4 of the command line).
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Refusal::WorkflowUnknown { .. }
                | Refusal::OrderUnknown { .. }
                | Refusal::AgentUnknown { .. }
                | Refusal::DefinitionUnknown { .. }
        )
    }
}

impl From<InvalidId> for Refusal {
    fn from(e: InvalidId) -> Self {
        Refusal::InvalidId { what: e.what.into(), text: e.text, rule: e.rule.into() }
    }
}
