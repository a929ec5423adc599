//! Definitions by hash: fetched once, kept while they are used. Immutable, so a copy is never out of date.

use crate::answer::Problem;
use ordo_domain::{ContentHash, Definitions, catalog::CatalogDefinition, ctx::LoadedWorkflow, lock::LockDefinition};
use ordo_journal::Bus;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Kept bodies; a site has far fewer. Above, all are dropped and fetched again when asked for.
const KEPT: usize = 2_000;

#[derive(Debug, Default)]
pub struct Bodies {
    workflows: Mutex<HashMap<ContentHash, Arc<LoadedWorkflow>>>,
    locks: Mutex<HashMap<ContentHash, LockDefinition>>,
    catalog: Mutex<HashMap<ContentHash, Arc<CatalogDefinition>>>,
}

impl Bodies {
    /// A stored workflow. `None` = nothing is stored under this hash.
    pub async fn fetch_workflow(&self, bus: &Bus, hash: &ContentHash) -> Result<Option<Arc<LoadedWorkflow>>, Problem> {
        fetch(&self.workflows, bus, hash, "workflow", |workflow| Arc::new(LoadedWorkflow::new(workflow))).await
    }

    /// A stored lock.
    pub async fn fetch_lock(&self, bus: &Bus, hash: &ContentHash) -> Result<Option<LockDefinition>, Problem> {
        fetch(&self.locks, bus, hash, "lock", |lock| lock).await
    }

    /// A stored schedule, rule, or what else services act by.
    pub async fn fetch_catalog(
        &self,
        bus: &Bus,
        hash: &ContentHash,
    ) -> Result<Option<Arc<CatalogDefinition>>, Problem> {
        fetch(&self.catalog, bus, hash, "definition", Arc::new).await
    }
}

async fn fetch<T: DeserializeOwned, K: Clone>(
    kept: &Mutex<HashMap<ContentHash, K>>,
    bus: &Bus,
    hash: &ContentHash,
    what: &str,
    load: impl FnOnce(T) -> K,
) -> Result<Option<K>, Problem> {
    if let Some(found) = held(kept).get(hash) {
        return Ok(Some(found.clone()));
    }
    let Some(body) = bus.definitions().get_by_hash(hash.as_str()).await? else { return Ok(None) };
    let broken = |e: serde_json::Error| Problem::malformed(format!("what is stored as {hash} is no {what}: {e}"));
    let loaded = load(serde_json::from_slice(&body).map_err(broken)?);
    let mut kept = held(kept);
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(hash.clone(), loaded.clone());
    Ok(Some(loaded))
}

impl Definitions for Bodies {
    fn workflow(&self, hash: &ContentHash) -> Option<Arc<LoadedWorkflow>> {
        held(&self.workflows).get(hash).cloned()
    }
    fn lock(&self, hash: &ContentHash) -> Option<LockDefinition> {
        held(&self.locks).get(hash).cloned()
    }
    fn catalog(&self, hash: &ContentHash) -> Option<Arc<CatalogDefinition>> {
        held(&self.catalog).get(hash).cloned()
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
