//! The cleanup: takes away what is older than the retention says, in its window, and never what runs, waits or is
//! referred to.
//!
//! Any number of instances, one active by lease. In the database it deletes itself, in batches that yield to the history;
//! on the bus it asks the controller, which knows what is still needed. It must never decide what is over: that stands in
//! the rows, and in the controller's state.
//!
//! # Layout
//! - [`Config`], [`run`]: the process, on `ordo_service`
//! - `policy`: the retention that is deployed; `when`: its window, run now, and what was not finished
//! - `clean`: one run, step by step; `elsewhere`: what others do for it
//! - `answer`: requests

mod answer;
mod clean;
mod config;
mod elsewhere;
mod policy;
mod when;

pub use config::Config;

use bytes::Bytes;
use ordo_contract::request::cleanup as request;
use ordo_journal::{Call, CallError};
use ordo_runtime::CancellationToken;
use ordo_service::{Active, Instance, LeasedService, Part, Stop};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, watch};

/// Runs the service until `shutdown`.
///
/// # Errors
/// What no waiting heals: unusable settings or credentials, a server that is too old, a database of another site.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    ordo_service::run(Cleanup::default(), config.role, Some(config.database), shutdown).await
}

#[derive(Default)]
struct Cleanup {
    /// A run was begun by a request.
    begun: Notify,
    /// Counts up when another retention holds.
    retention: watch::Sender<u64>,
    /// The retention that holds is known: this instance is active and its rows are up to date.
    ready: AtomicBool,
}

impl LeasedService for Cleanup {
    const ROLE: &'static str = "cleanup";
    const RUNS: bool = true;

    fn description(&self, site: &str) -> String {
        format!("Takes away what is older than the retention of site {site} says")
    }

    fn endpoints(&self) -> Vec<(&'static str, &'static str)> {
        request::STATUS.split_once('.').into_iter().collect()
    }

    fn active_endpoints(&self) -> Vec<(&'static str, &'static str)> {
        request::RUN.split_once('.').into_iter().collect()
    }

    async fn answer(&self, here: &Instance, call: &Call) -> Result<Bytes, CallError> {
        answer::answer(here, call, self).await
    }

    async fn work(&self, active: &Active) -> Result<(), Stop> {
        self.ready.store(false, Ordering::Relaxed);
        let asked = active.wakes.runs();
        let parts: Vec<Part<'_>> = vec![
            Box::pin(policy::follow(active, self.retention.clone())),
            Box::pin(async {
                // Before that the defaults, or the retention before the last, might take away what the one that holds keeps.
                active.caught_up().await?;
                self.ready.store(true, Ordering::Relaxed);
                when::keep_clean(active, &self.begun, asked, self.retention.subscribe()).await
            }),
        ];
        active.together(parts).await
    }
}
