//! Resources that orders queue for: named locks with a capacity, and the parallel limits of jobs.

pub(crate) mod apply;
pub(crate) mod decide;

use crate::{ContentHash, LockName, OrderId, RunId, order::event::Resource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A deployed lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockDefinition {
    pub name: LockName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The sum of the weights that may be held at a time.
    pub capacity: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockDeployed {
    pub version: u32,
    pub hash: ContentHash,
    pub lock: LockDefinition,
}

/// Who holds and who waits, of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    #[serde(default)]
    pub held: BTreeMap<RunId, u32>,
    /// First come, first served within a priority: (−priority, ticket, order).
    #[serde(default)]
    pub queue: BTreeSet<(i32, u64, OrderId)>,
}

impl Usage {
    pub fn held_weight(&self) -> u32 {
        self.held.values().sum()
    }
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.queue.is_empty()
    }
}

/// All resources that are held or waited for. JSON wants text keys: serialised as pairs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(Resource, Usage)>", into = "Vec<(Resource, Usage)>")]
pub struct Resources(pub BTreeMap<Resource, Usage>);

impl From<Vec<(Resource, Usage)>> for Resources {
    fn from(pairs: Vec<(Resource, Usage)>) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl From<Resources> for Vec<(Resource, Usage)> {
    fn from(resources: Resources) -> Self {
        resources.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
