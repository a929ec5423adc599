//! The bus: JetStream for facts, micro services for requests, leases for roles. The only crate that names
//! `async_nats::jetstream`; errors and types of the library do not leave it.
//!
//! # Layout
//! - `append.rs`: **where facts are persisted**: the one-in-flight append, trait [`Journal`], [`NatsJournal`]
//! - `memory.rs`: [`MemoryJournal`] for the simulation
//! - `follow.rs`: ordered reading with contiguity; `pull.rs`: the protocol below it and below `durable.rs`
//! - `durable.rs`: durable consumers: [`Durable`], [`OrderedDurable`], [`Kills`]
//! - `publish.rs`: publishing with acknowledgement, and the claim that has one winner
//! - `lease/`: who is active in a role
//! - `bucket.rs`, `object.rs`, `snapshot.rs`: heartbeats, definitions, snapshots
//! - `service.rs`: requests and answers
//! - `provision.rs`, `stream.rs`: making and measuring streams
//! - `bus.rs`: the connection; `exchange.rs`: what goes over it

mod append;
mod bucket;
mod bus;
mod durable;
mod error;
mod exchange;
mod follow;
mod lease;
mod memory;
mod message;
mod object;
mod provision;
mod publish;
mod pull;
mod service;
mod snapshot;
mod stream;

pub use append::{Append, AppendError, Appended, Attempt, Found, Journal, NatsJournal, Step};
pub use bucket::{Bucket, Entry, Watch};
pub use bus::{Bus, BusConfig, Link, OLDEST_SERVER};
pub use durable::{Ack, Durable, Kills, OrderedDurable};
pub use error::{BusError, BusErrorKind};
pub use exchange::{Heard, Listener};
pub use follow::{Follow, FollowError, FollowFrom};
pub use lease::{Lease, LeaseConfig, LeaseEvent, LeaseTimes, Takeover, confirm_loss};
pub use memory::{Fault, Faults, MemoryJournal, MemoryLog};
pub use message::{Headers, Message};
pub use object::{Object, ObjectInfo, ObjectStore};
pub use provision::{Provisioned, is_provisioned, provision};
pub use publish::{Claim, Outgoing};
pub use service::{Call, CallError, Handler, Offered, RequestError, Service, ServiceSpec, no_calls};
pub use snapshot::{SnapshotHead, Snapshots};
pub use stream::{ConsumerInfo, Headroom, INCARNATION, StreamInfo};
