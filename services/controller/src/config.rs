//! What a controller can be told.

use ordo_contract::bus_config::Limits;
use ordo_domain::Span;
use ordo_runtime::RoleSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    #[serde(flatten)]
    pub role: RoleSettings,
    /// The zone of the site, an IANA name: it makes the business day of orders.
    pub zone: String,
    pub journal: JournalConfig,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JournalConfig {
    /// Commits stay at least so long, so that a restored database heals from them.
    pub keep: Span,
    /// A service that is further behind than this, and is not the history, holds commits back no longer.
    pub reader_keep: Span,
    /// A snapshot is taken after so many decisions.
    pub snapshot_decisions: u64,
    /// What the journal may take of the disk, in bytes. At 80 % new orders are refused.
    pub budget_bytes: u64,
    /// Divides the limits of all streams: for tests and very small machines.
    pub scale_down: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { role: RoleSettings::default(), zone: "UTC".into(), journal: JournalConfig::default() }
    }
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            keep: Span::from_secs(7 * 86_400),
            reader_keep: Span::from_secs(30 * 86_400),
            snapshot_decisions: 50_000,
            budget_bytes: 8 << 30,
            scale_down: 1,
        }
    }
}

impl Config {
    pub fn limits(&self) -> Limits {
        match self.journal.scale_down {
            0 | 1 => Limits::default(),
            by => Limits::scaled_down(by),
        }
    }

    /// # Errors
    /// When it is no IANA name.
    pub fn zone(&self) -> anyhow::Result<chrono_tz::Tz> {
        self.zone
            .parse()
            .map_err(|_| anyhow::anyhow!("zone is {:?}, wanted an IANA name such as Europe/Berlin", self.zone))
    }
}
