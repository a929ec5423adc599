//! History: the journal and the output of jobs into PostgreSQL, and what people ask of them.
//!
//! Any number of instances, one active by lease; all answer requests. It must never decide about orders, and never lose
//! or repeat a commit: position and rows move in one transaction, a hole is said loudly and never passed over.
//!
//! # Layout
//! - `config`: [`Config`]
//! - `instance`: the process: connections, lease, heartbeat, when it is active
//! - `project`: JOURNAL into rows; `collect`: OUTPUT into rows; `active`: what both share
//! - `answer`: requests
//! - `status`: what the instance says of itself; `error`: why it stops being active

mod active;
mod answer;
mod collect;
mod config;
mod error;
mod instance;
mod project;
mod status;

pub use config::Config;
pub use instance::run;
