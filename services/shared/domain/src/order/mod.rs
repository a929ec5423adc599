//! Orders: one passage through a workflow.
//!
//! # Layout
//! [`command`] what is asked, [`event`] what happened, [`state`] what is; `decide.rs` and `apply.rs` connect them,
//! `wait.rs` says why an order does not move. What an order does on an instruction is in `step/<instruction>.rs`.

pub(crate) mod add;
pub(crate) mod advance;
pub(crate) mod apply;
pub mod command;
pub(crate) mod decide;
pub mod event;
pub(crate) mod family;
pub mod state;
pub mod wait;

pub use state::{Order, OrderState};
pub use wait::Wait;

#[cfg(test)]
mod tests;
