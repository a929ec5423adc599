//! How long what has ended is kept, and when the cleanup may take it away.
//!
//! A definition says it (`retention: default`); without one the defaults here hold. Pure: the cleanup service asks for
//! [`Retention::cut_off`] and [`Window::closes`] with the time that it has, and deletes what lies before.
//!
//! Defaults follow the retention of JS7's cleanup service (90 days of orders, 30 of the plan), with the ages that the bus
//! gives its streams where these are shorter.

mod window;

#[cfg(test)]
mod tests;

pub use window::{Day, Time, Window};

use crate::{DefinitionName, Instant, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

const DAY: u64 = 86_400;
const HOUR: u64 = 3_600;

/// The name that counts; a site normally has no other.
pub const DEFAULT_NAME: &str = "default";
/// Orders deleted in one transaction, where the definition does not say it.
pub const BATCH: u32 = 1_000;
/// The least and the most of it.
pub const BATCHES: std::ops::RangeInclusive<u32> = 10..=10_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    pub name: DefinitionName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    pub window: Window,
    /// Orders, or as many other rows, in one transaction.
    pub batch: u32,
    /// What differs from the defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keep: BTreeMap<RetentionKind, Keep>,
}

/// What is kept for a time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetentionKind {
    /// Failed orders that nobody resumed are cancelled after this time; off by default.
    FailedOrders,
    /// Finished and cancelled orders with their branches, steps and logs, from their end.
    Orders,
    /// Every event as the journal had it. Goes by whole months.
    Events,
    /// What was asked of the controller and what became of it: the audit trail, and the stream COMMANDS.
    Commands,
    /// Days of the plan that are over.
    Plan,
    /// Alerts and their mails, and the stream NOTICES.
    Notifications,
    /// Warnings and errors of Ordo and of others: the stream LOGS.
    Logs,
    /// The stream OUTPUT: what jobs printed, on its way into the history.
    Output,
    /// The stream REPORTS: what agents said of runs.
    Reports,
    /// Snapshots of the controller's state; the two newest good ones always stay.
    Snapshots,
    /// Commits that every reader and two snapshots have passed.
    Journal,
    /// Bodies of definitions that nothing uses any more.
    Definitions,
}

/// For how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", description = "a duration such as 90d, or forever")]
pub enum Keep {
    For(Span),
    Forever,
}

/// Why a time to keep something may not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeKeep {
    #[error("{kind} may not be kept for less than {least}: {because}")]
    TooShort { kind: RetentionKind, least: Span, because: &'static str },
    #[error("{kind} cannot be kept for longer than {most}: {because}")]
    TooLong { kind: RetentionKind, most: Span, because: &'static str },
}

impl RetentionKind {
    /// In the order in which they are cleaned up: what an earlier one frees, a later one may take.
    pub const ALL: [RetentionKind; 12] = [
        RetentionKind::FailedOrders,
        RetentionKind::Orders,
        RetentionKind::Events,
        RetentionKind::Commands,
        RetentionKind::Plan,
        RetentionKind::Notifications,
        RetentionKind::Logs,
        RetentionKind::Output,
        RetentionKind::Reports,
        RetentionKind::Snapshots,
        RetentionKind::Journal,
        RetentionKind::Definitions,
    ];

    /// As it is written in definitions.
    pub fn word(self) -> &'static str {
        match self {
            RetentionKind::FailedOrders => "failed_orders",
            RetentionKind::Orders => "orders",
            RetentionKind::Events => "events",
            RetentionKind::Commands => "commands",
            RetentionKind::Plan => "plan",
            RetentionKind::Notifications => "notifications",
            RetentionKind::Logs => "logs",
            RetentionKind::Output => "output",
            RetentionKind::Reports => "reports",
            RetentionKind::Snapshots => "snapshots",
            RetentionKind::Journal => "journal",
            RetentionKind::Definitions => "definitions",
        }
    }

    /// Where no definition says otherwise.
    pub fn default_keep(self) -> Keep {
        let days = match self {
            RetentionKind::FailedOrders => return Keep::Forever,
            RetentionKind::Orders | RetentionKind::Events | RetentionKind::Commands => 90,
            RetentionKind::Notifications => 90,
            RetentionKind::Plan | RetentionKind::Definitions => 30,
            RetentionKind::Logs => 14,
            RetentionKind::Reports | RetentionKind::Snapshots | RetentionKind::Journal => 7,
            RetentionKind::Output => 2,
        };
        Keep::For(Span::from_secs(days * DAY))
    }

    /// Below it something breaks; said with the reason.
    pub fn least(self) -> (Span, &'static str) {
        let (seconds, because) = match self {
            RetentionKind::Orders => (DAY, "their last output may still be on its way"),
            RetentionKind::Events => (DAY, "the history may still be catching up with them"),
            RetentionKind::Commands => (DAY, "a repeated command gets its first outcome for 24 hours"),
            RetentionKind::Plan => (DAY, "a day is only over when it is over everywhere"),
            RetentionKind::Notifications => (DAY, "people must be able to acknowledge them"),
            RetentionKind::FailedOrders => (HOUR, "people must be able to resume them"),
            RetentionKind::Logs => (HOUR, "rules must have seen them"),
            RetentionKind::Output => (HOUR, "the history must have stored it"),
            // Three days is the age of JOBS: a start that came after its claim had gone would run a second time.
            RetentionKind::Reports => {
                (4 * DAY, "a claim must outlive every job message, and those live for three days")
            }
            RetentionKind::Snapshots => (HOUR, "recovery begins with them"),
            RetentionKind::Journal => (DAY, "a restored database heals from it"),
            RetentionKind::Definitions => (DAY, "what was just stored is deployed a moment later"),
        };
        (Span::from_secs(seconds), because)
    }

    /// Above it the bus lets them go by itself, and a longer time would be a promise that nobody keeps.
    pub fn most(self) -> Option<(Span, &'static str)> {
        let days = match self {
            RetentionKind::Reports => 7,
            RetentionKind::Output => 2,
            _ => return None,
        };
        Some((Span::from_secs(days * DAY), "the stream does not keep them any longer"))
    }

    /// Whether a time to keep it may be used.
    pub fn check(self, keep: Keep) -> Result<(), UnsafeKeep> {
        let (least, because) = self.least();
        match keep {
            Keep::For(span) if span < least => Err(UnsafeKeep::TooShort { kind: self, least, because }),
            Keep::For(span) => match self.most() {
                Some((most, because)) if span > most => Err(UnsafeKeep::TooLong { kind: self, most, because }),
                _ => Ok(()),
            },
            Keep::Forever => match self.most() {
                Some((most, because)) => Err(UnsafeKeep::TooLong { kind: self, most, because }),
                None => Ok(()),
            },
        }
    }
}

impl fmt::Display for RetentionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keep::For(span) => span.fmt(f),
            Keep::Forever => f.pad("forever"),
        }
    }
}

impl std::str::FromStr for Keep {
    type Err = crate::span::InvalidSpan;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "forever" => Ok(Keep::Forever),
            span => span.parse().map(Keep::For),
        }
    }
}

impl TryFrom<String> for Keep {
    type Error = crate::span::InvalidSpan;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Keep> for String {
    fn from(keep: Keep) -> String {
        keep.to_string()
    }
}

impl Retention {
    /// What holds where nothing is deployed.
    pub fn of_defaults(name: DefinitionName) -> Self {
        Self { name, title: None, window: Window::default(), batch: BATCH, keep: BTreeMap::new() }
    }

    /// For how long this kind is kept: as the definition says, else as the default says; never less than is safe, however
    /// the definition came to be.
    pub fn keep(&self, kind: RetentionKind) -> Keep {
        let keep = self.keep.get(&kind).copied().unwrap_or_else(|| kind.default_keep());
        match keep {
            Keep::For(span) => Keep::For(span.max(kind.least().0)),
            Keep::Forever => Keep::Forever,
        }
    }

    /// What ended before this may go. `None`: nothing of it.
    pub fn cut_off(&self, kind: RetentionKind, now: Instant) -> Option<Instant> {
        match self.keep(kind) {
            Keep::For(span) => now.checked_sub_signed(span.to_chrono()),
            Keep::Forever => None,
        }
    }

    /// All that may not be used, each with its kind.
    pub fn check(&self) -> Vec<UnsafeKeep> {
        self.keep.iter().filter_map(|(kind, keep)| kind.check(*keep).err()).collect()
    }
}
