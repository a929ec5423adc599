//! An order as far as somebody may be told of it.

use chrono::NaiveDate;
use ordo_contract::request::monitor::OrderFacts;
use ordo_domain::alert::{Kind, Subject};
use ordo_domain::{Failure, Instant, Span};
use serde::{Deserialize, Serialize};

/// Kept as JSON while the order has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Watched {
    pub(crate) facts: OrderFacts,
    pub(crate) stage: Stage,
    /// The same workflow with the same arguments for the same business day: one that goes well makes good what failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) series: Option<String>,
    #[serde(default)]
    pub(crate) suspended: bool,
    /// The order whose branch, or called workflow, this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<String>,
    /// Its fork waits for it when it fails: nobody else will tell of that.
    #[serde(default)]
    pub(crate) is_waited_for: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waits_since: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<String>,
    /// Where and how it failed last, itself or a branch of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seen: Option<Seen>,
    /// Something was told of it that may recover.
    #[serde(default)]
    pub(crate) is_told_of: bool,
    /// Keys of its timers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) timers: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    Scheduled,
    Started,
    Failed,
}

/// A failure, where it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) order: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<String>,
    pub(crate) text: String,
    /// A `fail` step said so.
    #[serde(default)]
    pub(crate) said: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<String>,
}

impl Watched {
    pub(crate) fn new(facts: OrderFacts) -> Self {
        Self {
            facts,
            stage: Stage::Scheduled,
            series: None,
            suspended: false,
            parent: None,
            is_waited_for: false,
            waits_since: None,
            run: None,
            seen: None,
            is_told_of: false,
            timers: Vec::new(),
        }
    }

    /// Of an order that was added before the monitor began to look: its id says the day and a name, which is the
    /// workflow's unless somebody gave another.
    pub(crate) fn guessed(order: &str) -> Self {
        let root = order.split(':').next().unwrap_or(order);
        let mut parts = root.splitn(3, '-');
        let day = parts.next().and_then(|day| NaiveDate::parse_from_str(day, "%Y%m%d").ok());
        let name = parts.nth(1).unwrap_or(root);
        let facts = OrderFacts {
            order: Some(order.to_owned()),
            workflow: name.to_owned(),
            business_day: day,
            ..OrderFacts::default()
        };
        let parent = order.rsplit_once(':').map(|(parent, _)| parent.to_owned());
        Self { stage: Stage::Started, parent, ..Self::new(facts) }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        let facts = &self.facts;
        let mut subject = Subject::order(&facts.workflow, facts.folder.as_deref(), &facts.tags);
        subject.agent = facts.agent.as_deref();
        subject
    }

    /// What it says when it fails: of a branch that failed, what that one said.
    pub(crate) fn failure(&self, order: &str, position: Option<&str>, failure: &Failure) -> Seen {
        if let (Failure::BranchFailed { .. }, Some(seen)) = (failure, &self.seen) {
            return seen.clone();
        }
        // Only where a run failed does its log say something.
        let ran = matches!(
            failure,
            Failure::ExitCode { .. }
                | Failure::Signal { .. }
                | Failure::TimedOut { .. }
                | Failure::Killed { .. }
                | Failure::NotStarted { .. }
                | Failure::RunLost { .. }
                | Failure::Result { .. }
        );
        Seen {
            order: order.to_owned(),
            position: position.map(str::to_owned),
            text: failure.to_string(),
            said: matches!(failure, Failure::Fail { .. }),
            run: self.run.clone(),
            attempt: self.facts.attempt.filter(|_| ran),
            agent: self.facts.agent.clone().filter(|_| ran),
            instance: self.facts.instance.clone().filter(|_| ran),
        }
    }

    /// The facts as they are told when it has failed.
    pub(crate) fn failed_facts(&self) -> OrderFacts {
        let mut facts = self.facts.clone();
        if let Some(seen) = &self.seen {
            facts.position.clone_from(&seen.position);
            facts.failed_order = Some(seen.order.clone());
            facts.run.clone_from(&seen.run);
            facts.attempt = seen.attempt;
            facts.agent.clone_from(&seen.agent);
            facts.instance.clone_from(&seen.instance);
            facts.said = seen.said;
        }
        facts
    }

    /// Since when it does what that kind measures; `None`: it does not.
    pub(crate) fn since(&self, kind: Kind) -> Option<Instant> {
        match kind {
            Kind::NotStarted if self.stage == Stage::Scheduled && !self.suspended => self.facts.due_at,
            Kind::RunsTooLong if self.stage == Stage::Started && self.is_root() => self.facts.started_at,
            Kind::WaitsTooLong if !self.suspended && self.stage != Stage::Failed => self.waits_since,
            _ => None,
        }
    }
}

/// What is measured by timers.
pub(crate) const MEASURED: [Kind; 3] = [Kind::NotStarted, Kind::RunsTooLong, Kind::WaitsTooLong];

/// A timer that looks whether something lasts too long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Watch {
    pub(crate) kind: Kind,
    pub(crate) order: String,
    pub(crate) longer_than: Span,
    pub(crate) since: Instant,
}

impl Watch {
    pub(crate) fn key(&self) -> String {
        let (since, span) = (self.since.timestamp_millis(), self.longer_than.as_millis());
        format!("watch/{}/{}/{since}/{span}", self.kind, self.order)
    }
}
