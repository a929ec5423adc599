//! The shape of `retention:` documents, for their JSON Schemas; `read.rs` takes the known fields from here.

use super::file::Text;
use crate::DefinitionName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionFile {
    /// The name, unique among its kind.
    pub retention: DefinitionName,
    /// For people.
    pub title: Option<Text>,
}
