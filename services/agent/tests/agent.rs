//! The agent as a process, its runner, and a real NATS server with the rights of a real site. The test plays the
//! controller and the history.
#![allow(clippy::unwrap_used)]

#[path = "agent/claiming.rs"]
mod claiming;
#[path = "agent/harness.rs"]
mod harness;
#[path = "agent/shipping.rs"]
mod shipping;
#[path = "agent/surviving.rs"]
mod surviving;
#[path = "agent/working.rs"]
mod working;
