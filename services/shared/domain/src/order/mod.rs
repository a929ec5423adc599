//! Orders: one passage through a workflow.
//!
//! # Layout
//! [`command`] what is asked, [`event`] what happened, [`state`] what is; `decide.rs` (with `add.rs` and
//! `family.rs`) and `apply.rs` (with `birth.rs` and `control.rs`) connect them, `advance.rs` says what follows by itself,
//! `wait.rs` says why an order does not move, `series.rs` what planned orders do while an earlier one still runs. What an order does on an instruction is in `step/<instruction>.rs`.

pub(crate) mod add;
pub(crate) mod advance;
pub(crate) mod apply;
pub(crate) mod birth;
pub mod command;
pub(crate) mod control;
pub(crate) mod decide;
pub mod event;
pub(crate) mod family;
pub mod series;
pub mod state;
pub mod wait;

pub use state::{Order, OrderState};
pub use wait::Wait;

#[cfg(test)]
mod tests;
