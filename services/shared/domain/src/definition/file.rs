//! The shape of definition files, for their JSON Schemas: what editors complete and check. `read.rs` takes the known
//! fields of each map from here, so that the two cannot differ; it reads them by itself to find every problem at once.

use crate::{
    AgentName, BranchName, Kind, Label, LockName, SecretName, Span, Value, VariableName, WorkflowName,
    workflow::{LateAction, WhenFailed},
};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A text. Numbers and booleans are taken as they are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Text {
    Text(String),
    Boolean(bool),
    Number(serde_json::Number),
}

/// A workflow: what its orders do, step by step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowFile {
    /// The name, unique in the site.
    pub workflow: WorkflowName,
    /// For people, in any language. At most 400 bytes.
    pub title: Option<Text>,
    /// Where people find it, such as `finance/sales`. At most 255 bytes.
    pub folder: Option<Text>,
    pub tags: Option<Vec<Text>>,
    /// An IANA time zone, such as `Europe/Berlin`, instead of the site's.
    pub zone: Option<String>,
    /// Higher goes first where orders queue. 0 if not given.
    pub priority: Option<i16>,
    pub late: Option<Late>,
    /// What an order is given when it is added.
    pub parameters: Option<BTreeMap<VariableName, ParameterFile>>,
    /// For all jobs that do not say otherwise.
    pub defaults: Option<Defaults>,
    pub steps: Vec<StepFile>,
}

/// What happens to an order that could not start when it was due.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Late {
    /// Within this, it runs late. Without it, any delay is within.
    pub grace: Option<Span>,
    /// After the grace.
    pub then: Option<LateAction>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParameterFile {
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The kind of each item of a list.
    pub items: Option<Kind>,
    /// Without it the parameter is required. Strings may have `${ }` over `order` and other parameters.
    pub default: Option<Value>,
    /// Of a secret: the name of its file in the agent's secrets folder; the parameter's own name if not given.
    pub from: Option<SecretName>,
    /// For people.
    pub title: Option<Text>,
}

/// For all jobs that do not say otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    pub agent: Option<AgentName>,
    /// Every job's, unless it gives the variable itself. May have `${ }` over `order` and parameters.
    pub env: Option<BTreeMap<String, Text>>,
    pub directory: Option<Text>,
    pub timeout: Option<Span>,
    pub kill_after: Option<Span>,
    pub success: Option<Vec<i32>>,
    pub warning: Option<Vec<i32>>,
    pub restartable: Option<bool>,
}

/// One step. Which it is, its first field says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StepFile {
    Job(JobStep),
    If(IfStep),
    Fork(ForkStep),
    Try(TryStep),
    Call(CallStep),
    Fail(FailStep),
    Finish(FinishStep),
}

/// Runs a script or a command on an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobStep {
    /// Its name, and its label unless that is given too. In expressions a `-` in it is written `_`.
    pub job: Label,
    /// Another label than the name.
    pub label: Option<Label>,
    /// Run by `/bin/sh -eu`, or by what its first line says after `#!`. Values reach it by `env`: there is no `${ }` here.
    pub script: Option<String>,
    /// A program and its arguments, run without a shell. Each may have `${ }`.
    pub command: Option<Vec<Text>>,
    /// Who runs it.
    pub agent: Option<AgentName>,
    /// Values may have `${ }`. A secret only as a whole value: `"${ name }"`.
    pub env: Option<BTreeMap<String, Text>>,
    /// Working directory; may have `${ }`.
    pub directory: Option<Text>,
    /// Ended by SIGTERM when it runs longer.
    pub timeout: Option<Span>,
    /// Between SIGTERM and SIGKILL. 15s if not given.
    pub kill_after: Option<Span>,
    /// Exit codes that are good. `[0]` if not given.
    pub success: Option<Vec<i32>>,
    /// Exit codes with which the order goes on, with a warning.
    pub warning: Option<Vec<i32>>,
    /// Runs of this job at the same time, over all orders.
    pub parallel: Option<u32>,
    /// Whether it is started again when its run was lost. True if not given.
    pub restartable: Option<bool>,
    /// Locks that it holds while it runs, with their weights.
    pub locks: Option<BTreeMap<LockName, u32>>,
    /// What it hands back by `name=value` lines in `$ORDO_RESULTS`, read in expressions as `job.name`.
    pub results: Option<BTreeMap<VariableName, Kind>>,
}

/// Goes one way or another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IfStep {
    /// A CEL expression, without `${ }`.
    #[serde(rename = "if")]
    pub condition: Text,
    pub label: Option<Label>,
    pub then: Vec<StepFile>,
    #[serde(rename = "else")]
    pub otherwise: Option<Vec<StepFile>>,
}

/// Does several things at the same time and waits for all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkStep {
    /// Branches by name.
    pub fork: BTreeMap<BranchName, Vec<StepFile>>,
    pub label: Option<Label>,
    /// `join` if not given.
    pub when_failed: Option<WhenFailed>,
}

/// Tries steps again, or does something else, when one of them fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TryStep {
    #[serde(rename = "try")]
    pub steps: Vec<StepFile>,
    pub label: Option<Label>,
    pub retry: Option<RetryFile>,
    /// After the last attempt failed. They know `error.message`, `error.code`, `error.label`, `error.returnCode`.
    pub catch: Option<Vec<StepFile>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryFile {
    /// Before each further attempt: 3 delays make 4 attempts.
    pub delays: Vec<Span>,
    /// A CEL expression over `error` and results: whether to try again. Always, if not given.
    #[serde(rename = "if")]
    pub when: Option<Text>,
}

/// Runs another workflow as a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallStep {
    pub call: WorkflowName,
    pub label: Option<Label>,
    /// For its parameters. Strings may have `${ }`; one that is nothing else keeps the kind of the value.
    pub arguments: Option<BTreeMap<VariableName, Value>>,
}

/// Fails, with a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailStep {
    /// May have `${ }`.
    pub fail: Text,
    pub label: Option<Label>,
}

/// Ends the order as a success.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishStep {
    /// A message, may have `${ }`; or nothing.
    pub finish: Option<Text>,
    pub label: Option<Label>,
}

/// A lock: a resource of which only so much can be held at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    /// The name, unique in the site.
    pub lock: LockName,
    /// For people.
    pub title: Option<Text>,
    /// The sum of the weights that may be held at a time.
    pub capacity: u32,
}

/// The names of the fields of a map, in the order of its type.
pub(super) fn fields<T: JsonSchema>() -> Vec<String> {
    let schema = SchemaGenerator::new(SchemaSettings::draft2020_12()).into_root_schema_for::<T>();
    let properties = schema.get("properties").and_then(|p| p.as_object());
    properties.map(|p| p.keys().cloned().collect()).unwrap_or_default()
}
