//! The rows of the monitor: what happened to orders becomes notifications, and these become mails, one transaction with the
//! position. Each failure makes exactly one notification, because its id is made of the event.
//!
//! # Layout
//! - `watched`: pure: an order as far as somebody may be told of it, and what an event means for it
//! - `board`: pure: a batch of events on the watched orders: what is raised, what recovers, which timers are set
//! - `rows`: the projection ([`MonitorRows`]); `definition`: rules and windows; `order`: their rows
//! - `raise`: notifications and how they are told: at once, folded, in a digest, silenced
//! - `thread`: what was told of a thing before; `fire`: timers ([`MonitorTimers`])
//! - `mail`: mails and deliveries; `read`: answers to requests

mod board;
mod definition;
mod fire;
mod mail;
mod order;
mod raise;
mod read;
mod rows;
#[cfg(test)]
mod tests;
mod thread;
mod watched;

pub use definition::MonitorDefinition;
pub use fire::MonitorTimers;
pub use mail::{DeliveryEnd, MailEffect, MailRow};
pub use raise::{Raised, Telling};
pub use rows::{Bodies, MonitorRows};

/// As in `outbox.service`, `timers.service` and `projections.reader`.
pub const MONITOR: &str = "monitor";
/// What is older is noted only: nobody is woken for what a long outage brings to light.
pub(crate) const OLDEST: chrono::TimeDelta = chrono::TimeDelta::days(1);
/// Of effects.
pub const MAIL: &str = "mail";
