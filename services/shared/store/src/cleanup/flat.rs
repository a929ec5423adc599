//! Tables whose rows go one by one, by their age alone.

use super::{Batch, Counts, Mode, Page, add};
use crate::connect::Store;
use crate::error::StoreError;
use deadpool_postgres::Transaction;
use ordo_domain::retention::RetentionKind;

/// A table, what of it may go, and what it is called in counts.
pub(super) struct Flat {
    name: &'static str,
    table: &'static str,
    /// Of row `r`; `$1` is the cut-off.
    over: &'static str,
}

/// In the order in which they are cleaned up: what refers to others goes first.
pub(super) fn tables(kind: RetentionKind) -> &'static [Flat] {
    match kind {
        RetentionKind::Commands => &[Flat { name: "commands", table: "commands", over: "r.at < $1" }],
        _ => &[],
    }
}

impl Store {
    /// Of the first table that has something; the page's place is the number of the table.
    pub(super) async fn flat_page(
        &self,
        tx: &Transaction<'_>,
        tables: &[Flat],
        page: Page<'_>,
        mode: Mode,
    ) -> Result<Batch, StoreError> {
        let at = page.from.and_then(serde_json::Value::as_u64).and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
        let Some(Flat { name, table, over }) = tables.get(at) else { return Ok(Batch::default()) };
        let limit = i64::from(page.size);
        // A count is one page: the next one would find the same rows again.
        let (rows, full) = match mode {
            Mode::Count => {
                let sql = format!("SELECT count(*) FROM {table} r WHERE {over}");
                let rows: i64 = self.sorted("count old rows", tx.query_one(&sql, &[&page.cut_off]).await)?.get(0);
                (rows.cast_unsigned(), false)
            }
            Mode::Delete => {
                let sql = format!(
                    "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT r.ctid FROM {table} r WHERE {over} LIMIT $2))"
                );
                let rows = self.sorted("clean up old rows", tx.execute(&sql, &[&page.cut_off, &limit]).await)?;
                (rows, rows >= u64::from(page.size))
            }
        };
        let mut counts = Counts::new();
        add(&mut counts, name, rows);
        let next = if full { at } else { at + 1 };
        let next = (next < tables.len()).then(|| serde_json::Value::from(next));
        Ok(Batch { counts, next })
    }
}
