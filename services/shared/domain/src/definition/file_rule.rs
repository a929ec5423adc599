//! The shape of `rule:`, `maintenance:` documents, for their JSON Schemas; `read.rs` takes the known fields from here.

use super::file::Text;
use crate::DefinitionName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// The name, unique among its kind.
    pub rule: DefinitionName,
    /// For people.
    pub title: Option<Text>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceFile {
    /// The name, unique among its kind.
    pub maintenance: DefinitionName,
    /// For people.
    pub title: Option<Text>,
}
