//! What history adds to the facts of a notification.

pub use ordo_contract::request::monitor::{
    AgentFacts, ControllerFacts, Incident, LogFacts, Object, OrderFacts, RoleFacts,
};
use ordo_domain::Instant;

/// What history adds when the mail is written. All of it may be missing: a mail without it is better than none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Background {
    pub last_good: Option<LastGood>,
    /// What is different from the last good run, one thing each; empty where nothing is, or nothing is known.
    pub changes: Vec<String>,
    pub log: Option<LogTail>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    pub order: String,
    pub ended_at: Instant,
    pub took: Option<chrono::TimeDelta>,
}

/// The end of what a job printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTail {
    /// Which: `load, attempt 4`.
    pub of: String,
    pub lines: Vec<String>,
    /// There is more before.
    pub cut: bool,
}
