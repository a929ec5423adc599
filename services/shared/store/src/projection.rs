//! How far a stream is in the database. The position moves in the transaction of its rows, and only for who knows its
//! present value: two writers can never both be right, and no row is written twice or left out by a crash.

use crate::connect::Store;
use crate::error::StoreError;
use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;

/// Where a projection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub stream: String,
    /// Of the stream; a position means nothing in another one.
    pub incarnation: String,
    /// Of the last message that is in the rows; 0 before the first.
    pub sequence: u64,
    /// Chain hash of the last commit; empty before the first, and for streams without a chain.
    pub hash: String,
    /// Highest epoch ever seen.
    pub epoch: u64,
    /// Time of the last commit.
    pub at: Option<DateTime<Utc>>,
}

pub(crate) fn signed(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(sequence: i64) -> u64 {
    u64::try_from(sequence).unwrap_or_default()
}

impl Store {
    /// Reads a position without making one.
    pub async fn position(&self, stream: &str) -> Result<Option<Position>, StoreError> {
        let client = self.reader().await?;
        let sql = "SELECT incarnation, sequence, hash, epoch, at FROM projections WHERE stream = $1";
        let row = self.sorted("read the position", client.query_opt(sql, &[&stream]).await)?;
        Ok(row.map(|row| Position {
            stream: stream.to_owned(),
            incarnation: row.get(0),
            sequence: unsigned(row.get(1)),
            hash: row.get(2),
            epoch: unsigned(row.get(3)),
            at: row.get(4),
        }))
    }

    /// The position of a stream for its writer; made at 0 where there is none.
    ///
    /// # Errors
    /// [`StoreError::IncarnationUnknown`] when the rows were made from another stream of that name.
    pub async fn open_position(&self, stream: &str, incarnation: &str) -> Result<Position, StoreError> {
        let client = self.writer().await?;
        let sql = "INSERT INTO projections (stream, incarnation, sequence, hash) VALUES ($1, $2, 0, '') ON CONFLICT (stream) DO NOTHING";
        self.sorted("make the position", client.execute(sql, &[&stream, &incarnation]).await)?;
        drop(client);
        let missing = || StoreError::Refused { what: format!("the position of {stream} vanished while it was made") };
        let position = self.position(stream).await?.ok_or_else(missing)?;
        // Nothing is built from an empty stream that went away.
        if position.incarnation != incarnation && position.sequence > 0 {
            return Err(StoreError::IncarnationUnknown {
                stream: stream.to_owned(),
                known: position.incarnation,
                found: incarnation.to_owned(),
            });
        }
        if position.incarnation != incarnation {
            let client = self.writer().await?;
            let sql = "UPDATE projections SET incarnation = $2 WHERE stream = $1 AND sequence = 0";
            self.sorted("note the incarnation", client.execute(sql, &[&stream, &incarnation]).await)?;
        }
        Ok(Position { incarnation: incarnation.to_owned(), ..position })
    }

    /// The position in a stream whose loss does no harm to the rows: where it was made anew, reading begins anew.
    pub async fn open_loose_position(&self, stream: &str, incarnation: &str) -> Result<Position, StoreError> {
        match self.open_position(stream, incarnation).await {
            Err(StoreError::IncarnationUnknown { known, .. }) => {
                tracing::warn!(stream, known, incarnation, "the stream was made anew, reading it from its beginning");
                let client = self.writer().await?;
                let sql = "UPDATE projections SET incarnation = $2, sequence = 0, moved_at = now() WHERE stream = $1 AND incarnation = $3";
                self.sorted("begin the position anew", client.execute(sql, &[&stream, &incarnation, &known]).await)?;
                drop(client);
                self.open_position(stream, incarnation).await
            }
            other => other,
        }
    }

    /// Moves the position inside the transaction of the rows; to be called first, so that a rival waits before it writes.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it is not where we left it.
    pub(crate) async fn advance(&self, tx: &Transaction<'_>, from: &Position, to: &Position) -> Result<(), StoreError> {
        let sql = "UPDATE projections SET sequence = $4, hash = $5, epoch = greatest(epoch, $6), at = coalesce($7, at), moved_at = now() \
                   WHERE stream = $1 AND incarnation = $2 AND sequence = $3";
        let statement = self.sorted("prepare the move of the position", tx.prepare_cached(sql).await)?;
        let moved = tx
            .execute(
                &statement,
                &[
                    &from.stream,
                    &from.incarnation,
                    &signed(from.sequence),
                    &signed(to.sequence),
                    &to.hash,
                    &signed(to.epoch),
                    &to.at,
                ],
            )
            .await;
        if self.sorted("move the position", moved)? == 1 {
            return Ok(());
        }
        let sql = "SELECT sequence FROM projections WHERE stream = $1";
        let row = self.sorted("read the position", tx.query_opt(sql, &[&from.stream]).await)?;
        let theirs = row.map(|row| unsigned(row.get(0))).unwrap_or_default();
        Err(StoreError::Fenced { stream: from.stream.clone(), ours: from.sequence, theirs })
    }
}
