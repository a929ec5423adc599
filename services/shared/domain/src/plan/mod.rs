//! What a `schedule:` definition says.

use crate::{DefinitionName, catalog::References};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Schedule {
    pub name: DefinitionName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl Schedule {
    /// What it names of others.
    pub fn references(&self) -> References {
        References::default()
    }
}
