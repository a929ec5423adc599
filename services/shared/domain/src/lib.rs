//! The pure core of Ordo: what a site is, what may be asked of it, what happened, and what follows.
//!
//! Nothing here does I/O, reads a clock or draws a random number; time, ids and definitions come in by [`Ctx`].
//!
//! # Layout
//! - [`command`], [`event`]: everything that can be asked and everything that can have happened, one enum each;
//!   the bodies live in the folder of their entity ([`order`], [`run`], [`lock`], [`agent`], [`controller`], [`definition`]).
//! - [`site`]: the state; [`apply`] changes it, [`decide`] answers commands and reports, [`advance`] says what follows by itself.
//! - [`workflow`]: a compiled workflow; [`definition`]: the YAML that people write; [`expression`]: CEL and `${ }` templates.
//!   `step/<instruction>.rs`: what an order does on an instruction.
//! - [`catalog`]: what is deployed besides: schedules ([`plan`]), rules and maintenance windows ([`alert`]), [`log_rule`]s,
//!   [`retention`]; what they say is for the services that act by them, and pure, too.
//! - [`effect`]: what the world must be told after a commit. [`invariant`]: what is true of every state.

pub mod advance;
pub mod agent;
pub mod alert;
pub mod apply;
pub mod catalog;
pub mod command;
pub mod controller;
pub mod ctx;
pub mod decide;
pub mod definition;
pub mod effect;
pub mod event;
pub mod expression;
pub mod failure;
pub mod id;
pub mod invariant;
pub mod limit;
pub mod lock;
pub mod log_rule;
pub mod order;
pub mod plan;
pub mod refusal;
pub mod retention;
pub mod run;
pub mod site;
pub mod span;
pub(crate) mod step;
#[cfg(test)]
mod tests;
pub mod value;
pub mod workflow;

pub use command::Command;
pub use ctx::{Ctx, Definitions, Ids};
pub use event::Event;
pub use failure::{Failure, Outcome};
pub use id::*;
pub use refusal::Refusal;
pub use site::Site;
pub use span::Span;
pub use value::{Arguments, EnvValue, Kind, Value};

/// An instant on the UTC time line, with millisecond resolution on the wire.
pub type Instant = chrono::DateTime<chrono::Utc>;
