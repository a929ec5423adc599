//! For tests only: private servers with the rights of a real site, folders that vanish, waiting for states.
//!
//! # Layout
//! - [`server`]: a NATS server per test
//! - [`database`]: a database per test, a PostgreSQL per test process
//! - [`certificate`]: an authority and a server's certificate, for tests of TLS
//! - [`folder`]: a folder per test
//! - [`smtp`]: a mail server that misbehaves as it is told, and what it received
//! - [`wait`]: waiting for a state with a limit

pub mod certificate;
pub mod database;
pub mod folder;
pub mod server;
pub mod smtp;
pub mod wait;

pub use certificate::TestCertificates;
pub use database::TestPostgres;
pub use folder::TestFolder;
pub use ordo_contract::right::User;
pub use ordo_servers::DatabaseRole;
pub use server::TestNats;
pub use smtp::SmtpServer;
pub use wait::{wait_for, wait_until};

#[cfg(test)]
mod tests;
