//! The monitor: wakes people by mails that are worth reading, and is silent when they asked for it.
//!
//! It must never decide about orders, never tell of one failure twice or not at all, and never let what somebody wrote
//! become a header, a tag or a command.
//!
//! # Layout
//! - `config`: [`Config`]
//! - [`letter`]: what a mail says, pure; [`post`]: how it gets to people

mod config;
pub mod letter;
pub mod post;

pub use config::{Config, MailSettings, SmtpSettings};
