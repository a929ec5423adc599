//! What an instance knows of itself and of each of its links: its key in the instance bucket, `<role>.<instance>`
//! (`agent.<agent>.<instance>` for agents), written every 2 s and at every change of activity.

use ordo_domain::{Instant, NodeName, RunId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How often it is written; readers call an instance unknown after three of these.
pub const PERIOD: std::time::Duration = std::time::Duration::from_secs(2);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    pub role: String,
    pub instance: String,
    pub node: NodeName,
    pub version: String,
    /// Of events, see the commit module.
    pub event_level: u32,
    pub activity: Activity,
    pub started_at: Instant,
    pub at: Instant,
    /// Highest seen.
    #[serde(default)]
    pub epoch: u64,
    #[serde(default)]
    pub links: Vec<Link>,
    /// Journal messages behind, for readers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentHeartbeat>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    Starting,
    Active,
    Standby,
    Stopping,
}

/// To NATS, to PostgreSQL, between controllers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    pub to: String,
    pub ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    pub probed_at: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentHeartbeat {
    pub slots: u32,
    /// Claimed and not yet reported as ended (a report that waits in the outbox counts as not yet reported).
    pub runs: Vec<RunId>,
    /// Reports that wait in the outbox.
    pub outbox: u64,
}
