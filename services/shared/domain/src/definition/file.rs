//! The shape of definition files, for their JSON Schemas: what editors complete and check. `read.rs` takes the known
//! fields of each map from here, so that the two cannot differ; it reads them by itself to find every problem at once.

use crate::{
    AgentName, BranchName, Kind, Label, LockName, SecretName, Span, Value, VariableName, WorkflowName,
    workflow::{LateAction, WhenFailed},
};
use schemars::{
    JsonSchema, SchemaGenerator,
    generate::SchemaSettings,
    transform::{RecursiveTransform, Transform},
};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// A text. Numbers and booleans are taken as they are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Text {
    Text(String),
    Boolean(bool),
    Number(serde_json::Number),
}

/// What a result, or an item of a list, may hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValueKind {
    String,
    Number,
    Boolean,
    List,
    Map,
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
    #[schemars(length(min = 1))]
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
    pub items: Option<ValueKind>,
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
    #[schemars(length(min = 1), inner(range(min = 0, max = 255)))]
    pub success: Option<Vec<i32>>,
    #[schemars(inner(range(min = 0, max = 255)))]
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
    #[schemars(length(min = 1))]
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
    #[schemars(length(min = 1), inner(range(min = 0, max = 255)))]
    pub success: Option<Vec<i32>>,
    /// Exit codes with which the order goes on, with a warning.
    #[schemars(inner(range(min = 0, max = 255)))]
    pub warning: Option<Vec<i32>>,
    /// Runs of this job at the same time, over all orders.
    #[schemars(range(min = 1))]
    pub parallel: Option<u32>,
    /// Whether it is started again when its run was lost. True if not given.
    pub restartable: Option<bool>,
    /// Locks that it holds while it runs, with their weights.
    #[schemars(inner(range(min = 1)))]
    pub locks: Option<BTreeMap<LockName, u32>>,
    /// What it hands back by `name=value` lines in `$ORDO_RESULTS`, read in expressions as `job.name`.
    pub results: Option<BTreeMap<VariableName, ValueKind>>,
}

/// Goes one way or another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IfStep {
    /// A CEL expression, without `${ }`.
    #[serde(rename = "if")]
    pub condition: Text,
    pub label: Option<Label>,
    #[schemars(length(min = 1))]
    pub then: Vec<StepFile>,
    #[serde(rename = "else")]
    #[schemars(length(min = 1))]
    pub otherwise: Option<Vec<StepFile>>,
}

/// Does several things at the same time and waits for all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkStep {
    /// Branches by name.
    #[schemars(extend("minProperties" = 1))]
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
    #[schemars(length(min = 1))]
    pub steps: Vec<StepFile>,
    pub label: Option<Label>,
    pub retry: Option<RetryFile>,
    /// After the last attempt failed. They know `error.message`, `error.code`, `error.label`, `error.returnCode`.
    #[schemars(length(min = 1))]
    pub catch: Option<Vec<StepFile>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryFile {
    /// Before each further attempt: 3 delays make 4 attempts.
    #[schemars(length(min = 1, max = 100))]
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
    #[schemars(range(min = 1))]
    pub capacity: u32,
}

/// The JSON Schema of a file. A field that may be left out may not be empty, but for `finish`.
pub fn schema<T: JsonSchema>() -> schemars::Schema {
    let mut schema = SchemaGenerator::new(SchemaSettings::draft2020_12()).into_root_schema_for::<T>();
    RecursiveTransform(|part: &mut schemars::Schema| {
        let properties = part.get_mut("properties").and_then(Json::as_object_mut);
        for (name, property) in properties.into_iter().flatten() {
            if name != "finish" {
                not_null(property);
            }
        }
    })
    .transform(&mut schema);
    for (name, pattern) in PATTERNS {
        if let Some(part) = schema.pointer_mut(&format!("/$defs/{name}")).and_then(Json::as_object_mut) {
            part.insert("pattern".into(), Json::String(pattern.into()));
        }
    }
    schema
}

const NAME: &str = "^[A-Za-z0-9_-]{1,40}$";
/// What names and durations look like, for editors.
const PATTERNS: [(&str, &str); 10] = [
    ("WorkflowName", NAME),
    ("AgentName", NAME),
    ("LockName", NAME),
    ("DefinitionName", NAME),
    ("ParameterisationName", NAME),
    ("Label", NAME),
    ("BranchName", NAME),
    ("VariableName", "^[A-Za-z_][A-Za-z0-9_]{0,39}$"),
    ("SecretName", "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,79}$"),
    ("Span", "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"),
];

fn not_null(property: &mut Json) {
    let Some(property) = property.as_object_mut() else { return };
    if let Some(Json::Array(kinds)) = property.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            property.insert("type".into(), only);
        }
    }
    if let Some(Json::Array(ways)) = property.get_mut("anyOf") {
        ways.retain(|way| way.get("type").is_none_or(|kind| kind != "null"));
        if let [Json::Object(only)] = ways.as_slice() {
            let only = only.clone();
            property.remove("anyOf");
            property.extend(only);
        }
    }
}

/// The names of the fields of a map, in alphabetical order.
pub(super) fn fields<T: JsonSchema>() -> Vec<String> {
    let schema = SchemaGenerator::new(SchemaSettings::draft2020_12()).into_root_schema_for::<T>();
    let properties = schema.get("properties").and_then(|p| p.as_object());
    properties.map(|p| p.keys().cloned().collect()).unwrap_or_default()
}
