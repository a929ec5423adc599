//! The shape of `rule:` and `maintenance:` documents, for their JSON Schemas; `read.rs` takes the known fields from here.

use super::file::Text;
use crate::{
    DefinitionName, Span,
    alert::{MailAddress, Pattern},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who is told of what by mail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// The name, unique among rules.
    pub rule: DefinitionName,
    /// For people.
    pub title: Option<Text>,
    /// Orders of these workflows; all, if not given.
    pub workflows: Option<Vec<Pattern>>,
    /// Orders with one of these tags.
    pub tags: Option<Vec<Pattern>>,
    /// Orders of workflows in these folders or below.
    pub folders: Option<Vec<Pattern>>,
    /// These agents, and orders whose run failed on one of them.
    pub agents: Option<Vec<Pattern>>,
    /// What is told.
    #[schemars(length(min = 1))]
    pub on: Vec<TriggerFile>,
    /// Mail addresses. Without any, notifications are made and shown, but not mailed.
    pub notify: Option<Vec<MailAddress>>,
    /// Repeats of the same thing come in one mail after this time. 5m if not given.
    pub fold: Option<Span>,
    /// False: the rule does nothing. True if not given.
    pub enabled: Option<bool>,
}

/// What is told: a word, or a word with its measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TriggerFile {
    Word(TriggerWord),
    Measured(MeasuredFile),
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TriggerWord {
    /// An order failed and stays so until somebody acts.
    Failed,
    /// What had failed went well after all.
    Recovered,
    /// More than a minute behind its time.
    StartedLate,
    /// A minute after its time, or skipped, or not possible to plan.
    NotStarted,
    /// An instance of an agent is silent.
    AgentAway,
    AgentBack,
    /// Nobody is active in a role.
    RoleWithoutActive,
    /// Another controller took over without a hand-over.
    ControllerFailedOver,
    /// A log rule found something.
    Log,
}

/// One of them, with how long it lasts before it is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct MeasuredFile {
    pub started_late: Option<LongerThan>,
    pub not_started: Option<LongerThan>,
    /// From the order's start.
    pub runs_too_long: Option<LongerThan>,
    /// For locks, for a free place, for an earlier order, or for an agent to take its job.
    pub waits_too_long: Option<LongerThan>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LongerThan {
    pub longer_than: Span,
}

/// When alerts are silenced. What happened meanwhile is said in one mail afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceFile {
    /// The name, unique among maintenance windows.
    pub maintenance: DefinitionName,
    /// For people.
    pub title: Option<Text>,
    /// Alerts about orders of these workflows; about everything, if nothing is named.
    pub workflows: Option<Vec<Pattern>>,
    pub tags: Option<Vec<Pattern>>,
    /// These folders and all below.
    pub folders: Option<Vec<Pattern>>,
    pub agents: Option<Vec<Pattern>>,
    #[schemars(length(min = 1))]
    pub windows: Vec<WindowFile>,
    /// An IANA time zone, such as `Europe/Berlin`, instead of the site's.
    pub zone: Option<String>,
}

/// Weekly: `{ weekdays: [saturday], from: 22:00, to: 04:00 }`, over midnight if `to` is not behind `from`; without
/// weekdays every day. Once: `{ from: 2026-12-24T18:00, to: 2026-12-26T06:00 }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowFile {
    #[schemars(length(min = 1))]
    pub weekdays: Option<Vec<WeekdayWord>>,
    #[schemars(extend("pattern" = WINDOW_TIME))]
    pub from: String,
    #[schemars(extend("pattern" = WINDOW_TIME))]
    pub to: String,
}

const WINDOW_TIME: &str = "^([0-9]{4}-[0-9]{2}-[0-9]{2}[T ])?[0-9]{2}:[0-9]{2}(:[0-9]{2})?$";

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeekdayWord {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}
