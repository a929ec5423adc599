//! A compiled workflow: what [`crate::definition`] makes of a file. Its JSON is the stored body, named by its hash.
//!
//! Every step has a label that is unique in the workflow; a [`crate::Position`] ends with it. Job defaults are filled in.

pub(crate) mod apply;
pub(crate) mod arguments;
pub(crate) mod decide;
pub mod index;

use crate::{
    AgentName, BranchName, ContentHash, Kind, Label, LockName, SecretName, Span, Value, VariableName, WorkflowName,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub use index::{Block, WorkflowIndex};

/// A CEL expression; checked when it was deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Expression(pub String);

/// A text with `${ CEL }` in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Template(pub String);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Workflow {
    pub name: WorkflowName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub zone: Option<chrono_tz::Tz>,
    #[serde(default)]
    pub priority: i16,
    #[serde(default)]
    pub late: LatePolicy,
    #[serde(default)]
    pub parameters: BTreeMap<VariableName, Parameter>,
    pub steps: Vec<Step>,
}

/// What happens to an order that could not start when it was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LatePolicy {
    /// Within this, it runs late. Without it, any delay is within.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Span>,
    /// After the grace.
    pub then: LateAction,
}

impl Default for LatePolicy {
    fn default() -> Self {
        Self { grace: None, then: LateAction::Run }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LateAction {
    Run,
    Skip,
    Fail,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Parameter {
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The kind of each item of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Kind>,
    /// Without a default the parameter is required. Strings in it are templates over `order` and earlier parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// For a secret: the name of its file at the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<SecretName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    pub label: Label,
    pub instruction: Instruction,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Instruction {
    Job(Box<Job>),
    If { condition: Expression, then: Vec<Step>, otherwise: Vec<Step> },
    Fork { branches: BTreeMap<BranchName, Vec<Step>>, when_failed: WhenFailed },
    Try { steps: Vec<Step>, retry: Option<Retry>, catch: Vec<Step> },
    Call { workflow: WorkflowName, arguments: BTreeMap<VariableName, Value> },
    Fail { message: Template },
    Finish { message: Option<Template> },
}

/// What a fork does when one of its branches fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFailed {
    /// The other branches run to their end, then the fork fails.
    #[default]
    Join,
    /// The failed branch stays, to be resumed or cancelled; the fork waits for it.
    Wait,
    /// The other branches are cancelled (running jobs killed), then the fork fails.
    CancelOthers,
}

/// n delays make n + 1 attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retry {
    pub delays: Vec<Span>,
    /// Over `error` and results; without it every failure is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Expression>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    pub agent: AgentName,
    pub action: Action,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Template>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Template>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Between SIGTERM and SIGKILL.
    pub kill_after: Span,
    pub success: BTreeSet<i32>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub warning: BTreeSet<i32>,
    /// Runs of this job at the same time, over all orders and versions of the workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u32>,
    /// Whether a lost run is started again.
    pub restartable: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub locks: BTreeMap<LockName, u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub results: BTreeMap<VariableName, Kind>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The text stays here to be shown; agents fetch it by its hash.
    Script { text: String, hash: ContentHash },
    /// Argument list, no shell.
    Command { arguments: Vec<Template> },
}

#[cfg(test)]
mod tests;
