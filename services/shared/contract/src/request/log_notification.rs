//! Served by the role `log-notification`.

use crate::log::LogRecord;
use ordo_domain::{DefinitionName, log_rule::Severity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const LOG_LIST: &str = "log.list";
/// Asked of one instance.
pub const SYSLOG_SHOW: &str = "syslog.show";

/// Lines of the stream LOGS. Without `after` the newest, else those behind it; the oldest first in both cases. Names
/// may have `*` and `?`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogListRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// 100 if not given, at most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// At least as bad as this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Severity>,
    /// Of whose instance: `controller`, `agent-etl`, …, or `syslog`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `ordo-<role>` for Ordo's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// A regular expression that is found in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogListReply {
    pub lines: Vec<LogListLine>,
    /// What to ask `after` next.
    pub next: u64,
    /// There is more to look at behind `next` already.
    pub more: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogListLine {
    /// Its place in the stream.
    pub sequence: u64,
    pub role: String,
    pub instance: String,
    #[serde(flatten)]
    pub record: LogRecord,
}

/// What one instance says of its listener; figures are since its start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SyslogReply {
    /// `udp 127.0.0.1:5514`
    pub listening: Vec<String>,
    /// Rules in force.
    pub rules: Vec<DefinitionName>,
    /// Messages that were read and held against the rules.
    pub taken: u64,
    /// Of those: a rule fits.
    pub matched: u64,
    /// Of those: on their way into the stream.
    pub kept: u64,
    /// Messages that were not taken: flood, stranger, lost before they were read.
    pub untaken: u64,
    /// Messages that were taken and should have been kept, and were not: flood, bus away.
    pub unkept: u64,
}
