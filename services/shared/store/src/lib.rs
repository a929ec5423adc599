//! PostgreSQL: the read models, and how far they are. The only crate with SQL in it. Knows nothing of the bus.
//!
//! It owns the schema (`schemas/postgres/`), the projection of the journal into rows ([`Projection`]), the stored output
//! of runs, and the questions that people ask of them. It must never decide about orders: all that is here can be built
//! again from the journal.
//!
//! # Layout
//! - [`Connect`], [`Store`]: an address (TLS by `sslmode`), and two pools behind it, one to write, one to read
//! - [`migrate`]: numbered migrations by the sync driver; never inside tokio
//! - `projection`: the [`Position`] of a stream, moved in the transaction of its rows; zero rows moved = [`StoreError::Fenced`]
//! - `history`: the projection itself: `decode` (the chain of commits), `fold` (pure: commits to rows), one file per table
//! - `cleanup`: deleting what is old enough, and how far that is
//! - `output`: chunks of logs, and when a log is complete
//! - `partition`: months of the table `events`
//! - `read`: answers to `ordo_contract::request::history`
//! - [`StoreError`]: what was attempted, where, and whether it passes by itself

mod cleanup;
mod connect;
mod error;
mod history;
mod migrate;
mod output;
mod partition;
mod projection;
mod read;
mod tls;
mod value;

pub use cleanup::{Batch, CleanupRun, CleanupState, CleanupStep, Counts, NewRun, add, add_all};
pub use connect::{Connect, Store};
pub use error::{Fault, StoreError};
pub use history::{Message, Projection, Written};
pub use migrate::{MIGRATIONS, Migrated, Migration, apply, migrate, newest};
pub use output::{Chunk, StoredChunks};
pub use partition::ahead;
pub use projection::Position;
