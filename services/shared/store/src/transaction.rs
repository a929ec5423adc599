//! One transaction of a service's rows, and what follows from it: effects that wait, timers that are set. What it left
//! is told after the commit, so that nobody has to look for it in the table all the time.

use crate::connect::Store;
use crate::error::StoreError;
use crate::outbox::Effect;
use crate::projection::{Position, signed, unsigned};
use crate::timer::Timer;
use chrono::{DateTime, Utc};
use deadpool_postgres::{Object, Transaction};

/// Open rows of one service. Dropped: nothing happened.
pub struct Tx<'a> {
    pub(crate) store: &'a Store,
    pub(crate) tx: Transaction<'a>,
    pub(crate) service: String,
    /// Some of the rows may be there already: a position was set back by hand.
    pub(crate) again: bool,
    pub(crate) left: Left,
}

/// What a committed transaction left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use = "somebody waits to be woken for it"]
pub struct Left {
    /// Effects that were not in the outbox before.
    pub effects: usize,
    /// The earliest timer that was set.
    pub timer_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Begins a transaction of `service`: `let mut client = store.writer().await?; let mut tx = store.begin(&mut client, …)`.
    pub(crate) async fn begin<'a>(&'a self, client: &'a mut Object, service: &str) -> Result<Tx<'a>, StoreError> {
        let tx = self.sorted("begin a transaction", client.transaction().await)?;
        Ok(Tx { store: self, tx, service: service.to_owned(), again: false, left: Left::default() })
    }

    /// Wants effects that follow from no rows.
    pub async fn enqueue(&self, service: &str, effects: &[Effect]) -> Result<Left, StoreError> {
        let mut client = self.writer().await?;
        let mut tx = self.begin(&mut client, service).await?;
        tx.enqueue(effects).await?;
        tx.commit().await
    }

    /// Sets timers that follow from no rows.
    pub async fn set_timers(&self, service: &str, timers: &[Timer]) -> Result<Left, StoreError> {
        let mut client = self.writer().await?;
        let mut tx = self.begin(&mut client, service).await?;
        tx.set_timers(timers).await?;
        tx.commit().await
    }
}

/// Waits for the other transactions that write the rows of that service alone, whoever they are.
pub(crate) async fn alone(store: &Store, tx: &Transaction<'_>, service: &str) -> Result<(), StoreError> {
    let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    let statement = store.sorted("prepare writing alone", tx.prepare_cached(sql).await)?;
    store.sorted("wait for who writes the same rows", tx.query(&statement, &[&service]).await).map(drop)
}

impl Tx<'_> {
    pub(crate) async fn commit(self) -> Result<Left, StoreError> {
        self.store.sorted("commit a transaction", self.tx.commit().await)?;
        Ok(self.left)
    }

    /// Waits for the other transactions of this service that write alone. To be called before anything is written, for rows
    /// that are read, changed in memory and written back.
    pub(crate) async fn alone(&self) -> Result<(), StoreError> {
        alone(self.store, &self.tx, &self.service).await
    }

    /// Moves the position of the service; to be called first, so that a rival waits before it writes.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it is not where we left it.
    pub(crate) async fn advance(&self, from: &Position, to: &Position) -> Result<(), StoreError> {
        let sql = "UPDATE projections SET incarnation = $5, sequence = $6, hash = $7, epoch = greatest(epoch, $8), \
            at = coalesce($9, at), moved_at = now() WHERE reader = $1 AND stream = $2 AND incarnation = $3 AND sequence = $4";
        let statement = self.store.sorted("prepare the move of the position", self.tx.prepare_cached(sql).await)?;
        let moved = self
            .tx
            .execute(
                &statement,
                &[
                    &from.reader,
                    &from.stream,
                    &from.incarnation,
                    &signed(from.sequence),
                    &to.incarnation,
                    &signed(to.sequence),
                    &to.hash,
                    &signed(to.epoch),
                    &to.at,
                ],
            )
            .await;
        if self.store.sorted("move the position", moved)? == 1 {
            return Ok(());
        }
        let sql = "SELECT sequence FROM projections WHERE reader = $1 AND stream = $2";
        let row = self.tx.query_opt(sql, &[&from.reader, &from.stream]).await;
        let theirs = self.store.sorted("read the position", row)?.map(|row| unsigned(row.get(0))).unwrap_or_default();
        Err(StoreError::Fenced { stream: from.stream.clone(), ours: from.sequence, theirs })
    }
}
