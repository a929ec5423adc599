//! Who is told of what, and when nobody is woken: rules and maintenance windows, and how mails are kept few.
//!
//! All of it is pure. The monitor keeps the states that are arguments here, and does what the answers say.
//!
//! # Layout
//! - [`rule`]: [`Rule`] = which of the things that happen ([`Kind`]), to what ([`Scope`]), are told to whom ([`MailAddress`])
//! - [`maintenance`]: [`Maintenance`] = when what is silenced, and until when
//! - [`scope`]: names, tags and folders with `*`; [`Subject`] = what it happened to
//! - [`fold`]: first alert at once, repeats together, floods as digests

pub mod fold;
pub mod maintenance;
pub mod rule;
pub mod scope;
#[cfg(test)]
mod tests;

pub use maintenance::{Maintenance, Weekday, Window};
pub use rule::{InvalidAddress, Kind, MailAddress, Rule, Trigger};
pub use scope::{InvalidPattern, Pattern, Scope, Subject};
