//! The runner as a process, without a bus.
#![allow(clippy::unwrap_used)]

#[path = "runner/ending.rs"]
mod ending;
#[path = "runner/harness.rs"]
mod harness;
#[path = "runner/output.rs"]
mod output;
#[path = "runner/starting.rs"]
mod starting;
#[path = "runner/surviving.rs"]
mod surviving;
