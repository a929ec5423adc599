//! What may be asked of orders.

use crate::{Instant, OrderId, Position, Value, VariableName, WorkflowName, workflow::LatePolicy};
use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// All of them are added, or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddOrders {
    pub orders: Vec<NewOrder>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    pub workflow: WorkflowName,
    /// The last part of the order id, 1 to 40 of `A-Za-z0-9_-`; the workflow's name if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<VariableName, Value>,
    /// Shown to people; the workflow's title if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// In addition to the workflow's.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// Today in the zone of the site if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_day: Option<NaiveDate>,
    /// Starts at once if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Instant>,
    /// Added suspended: starts when it is resumed.
    #[serde(default)]
    pub held: bool,
    /// Higher goes first where orders queue; the workflow's if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<LatePolicy>,
    /// With `start`: what it does while an earlier order of the same schedule and parameterisation still runs.
    #[serde(default, skip_serializing_if = "Overlap::is_start")]
    pub overlap: Overlap,
    /// Set by the daily plan: this start is made once, for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartKey>,
}

/// What a planned order does while an earlier one of the same schedule and parameterisation still runs: has started, and
/// has neither ended nor failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It starts beside it.
    #[default]
    Start,
    /// It is cancelled.
    Skip,
    /// It starts after it.
    Wait,
}

impl Overlap {
    pub(crate) fn is_start(&self) -> bool {
        *self == Overlap::Start
    }
}

/// What a planned start is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartKey {
    pub schedule: String,
    pub parameterisation: String,
    pub instant: Instant,
}

/// Ends orders: those not started at once, the others after the running job, or with `kill` by ending it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelOrders {
    pub orders: Vec<OrderId>,
    #[serde(default)]
    pub kill: bool,
    /// By the daily plan: takes back planned orders that have not started, so that their starts can be planned again; passes
    /// over all others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replan: bool,
}

/// Stops orders before their next step, branches included; `kill` also ends the running jobs, which start again on resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuspendOrders {
    pub orders: Vec<OrderId>,
    #[serde(default)]
    pub kill: bool,
}

/// Lets suspended, held or failed orders go on, at the same step or at another one in the same branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeOrders {
    pub orders: Vec<OrderId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}
