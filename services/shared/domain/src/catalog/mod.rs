//! What is deployed besides workflows and locks: definitions that services act by. The controller keeps which there are, in
//! which version, and what they refer to; what is in them is the business of the service that reads them.

pub(crate) mod apply;
pub(crate) mod decide;
#[cfg(test)]
mod tests;

use crate::{
    AgentName, ContentHash, DefinitionName, Instant, WorkflowName,
    alert::{Maintenance, Rule},
    command::By,
    log_rule::LogRule,
    order::command::StartKey,
    plan::Schedule,
    retention::Retention,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// What a definition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DefinitionKind {
    /// When orders start by themselves: the daily plan.
    Schedule,
    /// What people are told: the monitor.
    Rule,
    /// When people are not told: the monitor.
    Maintenance,
    /// Which log lines become notices: the log notification.
    LogRule,
    /// How long things are kept: the cleanup.
    Retention,
}

impl DefinitionKind {
    pub const ALL: [DefinitionKind; 5] = [
        DefinitionKind::Schedule,
        DefinitionKind::Rule,
        DefinitionKind::Maintenance,
        DefinitionKind::LogRule,
        DefinitionKind::Retention,
    ];

    /// As in files, JSON and messages.
    pub fn word(self) -> &'static str {
        match self {
            DefinitionKind::Schedule => "schedule",
            DefinitionKind::Rule => "rule",
            DefinitionKind::Maintenance => "maintenance",
            DefinitionKind::LogRule => "log_rule",
            DefinitionKind::Retention => "retention",
        }
    }
}

impl fmt::Display for DefinitionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What such a definition says. Its JSON, `{"schedule": {…}}`, is the stored body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatalogDefinition {
    Schedule(Schedule),
    Rule(Rule),
    Maintenance(Maintenance),
    LogRule(LogRule),
    Retention(Retention),
}

impl CatalogDefinition {
    pub fn kind(&self) -> DefinitionKind {
        match self {
            CatalogDefinition::Schedule(_) => DefinitionKind::Schedule,
            CatalogDefinition::Rule(_) => DefinitionKind::Rule,
            CatalogDefinition::Maintenance(_) => DefinitionKind::Maintenance,
            CatalogDefinition::LogRule(_) => DefinitionKind::LogRule,
            CatalogDefinition::Retention(_) => DefinitionKind::Retention,
        }
    }

    pub fn name(&self) -> &DefinitionName {
        match self {
            CatalogDefinition::Schedule(d) => &d.name,
            CatalogDefinition::Rule(d) => &d.name,
            CatalogDefinition::Maintenance(d) => &d.name,
            CatalogDefinition::LogRule(d) => &d.name,
            CatalogDefinition::Retention(d) => &d.name,
        }
    }

    pub fn title(&self) -> Option<&str> {
        match self {
            CatalogDefinition::Schedule(d) => d.title.as_deref(),
            CatalogDefinition::Rule(d) => d.title.as_deref(),
            CatalogDefinition::Maintenance(d) => d.title.as_deref(),
            CatalogDefinition::LogRule(d) => d.title.as_deref(),
            CatalogDefinition::Retention(d) => d.title.as_deref(),
        }
    }

    pub fn references(&self) -> References {
        match self {
            CatalogDefinition::Schedule(d) => d.references(),
            CatalogDefinition::Rule(d) => d.references(),
            CatalogDefinition::Maintenance(d) => d.references(),
            CatalogDefinition::LogRule(_) | CatalogDefinition::Retention(_) => References::default(),
        }
    }
}

/// What a definition names of others: that cannot be removed while it is deployed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct References {
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub workflows: BTreeSet<WorkflowName>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub agents: BTreeSet<AgentName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedDefinition {
    /// From 1; goes on where the definition comes back after it was removed.
    pub version: u32,
    pub hash: ContentHash,
    pub deployed_at: Instant,
    #[serde(default)]
    pub references: References,
    /// Of a schedule: it plans nothing until it is resumed.
    #[serde(default)]
    pub suspended: bool,
    /// Kept for its version alone.
    #[serde(default)]
    pub removed: bool,
}

// ---- commands ---------------------------------------------------------------------------------------------------------

/// All of them or none. Refused while something refers to one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveDefinitions {
    pub items: Vec<RemoveItem>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RemoveItem {
    Workflow { name: WorkflowName },
    Definition { kind: DefinitionKind, name: DefinitionName },
}

/// Suspended schedules plan nothing: what was planned and has not started is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuspendSchedules {
    pub schedules: Vec<DefinitionName>,
}

/// They plan again, from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeSchedules {
    pub schedules: Vec<DefinitionName>,
}

/// What the daily plan could not make an order of, to be journalled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoteStarts {
    pub notes: Vec<StartNote>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartNote {
    Skipped(StartSkipped),
    NotPlanned(StartNotPlanned),
}

// ---- events -----------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionDeployed {
    pub kind: DefinitionKind,
    pub name: DefinitionName,
    pub version: u32,
    /// Of the body in the definition store.
    pub hash: ContentHash,
    #[serde(default)]
    pub references: References,
    pub by: By,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionRemoved {
    pub kind: DefinitionKind,
    pub name: DefinitionName,
    pub by: By,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowRemoved {
    pub workflow: WorkflowName,
    pub by: By,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleSuspended {
    pub schedule: DefinitionName,
    pub by: By,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleResumed {
    pub schedule: DefinitionName,
    pub by: By,
}

/// Planned starts of which no order is made: this one, or with `until` and `count` all from this one to that instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartSkipped {
    pub start: StartKey,
    pub workflow: WorkflowName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Instant>,
    /// How many starts these are.
    pub count: u64,
    pub reason: String,
}

/// A schedule, or one of its starts, that no order can be planned of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartNotPlanned {
    pub schedule: DefinitionName,
    pub workflow: WorkflowName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartKey>,
    pub reason: String,
}
