//! Definitions by hash: fetched once, kept while they are used. Immutable, so a copy is never out of date.

use crate::answer::Problem;
use ordo_domain::{
    ContentHash, Definitions, catalog::CatalogDefinition, ctx::LoadedWorkflow, limit, lock::LockDefinition,
};
use ordo_journal::Bus;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Kept bodies; most sites have fewer. Above, the one that was longest not asked for goes. More than one command can
/// need, so that none drops what it has just fetched.
const KEPT: usize = 2_000;
const _: () = assert!(KEPT >= 2 * limit::ORDERS_PER_COMMAND && KEPT >= 2 * limit::DEPLOY_ITEMS);

#[derive(Debug, Default)]
pub struct Bodies {
    workflows: Mutex<Kept<Arc<LoadedWorkflow>>>,
    locks: Mutex<Kept<LockDefinition>>,
    catalog: Mutex<Kept<Arc<CatalogDefinition>>>,
}

/// By hash, with when each was last asked for, counted in questions.
#[derive(Debug)]
struct Kept<K> {
    bodies: HashMap<ContentHash, (K, u64)>,
    asked: u64,
}

impl<K> Default for Kept<K> {
    fn default() -> Self {
        Self { bodies: HashMap::new(), asked: 0 }
    }
}

impl<K: Clone> Kept<K> {
    fn get(&mut self, hash: &ContentHash) -> Option<K> {
        self.asked += 1;
        let (body, last) = self.bodies.get_mut(hash)?;
        *last = self.asked;
        Some(body.clone())
    }

    fn insert(&mut self, hash: ContentHash, body: K) {
        if self.bodies.len() >= KEPT
            && let Some(oldest) = self.bodies.iter().min_by_key(|(_, (_, last))| *last).map(|(hash, _)| hash.clone())
        {
            self.bodies.remove(&oldest);
        }
        self.asked += 1;
        self.bodies.insert(hash, (body, self.asked));
    }
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
    kept: &Mutex<Kept<K>>,
    bus: &Bus,
    hash: &ContentHash,
    what: &str,
    load: impl FnOnce(T) -> K,
) -> Result<Option<K>, Problem> {
    if let Some(found) = held(kept).get(hash) {
        return Ok(Some(found));
    }
    let Some(body) = bus.definitions().get_by_hash(hash.as_str()).await? else { return Ok(None) };
    let broken = |e: serde_json::Error| Problem::malformed(format!("what is stored as {hash} is no {what}: {e}"));
    let loaded = load(serde_json::from_slice(&body).map_err(broken)?);
    held(kept).insert(hash.clone(), loaded.clone());
    Ok(Some(loaded))
}

impl Definitions for Bodies {
    fn workflow(&self, hash: &ContentHash) -> Option<Arc<LoadedWorkflow>> {
        held(&self.workflows).get(hash)
    }
    fn lock(&self, hash: &ContentHash) -> Option<LockDefinition> {
        held(&self.locks).get(hash)
    }
    fn catalog(&self, hash: &ContentHash) -> Option<Arc<CatalogDefinition>> {
        held(&self.catalog).get(hash)
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cache_gives_up_only_what_was_longest_not_asked_for() {
        let hash = |number: usize| ContentHash::of(number.to_string().as_bytes());
        let mut kept = Kept::default();
        (0..KEPT).for_each(|number| kept.insert(hash(number), number));
        assert_eq!(kept.get(&hash(0)), Some(0));
        kept.insert(hash(KEPT), KEPT);
        assert_eq!([0, 1, 2, KEPT].map(|number| kept.get(&hash(number))), [Some(0), None, Some(2), Some(KEPT)]);
        assert_eq!(kept.bodies.len(), KEPT);
    }
}
