//! What a `retention:` definition says.

use crate::DefinitionName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retention {
    pub name: DefinitionName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}
