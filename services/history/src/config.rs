//! Configuration of the history service.

use ordo_runtime::{DatabaseSettings, RoleSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `ordo run history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    #[serde(flatten)]
    pub role: RoleSettings,
    /// With the role `ordo_history`; the schema is made by `ordo db migrate` with the owner's role.
    pub database: DatabaseSettings,
    /// Bytes kept of what one run printed. Agents cut before: this is a guard against one that does not.
    pub log_limit_bytes: u64,
    /// Commits written in one transaction, at most.
    pub batch_commits: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: RoleSettings::default(),
            database: DatabaseSettings {
                url: "postgres://ordo_history@127.0.0.1:5432/ordo".into(),
                ..DatabaseSettings::default()
            },
            log_limit_bytes: 64 * 1024 * 1024,
            batch_commits: 500,
        }
    }
}
