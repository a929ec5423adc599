//! Finished and cancelled orders, with branches, steps and logs: all of a family or nothing of it.

use super::{Batch, CleanupStep, Counts, Mode, Page, add};
use crate::connect::Store;
use crate::error::StoreError;
use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use ordo_domain::OrderId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::Row;

/// Top orders that are over for long enough, in the order of their end, and whether nothing of the family goes on. The page
/// is cut before the families are looked at: `$1` is the cut-off, `$2` and `$3` where the page before ended.
///
/// Each family is to be found by its range of ids, never by all that runs or waits: hence no equality, which could be hashed,
/// and no state as its index has it.
const PAGE: &str = "SELECT t.order_id, t.ended_at, NOT ( \
        EXISTS (SELECT FROM orders o WHERE o.order_id > t.order_id || ':' AND o.order_id < t.order_id || ';' \
            AND o.state || '' IN ('scheduled', 'started')) \
        OR EXISTS (SELECT FROM steps s WHERE s.order_id >= t.order_id AND s.order_id < t.order_id || ';' \
            AND (s.order_id = t.order_id OR s.order_id > t.order_id || ':') AND s.state IN ('sent', 'running'))) AS is_over \
    FROM (SELECT order_id, ended_at FROM orders WHERE parent IS NULL AND state IN ('finished', 'cancelled') \
        AND ended_at < $1 AND (ended_at, order_id) > ($2, $3) ORDER BY ended_at, order_id LIMIT $4) t \
    ORDER BY t.ended_at, t.order_id";
/// Branches are the range behind their top order; the least is one of them.
const FAMILY: &str = "SELECT t.order_id AS top, f.order_id FROM unnest($1::text[]) WITH ORDINALITY AS t (order_id, place) \
    CROSS JOIN LATERAL (SELECT o.order_id FROM orders o WHERE o.order_id = t.order_id \
    UNION ALL SELECT o.order_id FROM orders o WHERE o.order_id > t.order_id || ':' AND o.order_id < t.order_id || ';') f \
    ORDER BY t.place";
/// Orders with branches in one batch, as a multiple of its size.
const ROOM: usize = 5;
/// Chunks of logs in one transaction.
const CHUNKS: i64 = 5_000;

/// The last order of the page before.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Place {
    ended_at: DateTime<Utc>,
    order: String,
}

fn value(place: Place) -> Option<Value> {
    serde_json::to_value(place).ok()
}

struct Tops {
    /// Families, whole ones.
    orders: Vec<String>,
    runs: Vec<String>,
    next: Option<Value>,
}

impl Store {
    pub(super) async fn order_page(
        &self,
        tx: &Transaction<'_>,
        page: Page<'_>,
        mode: Mode,
    ) -> Result<Batch, StoreError> {
        let Tops { orders, runs, next } = self.families(tx, page).await?;
        let mut counts = Counts::new();
        let gone = |table: &str, key: &str, returning: &str| match mode {
            Mode::Delete => format!("DELETE FROM {table} WHERE {key} = ANY($1) RETURNING {returning}"),
            Mode::Count => format!("SELECT {returning} FROM {table} WHERE {key} = ANY($1)"),
        };
        let sums = [
            ("log_chunks", "run_id", "length(body)::bigint", &runs, "log_chunks", "log_bytes"),
            ("logs", "run_id", "0::bigint", &runs, "logs", ""),
            ("steps", "run_id", "0::bigint", &runs, "steps", ""),
            ("orders", "order_id", "0::bigint", &orders, "orders", ""),
        ];
        for (table, key, returning, ids, name, bytes) in sums {
            if ids.is_empty() {
                continue;
            }
            let sql = format!(
                "WITH gone (bytes) AS ({}) SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM gone",
                gone(table, key, returning)
            );
            let statement = self.sorted("prepare cleaning up orders", tx.prepare_cached(&sql).await)?;
            let row = self.sorted("clean up orders", tx.query_one(&statement, &[ids]).await)?;
            add(&mut counts, name, row.get::<_, i64>(0));
            add(&mut counts, bytes, row.get::<_, i64>(1));
        }
        Ok(Batch { counts, next })
    }

    /// The next families that may go, as many as fit.
    async fn families(&self, tx: &Transaction<'_>, page: Page<'_>) -> Result<Tops, StoreError> {
        let from = page.from.and_then(|place| Place::deserialize(place).ok());
        let from = from.unwrap_or(Place { ended_at: DateTime::UNIX_EPOCH, order: String::new() });
        let statement = self.sorted("prepare looking for old orders", tx.prepare_cached(PAGE).await)?;
        let limit = i64::from(page.size);
        let found = tx.query(&statement, &[&page.cut_off, &from.ended_at, &from.order, &limit]).await;
        let found = self.sorted("look for old orders", found)?;
        let place = |row: &Row| Place { ended_at: row.get(1), order: row.get(0) };
        let next = found.last().filter(|_| found.len() >= page.size as usize).map(place);
        let tops: Vec<Place> = found.iter().filter(|row| row.get(2)).map(place).collect();
        let ids: Vec<&str> = tops.iter().map(|top| top.order.as_str()).collect();
        if ids.is_empty() {
            return Ok(Tops { orders: Vec::new(), runs: Vec::new(), next: next.and_then(value) });
        }
        let statement = self.sorted("prepare looking for branches", tx.prepare_cached(FAMILY).await)?;
        let rows = self.sorted("look for branches", tx.query(&statement, &[&ids]).await)?;
        let room = page.size as usize * ROOM;
        let mut orders: Vec<String> = Vec::with_capacity(rows.len());
        let (mut taken, mut last) = (0, "");
        for row in &rows {
            let top: &str = row.get(0);
            if top != last {
                if taken > 0 && orders.len() >= room {
                    break;
                }
                (taken, last) = (taken + 1, top);
            }
            orders.push(row.get(1));
        }
        let sql = "SELECT run_id FROM steps WHERE order_id = ANY($1)";
        let statement = self.sorted("prepare looking for steps", tx.prepare_cached(sql).await)?;
        let runs = self.sorted("look for steps", tx.query(&statement, &[&orders]).await)?;
        // Where families are large the page ends early, behind the last that was taken.
        let next = if taken < tops.len() { tops.get(taken.saturating_sub(1)).cloned() } else { next };
        Ok(Tops { orders, runs: runs.iter().map(|row| row.get(0)).collect(), next: next.and_then(value) })
    }

    /// Long logs of the next batch go before it, bit by bit: the transaction of the batch stays short.
    pub(super) async fn delete_long_logs(&self, step: &CleanupStep, size: u32) -> Result<(), StoreError> {
        let runs = {
            let mut client = self.reader().await?;
            let tx = self.sorted("begin to look for logs", client.transaction().await)?;
            let page = Page { cut_off: step.cut_off, from: step.position.as_ref(), size };
            let runs = self.families(&tx, page).await?.runs;
            let sql = "SELECT coalesce(sum(stored_chunks), 0)::bigint FROM logs WHERE run_id = ANY($1)";
            let statement = self.sorted("prepare counting logs", tx.prepare_cached(sql).await)?;
            let row = self.sorted("count logs", tx.query_one(&statement, &[&runs]).await)?;
            if row.get::<_, i64>(0) <= CHUNKS {
                return Ok(());
            }
            runs
        };
        loop {
            let client = self.writer().await?;
            let sql = "DELETE FROM log_chunks c USING (SELECT run_id, chunk FROM log_chunks WHERE run_id = ANY($1) LIMIT $2) o \
                       WHERE c.run_id = o.run_id AND c.chunk = o.chunk";
            let statement = self.sorted("prepare cleaning up logs", client.prepare_cached(sql).await)?;
            let gone = self.sorted("clean up logs", client.execute(&statement, &[&runs, &CHUNKS]).await)?;
            if gone < CHUNKS.cast_unsigned() {
                return Ok(());
            }
        }
    }

    /// Failed orders that nobody resumed since the cut-off, by id, from behind `after` on. Only top orders: a failed branch
    /// is the business of its parent.
    pub async fn old_failed_orders(
        &self,
        cut_off: DateTime<Utc>,
        after: Option<&OrderId>,
        limit: u32,
    ) -> Result<Vec<OrderId>, StoreError> {
        let client = self.reader().await?;
        let sql = "SELECT order_id FROM orders WHERE parent IS NULL AND state = 'failed' AND ended_at < $1 AND order_id > $2 \
                   ORDER BY order_id LIMIT $3";
        let after = after.map_or("", OrderId::as_str);
        let rows = client.query(sql, &[&cut_off, &after, &i64::from(limit)]).await;
        let rows = self.sorted("look for failed orders", rows)?;
        Ok(rows.iter().filter_map(|row| OrderId::new(row.get::<_, &str>(0)).ok()).collect())
    }

    /// Bodies that orders in the history ran by: who looks at one wants to see its workflow.
    pub async fn workflows_in_history(&self) -> Result<Vec<String>, StoreError> {
        let client = self.reader().await?;
        // Versions rise with the numbers of orders: the oldest order that is kept has the oldest version in use.
        let sql = "SELECT w.hash FROM workflows w WHERE w.version >= \
            (SELECT o.version FROM orders o WHERE o.workflow = w.workflow ORDER BY o.number LIMIT 1)";
        let rows = self.sorted("look for workflows in use", client.query(sql, &[]).await)?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}
