//! What a cleanup can be told. What it keeps, and when it works, is a definition (`retention: default`).

use ordo_runtime::{DatabaseSettings, RoleSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `ordo run cleanup`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    #[serde(flatten)]
    pub role: RoleSettings,
    /// With the role `ordo_cleanup`.
    pub database: DatabaseSettings,
}

impl Default for Config {
    fn default() -> Self {
        let url = "postgres://ordo_cleanup@127.0.0.1:5432/ordo".into();
        Self { role: RoleSettings::default(), database: DatabaseSettings { url, ..DatabaseSettings::default() } }
    }
}
