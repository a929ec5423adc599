//! Log notification: syslog in, rules over it and over the warnings of Ordo's own instances, notices out.
//!
//! Any number of instances: each listens where its configuration says, one is active by lease and makes the notices. It
//! must never stop for what comes in, however much or odd it is, and never lose count of what it did not take.
//!
//! # Layout
//! - `config`: [`Config`]
//! - `socket`: UDP and TCP; `frame`, `parse`, `clean`: bytes to messages, pure; `allow`: who may send
//! - `guard`: how much is taken and kept, and what is not; `intake`: what becomes of a message; `backlog`, `publish`: on the way into LOGS
//! - `service`: what each instance does, and the active one: `rules` in force, `collect` and `fold`: LOGS into notices
//! - `list`: requests

pub mod allow;
pub mod backlog;
pub mod clean;
mod collect;
mod config;
pub mod fold;
pub mod frame;
#[cfg(test)]
mod fuzz_tests;
pub mod guard;
pub mod intake;
mod list;
pub mod parse;
mod publish;
mod rules;
mod service;
pub mod socket;

pub use config::{Config, Syslog, SyslogConfig};
pub use service::run;

use backlog::Backlog;
use intake::Intake;
use ordo_runtime::CancellationToken;
use socket::Shared;
use std::sync::Arc;

/// Listens where the configuration says, until told to stop. To be called inside of a runtime.
///
/// # Errors
/// Addresses that are none.
pub fn listen(config: &SyslogConfig, backlog: &Arc<Backlog>, stop: &CancellationToken) -> anyhow::Result<Shared> {
    let addresses = config.understood()?;
    let shared = Shared {
        intake: Arc::new(Intake::new(config, addresses.allow, Arc::clone(backlog))),
        bound: Default::default(),
        longest: config.longest_bytes.max(64) as usize,
        idle: config.idle.to_std(),
        connections: config.connections as usize,
        connections_per_sender: config.connections_per_sender as usize,
        stop: stop.clone(),
    };
    addresses.udp.into_iter().for_each(|address| drop(tokio::spawn(socket::udp(shared.clone(), address))));
    addresses.tcp.into_iter().for_each(|address| drop(tokio::spawn(socket::tcp(shared.clone(), address))));
    Ok(shared)
}
