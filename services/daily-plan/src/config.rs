//! Configuration of the daily plan.

use ordo_runtime::{DatabaseSettings, RoleSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `ordo run daily-plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    #[serde(flatten)]
    pub role: RoleSettings,
    /// With the role `ordo_daily_plan`; the schema is made by `ordo db migrate` with the owner's role.
    pub database: DatabaseSettings,
    /// The zone of the site, an IANA name, as the controller has it: of schedules that name none, and of business days.
    pub zone: String,
    /// Commits written in one transaction, at most.
    pub batch_commits: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: RoleSettings::default(),
            database: DatabaseSettings {
                url: "postgres://ordo_daily_plan@127.0.0.1:5432/ordo".into(),
                ..DatabaseSettings::default()
            },
            zone: "UTC".into(),
            batch_commits: 200,
        }
    }
}

impl Config {
    /// # Errors
    /// When it is no IANA name.
    pub fn zone(&self) -> anyhow::Result<chrono_tz::Tz> {
        self.zone
            .parse()
            .map_err(|_| anyhow::anyhow!("zone is {:?}, wanted an IANA name such as Europe/Berlin", self.zone))
    }
}
