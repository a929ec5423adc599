//! Schedules: which orders start when, without a clock and without a database.
//!
//! # Layout
//! - [`Schedule`] and its parts: what a definition says
//! - [`Cron`], [`TimesOfDay`]: one rule each, on the calendar of a wall clock
//! - `wall_clock`: what a wall clock shows when, over changes of its offset
//! - `instants`: the rules of a schedule on the time line: [`Schedule::instants`], [`Schedule::starts`]

mod cron;
mod instants;
#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tests;
mod times_of_day;
mod wall_clock;

pub use cron::{Cron, InvalidCron};
pub use instants::{Instants, PlannedStart};
pub use times_of_day::{InvalidTime, TimeOfDay, TimesOfDay, Weekdays};

use crate::{
    Arguments, DefinitionName, ParameterisationName, Span, WorkflowName,
    catalog::References,
    order::command::{NewOrder, Overlap, StartKey},
    workflow::LatePolicy,
};
use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

pub const PLAN_AHEAD: Span = Span::from_secs(7 * 86_400);
pub const SUBMIT_AHEAD: Span = Span::from_secs(86_400);
pub const MAX_STARTS: u32 = 1_000;

/// When orders of a workflow start, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Schedule {
    pub name: DefinitionName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    pub workflow: WorkflowName,
    /// Of its wall clock; the site's if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub zone: Option<chrono_tz::Tz>,
    /// It starts when one of them says so; once where several do.
    pub times: Vec<Rule>,
    /// Days of the wall clock without starts.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub except: BTreeSet<NaiveDate>,
    #[serde(default, skip_serializing_if = "Validity::is_always")]
    pub valid: Validity,
    /// The workflow's if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<LatePolicy>,
    #[serde(default)]
    pub overlap: Overlap,
    pub plan_ahead: Span,
    pub submit_ahead: Span,
    /// Bounds what is planned ahead as well as what is submitted ahead.
    pub max_starts: u32,
    /// What starts at each instant, at least one.
    pub orders: Vec<Parameterisation>,
}

/// Days of the wall clock, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Validity {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<NaiveDate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<NaiveDate>,
}

impl Validity {
    pub fn is_always(&self) -> bool {
        *self == Self::default()
    }

    pub fn has(&self, day: NaiveDate) -> bool {
        self.from.is_none_or(|from| from <= day) && self.to.is_none_or(|to| day <= to)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    Cron(Cron),
    At(TimesOfDay),
}

/// One order of each start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Parameterisation {
    pub name: ParameterisationName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Arguments::is_empty")]
    pub arguments: Arguments,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// The workflow's if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i16>,
}

impl Parameterisation {
    /// The name of the only one where a definition names none.
    pub const DEFAULT: &str = "default";

    fn is_default(&self) -> bool {
        self.name.as_str() == Self::DEFAULT
    }
}

impl Schedule {
    pub fn zone(&self, site: chrono_tz::Tz) -> chrono_tz::Tz {
        self.zone.unwrap_or(site)
    }

    /// What it names of others.
    pub fn references(&self) -> References {
        References { workflows: BTreeSet::from([self.workflow.clone()]), agents: BTreeSet::new() }
    }

    pub fn parameterisation(&self, name: &str) -> Option<&Parameterisation> {
        self.orders.iter().find(|order| order.name.as_str() == name)
    }

    /// What is asked of the controller for each start of a parameterisation, but for the time.
    pub fn template(&self, with: &Parameterisation) -> NewOrder {
        // The id shall say which of several it is, where that fits into a name.
        let both = format!("{}-{}", self.workflow, with.name);
        NewOrder {
            workflow: self.workflow.clone(),
            name: (!with.is_default()).then(|| if both.len() <= 40 { both } else { with.name.to_string() }),
            arguments: with.arguments.clone(),
            title: with.title.clone().or_else(|| self.title.clone()),
            tags: with.tags.clone(),
            business_day: None,
            due_at: None,
            held: false,
            priority: with.priority,
            late: self.late,
            overlap: self.overlap,
            start: None,
        }
    }

    /// What is asked of the controller for one start.
    pub fn order(&self, start: &PlannedStart<'_>) -> NewOrder {
        let key = StartKey {
            schedule: self.name.to_string(),
            parameterisation: start.parameterisation.name.to_string(),
            instant: start.instant,
        };
        NewOrder {
            business_day: Some(start.business_day),
            due_at: Some(start.instant),
            start: Some(key),
            ..self.template(start.parameterisation)
        }
    }
}

/// Whether an order in the journal is what is wanted, as far as it shows: what the workflow adds is in it, too.
pub fn is_as_wanted(found: &NewOrder, wanted: &NewOrder) -> bool {
    fn given<T: PartialEq>(found: &Option<T>, wanted: &Option<T>) -> bool {
        wanted.is_none() || found == wanted
    }
    found.workflow == wanted.workflow
        && wanted.arguments.iter().all(|(name, value)| found.arguments.get(name) == Some(value))
        && wanted.tags.is_subset(&found.tags)
        && given(&found.title, &wanted.title)
        && given(&found.priority, &wanted.priority)
        && given(&found.late, &wanted.late)
        && found.overlap == wanted.overlap
}
