//! What a decision may use besides the state: all of it is handed in.

use crate::{ContentHash, Instant, RunId, catalog::CatalogDefinition, workflow::Workflow, workflow::WorkflowIndex};
use std::sync::Arc;

/// Bodies by hash: immutable, so looking one up is no input that could differ on replay.
pub trait Definitions {
    fn workflow(&self, hash: &ContentHash) -> Option<Arc<LoadedWorkflow>>;
    fn lock(&self, hash: &ContentHash) -> Option<crate::lock::LockDefinition>;
    fn catalog(&self, hash: &ContentHash) -> Option<Arc<CatalogDefinition>>;
}

/// A body with its index.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedWorkflow {
    pub workflow: Workflow,
    pub index: WorkflowIndex,
}

/// Fresh ids.
pub trait Ids {
    fn run_id(&self) -> RunId;
}

#[derive(Clone, Copy)]
pub struct Ctx<'a> {
    pub now: Instant,
    /// Of the site: it makes the business day.
    pub zone: chrono_tz::Tz,
    pub ids: &'a dyn Ids,
    pub definitions: &'a dyn Definitions,
}
