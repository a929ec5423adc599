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
    over: String,
    /// The daily plan writes what refers to it in one transaction, and must not be in the middle of that.
    is_of_plan: bool,
}

impl Flat {
    fn new(name: &'static str, table: &'static str, over: impl Into<String>) -> Self {
        Self { name, table, over: over.into(), is_of_plan: false }
    }

    fn of_plan(self) -> Self {
        Self { is_of_plan: true, ..self }
    }
}

/// Notification `n` by itself: old, about nothing that may still end or come back, and not waiting to be told. What lasts (an
/// agent that is away) stays until it is over: it would be told anew.
const OVER_NOTIFICATION: &str = "greatest(n.at, n.recovered_at, n.acknowledged_at) < $1 \
    AND NOT EXISTS (SELECT FROM monitor_gathered g WHERE g.notification = n.id) \
    AND (n.recovered_at IS NOT NULL OR n.kind NOT IN ('agent_away', 'role_without_active') \
        AND NOT EXISTS (SELECT FROM orders o WHERE o.order_id = n.order_id AND o.state IN ('scheduled', 'started', 'failed')) \
        AND NOT EXISTS (SELECT FROM monitor_orders w WHERE w.order_id = n.order_id))";

/// Mail `m`: old, not on its way to anybody, and about notifications that are over. The answer to a failure, when it
/// recovers at last, belongs to its thread.
fn over_mail() -> String {
    format!(
        "m.at < $1 AND NOT EXISTS (SELECT FROM outbox e WHERE e.service = 'monitor' AND e.state = 'waiting' \
            AND e.key >= 'mail/' || m.id || '/' AND e.key < 'mail/' || m.id || '0') \
         AND NOT EXISTS (SELECT FROM notifications n WHERE n.id = ANY(m.notifications) AND NOT ({OVER_NOTIFICATION}))"
    )
}

/// Start `s` of the plan: its day is over, and its order has ended. A failed one may be resumed, and one that the controller has
/// not answered for may still become an order; of those whose end the plan has not seen, the history knows better.
const OVER_START: &str = "greatest(s.instant, s.ended_at) < $1 \
    AND (s.state IN ('finished', 'late', 'skipped', 'cancelled', 'withdrawn', 'refused') \
        OR s.state IN ('started', 'failed') \
        AND EXISTS (SELECT FROM orders o WHERE o.order_id = s.order_id AND o.state IN ('finished', 'cancelled')))";

/// The plan is beyond instant `at` of `schedule`: it does not come back to it, because every start up to `planned_through` is
/// known or passed over, and no change of the schedule waits that is older.
fn planned_past(schedule: &str, at: &str) -> String {
    format!(
        "NOT EXISTS (SELECT FROM plan_changes c WHERE c.schedule = {schedule}) \
         AND NOT EXISTS (SELECT FROM plan_schedules p WHERE p.schedule = {schedule} AND p.planned_active \
            AND (p.planned_through IS NULL OR p.planned_through < {at}))"
    )
}

/// In the order in which they are cleaned up: what refers to others goes first. A condition must not depend on whether an
/// earlier table is cleaned up already: a dry run counts all of them as they are.
pub(super) fn tables(kind: RetentionKind) -> Vec<Flat> {
    match kind {
        RetentionKind::Commands => vec![Flat::new("commands", "commands", "r.at < $1")],
        RetentionKind::Notifications => {
            let over_mail = over_mail();
            let told = format!("SELECT FROM mails m WHERE m.notifications @> ARRAY[r.id] AND NOT ({over_mail})");
            vec![
                // With its deliveries.
                Flat::new("mails", "mails", over_mail.replace("m.", "r.")),
                Flat::new(
                    "notifications",
                    "notifications",
                    format!("{} AND NOT EXISTS ({told})", OVER_NOTIFICATION.replace("n.", "r.")),
                ),
                Flat::new("threads", "monitor_threads", "greatest(r.changed_at, r.quiet_until) < $1"),
            ]
        }
        RetentionKind::Plan => {
            let over = format!("{OVER_START} AND {}", planned_past("s.schedule", "s.instant"));
            let used =
                |column| format!("SELECT s.{column} FROM plan_starts s WHERE s.{column} IS NOT NULL AND NOT ({over})");
            vec![
                Flat::new("starts", "plan_starts", over.replace("s.", "r.")).of_plan(),
                Flat::new("skips", "plan_skips", format!("r.last < $1 AND {}", planned_past("r.schedule", "r.last")))
                    .of_plan(),
                // What is wanted again is written again, together with the starts that want it.
                Flat::new(
                    "templates",
                    "plan_orders",
                    format!("r.fingerprint NOT IN ({} UNION ALL {})", used("wanted"), used("sent")),
                )
                .of_plan(),
            ]
        }
        _ => Vec::new(),
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
        let Some(Flat { name, table, over, is_of_plan }) = tables.get(at) else { return Ok(Batch::default()) };
        if *is_of_plan {
            crate::plan::lock(self, tx).await?;
        }
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
