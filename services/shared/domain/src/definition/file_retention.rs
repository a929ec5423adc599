//! The shape of `retention:` documents, for their JSON Schemas; `read.rs` takes the known fields from here.

use super::file::Text;
use crate::{
    DefinitionName,
    retention::{Day, Keep, Time},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long what has ended is kept, and when it is taken away. The one named `default` counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionFile {
    /// The name, unique among its kind. `default` is the one that counts.
    pub retention: DefinitionName,
    /// For people.
    pub title: Option<Text>,
    /// When the cleanup works by itself. Every night from 01:00 to 04:00 UTC if not given.
    pub window: Option<WindowFile>,
    /// Orders, or as many other rows, in one transaction. 1000 if not given.
    #[schemars(range(min = 10, max = 10_000))]
    pub batch: Option<u32>,
    /// What differs from the defaults.
    pub keep: Option<KeepFile>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowFile {
    /// On which it opens; every day if not given. An empty list: never by itself.
    pub days: Option<Vec<Day>>,
    /// 01:00 if not given.
    pub from: Option<Time>,
    /// 04:00 if not given. Not after `from`: on the next day.
    pub to: Option<Time>,
    /// An IANA time zone, such as `Europe/Berlin`. UTC if not given.
    pub zone: Option<String>,
}

/// For how long, each a duration such as `90d`, or `forever`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeepFile {
    /// Failed orders that nobody resumed are cancelled after this time. `forever` if not given: they stay.
    pub failed_orders: Option<Keep>,
    /// Finished and cancelled orders with their branches, steps and logs, from their end. 90d if not given, at least 1d.
    pub orders: Option<Keep>,
    /// Every event as the journal had it; goes by whole months. 90d if not given, at least 1d.
    pub events: Option<Keep>,
    /// What was asked of the controller and what became of it. 90d if not given, at least 1d.
    pub commands: Option<Keep>,
    /// Days of the plan that are over. 30d if not given, at least 1d.
    pub plan: Option<Keep>,
    /// Alerts and their mails. 90d if not given, at least 1d.
    pub notifications: Option<Keep>,
    /// Warnings and errors of Ordo and of others. 14d if not given, at least 1h.
    pub logs: Option<Keep>,
    /// What jobs printed, on the bus on its way into the history. 2d if not given, from 1h to 2d.
    pub output: Option<Keep>,
    /// What agents said of runs, on the bus. 7d if not given, from 4d to 7d: claims must outlive job messages.
    pub reports: Option<Keep>,
    /// Snapshots of the controller's state; the two newest good ones always stay. 7d if not given, at least 1h.
    pub snapshots: Option<Keep>,
    /// Commits that every reader and two snapshots have passed. 7d if not given, at least 1d.
    pub journal: Option<Keep>,
    /// Bodies of definitions that nothing uses any more. 30d if not given, at least 1d.
    pub definitions: Option<Keep>,
}
