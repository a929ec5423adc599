//! The agent: takes the runs that are sent to its name, runs each exactly once, and reports what became of it. It knows
//! its site and no other host; it decides nothing about orders. It must never start what it did not claim, never start
//! the same run twice, and never lose the end of a run that it started.
//!
//! # Layout
//! - [`claim`]: the life of a run at one instance, as a pure state machine
//! - [`runner`]: the long-lived process that holds the jobs

pub mod claim;
pub mod runner;
