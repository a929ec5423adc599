//! The built binary as a person meets it: few and long.

// All of it is tests, also what clippy does not take for one.
#![allow(clippy::unwrap_used)]

mod compose_stack;
mod compose_survives;
mod example_definitions;
mod nats_cli_lines;
mod up_cleanup;
mod up_commands;
mod up_jobs;
mod up_lifecycle;
mod up_mails;
mod up_process;
mod up_syslog;
