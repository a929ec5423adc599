//! A schedule's starts, written as far as they are planned.
//!
//! Whoever plans says what he began from. Where it is not so any more, another instance has planned, and nothing is written.

use super::asking::{Note, write_notes};
use super::lock;
use crate::connect::Store;
use crate::error::StoreError;
use crate::history::order::column;
use crate::projection::signed;
use crate::read::checked;
use crate::value::{clean, jsonb};
use chrono::{DateTime, NaiveDate, Utc};
use deadpool_postgres::Transaction;
use ordo_domain::order::command::NewOrder;
use ordo_domain::plan::Schedule;
use ordo_domain::{ContentHash, DefinitionName, WorkflowName};
use tokio_postgres::Row;

/// Rows of one statement.
const ROWS: usize = 5_000;

/// A schedule as the plan goes by it.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedSchedule {
    pub schedule: DefinitionName,
    /// None before it was planned for the first time.
    pub version: Option<u32>,
    pub definition: Option<Schedule>,
    /// Neither suspended nor removed.
    pub active: bool,
    pub planned_through: Option<DateTime<Utc>>,
    pub trouble: Option<String>,
}

/// What the journal says of a schedule and the plan does not yet.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanChange {
    pub schedule: DefinitionName,
    pub sequence: i64,
    pub index: i32,
    /// Up to here the schedule as it was counts.
    pub at: DateTime<Utc>,
    /// `deployed`, `removed`, `suspended`, `resumed`.
    pub change: String,
    pub version: u32,
    pub hash: ContentHash,
    pub active: bool,
}

/// A start that is ahead, or was when the schedule changed.
#[derive(Debug, Clone, PartialEq)]
pub struct ExistingStart {
    pub instant: DateTime<Utc>,
    pub parameterisation: String,
    pub state: String,
    pub wanted: Option<i64>,
    pub submit_at: DateTime<Utc>,
}

/// A start as it shall be.
#[derive(Debug, Clone, PartialEq)]
pub struct StartRow {
    pub instant: DateTime<Utc>,
    pub parameterisation: String,
    pub business_day: NaiveDate,
    pub submit_at: DateTime<Utc>,
    /// Of a [`Template`].
    pub wanted: i64,
}

/// What the starts of a parameterisation ask for, but for their time.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    pub fingerprint: i64,
    pub body: NewOrder,
}

/// Starts that are too many to be made up for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    pub first: DateTime<Utc>,
    pub last: DateTime<Utc>,
    pub count: u64,
    pub reason: String,
}

/// What planning a schedule comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanUpdate {
    /// As it was when it was planned.
    pub from: PlannedSchedule,
    /// As it is then.
    pub to: PlannedSchedule,
    /// The change that this carries out.
    pub change: Option<PlanChange>,
    /// Whose orders the starts are; none where there are no starts.
    pub workflow: Option<WorkflowName>,
    pub templates: Vec<Template>,
    /// New ones, and those that change.
    pub starts: Vec<StartRow>,
    /// That shall not be any more.
    pub withdrawn: Vec<(DateTime<Utc>, String)>,
    pub skips: Vec<Skip>,
    /// Skips that were no skips, by their first start: the clock was wrong.
    pub void_skips: Vec<DateTime<Utc>>,
    pub notes: Vec<Note>,
}

impl Store {
    /// Every schedule that the plan goes by.
    pub async fn planned_schedules(&self) -> Result<Vec<PlannedSchedule>, StoreError> {
        let client = self.writer().await?;
        let sql = "SELECT schedule, planned_version, definition, planned_active, planned_through, trouble FROM plan_schedules ORDER BY 1";
        let rows = self.sorted("read schedules", client.query(sql, &[]).await)?;
        rows.iter().map(planned_schedule).collect()
    }

    /// Changes that are not planned yet, in the order of the journal.
    pub async fn plan_changes(&self, limit: i64) -> Result<Vec<PlanChange>, StoreError> {
        let client = self.writer().await?;
        let sql = "SELECT schedule, sequence, index, at, change, version, hash, active FROM plan_changes ORDER BY sequence, index LIMIT $1";
        let statement = self.sorted("prepare reading changes of schedules", client.prepare_cached(sql).await)?;
        let rows = self.sorted("read changes of schedules", client.query(&statement, &[&limit]).await)?;
        let change = |row: &Row| {
            Ok(PlanChange {
                schedule: checked(DefinitionName::new(row.get::<_, &str>(0)))?,
                sequence: row.get(1),
                index: row.get(2),
                at: row.get(3),
                change: row.get(4),
                version: u32::try_from(row.get::<_, i32>(5)).unwrap_or_default(),
                hash: checked(ContentHash::new(row.get::<_, &str>(6)))?,
                active: row.get(7),
            })
        };
        rows.iter().map(change).collect()
    }

    /// Starts after an instant that can still become something else.
    pub async fn existing_starts(
        &self,
        schedule: &DefinitionName,
        after: DateTime<Utc>,
    ) -> Result<Vec<ExistingStart>, StoreError> {
        let client = self.writer().await?;
        let sql = "SELECT instant, parameterisation, state, wanted, submit_at FROM plan_starts WHERE schedule = $1 AND instant > $2 \
            AND state IN ('planned', 'sent', 'submitted', 'recalled', 'refused', 'withdrawn') ORDER BY instant, parameterisation";
        let statement = self.sorted("prepare reading starts", client.prepare_cached(sql).await)?;
        let rows = self.sorted("read starts", client.query(&statement, &[&schedule.as_str(), &after]).await)?;
        let start = |row: &Row| ExistingStart {
            instant: row.get(0),
            parameterisation: row.get(1),
            state: row.get(2),
            wanted: row.get(3),
            submit_at: row.get(4),
        };
        Ok(rows.iter().map(start).collect())
    }

    /// Stretches of starts that are not made, as far as they end after an instant.
    pub async fn skips(&self, schedule: &DefinitionName, after: DateTime<Utc>) -> Result<Vec<Skip>, StoreError> {
        let client = self.writer().await?;
        let sql = "SELECT first, last, count, reason FROM plan_skips WHERE schedule = $1 AND last > $2 ORDER BY first";
        let statement = self.sorted("prepare reading skips", client.prepare_cached(sql).await)?;
        let rows = self.sorted("read skips", client.query(&statement, &[&schedule.as_str(), &after]).await)?;
        let skip = |row: &Row| Skip {
            first: row.get(0),
            last: row.get(1),
            count: crate::projection::unsigned(row.get(2)),
            reason: row.get(3),
        };
        Ok(rows.iter().map(skip).collect())
    }

    /// Writes what planning came to, all or nothing. False: it was planned by somebody else meanwhile.
    pub async fn write_plan(&self, update: &PlanUpdate) -> Result<bool, StoreError> {
        let mut client = self.writer().await?;
        let tx = self.sorted("begin a transaction", client.transaction().await)?;
        lock(self, &tx).await?;
        if !self.move_schedule(&tx, update).await? {
            return Ok(false);
        }
        self.write_templates(&tx, &update.templates).await?;
        for starts in update.starts.chunks(ROWS) {
            self.write_starts(&tx, update, starts).await?;
        }
        self.withdraw_starts(&tx, update).await?;
        self.write_skips(&tx, update).await?;
        write_notes(self, &tx, &update.notes).await?;
        self.sorted("commit a transaction", tx.commit().await)?;
        Ok(true)
    }

    /// Says why a schedule is not planned; true where that is new.
    pub async fn plan_trouble(
        &self,
        schedule: &DefinitionName,
        trouble: &str,
        note: &Note,
    ) -> Result<bool, StoreError> {
        let mut client = self.writer().await?;
        let tx = self.sorted("begin a transaction", client.transaction().await)?;
        lock(self, &tx).await?;
        let sql = "UPDATE plan_schedules SET trouble = $2 WHERE schedule = $1 AND trouble IS DISTINCT FROM $2";
        let done = tx.execute(sql, &[&schedule.as_str(), &clean(trouble)]).await;
        let is_new = self.sorted("note trouble of a schedule", done)? > 0;
        if is_new {
            write_notes(self, &tx, std::slice::from_ref(note)).await?;
        }
        self.sorted("commit a transaction", tx.commit().await)?;
        Ok(is_new)
    }

    /// Starts of a schedule that are in the plan and ahead.
    pub async fn starts_ahead(&self, schedule: &DefinitionName, now: DateTime<Utc>) -> Result<usize, StoreError> {
        let client = self.writer().await?;
        let sql = "SELECT count(*) FROM plan_starts WHERE schedule = $1 AND instant > $2 AND wanted IS NOT NULL";
        let statement = self.sorted("prepare counting starts", client.prepare_cached(sql).await)?;
        let row = client.query_one(&statement, &[&schedule.as_str(), &now]).await;
        let count: i64 = self.sorted("count starts", row)?.get(0);
        Ok(usize::try_from(count).unwrap_or_default())
    }

    async fn move_schedule(&self, tx: &Transaction<'_>, update: &PlanUpdate) -> Result<bool, StoreError> {
        let PlanUpdate { from, to, change, .. } = update;
        let schedule = from.schedule.as_str();
        let version = |of: &PlannedSchedule| of.version.map(|v| i32::try_from(v).unwrap_or(i32::MAX));
        let definition = to.definition.as_ref().map(json);
        let sql = "UPDATE plan_schedules SET planned_version = $4, planned_active = $5, definition = $6, planned_through = $7, trouble = $8 \
            WHERE schedule = $1 AND planned_version IS NOT DISTINCT FROM $2 AND planned_through IS NOT DISTINCT FROM $3";
        let trouble = to.trouble.as_deref().map(clean);
        let moved = tx
            .execute(
                sql,
                &[
                    &schedule,
                    &version(from),
                    &from.planned_through,
                    &version(to),
                    &to.active,
                    &definition,
                    &to.planned_through,
                    &trouble,
                ],
            )
            .await;
        if self.sorted("move a schedule", moved)? == 0 {
            return Ok(false);
        }
        let Some(change) = change else { return Ok(true) };
        let sql = "DELETE FROM plan_changes WHERE schedule = $1 AND sequence = $2 AND index = $3";
        let gone = tx.execute(sql, &[&schedule, &change.sequence, &change.index]).await;
        Ok(self.sorted("carry out a change of a schedule", gone)? == 1)
    }

    async fn write_templates(&self, tx: &Transaction<'_>, templates: &[Template]) -> Result<(), StoreError> {
        if templates.is_empty() {
            return Ok(());
        }
        let sql = "INSERT INTO plan_orders (fingerprint, body) SELECT * FROM unnest($1::bigint[], $2::json[]) ON CONFLICT DO NOTHING";
        let (prints, bodies) = (column!(templates, |t| t.fingerprint), column!(templates, |t| jsonb(&t.body)));
        self.sorted("write what starts ask for", tx.execute(sql, &[&prints, &bodies]).await).map(drop)
    }

    async fn write_starts(
        &self,
        tx: &Transaction<'_>,
        update: &PlanUpdate,
        starts: &[StartRow],
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO plan_starts AS p (schedule, instant, parameterisation, business_day, workflow, version, state, submit_at, wanted) \
            SELECT $1, instant, parameterisation, business_day, $2, $3, 'planned', submit_at, wanted \
            FROM unnest($4::timestamptz[], $5::text[], $6::date[], $7::timestamptz[], $8::bigint[]) \
                AS s (instant, parameterisation, business_day, submit_at, wanted) \
            ON CONFLICT (schedule, instant, parameterisation) DO UPDATE SET wanted = excluded.wanted, submit_at = excluded.submit_at, \
                business_day = excluded.business_day, workflow = excluded.workflow, version = excluded.version, \
                reason = CASE WHEN p.state IN ('withdrawn', 'refused') THEN NULL ELSE p.reason END, \
                state = CASE WHEN p.state IN ('withdrawn', 'refused') THEN 'planned' ELSE p.state END \
            WHERE p.state IN ('planned', 'sent', 'submitted', 'recalled', 'refused', 'withdrawn')";
        let version = update.to.version.map_or(0, |v| i32::try_from(v).unwrap_or(i32::MAX));
        let statement = self.sorted("prepare planning", tx.prepare_cached(sql).await)?;
        let done = tx
            .execute(
                &statement,
                &[
                    &update.from.schedule.as_str(),
                    &update.workflow.as_ref().map(WorkflowName::as_str),
                    &version,
                    &column!(starts, |s| s.instant),
                    &column!(starts, |s| s.parameterisation.as_str()),
                    &column!(starts, |s| s.business_day),
                    &column!(starts, |s| s.submit_at),
                    &column!(starts, |s| s.wanted),
                ],
            )
            .await;
        self.sorted("plan starts", done).map(drop)
    }

    /// What nobody asked the controller for yet goes at once; the rest when the controller has given it back.
    async fn withdraw_starts(&self, tx: &Transaction<'_>, update: &PlanUpdate) -> Result<(), StoreError> {
        let rows = &update.withdrawn;
        if rows.is_empty() {
            return Ok(());
        }
        let (schedule, instants) = (update.from.schedule.as_str(), column!(rows, |(at, _)| *at));
        let names = column!(rows, |(_, name)| name.as_str());
        let of = "p.schedule = $1 AND p.instant = w.instant AND p.parameterisation = w.parameterisation";
        let listed = "unnest($2::timestamptz[], $3::text[]) AS w (instant, parameterisation)";
        // A start that was handed over once is kept with its generation: it may be wanted again.
        let sql = format!(
            "DELETE FROM plan_starts p USING {listed} WHERE {of} AND p.state IN ('planned', 'refused') AND p.generation = 0"
        );
        self.sorted("withdraw starts", tx.execute(&sql, &[&schedule, &instants, &names]).await)?;
        let sql = format!(
            "UPDATE plan_starts p SET wanted = NULL, state = CASE WHEN p.state IN ('planned', 'refused') THEN 'withdrawn' ELSE p.state END \
             FROM {listed} WHERE {of} AND p.state IN ('planned', 'sent', 'submitted', 'recalled', 'refused')"
        );
        self.sorted("withdraw starts", tx.execute(&sql, &[&schedule, &instants, &names]).await).map(drop)
    }

    async fn write_skips(&self, tx: &Transaction<'_>, update: &PlanUpdate) -> Result<(), StoreError> {
        let schedule = update.from.schedule.as_str();
        if !update.void_skips.is_empty() {
            let sql = "DELETE FROM plan_skips WHERE schedule = $1 AND first = ANY($2)";
            self.sorted("forget skips", tx.execute(sql, &[&schedule, &update.void_skips]).await)?;
        }
        for skip in &update.skips {
            let sql = "INSERT INTO plan_skips (schedule, first, last, count, reason) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
            let count = signed(skip.count);
            let done = tx.execute(sql, &[&schedule, &skip.first, &skip.last, &count, &skip.reason]).await;
            self.sorted("note skips", done)?;
        }
        Ok(())
    }
}

fn planned_schedule(row: &Row) -> Result<PlannedSchedule, StoreError> {
    let definition: Option<serde_json::Value> = row.get(2);
    let mut trouble: Option<String> = row.get(5);
    let definition = definition.and_then(|json| match serde_json::from_value(json) {
        Ok(schedule) => Some(schedule),
        Err(e) => {
            trouble = Some(format!("its definition cannot be read: {e}"));
            None
        }
    });
    Ok(PlannedSchedule {
        schedule: checked(DefinitionName::new(row.get::<_, &str>(0)))?,
        version: row.get::<_, Option<i32>>(1).and_then(|v| u32::try_from(v).ok()),
        definition,
        active: row.get(3),
        planned_through: row.get(4),
        trouble,
    })
}

fn json(schedule: &Schedule) -> crate::value::JsonText<'static> {
    jsonb(schedule)
}
