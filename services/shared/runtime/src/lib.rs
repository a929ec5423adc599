//! The shell around every role's process: where its configuration comes from, how it logs, how it learns that it has
//! to stop, how it tells the world that it lives. Owns no decision about orders and knows no subject of the bus.
//!
//! # Layout
//! - [`config`]: layers defaults < TOML file < environment `ORDO_…` < flags, and what each value came from
//! - [`settings`]: the blocks that every role's configuration shares
//! - [`logging`]: tracing to stderr as text or JSON, and the tap that carries WARN and above to the bus
//! - [`clock`]: wall time and time since boot, as arguments instead of calls
//! - [`shutdown`]: SIGTERM and SIGINT as a `CancellationToken`
//! - [`health`]: the status file behind `ordo health ROLE`
//! - [`exit`]: what the exit codes of a role mean to its supervisor
//! - [`home`]: the folders a user's Ordo lives in by default

pub mod clock;
pub mod config;
pub mod exit;
pub mod health;
pub mod home;
pub mod logging;
pub mod settings;
pub mod shutdown;

pub use clock::{Clock, SystemClock};
pub use config::{ConfigError, Loaded, load_config};
pub use exit::Exit;
pub use health::{Health, HealthState};
pub use settings::{BusSettings, DatabaseSettings, RoleSettings};
pub use tokio_util::sync::CancellationToken;

#[cfg(test)]
mod tests;
