//! Trying again: how long to wait, and what waiting heals.

use crate::active::Active;
use crate::status::To;
use crate::stop::{Stop, chain};
use ordo_journal::{BusError, BusErrorKind};
use ordo_store::StoreError;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pauses that double, from the first to the longest, each shortened by chance to between half and all of it: many that
/// failed together do not come again together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff {
    pub first: Duration,
    pub longest: Duration,
}

impl BackOff {
    /// For what is asked of a server nearby.
    pub const NEAR: Self = Self { first: Duration::from_millis(50), longest: Duration::from_secs(2) };

    /// The pause after so many failures (from 1).
    pub fn pause(&self, failures: u32) -> Duration {
        let whole = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.longest);
        whole.mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// Counts failures and waits between them.
#[derive(Debug, Clone)]
pub struct Pause {
    back_off: BackOff,
    failures: u32,
}

impl Pause {
    pub fn new(back_off: BackOff) -> Self {
        Self { back_off, failures: 0 }
    }

    /// Waits after a failure; an error when told to stop meanwhile.
    pub async fn wait(&mut self, stop: &CancellationToken) -> Result<(), Stop> {
        self.failures += 1;
        tokio::select! {
            () = stop.cancelled() => Err(Stop::Told),
            () = tokio::time::sleep(self.back_off.pause(self.failures)) => Ok(()),
        }
    }
}

/// An error that may pass.
pub trait Passing: std::error::Error + Into<Stop> {
    /// Waiting helps.
    fn passes(&self) -> bool;
    /// The way that is troubled then.
    fn to(&self) -> To;
}

impl Passing for StoreError {
    /// Also for the role, database and schema that an installer is just making.
    fn passes(&self) -> bool {
        self.is_passing() || matches!(self, StoreError::NotAdmitted { .. } | StoreError::NotMigrated { .. })
    }
    fn to(&self) -> To {
        To::Database
    }
}

impl Passing for BusError {
    /// A stream that is not there yet is made by the controller.
    fn passes(&self) -> bool {
        self.is_passing() || self.kind() == BusErrorKind::NotFound
    }
    fn to(&self) -> To {
        To::Bus
    }
}

impl Active {
    /// Repeats `work` on the bus or the database until it is there, keeps its place meanwhile, and says so.
    ///
    /// # Errors
    /// Told to stop, or what waiting does not heal.
    pub async fn retry<T, E, F>(&self, mut work: impl FnMut() -> F) -> Result<T, Stop>
    where
        E: Passing,
        F: Future<Output = Result<T, E>>,
    {
        let mut pause = Pause::new(BackOff::NEAR);
        loop {
            let outcome = tokio::select! {
                () = self.stop.cancelled() => return Err(Stop::Told),
                outcome = work() => outcome,
            };
            match outcome {
                Ok(value) => return Ok(value),
                Err(error) if error.passes() => self.status.failed(error.to(), chain(&error)),
                Err(error) => return Err(error.into()),
            }
            pause.wait(&self.stop).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::BackOff;
    use std::time::Duration;

    #[test]
    fn pauses_double_up_to_the_longest_and_vary() {
        let back_off = BackOff { first: Duration::from_millis(100), longest: Duration::from_secs(3) };
        for (failures, whole) in [(0, 100), (1, 100), (2, 200), (5, 1600), (6, 3000), (500, 3000)] {
            for _ in 0..50 {
                let pause = back_off.pause(failures).as_millis();
                assert!((whole / 2..=whole).contains(&pause), "{failures}: {pause}");
            }
        }
        let some: std::collections::BTreeSet<_> = (0..50).map(|_| back_off.pause(9)).collect();
        assert!(some.len() > 10, "no chance in it");
    }
}
