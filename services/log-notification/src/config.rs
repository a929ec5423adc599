//! Configuration of the log notification service.

use crate::allow::{self, Network};
use anyhow::Context;
use ordo_domain::Span;
use ordo_runtime::{DatabaseSettings, RoleSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// `ordo run log-notification`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    #[serde(flatten)]
    pub role: RoleSettings,
    /// With the role `ordo_log_notification`; the schema is made by `ordo db migrate` with the owner's role.
    pub database: DatabaseSettings,
    /// Where syslog comes in, and how much of it.
    pub syslog: SyslogConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: RoleSettings::default(),
            database: DatabaseSettings {
                url: "postgres://ordo_log_notification@127.0.0.1:5432/ordo".into(),
                ..DatabaseSettings::default()
            },
            syslog: SyslogConfig::default(),
        }
    }
}

/// The listener. Without an address it does not listen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SyslogConfig {
    /// Addresses to listen on by UDP, such as `127.0.0.1:5514` or `[::]:514`.
    pub udp: Vec<String>,
    /// Addresses to listen on by TCP; octet counting and lines are told apart by themselves.
    pub tcp: Vec<String>,
    /// From whom messages are taken: addresses and networks, such as `10.0.0.0/8`. This machine only, if not given.
    pub allow: Vec<String>,
    /// Longest message in bytes; what is longer is cut, and said to be.
    pub longest_bytes: u32,
    /// Messages a second that are taken from all senders together; twice as many at once.
    pub messages: u32,
    /// Messages a second that are taken from one sender; twice as many at once.
    pub messages_per_sender: u32,
    /// Messages a second that are kept in the stream LOGS; ten times as many at once. The same again for what a rule fits.
    pub stored: u32,
    /// The same for each sender.
    pub stored_per_sender: u32,
    /// Connections at a time.
    pub connections: u32,
    /// Connections at a time of one sender.
    pub connections_per_sender: u32,
    /// A connection on which nothing came for so long is closed.
    pub idle: Span,
    /// How often it is said what was not taken.
    pub say_every: Span,
}

impl Default for SyslogConfig {
    fn default() -> Self {
        Self {
            udp: Vec::new(),
            tcp: Vec::new(),
            allow: allow::loopback(),
            longest_bytes: 8 * 1024,
            messages: 50_000,
            messages_per_sender: 25_000,
            stored: 200,
            stored_per_sender: 50,
            connections: 256,
            connections_per_sender: 64,
            idle: Span::from_secs(600),
            say_every: Span::from_secs(10),
        }
    }
}

/// The same, understood.
#[derive(Debug, Clone)]
pub struct Syslog {
    pub udp: Vec<SocketAddr>,
    pub tcp: Vec<SocketAddr>,
    pub allow: Vec<Network>,
}

impl SyslogConfig {
    /// # Errors
    /// What is no address, or no network.
    pub fn understood(&self) -> anyhow::Result<Syslog> {
        let addresses = |what: &str, texts: &[String]| {
            let each = texts.iter().map(|text| {
                text.parse::<SocketAddr>().with_context(|| {
                    format!("{what}: {text:?} is no address; write it like 127.0.0.1:5514 or [::]:514")
                })
            });
            each.collect::<anyhow::Result<Vec<_>>>()
        };
        let allow = self.allow.iter().map(|text| text.parse::<Network>().context("syslog.allow"));
        Ok(Syslog {
            udp: addresses("syslog.udp", &self.udp)?,
            tcp: addresses("syslog.tcp", &self.tcp)?,
            allow: allow.collect::<anyhow::Result<_>>()?,
        })
    }
}
