//! Runs: one attempt of one job. [`report`] is what agents say of them, [`event`] what happened, [`state`] what is.

pub(crate) mod apply;
pub(crate) mod decide;
pub mod event;
pub mod report;
pub mod spec;
pub mod state;

pub use report::{Report, RunEnd, RunFacts};
pub use spec::JobSpec;
pub use state::{Run, RunState};

#[cfg(test)]
mod tests;
