//! Definitions that services act by: what is deployed, and what is done with it.

use super::Asked;
use ordo_domain::{
    CommandId, ContentHash, DefinitionName, Instant,
    catalog::{CatalogDefinition, DefinitionKind, RemoveItem},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DefinitionListRequest {
    /// All kinds if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<DefinitionKind>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionListReply {
    pub definitions: Vec<DefinitionLine>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionLine {
    pub kind: DefinitionKind,
    pub name: DefinitionName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    pub version: u32,
    pub deployed_at: Instant,
    pub suspended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DefinitionShowRequest {
    pub kind: DefinitionKind,
    pub name: DefinitionName,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionShowReply {
    #[serde(flatten)]
    pub deployed: Deployed,
    pub definition: CatalogDefinition,
}

/// All that is deployed, as of one commit: what a service begins its own picture with where the journal does not reach back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeployedReply {
    /// Of the stream JOURNAL.
    pub incarnation: String,
    /// The commit that this is true at; 0 before the first.
    pub sequence: u64,
    /// Chain hash of that commit; empty before the first.
    pub hash: String,
    pub epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
    pub definitions: Vec<Deployed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deployed {
    pub kind: DefinitionKind,
    pub name: DefinitionName,
    pub version: u32,
    /// Of the body in the definition store.
    pub hash: ContentHash,
    pub deployed_at: Instant,
    pub suspended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DefinitionRemoveRequest {
    pub items: Vec<RemoveItem>,
    #[serde(default)]
    pub asked: Asked,
}

/// suspend, resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchedulesRequest {
    pub schedules: Vec<DefinitionName>,
    #[serde(default)]
    pub asked: Asked,
}

/// Of what leads to a command without an answer of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DoneReply {
    /// Nobody is active: it will be carried out; ask again with the same id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<CommandId>,
}
