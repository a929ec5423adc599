//! The monitor: wakes people by mails that are worth reading, and is silent when they asked for it.
//!
//! Any number of instances, one active by lease; all answer requests. It must never decide about orders, never tell of one
//! failure twice or not at all, and never let what somebody wrote become a header, a tag or a command.
//!
//! # Layout
//! - `config`: [`Config`]; `service`: what the active instance does, and the effect that sends a mail
//! - `watch`, `presence`: who is there (the second one is pure); `notices`: what log rules found
//! - `write`: a mail when it is due; `background`: what history adds to it
//! - [`letter`]: what a mail says, pure; [`post`]: how it gets to people
//! - `answer`: requests

mod answer;
mod background;
mod config;
pub mod letter;
mod notices;
pub mod post;
mod presence;
mod service;
mod watch;
mod write;

pub use config::{Config, MailSettings, SmtpSettings};
pub use service::run;
