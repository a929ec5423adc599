//! What both readers share: the connections, how trouble that passes is waited out, and how the active part ends.

use crate::config::Config;
use crate::error::{Stop, chain};
use crate::status::Status;
use ordo_journal::{Bus, BusError};
use ordo_store::{Store, StoreError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The shortest and the longest pause between tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

#[derive(Clone)]
pub(crate) struct Active {
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) status: Status,
    pub(crate) config: Config,
    pub(crate) stop: CancellationToken,
}

/// Pauses that become longer.
pub(crate) struct Pause(Duration);

impl Pause {
    pub(crate) fn new() -> Self {
        Self(PAUSES.0)
    }

    /// Waits; an error when told to stop meanwhile.
    pub(crate) async fn wait(&mut self, stop: &CancellationToken) -> Result<(), Stop> {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSES.1);
        tokio::select! {
            () = stop.cancelled() => Err(Stop::Told),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }
}

impl Active {
    /// Repeats `work` on the database until it is there; keeps its place meanwhile, and says so.
    pub(crate) async fn database<T, F>(&self, mut work: impl FnMut() -> F) -> Result<T, Stop>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut pause = Pause::new();
        loop {
            let outcome = tokio::select! {
                () = self.stop.cancelled() => return Err(Stop::Told),
                outcome = work() => outcome,
            };
            match outcome {
                Ok(value) => return Ok(value),
                Err(error) if passes(&error) => self.status.probed(true, Err(chain(&error))),
                Err(error) => return Err(error.into()),
            }
            pause.wait(&self.stop).await?;
        }
    }

    /// Repeats a request to the bus until it is there.
    pub(crate) async fn bus<T, F>(&self, mut work: impl FnMut() -> F) -> Result<T, Stop>
    where
        F: Future<Output = Result<T, BusError>>,
    {
        let mut pause = Pause::new();
        loop {
            let outcome = tokio::select! {
                () = self.stop.cancelled() => return Err(Stop::Told),
                outcome = work() => outcome,
            };
            match outcome {
                Ok(value) => return Ok(value),
                // A stream that is not there yet is made by the controller.
                Err(error) if error.is_passing() || error.kind() == ordo_journal::BusErrorKind::NotFound => {
                    tracing::debug!(%error, "bus away, trying on");
                }
                Err(error) => return Err(error.into()),
            }
            pause.wait(&self.stop).await?;
        }
    }
}

/// Waiting helps: also for the role, database and schema that an installer is just making.
pub(crate) fn passes(error: &StoreError) -> bool {
    error.is_passing() || matches!(error, StoreError::NotAdmitted { .. } | StoreError::NotMigrated { .. })
}
