//! Deleting what is old enough, in batches that are soon over, and counting the same without deleting it.
//!
//! Each kind says what may go in **one** condition, which counting and deleting share. A batch and the note of it are one
//! transaction: a restart goes on behind the last one, and of two instances one finds itself fenced.
//!
//! # Layout
//! - `run`: runs and how far their steps are; `order`: finished orders with all that is theirs; `event`: months of events
//! - `flat`: tables whose rows go one by one; `retention`: which one is deployed

mod event;
mod flat;
mod order;
mod retention;
mod run;

pub use retention::{DeployedRetention, RetentionRows};
pub use run::{CleanupRun, CleanupState, CleanupStep, NewRun};

use crate::connect::Store;
use crate::error::StoreError;
use chrono::{DateTime, Utc};
use ordo_domain::retention::RetentionKind;
use serde_json::Value;
use std::collections::BTreeMap;

/// Rows by what they were: `orders`, `steps`, `bytes`, ….
pub type Counts = BTreeMap<String, u64>;

/// A batch: what went (or would go), and where the next begins.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    pub counts: Counts,
    /// None: nothing is left.
    pub next: Option<Value>,
}

/// Whether a batch deletes what it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Count,
    Delete,
}

/// One page of work: what is older than this, from there on, at most so many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page<'a> {
    pub(crate) cut_off: DateTime<Utc>,
    pub(crate) from: Option<&'a Value>,
    pub(crate) size: u32,
}

/// Adds one count to others.
pub fn add(counts: &mut Counts, name: &str, rows: impl TryInto<u64>) {
    let rows = rows.try_into().unwrap_or_default();
    if rows > 0 {
        *counts.entry(name.to_owned()).or_default() += rows;
    }
}

/// Adds all counts to others.
pub fn add_all(counts: &mut Counts, more: &Counts) {
    for (name, rows) in more {
        *counts.entry(name.clone()).or_default() += rows;
    }
}

impl Store {
    /// Deletes a batch and notes it, or (`dry_run`) counts it and notes that. `step` is moved; where another instance moved it
    /// meanwhile, [`StoreError::Fenced`].
    pub async fn clean_batch(&self, step: &mut CleanupStep, size: u32, dry_run: bool) -> Result<Batch, StoreError> {
        let mode = if dry_run { Mode::Count } else { Mode::Delete };
        if step.kind == RetentionKind::Orders && mode == Mode::Delete {
            self.delete_long_logs(step, size).await?;
        }
        let mut client = self.writer().await?;
        let tx = self.sorted("begin a batch", client.transaction().await)?;
        // Short waits: whoever holds a row of ours does work that matters more.
        self.sorted("set the batch's limits", tx.batch_execute("SET LOCAL lock_timeout = '1s'").await)?;
        self.take_step(&tx, step).await?;
        let page = Page { cut_off: step.cut_off, from: step.position.as_ref(), size };
        let batch = self.page(&tx, step.kind, page, mode).await?;
        let after = step.after(&batch);
        self.note_step(&tx, &after).await?;
        self.sorted("commit a batch", tx.commit().await)?;
        *step = after;
        Ok(batch)
    }

    async fn page(
        &self,
        tx: &deadpool_postgres::Transaction<'_>,
        kind: RetentionKind,
        page: Page<'_>,
        mode: Mode,
    ) -> Result<Batch, StoreError> {
        match kind {
            RetentionKind::Orders => self.order_page(tx, page, mode).await,
            RetentionKind::Events => self.event_page(tx, page, mode).await,
            // Of some kinds nothing is in the database.
            kind => self.flat_page(tx, &flat::tables(kind), page, mode).await,
        }
    }
}
