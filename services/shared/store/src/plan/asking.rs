//! What has to be asked of the controller: orders of due starts, orders back that shall be others, notes. Noted as asked
//! before it is; asked again with the same id until the journal tells the outcome.

use super::lock;
use crate::connect::Store;
use crate::error::StoreError;
use crate::history::order::column;
use crate::read::checked;
use crate::value::jsonb;
use chrono::{DateTime, NaiveDate, Utc};
use deadpool_postgres::Transaction;
use ordo_domain::catalog::NoteStarts;
use ordo_domain::order::command::{NewOrder, StartKey};
use ordo_domain::{CommandId, OrderId};
use std::collections::BTreeMap;
use tokio_postgres::Row;

/// A start that is to be handed over.
#[derive(Debug, Clone, PartialEq)]
pub struct DueStart {
    pub key: StartKey,
    pub fingerprint: i64,
    pub generation: i32,
    /// Others do not go with it.
    pub alone: bool,
    /// As the command has it.
    pub order: NewOrder,
}

/// A command, and what it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked<T> {
    pub command: CommandId,
    pub about: Vec<T>,
}

/// An order that is asked back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    pub order: OrderId,
    pub alone: bool,
}

/// What the controller shall journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    pub command: CommandId,
    pub notes: NoteStarts,
}

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outlook {
    /// Schedules have changed.
    pub changes: bool,
    /// Orders are not what the plan wants.
    pub recalls: bool,
    /// When the next start is handed over.
    pub submit_at: Option<DateTime<Utc>>,
    /// When something is asked once more, or a note for the first time.
    pub again_at: Option<DateTime<Utc>>,
}

/// How long an outcome is waited for before the same is asked again: 3 s, 6 s, …, 60 s.
const AGAIN: &str = "tried_at < $1::timestamptz - least(interval '3 s' * power(2, tries - 1), interval '60 s')";

const DUE: &str =
    "s.schedule, s.parameterisation, s.instant, s.business_day, o.fingerprint, s.generation, s.alone, o.body";

impl Store {
    /// Takes starts whose time to be handed over has come, and notes them as asked for by the commands that `group`
    /// makes of them.
    pub async fn submit(
        &self,
        now: DateTime<Utc>,
        limit: i64,
        group: impl FnOnce(Vec<DueStart>) -> Vec<Asked<DueStart>> + Send,
    ) -> Result<Vec<Asked<DueStart>>, StoreError> {
        let mut client = self.writer().await?;
        let tx = self.sorted("begin a transaction", client.transaction().await)?;
        lock(self, &tx).await?;
        let sql = format!(
            "SELECT {DUE} FROM plan_starts s JOIN plan_orders o ON o.fingerprint = s.wanted \
             WHERE s.state = 'planned' AND s.submit_at <= $1 ORDER BY s.submit_at, s.schedule, s.instant, s.parameterisation LIMIT $2"
        );
        let statement = self.sorted("prepare reading due starts", tx.prepare_cached(&sql).await)?;
        let rows = self.sorted("read due starts", tx.query(&statement, &[&now, &limit]).await)?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let asked = group(rows.iter().map(due).collect::<Result<_, _>>()?);
        let flat: Vec<(&CommandId, &DueStart)> =
            asked.iter().flat_map(|a| a.about.iter().map(|start| (&a.command, start))).collect();
        let sql = "UPDATE plan_starts p SET state = 'sent', sent = p.wanted, command = c.command, tries = 1, tried_at = $5, reason = NULL \
            FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[]) AS c (schedule, instant, parameterisation, command) \
            WHERE p.schedule = c.schedule AND p.instant = c.instant AND p.parameterisation = c.parameterisation AND p.state = 'planned'";
        let statement = self.sorted("prepare noting what is asked", tx.prepare_cached(sql).await)?;
        let done = tx
            .execute(
                &statement,
                &[
                    &column!(flat, |(_, s)| s.key.schedule.as_str()),
                    &column!(flat, |(_, s)| s.key.instant),
                    &column!(flat, |(_, s)| s.key.parameterisation.as_str()),
                    &column!(flat, |(command, _)| command.as_str()),
                    &now,
                ],
            )
            .await;
        self.sorted("note what is asked", done)?;
        self.sorted("commit a transaction", tx.commit().await)?;
        Ok(asked)
    }

    /// Commands for orders that no outcome came of for too long, or with `all` of every one; noted as asked again.
    pub async fn submit_again(&self, now: DateTime<Utc>, all: bool) -> Result<Vec<Asked<DueStart>>, StoreError> {
        let sql = format!(
            "WITH asked AS (UPDATE plan_starts SET tries = tries + 1, tried_at = $1 WHERE state = 'sent' AND ($2 OR {AGAIN}) \
                 RETURNING schedule, instant, parameterisation, business_day, command, sent, generation, alone) \
             SELECT {DUE}, s.command FROM asked s JOIN plan_orders o ON o.fingerprint = s.sent \
             ORDER BY s.command, s.schedule, s.instant, s.parameterisation"
        );
        let rows = self.asked_again(&sql, now, all).await?;
        let mut asked: Vec<Asked<DueStart>> = Vec::new();
        for row in &rows {
            gather(&mut asked, checked(CommandId::new(row.get::<_, &str>(8)))?, due(row)?);
        }
        Ok(asked)
    }

    async fn asked_again(&self, sql: &str, now: DateTime<Utc>, all: bool) -> Result<Vec<Row>, StoreError> {
        let mut client = self.writer().await?;
        let tx = self.sorted("begin a transaction", client.transaction().await)?;
        lock(self, &tx).await?;
        let statement = self.sorted("prepare reading what is unanswered", tx.prepare_cached(sql).await)?;
        let rows = self.sorted("read what is unanswered", tx.query(&statement, &[&now, &all]).await)?;
        self.sorted("commit a transaction", tx.commit().await)?;
        Ok(rows)
    }

    /// Takes orders that are not what the plan wants, and notes them as asked back by the commands that `group` makes.
    pub async fn recall(
        &self,
        now: DateTime<Utc>,
        limit: i64,
        group: impl FnOnce(Vec<Recall>) -> Vec<Asked<Recall>> + Send,
    ) -> Result<Vec<Asked<Recall>>, StoreError> {
        let mut client = self.writer().await?;
        let tx = self.sorted("begin a transaction", client.transaction().await)?;
        lock(self, &tx).await?;
        self.adopt(&tx).await?;
        let sql = "SELECT order_id, alone FROM plan_starts WHERE state = 'submitted' AND wanted IS DISTINCT FROM sent AND found IS NULL \
            AND order_id IS NOT NULL ORDER BY instant, order_id LIMIT $1";
        let statement = self.sorted("prepare reading what is to be taken back", tx.prepare_cached(sql).await)?;
        let rows = self.sorted("read what is to be taken back", tx.query(&statement, &[&limit]).await)?;
        let recall = |row: &Row| Ok(Recall { order: checked(OrderId::new(row.get::<_, &str>(0)))?, alone: row.get(1) });
        let recalls = rows.iter().map(recall).collect::<Result<Vec<_>, StoreError>>()?;
        let asked = if recalls.is_empty() { Vec::new() } else { group(recalls) };
        for Asked { command, about } in &asked {
            let sql = "UPDATE plan_starts SET state = 'recalled', command = $1, tries = 1, tried_at = $2 WHERE order_id = ANY($3) AND state = 'submitted'";
            let orders = column!(about, |recall| recall.order.as_str());
            self.sorted("note what is taken back", tx.execute(sql, &[&command.as_str(), &now, &orders]).await)?;
        }
        self.sorted("commit a transaction", tx.commit().await)?;
        Ok(asked)
    }

    /// Orders in the journal that the rows knew nothing of: the plan has reached them, so it is known what they should be.
    async fn adopt(&self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        let sql = "SELECT s.schedule, s.instant, s.parameterisation, s.found, o.body FROM plan_starts s \
            JOIN plan_schedules p ON p.schedule = s.schedule AND s.instant <= p.planned_through \
            LEFT JOIN plan_orders o ON o.fingerprint = s.wanted WHERE s.state = 'submitted' AND s.found IS NOT NULL \
            AND NOT EXISTS (SELECT 1 FROM plan_changes c WHERE c.schedule = s.schedule)";
        let statement = self.sorted("prepare reading found orders", tx.prepare_cached(sql).await)?;
        for row in self.sorted("read found orders", tx.query(&statement, &[]).await)? {
            let order = |n: usize| {
                let body: Option<serde_json::Value> = row.get(n);
                body.and_then(|body| serde_json::from_value::<NewOrder>(body).ok())
            };
            let fits =
                order(3).zip(order(4)).is_some_and(|(found, wanted)| ordo_domain::plan::is_as_wanted(&found, &wanted));
            // 0 is nothing that was ever wanted.
            let sql = "UPDATE plan_starts SET found = NULL, sent = CASE WHEN $4 THEN wanted ELSE 0 END \
                WHERE schedule = $1 AND instant = $2 AND parameterisation = $3";
            let (schedule, at, name): (&str, DateTime<Utc>, &str) = (row.get(0), row.get(1), row.get(2));
            self.sorted("note a found order", tx.execute(sql, &[&schedule, &at, &name, &fits]).await)?;
        }
        Ok(())
    }

    /// As [`Store::submit_again`], for orders that are asked back.
    pub async fn recall_again(&self, now: DateTime<Utc>, all: bool) -> Result<Vec<Asked<Recall>>, StoreError> {
        let sql = format!(
            "WITH asked AS (UPDATE plan_starts SET tries = tries + 1, tried_at = $1 WHERE state = 'recalled' AND ($2 OR {AGAIN}) \
                 RETURNING command, order_id, alone) \
             SELECT command, order_id, alone FROM asked ORDER BY command, order_id"
        );
        let mut asked: Vec<Asked<Recall>> = Vec::new();
        for row in self.asked_again(&sql, now, all).await? {
            let recall = Recall { order: checked(OrderId::new(row.get::<_, &str>(1)))?, alone: row.get(2) };
            gather(&mut asked, checked(CommandId::new(row.get::<_, &str>(0)))?, recall);
        }
        Ok(asked)
    }

    /// Notes that the controller has not journalled yet: new ones, those that wait for too long, or with `all` every one.
    pub async fn note_again(&self, now: DateTime<Utc>, all: bool) -> Result<Vec<Note>, StoreError> {
        let sql = format!(
            "UPDATE plan_notes SET tries = tries + 1, tried_at = $1 WHERE $2 OR tries = 0 OR {AGAIN} RETURNING command, notes"
        );
        let mut notes = Vec::new();
        for row in self.asked_again(&sql, now, all).await? {
            let body: serde_json::Value = row.get(1);
            match serde_json::from_value(body) {
                Ok(body) => notes.push(Note { command: checked(CommandId::new(row.get::<_, &str>(0)))?, notes: body }),
                Err(error) => tracing::warn!(%error, "a note of the plan cannot be read"),
            }
        }
        Ok(notes)
    }

    /// What there is to do, and when.
    pub async fn plan_outlook(&self) -> Result<Outlook, StoreError> {
        let client = self.writer().await?;
        let again = "tried_at + least(interval '3 s' * power(2, tries - 1), interval '60 s')";
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM plan_changes), \
             EXISTS (SELECT 1 FROM plan_starts WHERE state = 'submitted' AND (wanted IS DISTINCT FROM sent OR found IS NOT NULL)), \
             (SELECT min(submit_at) FROM plan_starts WHERE state = 'planned'), \
             least((SELECT min({again}) FROM plan_starts WHERE state IN ('sent', 'recalled')), \
                 (SELECT min(coalesce({again}, timestamptz 'epoch')) FROM plan_notes))"
        );
        let statement = self.sorted("prepare asking what there is to do", client.prepare_cached(&sql).await)?;
        let row = self.sorted("ask what there is to do", client.query_one(&statement, &[]).await)?;
        Ok(Outlook { changes: row.get(0), recalls: row.get(1), submit_at: row.get(2), again_at: row.get(3) })
    }
}

fn gather<T>(asked: &mut Vec<Asked<T>>, command: CommandId, about: T) {
    match asked.last_mut().filter(|last| last.command == command) {
        Some(last) => last.about.push(about),
        None => asked.push(Asked { command, about: vec![about] }),
    }
}

fn due(row: &Row) -> Result<DueStart, StoreError> {
    let key = StartKey { schedule: row.get(0), parameterisation: row.get(1), instant: row.get(2) };
    let day: NaiveDate = row.get(3);
    let order: NewOrder = crate::read::from_json(Some(row.get(7)))?.ok_or_else(|| StoreError::Refused {
        what: format!("the order of {} at {} is missing", key.schedule, key.instant),
    })?;
    let order = NewOrder { due_at: Some(key.instant), business_day: Some(day), start: Some(key.clone()), ..order };
    Ok(DueStart { key, fingerprint: row.get(4), generation: row.get(5), alone: row.get(6), order })
}

pub(crate) async fn write_notes(store: &Store, tx: &Transaction<'_>, notes: &[Note]) -> Result<(), StoreError> {
    // The same note twice is one.
    let notes: BTreeMap<&CommandId, &Note> = notes.iter().map(|note| (&note.command, note)).collect();
    for (command, note) in notes {
        let sql = "INSERT INTO plan_notes (command, notes) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let done = tx.execute(sql, &[&command.as_str(), &jsonb(&note.notes)]).await;
        store.sorted("write notes", done)?;
    }
    Ok(())
}
