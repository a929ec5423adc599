//! What a cleanup can be told. What it keeps, and when it works, is a definition (`retention: default`).

use ordo_runtime::{DatabaseSettings, RoleSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    #[serde(flatten)]
    pub role: RoleSettings,
    /// As the role `ordo_cleanup`.
    pub database: DatabaseSettings,
}
