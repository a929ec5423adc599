//! What a `rule:` or a `maintenance:` definition says.

use crate::{DefinitionName, catalog::References};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    pub name: DefinitionName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl Rule {
    /// What it names of others.
    pub fn references(&self) -> References {
        References::default()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Maintenance {
    pub name: DefinitionName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl Maintenance {
    /// What it names of others.
    pub fn references(&self) -> References {
        References::default()
    }
}
