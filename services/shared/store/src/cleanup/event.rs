//! Events: whole months are dropped, what lies in the default partition is deleted. Those of orders that still live stay.

use super::{Batch, Counts, Mode, Page, add};
use crate::connect::Store;
use crate::error::StoreError;
use chrono::{DateTime, Months, NaiveDate, NaiveTime, Utc};
use deadpool_postgres::Transaction;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Of an order that is over, or of none.
const OVER: &str = "(e.order_id IS NULL OR split_part(e.order_id, ':', 1) NOT IN (SELECT l.top FROM live_orders l))";
const MONTHS: &str = "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
    WHERE i.inhparent = 'public.events'::regclass AND c.relname ~ '^events_[0-9]{4}_[0-9]{2}$' ORDER BY 1";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    /// The last month that is done.
    Month(NaiveDate),
    /// The last row of the default partition that was looked at; all months are done.
    Row { sequence: i64, index: i32 },
}

fn place(place: Place) -> Option<Value> {
    serde_json::to_value(place).ok()
}

fn begin(month: NaiveDate) -> DateTime<Utc> {
    month.and_time(NaiveTime::MIN).and_utc()
}

impl Store {
    pub(super) async fn event_page(
        &self,
        tx: &Transaction<'_>,
        page: Page<'_>,
        mode: Mode,
    ) -> Result<Batch, StoreError> {
        match page.from.and_then(|from| Place::deserialize(from).ok()) {
            None => self.month(tx, None, page.cut_off, mode).await,
            Some(Place::Month(last)) => self.month(tx, Some(last), page.cut_off, mode).await,
            Some(Place::Row { sequence, index }) => self.default_rows(tx, (sequence, index), page, mode).await,
        }
    }

    /// The oldest month behind `last` that is over for long enough.
    async fn month(
        &self,
        tx: &Transaction<'_>,
        last: Option<NaiveDate>,
        cut_off: DateTime<Utc>,
        mode: Mode,
    ) -> Result<Batch, StoreError> {
        let rows = self.sorted("list the months of events", tx.query(MONTHS, &[]).await)?;
        let date = |name: &str| NaiveDate::parse_from_str(&format!("{name}_01"), "events_%Y_%m_%d").ok();
        let mut months = rows.iter().filter_map(|row| date(row.get(0))).filter(|m| last.is_none_or(|last| *m > last));
        let ends = |month: NaiveDate| month.checked_add_months(Months::new(1)).map(begin);
        let Some((month, next)) = months.find_map(|m| Some((m, ends(m)?))).filter(|(_, next)| *next <= cut_off) else {
            return Ok(Batch { counts: Counts::new(), next: place(Place::Row { sequence: i64::MIN, index: 0 }) });
        };
        let mut counts = Counts::new();
        let events: i64 = match mode {
            Mode::Count => {
                let sql = format!("SELECT count(*) FROM events e WHERE e.at >= $1 AND e.at < $2 AND {OVER}");
                self.sorted("count events", tx.query_one(&sql, &[&begin(month), &next]).await)?.get(0)
            }
            Mode::Delete => {
                let sql = "SELECT ordo_drop_event_partition($1, $2)";
                self.sorted("drop a month of events", tx.query_one(sql, &[&month, &cut_off]).await)?.get(0)
            }
        };
        add(&mut counts, "events", events);
        Ok(Batch { counts, next: place(Place::Month(month)) })
    }

    async fn default_rows(
        &self,
        tx: &Transaction<'_>,
        (sequence, index): (i64, i32),
        page: Page<'_>,
        mode: Mode,
    ) -> Result<Batch, StoreError> {
        let found = format!(
            "SELECT e.sequence, e.index, e.at FROM events_default e WHERE e.at < $1 AND {OVER} \
             AND (e.sequence, e.index) > ($2, $3) ORDER BY e.sequence, e.index LIMIT $4"
        );
        let sql = match mode {
            Mode::Count => format!("WITH gone AS ({found}) "),
            Mode::Delete => format!(
                "WITH found AS ({found}), gone AS (DELETE FROM events_default d USING found f \
                 WHERE d.sequence = f.sequence AND d.index = f.index AND d.at = f.at RETURNING d.sequence, d.index) "
            ),
        } + "SELECT sequence, index FROM gone ORDER BY sequence DESC, index DESC";
        let limit = i64::from(page.size);
        let rows = tx.query(&sql, &[&page.cut_off, &sequence, &index, &limit]).await;
        let rows = self.sorted("clean up events", rows)?;
        let mut counts = Counts::new();
        add(&mut counts, "events", rows.len());
        let last = rows.first().filter(|_| rows.len() >= page.size as usize);
        let next = last.and_then(|row| place(Place::Row { sequence: row.get(0), index: row.get(1) }));
        Ok(Batch { counts, next })
    }
}
