//! The rows of watched orders.

use super::board::{Board, ControllerSeen, Written};
use super::raise::json;
use super::watched::{Stage, Watched};
use crate::error::StoreError;
use crate::history::order::column;
use crate::projection::{signed, unsigned};
use crate::transaction::Tx;
use ordo_contract::request::monitor::OrderFacts;
use std::collections::BTreeSet;
use tokio_postgres::Row;

/// Puts the orders that are named, and those whose runs are, on the board.
pub(crate) async fn load(
    tx: &Tx<'_>,
    board: &mut Board,
    orders: &BTreeSet<String>,
    runs: &BTreeSet<String>,
) -> Result<(), StoreError> {
    if orders.is_empty() && runs.is_empty() {
        return Ok(());
    }
    let sql = "SELECT order_id, body::text FROM monitor_orders WHERE order_id = ANY($1) OR run_id = ANY($2)";
    let statement = tx.store.sorted("prepare reading watched orders", tx.tx.prepare_cached(sql).await)?;
    let (orders, runs): (Vec<&String>, Vec<&String>) = (orders.iter().collect(), runs.iter().collect());
    let rows = tx.store.sorted("read watched orders", tx.tx.query(&statement, &[&orders, &runs]).await)?;
    put(board, &rows)
}

/// All of them: for a rule that is new.
pub(crate) async fn load_all(tx: &Tx<'_>, board: &mut Board) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT order_id, body::text FROM monitor_orders";
    let rows = tx.store.sorted("read watched orders", tx.tx.query(sql, &[]).await)?;
    put(board, &rows)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn put(board: &mut Board, rows: &[Row]) -> Result<(), StoreError> {
    for row in rows {
        let order: String = row.get(0);
        let watched: Watched = serde_json::from_str(row.get(1)).map_err(|e| StoreError::Refused {
            what: format!("what the monitor keeps of {order} cannot be read: {e}"),
        })?;
        board.put(order, watched);
    }
    Ok(())
}

/// Those that have not ended, as history knows them: it may lag, and what it does not know is guessed when it happens.
pub(crate) async fn know_of_history(tx: &Tx<'_>, board: &mut Board) -> Result<(), StoreError> {
    let sql = "SELECT order_id, parent, workflow, version, title, folder, tags, business_day, planned_at, started_at, added_by, state, suspended \
        FROM orders WHERE state IN ('scheduled', 'started', 'failed') ORDER BY number";
    for row in tx.store.sorted("read what history knows", tx.tx.query(sql, &[]).await)? {
        let order: String = row.get(0);
        let facts = OrderFacts {
            order: Some(order.clone()),
            workflow: row.get(2),
            version: u32::try_from(row.get::<_, i32>(3)).ok(),
            title: row.get(4),
            folder: row.get(5),
            tags: row.get(6),
            business_day: Some(row.get(7)),
            due_at: row.get(8),
            started_at: row.get(9),
            added_by: Some(row.get(10)),
            ..OrderFacts::default()
        };
        let stage = match row.get(11) {
            "scheduled" => Stage::Scheduled,
            "started" => Stage::Started,
            _ => Stage::Failed,
        };
        let watched = Watched { stage, parent: row.get(1), suspended: row.get(12), ..Watched::new(facts) };
        board.know(order, watched);
    }
    Ok(())
}

pub(crate) async fn load_controller(tx: &Tx<'_>, board: &mut Board) -> Result<(), StoreError> {
    let sql = "SELECT instance, epoch, handed_over FROM monitor_controller";
    let row = tx.store.sorted("read the controller", tx.tx.query_opt(sql, &[]).await)?;
    board.controller =
        row.map(|row| ControllerSeen { instance: row.get(0), epoch: unsigned(row.get(1)), handed_over: row.get(2) });
    Ok(())
}

pub(crate) async fn write_controller(tx: &Tx<'_>, controller: Option<&ControllerSeen>) -> Result<(), StoreError> {
    let Some(seen) = controller else { return Ok(()) };
    let sql = "INSERT INTO monitor_controller (instance, epoch, handed_over) VALUES ($1, $2, $3) \
        ON CONFLICT (only_row) DO UPDATE SET instance = excluded.instance, epoch = excluded.epoch, handed_over = excluded.handed_over";
    let done = tx.tx.execute(sql, &[&seen.instance, &signed(seen.epoch), &seen.handed_over]).await;
    tx.store.sorted("note the controller", done).map(|_| ())
}

/// What the last orders of these workflows say of title, folder and tags; from the rows of history, which may lag.
pub(crate) async fn load_workflows(
    tx: &Tx<'_>,
    board: &mut Board,
    workflows: &BTreeSet<String>,
) -> Result<(), StoreError> {
    let sql = "SELECT title, folder, tags FROM orders WHERE workflow = $1 ORDER BY number DESC LIMIT 1";
    for workflow in workflows {
        let row = tx.store.sorted("read a workflow", tx.tx.query_opt(sql, &[workflow]).await)?;
        if let Some(row) = row {
            let facts = OrderFacts { title: row.get(0), folder: row.get(1), tags: row.get(2), ..OrderFacts::default() };
            board.workflows.insert(workflow.clone(), facts);
        }
    }
    Ok(())
}

pub(crate) async fn write(tx: &mut Tx<'_>, written: &Written) -> Result<(), StoreError> {
    let Written { changed, gone, families, set, cancelled } = written;
    if !families.is_empty() {
        let sql = "WITH gone AS (DELETE FROM monitor_orders o USING unnest($2::text[]) AS f (id) \
            WHERE o.order_id > f.id || ':' AND o.order_id < f.id || ';' RETURNING o.body) \
            DELETE FROM timers t USING gone, json_array_elements_text(gone.body->'timers') AS k (key) WHERE t.service = $1 AND t.key = k.key";
        let statement = tx.store.sorted("prepare forgetting branches", tx.tx.prepare_cached(sql).await)?;
        tx.store.sorted("forget branches", tx.tx.execute(&statement, &[&super::MONITOR, families]).await)?;
    }
    if !changed.is_empty() {
        let sql = "INSERT INTO monitor_orders (order_id, run_id, body) SELECT * FROM unnest($1::text[], $2::text[], $3::json[]) \
            ON CONFLICT (order_id) DO UPDATE SET run_id = excluded.run_id, body = excluded.body";
        let statement = tx.store.sorted("prepare writing watched orders", tx.tx.prepare_cached(sql).await)?;
        let done = tx
            .tx
            .execute(
                &statement,
                &[
                    &column!(changed, |(id, _)| id.as_str()),
                    &column!(changed, |(_, w)| w.run.as_deref()),
                    &column!(changed, |(_, w)| json(w)),
                ],
            )
            .await;
        tx.store.sorted("write watched orders", done)?;
    }
    if !gone.is_empty() {
        let sql = "DELETE FROM monitor_orders WHERE order_id = ANY($1)";
        tx.store.sorted("forget watched orders", tx.tx.execute(sql, &[gone]).await)?;
    }
    tx.cancel_timers(cancelled).await?;
    tx.set_timers(set).await
}
