//! PostgreSQL: the read models, and how far they are. The only crate with SQL in it. Knows nothing of the bus.
//!
//! It owns the schema (`schemas/postgres/`), the projections of the journal into the rows of each service
//! ([`Projector`]), what follows from rows ([`Effect`], [`Timer`]), the stored output of runs, and the questions that people
//! ask of them. It must never decide about orders: all that is here can be built again from the journal.
//!
//! # Layout
//! - [`Connect`], [`Store`]: an address (TLS by `sslmode`), and two pools behind it, one to write, one to read
//! - [`migrate`]: numbered migrations by the sync driver; never inside tokio
//! - `projection`: the [`Position`] of a service in a stream; `decode`: the chain of commits
//! - `projector`: batches of commits into the rows of a service ([`Rows`]), in the transaction that moves its position;
//!   `transaction`: that transaction, [`Tx`]; zero rows moved = [`StoreError::Fenced`]
//! - `outbox`: effects that follow from rows; `timer`: what is to be done at a time
//! - `history`: the rows of history: `fold` (pure: commits to rows), one file per table
//! - `cleanup`: deleting what is old enough, and how far that is
//! - `output`: chunks of logs, and when a log is complete
//! - `monitor`: what people are told: rules, notifications, mails
//! - [`plan`]: starts of schedules: planned, asked for, and what became of them
//! - `partition`: months of the table `events`
//! - `read`: answers to `ordo_contract::request::history`
//! - [`StoreError`]: what was attempted, where, and whether it passes by itself

pub mod plan;

mod cleanup;
mod connect;
mod decode;
mod error;
mod history;
mod log;
mod migrate;
mod monitor;
mod outbox;
mod output;
mod partition;
mod projection;
mod projector;
mod read;
mod timer;
mod tls;
mod transaction;
mod value;

pub use cleanup::{
    Batch, CleanupRun, CleanupState, CleanupStep, Counts, DeployedRetention, NewRun, RetentionRows, add, add_all,
};
pub use connect::{Connect, Store};
pub use decode::{Decoded, Message};
pub use error::{Fault, StoreError};
pub use history::{HistoryRows, Projection};
pub use log::{DeployedLogRule, LogFold, LogFoldChanges, LogRuleRows};
pub use migrate::{MIGRATIONS, Migrated, Migration, apply, migrate, newest};
pub use monitor::{
    Bodies, DeliveryEnd, MONITOR, MailEffect, MailRow, MonitorDefinition, MonitorRows, MonitorTimers, Raised, Telling,
};
pub use outbox::{Effect, OutboxFigures, Waiting};
pub use output::{Chunk, StoredChunks};
pub use partition::ahead;
pub use projection::Position;
pub use projector::{Projector, Rows, Written};
pub use timer::{Fire, Timer};
pub use transaction::{Left, Tx};
