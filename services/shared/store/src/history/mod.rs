//! The rows of history: batches of commits become orders, steps, commands and the events themselves.

pub(crate) mod fold;
pub(crate) mod order;
pub(crate) mod site;
pub(crate) mod step;

use crate::connect::Store;
use crate::decode::Decoded;
use crate::error::StoreError;
use crate::partition::month;
use crate::projector::{Projector, Rows};
use crate::transaction::Tx;
use crate::value::JsonText;
use chrono::NaiveDate;
use deadpool_postgres::Transaction;
use fold::{EventRow, Known, fold, references};
use futures::pin_mut;
use std::borrow::Cow;
use std::collections::BTreeSet;
use step::StepChange;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;

/// The rows of history. One writer at a time is right: who is overtaken gets [`StoreError::Fenced`].
pub struct HistoryRows {
    /// For errors.
    stream: String,
    /// Months whose partition was asked for.
    months: BTreeSet<NaiveDate>,
    /// What the batch in hand refers to.
    known: Known,
}

/// The writer of history's projection.
pub type Projection = Projector<HistoryRows>;

impl Store {
    /// Opens the projection of a journal into the rows of history.
    pub async fn projection(&self, stream: &str, incarnation: &str) -> Result<Projection, StoreError> {
        let position = self.open_position(HistoryRows::READER, stream, incarnation).await?;
        Ok(Projector::at(self, position, HistoryRows::of(stream)))
    }
}

impl Rows for HistoryRows {
    const READER: &'static str = "history";

    async fn prepare(&mut self, store: &Store, batch: &[Decoded<'_>]) -> Result<(), StoreError> {
        self.ensure_months(store, batch).await?;
        let (parents, runs) = references(batch);
        self.known = Known { parents: store.heritage(&parents).await?, runs: store.orders_of_runs(&runs).await? };
        Ok(())
    }

    async fn write(&mut self, tx: &mut Tx<'_>, batch: &[Decoded<'_>]) -> Result<(), StoreError> {
        let rows = fold(&self.stream, batch, &self.known)?;
        let (store, again, tx) = (tx.store, tx.again, &tx.tx);
        store.copy_events(tx, &rows.events, again).await?;
        store.insert_orders(tx, &rows.orders).await?;
        store.change_orders(tx, &rows.order_changes).await?;
        store.insert_steps(tx, &rows.steps).await?;
        store.change_steps(tx, &rows.step_changes).await?;
        let ended: Vec<(&ordo_domain::RunId, &StepChange)> =
            rows.steps.iter().map(|(run, step)| (run, &step.change)).chain(&rows.step_changes).collect();
        store.expect_logs(tx, &ended).await?;
        store.write_site(tx, &rows.site).await
    }
}

impl HistoryRows {
    /// The rows made from that stream.
    pub fn of(stream: &str) -> Self {
        Self { stream: stream.to_owned(), months: BTreeSet::new(), known: Known::default() }
    }

    /// Asks once for each month that events fall into. Without a partition they go to the default one: never an error.
    async fn ensure_months(&mut self, store: &Store, batch: &[Decoded<'_>]) -> Result<(), StoreError> {
        let months: BTreeSet<NaiveDate> = batch.iter().map(|d| month(d.commit.at)).collect();
        let fresh: BTreeSet<NaiveDate> = months.difference(&self.months).copied().collect();
        if !fresh.is_empty() {
            match store.create_event_partitions(&fresh).await {
                Err(error) if !matches!(error, StoreError::Failed { .. }) => return Err(error),
                Err(error) => tracing::warn!(%error, "no partition of events made, the default one takes them"),
                Ok(_) => {}
            }
            self.months.extend(fresh);
        }
        Ok(())
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
