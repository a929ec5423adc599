//! The projection of the journal: batches of commits become rows, in one transaction with the position.

pub(crate) mod decode;
pub(crate) mod fold;
pub(crate) mod order;
pub(crate) mod site;
pub(crate) mod step;

pub use decode::Message;

use crate::connect::Store;
use crate::error::StoreError;
use crate::partition::month;
use crate::projection::Position;
use crate::value::JsonText;
use chrono::NaiveDate;
use deadpool_postgres::Transaction;
use decode::{Decoded, decode};
use fold::{EventRow, Fold, Known, fold, references};
use futures::pin_mut;
use std::borrow::Cow;
use std::collections::BTreeSet;
use step::StepChange;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;

/// What a batch became.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    pub commits: usize,
    pub events: usize,
}

/// The writer of the journal's projection. One at a time is right: who is overtaken gets [`StoreError::Fenced`].
pub struct Projection {
    store: Store,
    position: Position,
    /// Months whose partition was asked for.
    months: BTreeSet<NaiveDate>,
}

impl Store {
    /// Opens the projection of a journal at the position that the database has.
    pub async fn projection(&self, stream: &str, incarnation: &str) -> Result<Projection, StoreError> {
        let position = self.open_position(stream, incarnation).await?;
        Ok(Projection { store: self.clone(), position, months: BTreeSet::new() })
    }
}

impl Projection {
    /// Of the last commit that is in the rows.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Writes commits and moves the position, all or nothing. What lies at or below the position is passed over.
    ///
    /// After an error the position is what it was, except that a broken connection leaves open whether the transaction
    /// was carried out: open the projection again, the database knows.
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
        self.ensure_months(&batch).await?;
        let (parents, runs) = references(&batch);
        let known =
            Known { parents: self.store.heritage(&parents).await?, runs: self.store.orders_of_runs(&runs).await? };
        let rows = fold(&self.position.stream, &batch, &known)?;
        let written = Written { commits: batch.len(), events: rows.events.len() };
        match self.transact(&rows, &to, false).await {
            // The rows are there and the position was set back by hand: the slow way passes over what is there.
            Err(error) if error.code() == Some("23505") => self.transact(&rows, &to, true).await?,
            other => other?,
        }
        self.position = to;
        Ok(written)
    }

    /// Asks once for each month that events fall into. Without a partition they go to the default one: never an error.
    async fn ensure_months(&mut self, batch: &[Decoded<'_>]) -> Result<(), StoreError> {
        let months: BTreeSet<NaiveDate> = batch.iter().map(|d| month(d.commit.at)).collect();
        let fresh: BTreeSet<NaiveDate> = months.difference(&self.months).copied().collect();
        if !fresh.is_empty() {
            match self.store.create_event_partitions(&fresh).await {
                Err(error) if !matches!(error, StoreError::Failed { .. }) => return Err(error),
                Err(error) => tracing::warn!(%error, "no partition of events made, the default one takes them"),
                Ok(_) => {}
            }
            self.months.extend(fresh);
        }
        Ok(())
    }

    async fn transact(&self, rows: &Fold<'_>, to: &Position, again: bool) -> Result<(), StoreError> {
        let store = &self.store;
        let mut client = store.writer().await?;
        let tx = store.sorted("begin a transaction", client.transaction().await)?;
        store.advance(&tx, &self.position, to).await?;
        store.copy_events(&tx, &rows.events, again).await?;
        store.insert_orders(&tx, &rows.orders).await?;
        store.change_orders(&tx, &rows.order_changes).await?;
        store.insert_steps(&tx, &rows.steps).await?;
        store.change_steps(&tx, &rows.step_changes).await?;
        let ended: Vec<(&ordo_domain::RunId, &StepChange)> =
            rows.steps.iter().map(|(run, step)| (run, &step.change)).chain(&rows.step_changes).collect();
        store.expect_logs(&tx, &ended).await?;
        store.write_site(&tx, &rows.site).await?;
        store.sorted("commit a transaction", tx.commit().await)
    }
}

const EVENT_COLUMNS: &str = "sequence, index, at, epoch, type, order_id, run_id, cause, event";

impl Store {
    /// Straight into the table; or, where rows may be there already, by way of a temporary one.
    async fn copy_events(&self, tx: &Transaction<'_>, events: &[EventRow<'_>], again: bool) -> Result<(), StoreError> {
        if again {
            let sql = "CREATE TEMPORARY TABLE events_again (LIKE events) ON COMMIT DROP";
            self.sorted("make a temporary table", tx.batch_execute(sql).await)?;
        }
        let table = if again { "events_again" } else { "events" };
        let copied = copy(tx, table, events).await;
        self.sorted("copy events", copied)?;
        if again {
            let sql = format!(
                "INSERT INTO events ({EVENT_COLUMNS}) SELECT {EVENT_COLUMNS} FROM events_again ON CONFLICT DO NOTHING"
            );
            self.sorted("insert events again", tx.batch_execute(&sql).await)?;
        }
        Ok(())
    }
}

async fn copy(tx: &Transaction<'_>, table: &str, events: &[EventRow<'_>]) -> Result<u64, tokio_postgres::Error> {
    const TYPES: [Type; 9] = [
        Type::INT8,
        Type::INT4,
        Type::TIMESTAMPTZ,
        Type::INT8,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::JSON,
        Type::JSON,
    ];
    let sink = tx.copy_in(&format!("COPY {table} ({EVENT_COLUMNS}) FROM STDIN BINARY")).await?;
    let writer = BinaryCopyInWriter::new(sink, &TYPES);
    pin_mut!(writer);
    for e in events {
        let (order, run) =
            (e.order.as_ref().map(ordo_domain::OrderId::as_str), e.run.as_ref().map(ordo_domain::RunId::as_str));
        let (cause, event) = (JsonText(Cow::Borrowed(e.cause)), JsonText(Cow::Borrowed(e.event)));
        writer.as_mut().write(&[&e.sequence, &e.index, &e.at, &e.epoch, &e.name, &order, &run, &cause, &event]).await?;
    }
    writer.finish().await
}
