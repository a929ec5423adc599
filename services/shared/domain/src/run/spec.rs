//! All that an agent must know to run a job, evaluated.

use crate::{ContentHash, EnvValue, Kind, Span, VariableName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobSpec {
    pub action: SpecAction,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, EnvValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    pub kill_after: Span,
    /// Names and kinds that the job may write to `$ORDO_RESULTS`, as `name=value` lines.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub results: BTreeMap<VariableName, Kind>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpecAction {
    /// An object of the definition store; run by `/bin/sh -eu` unless it begins with `#!`.
    Script {
        hash: ContentHash,
    },
    Command {
        arguments: Vec<String>,
    },
}
