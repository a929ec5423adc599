//! Durable timers: what a service has to do at a time. Set and cancelled in the transaction of the rows that want it; the
//! row goes in the transaction that does it. So each fires once, and none is lost with a process.

use crate::connect::Store;
use crate::error::StoreError;
use crate::history::order::column;
use crate::transaction::{Left, Tx};
use crate::value::JsonText;
use chrono::{DateTime, SubsecRound, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use tokio_postgres::Row;

/// A time, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// One timer per key: setting it again moves it.
    pub key: String,
    /// To the microsecond.
    pub due_at: DateTime<Utc>,
    /// JSON.
    pub body: String,
}

impl Timer {
    pub fn new(key: impl Into<String>, due_at: DateTime<Utc>, body: &impl Serialize) -> Self {
        let body = serde_json::to_string(body).unwrap_or_else(|_| "null".to_owned());
        Self { key: key.into(), due_at: due_at.trunc_subsecs(6), body }
    }

    /// Its body.
    ///
    /// # Errors
    /// When another build wrote something else.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.body)
    }
}

/// What is done when timers are due, in the transaction that takes them away. What goes outside is enqueued.
pub trait Fire: Send {
    /// It judges by the rows of the service's projection: it fires only when these hold the journal as it is, and while no
    /// other transaction writes them.
    const BY_ROWS: bool = false;

    fn fire(&mut self, tx: &mut Tx<'_>, due: &[Timer]) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl Tx<'_> {
    /// Sets timers, or moves those that have the key already. Each key once.
    pub async fn set_timers(&mut self, timers: &[Timer]) -> Result<(), StoreError> {
        let Some(first) = timers.iter().map(|timer| timer.due_at).min() else { return Ok(()) };
        let sql = "INSERT INTO timers (service, key, due_at, body) \
            SELECT $1, key, due_at, body FROM unnest($2::text[], $3::timestamptz[], $4::json[]) AS t (key, due_at, body) \
            ON CONFLICT (service, key) DO UPDATE SET due_at = excluded.due_at, body = excluded.body";
        let statement = self.store.sorted("prepare setting timers", self.tx.prepare_cached(sql).await)?;
        let done = self
            .tx
            .execute(
                &statement,
                &[
                    &self.service,
                    &column!(timers, |t| t.key.as_str()),
                    &column!(timers, |t| t.due_at.trunc_subsecs(6)),
                    &column!(timers, |t| JsonText(Cow::Borrowed(t.body.as_str()))),
                ],
            )
            .await;
        self.store.sorted("set timers", done)?;
        self.left.timer_at = Some(self.left.timer_at.map_or(first, |at| at.min(first)));
        Ok(())
    }

    /// Cancels timers; returns how many there were.
    pub async fn cancel_timers(&mut self, keys: &[String]) -> Result<usize, StoreError> {
        if keys.is_empty() {
            return Ok(0);
        }
        let sql = "DELETE FROM timers WHERE service = $1 AND key = ANY($2)";
        let statement = self.store.sorted("prepare cancelling timers", self.tx.prepare_cached(sql).await)?;
        let done = self.tx.execute(&statement, &[&self.service, &keys]).await;
        Ok(usize::try_from(self.store.sorted("cancel timers", done)?).unwrap_or_default())
    }

    /// Cancels every timer whose key begins like this; returns how many there were.
    pub async fn cancel_timers_of(&mut self, beginning: &str) -> Result<usize, StoreError> {
        let sql = "DELETE FROM timers WHERE service = $1 AND starts_with(key, $2) AND key >= $2";
        let statement = self.store.sorted("prepare cancelling timers", self.tx.prepare_cached(sql).await)?;
        let done = self.tx.execute(&statement, &[&self.service, &beginning]).await;
        Ok(usize::try_from(self.store.sorted("cancel timers", done)?).unwrap_or_default())
    }

    /// Takes those of these timers away that are still set to that time, and tells which.
    async fn take_timers(&mut self, timers: &[Timer]) -> Result<Vec<Timer>, StoreError> {
        let sql = "DELETE FROM timers t USING unnest($2::text[], $3::timestamptz[]) AS d (key, due_at) \
            WHERE t.service = $1 AND t.key = d.key AND t.due_at = d.due_at RETURNING t.key";
        let statement = self.store.sorted("prepare taking timers", self.tx.prepare_cached(sql).await)?;
        let (keys, times) = (column!(timers, |t| t.key.as_str()), column!(timers, |t| t.due_at));
        let rows = self.tx.query(&statement, &[&self.service, &keys, &times]).await;
        let taken: std::collections::BTreeSet<String> =
            self.store.sorted("take timers", rows)?.iter().map(|row| row.get(0)).collect();
        Ok(timers.iter().filter(|timer| taken.contains(&timer.key)).cloned().collect())
    }
}

impl Store {
    /// The next timers of a service, whether they are due yet or not: the earliest first.
    pub async fn next_timers(&self, service: &str, limit: usize) -> Result<Vec<Timer>, StoreError> {
        let client = self.writer().await?;
        let sql = "SELECT key, due_at, body::text FROM timers WHERE service = $1 ORDER BY due_at, key LIMIT $2";
        let statement = self.sorted("prepare reading timers", client.prepare_cached(sql).await)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.sorted("read timers", client.query(&statement, &[&service, &limit]).await)?;
        let timer = |row: &Row| Timer { key: row.get(0), due_at: row.get(1), body: row.get(2) };
        Ok(rows.iter().map(timer).collect())
    }

    /// Fires timers that are due: takes away those that are still set so, and does in the same transaction what they
    /// are for.
    pub async fn fire_timers<F: Fire>(&self, service: &str, due: &[Timer], fire: &mut F) -> Result<Left, StoreError> {
        let mut client = self.writer().await?;
        let mut tx = self.begin(&mut client, service).await?;
        if F::BY_ROWS {
            tx.alone().await?;
        }
        let taken = tx.take_timers(due).await?;
        if !taken.is_empty() {
            fire.fire(&mut tx, &taken).await?;
        }
        tx.commit().await
    }
}
