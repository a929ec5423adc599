//! What a proxy is configured with.

use ordo_runtime::RoleSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of the role proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Who it is and where its bus is.
    #[serde(flatten)]
    pub role: RoleSettings,
}
