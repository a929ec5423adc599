//! Served by the role `daily-plan`: the plan of a day, and schedules.

use chrono::NaiveDate;
use ordo_domain::{DefinitionName, Instant, OrderId, Span, WorkflowName, plan::Schedule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const PLAN_SHOW: &str = "plan.show";
/// Answered by the active instance.
pub const PLAN_RUN: &str = "plan.run";
pub const SCHEDULE_LIST: &str = "schedule.list";
pub const SCHEDULE_SHOW: &str = "schedule.show";
pub const SCHEDULE_PREVIEW: &str = "schedule.preview";

/// Starts of one business day.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanShowRequest {
    /// Today in the site's zone if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<NaiveDate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<DefinitionName>,
    /// Every start for itself. Else those of one hour that are many and alike are one line.
    #[serde(default)]
    pub all: bool,
    /// Lines, at most 1,000; 200 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Goes on behind the last line of an earlier answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanShowReply {
    pub date: NaiveDate,
    /// Of the site: the zone of the business day.
    pub zone: String,
    /// In the order of their time.
    pub starts: Vec<PlanLine>,
    /// Ask again with this as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// Journal position that this is made from.
    pub sequence: u64,
}

/// A start, or several of one hour that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanLine {
    pub at: Instant,
    /// The last of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Instant>,
    pub count: u64,
    pub schedule: DefinitionName,
    pub parameterisation: String,
    pub workflow: WorkflowName,
    /// planned, submitted, started, finished, failed, late (not started for its late policy), skipped, cancelled, refused.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Instant>,
    /// Behind its time when it started; the largest of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_by: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What planning did just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PlanRunReply {
    /// Schedules that were looked at.
    pub schedules: u64,
    /// Starts that came into the plan, left it, and were changed in it.
    pub planned: u64,
    pub withdrawn: u64,
    pub changed: u64,
    /// Starts handed to the controller.
    pub submitted: u64,
    /// Starts asked back from it.
    pub recalled: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleListReply {
    pub schedules: Vec<ScheduleLine>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleLine {
    pub schedule: DefinitionName,
    pub version: u32,
    pub suspended: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowName>,
    /// The next start in the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Instant>,
    /// Starts ahead, those that the controller has among them.
    pub ahead: u64,
    pub submitted: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_through: Option<Instant>,
    /// The last start that was, and what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_state: Option<String>,
    /// Why it is not planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRequest {
    pub schedule: DefinitionName,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleShowReply {
    pub line: ScheduleLine,
    /// What the plan goes by; none where it could not be read yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Schedule>,
    /// The last ten starts that were and the next ten, in the order of their time.
    pub starts: Vec<PlanLine>,
    /// Starts that were too many to be made up for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skips: Vec<SkippedStarts>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SkippedStarts {
    pub first: Instant,
    pub last: Instant,
    pub count: u64,
    pub reason: String,
}

/// When a schedule would start, by its definition alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    pub schedule: DefinitionName,
    /// Not included. Now if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Instant>,
    /// Included. A week after `from` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Instant>,
    /// Instants, at most 1,000; 100 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewReply {
    /// Of the schedule's clocks.
    pub zone: String,
    /// The orders of each instant.
    pub orders: Vec<String>,
    pub instants: Vec<Instant>,
    /// There are more before `to`.
    pub more: bool,
}
