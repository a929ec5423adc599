//! History: the journal and the output of jobs into PostgreSQL, and what people ask of them.
//!
//! Any number of instances, one active by lease; all answer requests. It must never decide about orders, and never lose
//! or repeat a commit: position and rows move in one transaction, a hole is said loudly and never passed over.
//!
//! # Layout
//! - [`run`]: the service in the shell of `ordo-service`: JOURNAL into rows, OUTPUT into rows, months of events made ahead
//! - [`Config`]; `collect`: OUTPUT into rows; `answer`: requests
//! - the rows themselves: `services/shared/store/src/history/`

mod answer;
mod collect;
mod config;

pub use config::Config;

use bytes::Bytes;
use ordo_contract::name::StreamKind;
use ordo_journal::{Call, CallError};
use ordo_service::{Active, Instance, LeasedService, Part, Stop, chain, project};
use ordo_store::{HistoryRows, ahead};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const PARTITIONS_EVERY: Duration = Duration::from_secs(3600);

/// Runs the service until `shutdown`.
///
/// # Errors
/// See [`ordo_service::run`].
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let (role, database) = (config.role.clone(), config.database.clone());
    ordo_service::run(History { config }, role, Some(database), shutdown).await
}

struct History {
    config: Config,
}

impl LeasedService for History {
    const ROLE: &'static str = "history";

    fn description(&self, site: &str) -> String {
        format!("Past and present orders, steps, logs and events of site {site}")
    }

    fn endpoints(&self) -> Vec<(&'static str, &'static str)> {
        answer::endpoints()
    }

    fn agent_endpoints(&self) -> Vec<&'static str> {
        vec![ordo_contract::request::history::OUTPUT_STORED]
    }

    async fn answer(&self, here: &Instance, call: &Call) -> Result<Bytes, CallError> {
        answer::answer(here.store(), call, here.bus.max_payload()).await
    }

    async fn work(&self, active: &Active) -> Result<(), Stop> {
        let rows = HistoryRows::of(&active.bus.names().stream(StreamKind::Journal));
        let parts: Vec<Part<'_>> = vec![
            Box::pin(project::run(active, rows, self.config.batch_commits as usize)),
            Box::pin(collect::collect(active, &self.config)),
            Box::pin(make_partitions(active)),
        ];
        active.together(parts).await
    }
}

/// Months of the table of events, before they come.
async fn make_partitions(active: &Active) -> Result<(), Stop> {
    loop {
        match active.store().create_event_partitions(&ahead(chrono::Utc::now())).await {
            Ok(0) => {}
            Ok(made) => tracing::info!(made, "partitions of events made ahead"),
            Err(error) => {
                tracing::warn!(error = chain(&error), "no partitions made ahead, the default one takes events");
            }
        }
        tokio::select! {
            () = active.stop.cancelled() => return Err(Stop::Told),
            () = tokio::time::sleep(PARTITIONS_EVERY) => {}
        }
    }
}
