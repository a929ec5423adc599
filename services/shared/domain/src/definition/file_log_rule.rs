//! The shape of `log_rule:` documents, for their JSON Schemas; `read.rs` takes the known fields from here.

use super::file::Text;
use crate::{DefinitionName, Span, log_rule::Severity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A log rule: which lines, of Ordo's own instances and of syslog, become a notice. A line fits when it fits everything
/// that is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogRuleFile {
    /// The name, unique among its kind. One called `ordo` takes the place of the rule for Ordo's own warnings.
    pub log_rule: DefinitionName,
    /// For people. At most 400 bytes.
    pub title: Option<Text>,
    /// At least as bad as this.
    pub severity: Option<Severity>,
    /// One of these, with `*` and `?`, without regard to case. Those of Ordo itself are `ordo-` and their role.
    pub applications: Option<Names>,
    /// One of these, with `*` and `?`, without regard to case.
    pub hosts: Option<Names>,
    /// A regular expression that is found in the text. At most 1 KiB. `(?i)` in front: without regard to case.
    pub text: Option<Text>,
    /// A regular expression that is not found in the text.
    pub exclude: Option<Text>,
    /// What the notice is called; the title, else the name, if not given.
    pub notice: Option<Text>,
    /// Repeats within this are counted, not told one by one. 5m if not given; 0s: each is told.
    pub fold: Option<Span>,
}

/// One, or a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Names {
    One(Text),
    Several(#[schemars(length(min = 1, max = 100))] Vec<Text>),
}
