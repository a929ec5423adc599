//! What an agent can be told.

use anyhow::{Context, ensure};
use ordo_domain::AgentName;
use ordo_runtime::RoleSettings;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    #[serde(flatten)]
    pub role: RoleSettings,
    /// The name that jobs are sent to. Instances of one name share its jobs.
    pub agent: String,
    /// Jobs at a time. 0: four for each core, at least 16.
    pub slots: u32,
    /// Folder with a file for each secret that jobs may name. Empty: `secrets` in the data folder.
    pub secrets: PathBuf,
    pub output: OutputConfig,
    /// The program that holds the jobs, called as `PROGRAM runner --data DIR`. Empty: this program.
    pub runner: PathBuf,
}

/// Of what jobs print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputConfig {
    /// Kept of one run, in bytes: the first and the last part.
    pub run_bytes: u64,
    /// Output of ended runs waits here for history at most so long,
    pub keep_days: u32,
    /// and takes at most so much of the disk, in bytes.
    pub keep_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: RoleSettings::default(),
            agent: "local".into(),
            slots: 0,
            secrets: PathBuf::new(),
            output: OutputConfig::default(),
            runner: PathBuf::new(),
        }
    }
}

impl Default for OutputConfig {
    fn default() -> Self {
        Self { run_bytes: 64 << 20, keep_days: 14, keep_bytes: 10 << 30 }
    }
}

impl Config {
    /// The agent's name, checked.
    ///
    /// # Errors
    /// When it is no name, or another value makes no sense.
    pub fn checked(&self) -> anyhow::Result<AgentName> {
        ensure!(
            self.output.run_bytes >= 64 << 10,
            "output.run_bytes is {}, wanted at least 65536",
            self.output.run_bytes
        );
        AgentName::new(&self.agent).context("agent (ORDO_AGENT) is no name")
    }

    pub fn slots(&self) -> u32 {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if self.slots > 0 { self.slots } else { u32::try_from(cores * 4).unwrap_or(16).max(16) }
    }

    pub fn secrets(&self) -> PathBuf {
        if self.secrets.as_os_str().is_empty() { self.role.data.join("secrets") } else { self.secrets.clone() }
    }
}
