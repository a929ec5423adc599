//! Log rules: which lines of logs, Ordo's own and those that syslog brings, become a notice.
//!
//! # Layout
//! - [`LogRule`]: what a `log_rule:` definition says; [`Severity`]: how bad a line is: `severity.rs`
//! - [`RuleSet`]: rules made ready for matching: `matching.rs`; [`fits`]: names with `*` and `?`: `wildcard.rs`
//! - [`normalised`]: the text without what differs from one repeat to the next: `normal.rs`

mod matching;
mod normal;
mod severity;
#[cfg(test)]
mod tests;
mod wildcard;

use crate::{DefinitionName, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use matching::{Line, RuleSet, TextPattern, WrongPattern};
pub use normal::normalised;
pub use severity::{Severity, UnknownSeverity};
pub use wildcard::fits;

/// How long repeats of a line are folded into one notice when a rule does not say.
pub const FOLD: Span = Span::from_secs(300);
/// The longest fold: repeats must not hide for longer than people look away.
pub const LONGEST_FOLD: Span = Span::from_secs(7 * 86_400);

/// What a `log_rule:` definition says. A line fits when it fits everything that is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogRule {
    pub name: DefinitionName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// At least as bad as this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// One of these, with `*` and `?`; without regard to case. Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applications: Vec<String>,
    /// One of these, with `*` and `?`; without regard to case. Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// A regular expression that is found in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A regular expression that is not found in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<String>,
    /// What the notice is called.
    pub notice: String,
    /// Repeats within this are counted, not told one by one.
    pub fold: Span,
}

impl LogRule {
    /// The rule that is there without being deployed, for the warnings and errors of Ordo's own instances. One with its
    /// name takes its place.
    pub fn of_ordo() -> Option<Self> {
        Some(Self {
            name: DefinitionName::new("ordo").ok()?,
            title: Some("Warnings and errors of Ordo itself".into()),
            severity: Some(Severity::Warning),
            applications: vec!["ordo-*".into()],
            hosts: Vec::new(),
            text: None,
            exclude: None,
            notice: "Ordo itself has trouble".into(),
            fold: FOLD,
        })
    }
}
