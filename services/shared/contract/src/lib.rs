
//! What crosses a process border: names, envelopes, bodies of requests and replies. No I/O.

pub mod command;
pub mod commit;
pub mod heartbeat;
pub mod job;
pub mod lease;
pub mod output;
pub mod replica;
pub mod report;
pub mod request;
pub mod bus_config;
pub mod name;
pub mod right;
