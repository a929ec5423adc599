//! The shape of a file that defines a schedule, for its JSON Schema.

use super::file::{Late, Text};
use crate::{
    DefinitionName, ParameterisationName, Span, Value, VariableName, WorkflowName, order::command::Overlap,
    plan::TimeOfDay,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A schedule: when orders of a workflow start by themselves, and with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleFile {
    /// The name, unique in the site.
    pub schedule: DefinitionName,
    /// For people, in any language. At most 400 bytes. Orders without a title of their own have it.
    pub title: Option<Text>,
    /// Whose orders it starts.
    pub workflow: WorkflowName,
    /// An IANA time zone, such as `Europe/Berlin`, instead of the site's: times, weekdays and dates are those of its clocks.
    pub zone: Option<String>,
    /// It starts when one of them says so; once where several do.
    #[schemars(length(min = 1, max = 100))]
    pub times: Vec<TimesFile>,
    /// Days without starts, such as 2026-12-25.
    pub except: Option<Vec<Day>>,
    pub valid: Option<ValidFile>,
    /// What happens to a start that could not be made when it was due, instead of what the workflow says.
    pub late: Option<Late>,
    /// What a start does while the earlier order of the same schedule and the same entry of `orders` still runs. `start` if not
    /// given: it starts beside it. `skip`: it is cancelled. `wait`: it starts after it.
    pub overlap: Option<Overlap>,
    /// How far ahead people see its starts in the plan. 7d if not given.
    pub plan_ahead: Option<Span>,
    /// How far ahead starts are handed to the controller, which then needs neither the daily plan nor the database to make
    /// them. 1d if not given, at most `plan_ahead`.
    pub submit_ahead: Option<Span>,
    /// At most so many starts are planned or submitted ahead, or made up for after an outage. 1000 if not given.
    #[schemars(range(min = 1, max = 100000))]
    pub max_starts: Option<u32>,
    /// The orders of each start. One without arguments, called `default`, if not given.
    #[schemars(length(min = 1, max = 100))]
    pub orders: Option<Vec<OrderFile>>,
}

/// Either `cron`, or `at` with or without `weekdays`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimesFile {
    /// Five fields as in crontab (minute, hour, day of month, month, weekday; 0 and 7 are Sunday), six with a second before
    /// them, seven with a year behind. Where both day fields are restricted, one of them is enough.
    pub cron: Option<String>,
    /// Times of day, such as 06:00 or 18:30:15.
    #[schemars(length(min = 1))]
    pub at: Option<Vec<TimeOfDay>>,
    /// Such as `[mon-fri, sun]`. Every day if not given.
    #[schemars(length(min = 1))]
    pub weekdays: Option<Vec<String>>,
}

/// Both days included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidFile {
    pub from: Option<Day>,
    pub to: Option<Day>,
}

/// One order of each start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderFile {
    /// Tells it from the others; also in the ids of its orders.
    pub name: ParameterisationName,
    pub title: Option<Text>,
    /// For the workflow's parameters, as they are: there is no `${ }` here.
    pub arguments: Option<BTreeMap<VariableName, Value>>,
    /// In addition to the workflow's.
    pub tags: Option<Vec<Text>>,
    /// Higher goes first where orders queue. The workflow's if not given.
    pub priority: Option<i16>,
}

/// A date, such as 2026-12-25.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(with = "String", description = "a date, such as 2026-12-25", extend("format" = "date"))]
pub struct Day(pub chrono::NaiveDate);
