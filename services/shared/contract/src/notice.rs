//! Messages of NOTICES, `ordo.<site>.notice.<kind>.<…>`: what people should hear of, before anybody decided who and how.

use ordo_domain::{DefinitionName, Instant, log_rule::Severity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// By its `kind`. Readers pass over kinds that they do not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Notice {
    /// `notice.log.<rule>`: a line that a log rule fits.
    Log(LogNotice),
}

/// A line of a log, with its repeats. It may come several times with the same id: again when repeats were counted, and
/// again when the bus had trouble. The one with the highest `count` says the most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogNotice {
    /// 32 hex digits, the same for a line and the repeats that are folded into it.
    pub id: String,
    pub rule: DefinitionName,
    /// What the rule calls it.
    pub title: String,
    pub severity: Severity,
    /// Where the line is from: a machine's name or address.
    pub host: String,
    /// What wrote it; `ordo-<role>` for Ordo itself.
    pub application: String,
    /// Of the first of them. From outside: never put anywhere without escaping. Without control characters.
    pub text: String,
    pub first_at: Instant,
    pub last_at: Instant,
    /// Lines folded into it, with the first.
    pub count: u64,
}
