//! The bodies that orders run by, fetched from the definition store before they are needed: deciding never waits.

use ordo_domain::{
    Command, ContentHash, Definitions, Site, catalog::CatalogDefinition, ctx::LoadedWorkflow, lock::LockDefinition,
};
use ordo_journal::Bus;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
};

#[derive(Debug, Clone)]
enum Body {
    Workflow(Arc<LoadedWorkflow>),
    Lock(LockDefinition),
    Catalog(Arc<CatalogDefinition>),
}

/// Immutable bodies by hash, shared by the engine and whoever fetches.
#[derive(Debug, Default)]
pub struct DefinitionCache {
    bodies: RwLock<BTreeMap<ContentHash, Body>>,
}

impl DefinitionCache {
    /// Fetches what is not here yet. A body that is not in the store, or cannot be read, stays away: the decision that
    /// needs it says so.
    pub async fn fetch(
        &self,
        bus: &Bus,
        wanted: impl IntoIterator<Item = ContentHash>,
    ) -> Result<(), ordo_journal::BusError> {
        for hash in wanted {
            if self.has(&hash) {
                continue;
            }
            match bus.definitions().get(hash.as_str()).await? {
                Some(bytes) => self.insert(&hash, &bytes),
                None => tracing::warn!(%hash, "definition is not in the store"),
            }
        }
        Ok(())
    }

    /// Keeps a body, when it is one and its bytes are what the hash says.
    pub fn insert(&self, hash: &ContentHash, bytes: &[u8]) {
        if ContentHash::of(bytes) != *hash {
            tracing::error!(%hash, "definition in the store is not what its hash says");
            return;
        }
        let body = match serde_json::from_slice(bytes) {
            Ok(workflow) => Ok(Body::Workflow(Arc::new(LoadedWorkflow::new(workflow)))),
            Err(not_workflow) => {
                let lock = serde_json::from_slice(bytes).map(Body::Lock);
                let other = || serde_json::from_slice(bytes).map(|definition| Body::Catalog(Arc::new(definition)));
                lock.or_else(|_| other()).map_err(|_| format!("not readable: {not_workflow}"))
            }
        };
        match body {
            Ok(body) => {
                self.bodies.write().unwrap_or_else(PoisonError::into_inner).insert(hash.clone(), body);
            }
            Err(reason) => tracing::error!(%hash, reason, "definition in the store cannot be used"),
        }
    }

    fn has(&self, hash: &ContentHash) -> bool {
        self.bodies.read().unwrap_or_else(PoisonError::into_inner).contains_key(hash)
    }

    fn get(&self, hash: &ContentHash) -> Option<Body> {
        self.bodies.read().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }
}

impl Definitions for DefinitionCache {
    fn workflow(&self, hash: &ContentHash) -> Option<Arc<LoadedWorkflow>> {
        match self.get(hash)? {
            Body::Workflow(workflow) => Some(workflow),
            Body::Lock(_) | Body::Catalog(_) => None,
        }
    }

    fn lock(&self, hash: &ContentHash) -> Option<LockDefinition> {
        match self.get(hash)? {
            Body::Lock(lock) => Some(lock),
            Body::Workflow(_) | Body::Catalog(_) => None,
        }
    }

    fn catalog(&self, hash: &ContentHash) -> Option<Arc<CatalogDefinition>> {
        match self.get(hash)? {
            Body::Catalog(definition) => Some(definition),
            Body::Workflow(_) | Body::Lock(_) => None,
        }
    }
}

/// All bodies that a state needs: the newest versions, and those that orders stay on.
pub fn needed_by(site: &Site) -> BTreeSet<ContentHash> {
    let newest = site.workflows.values().map(|w| w.hash.clone());
    let pinned = site.orders.values().map(|o| o.workflow.hash.clone());
    newest.chain(pinned).collect()
}

/// All bodies that a command names.
pub fn named_by(command: &Command) -> Vec<ContentHash> {
    match command {
        Command::Deploy(deploy) => deploy.items.iter().map(|item| item.hash().clone()).collect(),
        Command::AddOrders(_)
        | Command::CancelOrders(_)
        | Command::SuspendOrders(_)
        | Command::ResumeOrders(_)
        | Command::AddAgent(_)
        | Command::RemoveDefinitions(_)
        | Command::SuspendSchedules(_)
        | Command::ResumeSchedules(_)
        | Command::NoteStarts(_) => Vec::new(),
    }
}
