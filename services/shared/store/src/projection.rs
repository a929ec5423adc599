//! How far a stream is in the database. The position moves in the transaction of its rows, and only for who knows its
//! present value: two writers can never both be right, and no row is written twice or left out by a crash.

use crate::connect::Store;
use crate::error::StoreError;
use chrono::{DateTime, Utc};

/// Where a projection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The service whose rows these are.
    pub reader: String,
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
    pub async fn position(&self, reader: &str, stream: &str) -> Result<Option<Position>, StoreError> {
        let client = self.reader().await?;
        let sql = "SELECT incarnation, sequence, hash, epoch, at FROM projections WHERE reader = $1 AND stream = $2";
        let row = self.sorted("read the position", client.query_opt(sql, &[&reader, &stream]).await)?;
        Ok(row.map(|row| Position {
            reader: reader.to_owned(),
            stream: stream.to_owned(),
            incarnation: row.get(0),
            sequence: unsigned(row.get(1)),
            hash: row.get(2),
            epoch: unsigned(row.get(3)),
            at: row.get(4),
        }))
    }

    /// The position of `reader` in a stream, for its writer; made at 0 where there is none.
    ///
    /// # Errors
    /// [`StoreError::IncarnationUnknown`] when the rows were made from another stream of that name.
    pub async fn open_position(&self, reader: &str, stream: &str, incarnation: &str) -> Result<Position, StoreError> {
        let position = self.any_position(reader, stream, incarnation).await?;
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
            let sql = "UPDATE projections SET incarnation = $3 WHERE reader = $1 AND stream = $2 AND sequence = 0";
            let noted = client.execute(sql, &[&reader, &stream, &incarnation]).await;
            self.sorted("note the incarnation", noted)?;
        }
        Ok(Position { incarnation: incarnation.to_owned(), ..position })
    }

    /// The position as it is, whichever stream of that name it is of; made at 0 where there is none.
    pub async fn any_position(&self, reader: &str, stream: &str, incarnation: &str) -> Result<Position, StoreError> {
        let client = self.writer().await?;
        let sql = "INSERT INTO projections (reader, stream, incarnation, sequence, hash) VALUES ($1, $2, $3, 0, '') \
                   ON CONFLICT (reader, stream) DO NOTHING";
        self.sorted("make the position", client.execute(sql, &[&reader, &stream, &incarnation]).await)?;
        drop(client);
        let missing = || StoreError::Refused { what: format!("the position of {stream} vanished while it was made") };
        self.position(reader, stream).await?.ok_or_else(missing)
    }

    /// The position in a stream whose loss does no harm to the rows: where it was made anew, reading begins anew.
    pub async fn open_loose_position(
        &self,
        reader: &str,
        stream: &str,
        incarnation: &str,
    ) -> Result<Position, StoreError> {
        match self.open_position(reader, stream, incarnation).await {
            Err(StoreError::IncarnationUnknown { known, .. }) => {
                tracing::warn!(stream, known, incarnation, "the stream was made anew, reading it from its beginning");
                let client = self.writer().await?;
                let sql = "UPDATE projections SET incarnation = $3, sequence = 0, moved_at = now() \
                           WHERE reader = $1 AND stream = $2 AND incarnation = $4";
                let begun = client.execute(sql, &[&reader, &stream, &incarnation, &known]).await;
                self.sorted("begin the position anew", begun)?;
                drop(client);
                self.open_position(reader, stream, incarnation).await
            }
            other => other,
        }
    }
}
