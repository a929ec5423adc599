//! Messages of LOGS, `ordo.<site>.log.<role>.<instance>.<level>`: lines of Ordo's own instances, and those that syslog
//! brings, as role [`SYSLOG`].

use ordo_domain::{Instant, log_rule::Severity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// In the place of the role: not from an instance of Ordo.
pub const SYSLOG: &str = "syslog";

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogRecord {
    /// When it was logged; of syslog: when it came here, by our own clock.
    pub at: Instant,
    pub level: Severity,
    /// Ordo's own: the module.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Of syslog: from outside, without control characters.
    pub message: String,
    /// Ordo's own: the data of the line.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
    /// The machine: its node, or the name that the message gives, or the sender's address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Of syslog only; Ordo's own are `ordo-<role>`, see [`LogRecord::application`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syslog: Option<SyslogFacts>,
}

/// What only syslog knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyslogFacts {
    /// Address that it came from: a relay, perhaps.
    pub sender: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub application: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facility: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// What the message itself says about when it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Instant>,
    /// Bytes that were cut off at the end.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut_bytes: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl LogRecord {
    /// What wrote it, where `role` is the third token of the subject.
    pub fn application(&self, role: &str) -> String {
        match &self.syslog {
            Some(facts) => facts.application.clone(),
            None => format!("ordo-{role}"),
        }
    }

    /// Message and data in one line, as people read it.
    pub fn text(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.fields {
            match value {
                Value::String(value) => text.push_str(&format!(", {name}: {value}")),
                value => text.push_str(&format!(", {name}: {value}")),
            }
        }
        text
    }
}
