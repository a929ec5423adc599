//! The rules in force: which are deployed is in the database, what they say in the definition store.

use crate::intake::Intake;
use ordo_domain::ContentHash;
use ordo_domain::catalog::CatalogDefinition;
use ordo_domain::log_rule::{LogRule, RuleSet};
use ordo_journal::{Bus, BusErrorKind};
use ordo_service::{Instance, chain};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// How often an instance that is not active asks whether others are deployed.
const EVERY: Duration = Duration::from_secs(5);

/// What all parts of the process match with.
#[derive(Debug)]
pub(crate) struct Rules {
    set: watch::Sender<Arc<RuleSet>>,
    /// By hash, so that each body is fetched once.
    bodies: Mutex<BTreeMap<ContentHash, LogRule>>,
    /// What `set` was made of.
    made_of: Mutex<Option<Vec<ContentHash>>>,
    changed: Notify,
}

impl Rules {
    pub(crate) fn new() -> Self {
        Self {
            set: watch::Sender::new(Arc::new(RuleSet::new([]).0)),
            bodies: Mutex::default(),
            made_of: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn now(&self) -> Arc<RuleSet> {
        self.set.borrow().clone()
    }

    /// Somebody deployed or removed some.
    pub(crate) fn changed(&self) {
        self.changed.notify_one();
    }

    /// Keeps them as they are deployed, and gives them to the listener.
    pub(crate) async fn keep(&self, here: &Instance, intake: &Intake, stop: &CancellationToken) {
        let mut failing = false;
        loop {
            match self.load(here, intake).await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(error, "log rules cannot be read now, going on with those known");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Loads those that are deployed now.
    pub(crate) async fn load(&self, here: &Instance, intake: &Intake) -> Result<(), String> {
        let deployed = here.store().log_rules().await.map_err(|e| chain(&e))?;
        let hashes: Vec<ContentHash> = deployed.iter().map(|rule| rule.hash.clone()).collect();
        if self.made_of.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&hashes) {
            return Ok(());
        }
        let mut rules = Vec::new();
        let mut unusable = Vec::new();
        for rule in &deployed {
            match self.fetch(&here.bus, &rule.hash).await? {
                Ok(found) => rules.push(found),
                Err(why) => unusable.push((rule.name.clone(), why)),
            }
        }
        let (set, wrong) = RuleSet::new(rules);
        unusable.extend(wrong.into_iter().map(|(name, why)| (name, why.to_string())));
        // One of them is no reason to do without the others.
        for (name, why) in unusable {
            tracing::error!(rule = %name, why, "this log rule cannot be used, deploy it again");
        }
        tracing::info!(rules = set.len(), "log rules in force");
        let set = Arc::new(set);
        intake.set_rules(Arc::clone(&set));
        self.set.send_replace(set);
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).retain(|hash, _| hashes.contains(hash));
        *self.made_of.lock().unwrap_or_else(PoisonError::into_inner) = Some(hashes);
        Ok(())
    }

    /// The body with this hash. The outer error passes when the bus is back, the inner one does not.
    async fn fetch(&self, bus: &Bus, hash: &ContentHash) -> Result<Result<LogRule, String>, String> {
        if let Some(known) = self.bodies.lock().unwrap_or_else(PoisonError::into_inner).get(hash) {
            return Ok(Ok(known.clone()));
        }
        let body = match bus.definitions().get_by_hash(hash.as_str()).await {
            Ok(Some(body)) => body,
            Ok(None) => return Ok(Err(format!("the body {hash} is not in the definition store"))),
            Err(error) if error.kind() == BusErrorKind::Corrupt => return Ok(Err(chain(&error))),
            Err(error) => return Err(chain(&error)),
        };
        Ok(match serde_json::from_slice(&body) {
            Ok(CatalogDefinition::LogRule(rule)) => {
                self.bodies.lock().unwrap_or_else(PoisonError::into_inner).insert(hash.clone(), rule.clone());
                Ok(rule)
            }
            Ok(_) => Err(format!("the body {hash} is no log rule")),
            Err(error) => Err(format!("the body {hash} cannot be read: {error}")),
        })
    }
}
