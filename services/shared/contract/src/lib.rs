//! What crosses a process border: names, rights, envelopes, bodies of requests and replies. Owns the language that roles
//! speak with each other, and must never do anything: no I/O, no clock.
//!
//! # Layout
//! - [`name`]: every subject, stream, bucket and consumer; [`right`]: who may use which; [`bus_config`]: their settings as data
//! - [`command`], [`commit`], [`job`], [`report`], [`output`], [`log`], [`notice`]: what lies in streams; [`heartbeat`], [`lease`]: in buckets
//! - [`request`]: what is asked and answered
//! - [`replica`]: the state that follows commits, and what a snapshot holds

pub mod bus_config;
pub mod command;
pub mod commit;
pub mod heartbeat;
pub mod job;
pub mod lease;
pub mod log;
pub mod name;
pub mod notice;
pub mod output;
pub mod replica;
pub mod report;
pub mod request;
pub mod right;
