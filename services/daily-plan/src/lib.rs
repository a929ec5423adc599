//! The daily plan: starts of schedules, planned ahead into PostgreSQL and handed to the controller as commands.
//!
//! Any number of instances, one active by lease; all answer requests. It must never decide about orders, and never make a
//! start twice or not at all: what was asked for is asked again with the same command id until the journal tells the
//! outcome, and the controller knows every start by schedule, parameterisation and instant. So it needs no lock beyond the
//! lease, which only saves work.
//!
//! # Layout
//! - `config`: [`Config`]; `service`: what it is to the shell of services
//! - `planner`: the loop of the active instance: what changed, what is to be planned, what is to be asked
//! - `outline`: pure: what the starts of a schedule are, and what a new version changes
//! - `command`: pure: commands and their ids; `answer`: requests

mod answer;
mod command;
mod config;
mod outline;
#[cfg(test)]
mod outline_tests;
mod planner;
mod service;

pub use config::Config;
pub use service::run;
