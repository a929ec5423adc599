//! The agent: takes the runs that are sent to its name, runs each exactly once, and reports what became of it. It owns
//! its data folder and the jobs in it; it knows its site and no other host; it decides nothing about orders. It must
//! never start what it did not claim, never start the same run twice, and never lose the end of a run that it started.
//!
//! # Layout
//! - [`claim`]: **read this first**: the life of a run at one instance, as a pure state machine
//! - `shell.rs`: the task that drives it; `agent.rs`: start, loop and orderly stop; [`config`]
//! - [`disk_log`]: jobs and reports on disk; `outbox.rs`: reports on their way out
//! - [`runner`]: the long-lived process that holds the jobs; `runner_link.rs`: the connection to it;
//!   `runner_tool.rs`: looking at it from outside
//! - [`scripts`]: scripts by hash; [`results`]: what jobs hand back; `ship.rs`: output on its way to history
//! - `beat.rs`: heartbeat and micro service

mod agent;
mod beat;
pub mod claim;
pub mod config;
pub mod disk_log;
mod outbox;
pub mod results;
pub mod runner;
mod runner_link;
mod runner_tool;
pub mod scripts;
mod shell;
mod ship;

pub use agent::run;
pub use config::Config;
pub use runner_tool::{RunnerJob, end_runner, runner_jobs};
