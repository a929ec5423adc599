//! The journal into the rows of a service: batches of commits become rows, in one transaction with the position.

use crate::connect::Store;
use crate::decode::{Decoded, Message, decode};
use crate::error::StoreError;
use crate::projection::Position;
use crate::transaction::{Left, Tx};
use ordo_contract::request::catalog::DeployedReply;

/// What a service makes of commits. Written in this crate, because it is SQL.
pub trait Rows: Send + 'static {
    /// The service, which is its durable on the journal, its `reader` in `projections` and its `service` elsewhere.
    const READER: &'static str;

    /// Before the transaction: what has to be looked up, or made, for this batch.
    fn prepare(&mut self, _: &Store, _: &[Decoded<'_>]) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Ok(()) }
    }

    /// In the transaction that moves the position. It may be rolled back afterwards, and may come again: what is kept in
    /// memory changes in [`Rows::committed`] at the earliest. A batch is never empty.
    fn write(&mut self, tx: &mut Tx<'_>, batch: &[Decoded<'_>]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The batch of the last `write`, or the picture of the last `begin`, is in the database.
    fn committed(&mut self) {}

    /// Whether the rows can begin anew from what is deployed, where the commits between are gone. Otherwise a person must
    /// decide.
    const CAN_BEGIN: bool = false;

    /// Makes the rows true for this picture: what was removed, changed or deployed meanwhile, and what may have happened
    /// unseen. In the transaction that sets the position to it.
    fn begin(
        &mut self,
        _: &mut Tx<'_>,
        picture: &DeployedReply,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        let what = format!("{} cannot begin anew at journal {}", Self::READER, picture.sequence);
        async { Err(StoreError::Refused { what }) }
    }
}

/// What a batch became.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    pub commits: usize,
    pub events: usize,
    pub left: Left,
}

/// The writer of a service's projection. One at a time is right: who is overtaken gets [`StoreError::Fenced`].
pub struct Projector<R> {
    store: Store,
    position: Position,
    rows: R,
}

impl<R: Rows> Projector<R> {
    /// The writer at a position that was opened for [`Rows::READER`].
    pub fn at(store: &Store, position: Position, rows: R) -> Self {
        Self { store: store.clone(), position, rows }
    }

    /// Of the last commit that is in the rows.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// After an error that left open whether the transaction was carried out: the database knows.
    pub async fn reopen(&mut self) -> Result<(), StoreError> {
        let Position { stream, incarnation, .. } = &self.position;
        self.position = self.store.any_position(R::READER, stream, incarnation).await?;
        Ok(())
    }

    /// Writes commits and moves the position, all or nothing. What lies at or below the position is passed over.
    ///
    /// After an error the position is what it was, except that a broken connection leaves open whether the transaction
    /// was carried out: [`Projector::reopen`].
    pub async fn write(&mut self, messages: &[Message<'_>]) -> Result<Written, StoreError> {
        let mut to = self.position.clone();
        let mut batch = Vec::with_capacity(messages.len());
        for message in messages {
            if let Some(decoded) = decode(&mut to, *message)? {
                batch.push(decoded);
            }
        }
        if batch.is_empty() {
            return Ok(Written::default());
        }
        self.rows.prepare(&self.store, &batch).await?;
        let left = match self.transact(&batch, &to, false).await {
            // The rows are there and the position was set back by hand: the slow way passes over what is there.
            Err(error) if error.code() == Some("23505") => self.transact(&batch, &to, true).await?,
            other => other?,
        };
        self.position = to;
        self.rows.committed();
        Ok(Written { commits: batch.len(), events: batch.iter().map(|d| d.events().count()).sum(), left })
    }

    /// Begins anew at a picture of what is deployed, wherever the position was.
    pub async fn begin(&mut self, picture: &DeployedReply) -> Result<Left, StoreError> {
        let to = Position {
            incarnation: picture.incarnation.clone(),
            sequence: picture.sequence,
            hash: picture.hash.clone(),
            epoch: picture.epoch,
            at: picture.at,
            ..self.position.clone()
        };
        let mut client = self.store.writer().await?;
        let mut tx = self.store.begin(&mut client, R::READER).await?;
        tx.advance(&self.position, &to).await?;
        self.rows.begin(&mut tx, picture).await?;
        let left = tx.commit().await?;
        self.position = to;
        self.rows.committed();
        Ok(left)
    }

    async fn transact(&mut self, batch: &[Decoded<'_>], to: &Position, again: bool) -> Result<Left, StoreError> {
        let mut client = self.store.writer().await?;
        let mut tx = self.store.begin(&mut client, R::READER).await?;
        tx.again = again;
        tx.advance(&self.position, to).await?;
        self.rows.write(&mut tx, batch).await?;
        tx.commit().await
    }
}
