//! A rule: of what is told, and to whom.

use super::scope::{Scope, Subject};
use crate::{DefinitionName, Span, catalog::References};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Within this, repeats of the same thing come in one mail.
pub const FOLD: Span = Span::from_secs(300);
/// How late a start is before somebody is told, unless the rule says otherwise.
pub const LATE: Span = Span::from_secs(60);
/// Mail addresses of one rule.
pub const RECIPIENTS: usize = 50;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    pub name: DefinitionName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(flatten)]
    pub scope: Scope,
    /// At least one, each kind once.
    pub on: Vec<Trigger>,
    /// Nobody: notifications are made, and shown, but nothing is mailed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<MailAddress>,
    /// How long repeats of the same thing are gathered into one mail.
    #[serde(default = "default_fold")]
    pub fold: Span,
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn default_fold() -> Span {
    FOLD
}

fn yes() -> bool {
    true
}

/// What is told, with its measure where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    Failed,
    Recovered,
    StartedLate { longer_than: Span },
    NotStarted { longer_than: Span },
    RunsTooLong { longer_than: Span },
    WaitsTooLong { longer_than: Span },
    AgentAway,
    AgentBack,
    RoleWithoutActive,
    ControllerFailedOver,
    Log,
}

/// What can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An order failed, and stays so until somebody acts.
    Failed,
    /// What had failed went well after all.
    Recovered,
    StartedLate,
    /// Due, and not started; or it will not be, as it was skipped or could not be planned.
    NotStarted,
    RunsTooLong,
    WaitsTooLong,
    /// An instance of an agent is silent for three of its heartbeats.
    AgentAway,
    AgentBack,
    RoleWithoutActive,
    ControllerFailedOver,
    /// A log rule found something.
    Log,
}

impl Kind {
    pub const ALL: [Kind; 11] = [
        Kind::Failed,
        Kind::Recovered,
        Kind::StartedLate,
        Kind::NotStarted,
        Kind::RunsTooLong,
        Kind::WaitsTooLong,
        Kind::AgentAway,
        Kind::AgentBack,
        Kind::RoleWithoutActive,
        Kind::ControllerFailedOver,
        Kind::Log,
    ];

    /// As in YAML and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Failed => "failed",
            Kind::Recovered => "recovered",
            Kind::StartedLate => "started_late",
            Kind::NotStarted => "not_started",
            Kind::RunsTooLong => "runs_too_long",
            Kind::WaitsTooLong => "waits_too_long",
            Kind::AgentAway => "agent_away",
            Kind::AgentBack => "agent_back",
            Kind::RoleWithoutActive => "role_without_active",
            Kind::ControllerFailedOver => "controller_failed_over",
            Kind::Log => "log",
        }
    }

    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// It happens to orders, so that workflows, tags and folders say which.
    pub fn is_of_orders(self) -> bool {
        matches!(
            self,
            Kind::Failed
                | Kind::Recovered
                | Kind::StartedLate
                | Kind::NotStarted
                | Kind::RunsTooLong
                | Kind::WaitsTooLong
        )
    }

    pub fn is_of_agents(self) -> bool {
        matches!(self, Kind::AgentAway | Kind::AgentBack)
    }

    /// Good news: it ends a trouble and is none itself.
    pub fn is_good(self) -> bool {
        matches!(self, Kind::Recovered | Kind::AgentBack)
    }

    /// Whether it has a measure, and the one that goes without saying.
    pub fn measure(self) -> Measure {
        match self {
            Kind::StartedLate | Kind::NotStarted => Measure::Default(LATE),
            Kind::RunsTooLong | Kind::WaitsTooLong => Measure::Needed,
            _ => Measure::None,
        }
    }

    /// `None` where the measure is missing.
    pub fn trigger(self, longer_than: Option<Span>) -> Option<Trigger> {
        Some(match self {
            Kind::Failed => Trigger::Failed,
            Kind::Recovered => Trigger::Recovered,
            Kind::StartedLate => Trigger::StartedLate { longer_than: longer_than.unwrap_or(LATE) },
            Kind::NotStarted => Trigger::NotStarted { longer_than: longer_than.unwrap_or(LATE) },
            Kind::RunsTooLong => Trigger::RunsTooLong { longer_than: longer_than? },
            Kind::WaitsTooLong => Trigger::WaitsTooLong { longer_than: longer_than? },
            Kind::AgentAway => Trigger::AgentAway,
            Kind::AgentBack => Trigger::AgentBack,
            Kind::RoleWithoutActive => Trigger::RoleWithoutActive,
            Kind::ControllerFailedOver => Trigger::ControllerFailedOver,
            Kind::Log => Trigger::Log,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    None,
    Default(Span),
    Needed,
}

impl Trigger {
    pub fn kind(self) -> Kind {
        match self {
            Trigger::Failed => Kind::Failed,
            Trigger::Recovered => Kind::Recovered,
            Trigger::StartedLate { .. } => Kind::StartedLate,
            Trigger::NotStarted { .. } => Kind::NotStarted,
            Trigger::RunsTooLong { .. } => Kind::RunsTooLong,
            Trigger::WaitsTooLong { .. } => Kind::WaitsTooLong,
            Trigger::AgentAway => Kind::AgentAway,
            Trigger::AgentBack => Kind::AgentBack,
            Trigger::RoleWithoutActive => Kind::RoleWithoutActive,
            Trigger::ControllerFailedOver => Kind::ControllerFailedOver,
            Trigger::Log => Kind::Log,
        }
    }

    pub fn longer_than(self) -> Option<Span> {
        match self {
            Trigger::StartedLate { longer_than }
            | Trigger::NotStarted { longer_than }
            | Trigger::RunsTooLong { longer_than }
            | Trigger::WaitsTooLong { longer_than } => Some(longer_than),
            _ => None,
        }
    }
}

impl Rule {
    /// What it names of others.
    pub fn references(&self) -> References {
        self.scope.references()
    }

    /// The trigger of that kind, where the rule wants it and is switched on.
    pub fn trigger(&self, kind: Kind) -> Option<Trigger> {
        self.on.iter().copied().find(|trigger| self.enabled && trigger.kind() == kind)
    }

    /// Whether this is told: what happened, to what, and how long it lasted where that is measured.
    pub fn matches(&self, kind: Kind, subject: &Subject<'_>, lasted: Option<Span>) -> bool {
        let Some(trigger) = self.trigger(kind) else { return false };
        let long_enough = match (trigger.longer_than(), lasted) {
            (Some(longer_than), Some(lasted)) => lasted >= longer_than,
            _ => true,
        };
        long_enough && self.scope.covers(subject)
    }

    /// How long something may last before the rule tells of it: the watches to set.
    pub fn watch(&self, kind: Kind, subject: &Subject<'_>) -> Option<Span> {
        let longer_than = self.trigger(kind)?.longer_than()?;
        self.scope.covers(subject).then_some(longer_than)
    }
}

/// `name@domain`, ASCII; a domain in another script is written as DNS has it (`xn--…`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", description = "a mail address: name@domain")]
pub struct MailAddress(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a mail address: write name@domain, in ASCII")]
pub struct InvalidAddress {
    pub text: String,
}

impl MailAddress {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn domain(&self) -> &str {
        self.0.rsplit('@').next().unwrap_or_default()
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MailAddress {
    type Err = InvalidAddress;
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let text = text.trim();
        let good = text.len() <= 254
            && text.rsplit_once('@').is_some_and(|(local, domain)| is_local_part(local) && is_domain(domain));
        let invalid = || InvalidAddress { text: text.chars().take(80).collect() };
        good.then(|| Self(text.to_owned())).ok_or_else(invalid)
    }
}

/// RFC 5321, the dot-string form: what providers give out. Quoted local parts are not worth their trouble.
fn is_local_part(local: &str) -> bool {
    let atom = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&b))
    };
    local.len() <= 64 && local.split('.').all(atom)
}

fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.len() <= 253 && domain.split('.').all(label)
}

impl TryFrom<String> for MailAddress {
    type Error = InvalidAddress;
    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl From<MailAddress> for String {
    fn from(address: MailAddress) -> String {
        address.0
    }
}
