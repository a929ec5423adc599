//! The retention that holds: the one named `default` that was deployed last, else the defaults.

use ordo_domain::DefinitionName;
use ordo_domain::catalog::CatalogDefinition;
use ordo_domain::retention::{DEFAULT_NAME, Retention};
use ordo_journal::BusError;
use ordo_service::{Active, BackOff, Instance, Pause, Stop, chain};
use ordo_store::{RetentionRows, StoreError};
use std::time::Duration;
use tokio::sync::watch;

/// Commits in one transaction.
const BATCH: usize = 500;

/// What holds now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy {
    pub(crate) retention: Retention,
    /// None: the defaults.
    pub(crate) version: Option<u32>,
}

/// Why what is deployed is not known.
#[derive(Debug)]
pub(crate) enum NotKnown {
    Store(StoreError),
    Bus(BusError),
    /// Its body is not there, or another build wrote it.
    Body(String),
}

/// Follows the journal, of which only deployments of the retention matter. Where it does not reach back far enough, what is
/// deployed now is the beginning.
pub(crate) async fn follow(active: &Active, changed: watch::Sender<u64>) -> Result<(), Stop> {
    ordo_service::project::run(active, RetentionRows::new(changed), BATCH).await
}

/// What holds now, by the rows and the definition store.
pub(crate) async fn current(here: &Instance) -> Result<Policy, NotKnown> {
    let Some(deployed) = here.store().deployed_retention().await.map_err(NotKnown::Store)? else {
        return Ok(Policy { retention: of_defaults()?, version: None });
    };
    let body = here.bus.definition(deployed.hash.as_str()).await.map_err(NotKnown::Bus)?;
    let missing =
        || NotKnown::Body(format!("the body of retention {DEFAULT_NAME}, {}, is not in the store", deployed.hash));
    match serde_json::from_slice(&body.ok_or_else(missing)?) {
        Ok(CatalogDefinition::Retention(retention)) => Ok(Policy { retention, version: Some(deployed.version) }),
        Ok(other) => Err(NotKnown::Body(format!("{} is a {}, not a retention", deployed.hash, other.kind()))),
        Err(error) => Err(NotKnown::Body(format!("retention {DEFAULT_NAME} cannot be read: {error}"))),
    }
}

fn of_defaults() -> Result<Retention, NotKnown> {
    let name = DefinitionName::new(DEFAULT_NAME).map_err(|e| NotKnown::Body(e.to_string()))?;
    Ok(Retention::of_defaults(name))
}

/// The same, as often as it takes.
pub(crate) async fn known(active: &Active) -> Result<Policy, Stop> {
    let mut pause = Pause::new(BackOff { first: Duration::from_millis(100), longest: Duration::from_secs(10) });
    loop {
        match current(active).await {
            Ok(policy) => {
                active.status.note("retention", None);
                return Ok(policy);
            }
            Err(why) => active.status.note("retention", Some(why.to_string())),
        }
        pause.wait(&active.stop).await?;
    }
}

impl std::fmt::Display for NotKnown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NotKnown::Store(error) => f.write_str(&chain(error)),
            NotKnown::Bus(error) => f.write_str(&chain(error)),
            NotKnown::Body(text) => f.write_str(text),
        }
    }
}
