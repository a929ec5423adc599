//! Agents as the site knows them. Whether an instance lives is told by its heartbeats, not here.

pub(crate) mod apply;
pub(crate) mod decide;

use crate::{AgentName, InstanceId, NodeName, command::By};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddAgent {
    pub agent: AgentName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentAdded {
    pub agent: AgentName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    pub by: By,
}

/// An instance said that it is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentReady {
    pub agent: AgentName,
    pub instance: InstanceId,
    pub node: NodeName,
    pub version: String,
}

/// An instance said that it stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentStopped {
    pub agent: AgentName,
    pub instance: InstanceId,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Agent {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default)]
    pub instances: BTreeMap<InstanceId, AgentInstance>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentInstance {
    pub node: NodeName,
    pub version: String,
    /// Said ready, and not stopped since.
    pub ready: bool,
}
