//! Questions about the plan, answered from the rows.

use crate::connect::Store;
use crate::error::StoreError;
use crate::projection::unsigned;
use crate::read::{Conditions, checked, from_json};
use chrono::{DateTime, NaiveDate, Utc};
use ordo_contract::request::daily_plan::{PlanLine, ScheduleLine, SkippedStarts};
use ordo_domain::plan::Schedule;
use ordo_domain::{DefinitionName, OrderId, Span, WorkflowName};
use tokio_postgres::Row;

/// More of one hour that are alike are one line.
const ALIKE: i64 = 6;

/// What people call the states that only the service tells apart; what was withdrawn is not in the plan.
const STATE: &str = "CASE s.state WHEN 'sent' THEN 'planned' WHEN 'recalled' THEN 'submitted' ELSE s.state END";
const IN_PLAN: &str = "s.state <> 'withdrawn' AND NOT (s.state = 'planned' AND s.wanted IS NULL)";

impl Store {
    /// Starts of a business day in the order of their time, `limit` lines behind the first `after`.
    pub async fn plan_of_day(
        &self,
        day: NaiveDate,
        schedule: Option<&DefinitionName>,
        all: bool,
        limit: u32,
        after: u64,
    ) -> Result<Vec<PlanLine>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.and_plain(IN_PLAN);
        conditions.and("s.business_day = ?", day);
        if let Some(schedule) = schedule {
            conditions.and("s.schedule = ?", schedule.to_string());
        }
        let alike = if all { i64::MAX } else { ALIKE };
        // Of what is alike, each group is a line; of the rest, each start is its own group.
        let sql = format!(
            "SELECT min(instant), max(instant), count(*), schedule, parameterisation, workflow, shown, min(order_id), min(started_at), \
                 max(ended_at), max(late_ms), min(reason) \
             FROM (SELECT s.*, {STATE} AS shown, \
                 count(*) OVER (PARTITION BY s.schedule, s.parameterisation, {STATE}, date_trunc('hour', s.instant)) AS alike \
                 FROM plan_starts s WHERE {}) AS s \
             GROUP BY schedule, parameterisation, workflow, shown, CASE WHEN alike > {alike} THEN date_trunc('hour', instant) ELSE instant END \
             ORDER BY 1, 4, 5, 7 LIMIT {limit} OFFSET {after}",
            conditions.sql()
        );
        let client = self.reader().await?;
        let rows = self.sorted("read the plan of a day", client.query(&sql, &conditions.values()).await)?;
        rows.iter().map(line).collect()
    }

    /// Every schedule that is deployed, or the one of that name.
    pub async fn schedule_lines(
        &self,
        now: DateTime<Utc>,
        schedule: Option<&DefinitionName>,
    ) -> Result<Vec<(ScheduleLine, Option<Schedule>)>, StoreError> {
        let sql = format!(
            "SELECT p.schedule, p.version, p.suspended, p.definition, p.planned_through, p.trouble, \
                 a.next_at, a.ahead, a.submitted, l.instant, l.shown \
             FROM plan_schedules p \
             CROSS JOIN LATERAL (SELECT min(s.instant) AS next_at, count(*) AS ahead, count(*) FILTER (WHERE s.state = 'submitted') AS submitted \
                 FROM plan_starts s WHERE s.schedule = p.schedule AND s.instant > $1 AND s.wanted IS NOT NULL \
                     AND s.state IN ('planned', 'sent', 'submitted')) AS a \
             LEFT JOIN LATERAL (SELECT s.instant, {STATE} AS shown FROM plan_starts s WHERE s.schedule = p.schedule AND s.instant <= $1 AND {IN_PLAN} \
                 ORDER BY s.instant DESC LIMIT 1) AS l ON true \
             WHERE NOT p.removed AND ($2::text IS NULL OR p.schedule = $2) ORDER BY p.schedule"
        );
        let client = self.reader().await?;
        let wanted = schedule.map(DefinitionName::as_str);
        let rows = self.sorted("read schedules", client.query(&sql, &[&now, &wanted]).await)?;
        rows.iter().map(schedule_line).collect()
    }

    /// The starts of a schedule around now: the last `count` that were and the next ones, in the order of their time.
    pub async fn starts_around(
        &self,
        schedule: &DefinitionName,
        now: DateTime<Utc>,
        count: i64,
    ) -> Result<Vec<PlanLine>, StoreError> {
        let columns = format!(
            "s.instant, s.instant, 1::bigint, s.schedule, s.parameterisation, s.workflow, {STATE}, s.order_id, s.started_at, s.ended_at, \
             s.late_ms, s.reason"
        );
        let of = format!("FROM plan_starts s WHERE s.schedule = $1 AND {IN_PLAN}");
        let sql = format!(
            "(SELECT {columns} {of} AND s.instant <= $2 ORDER BY s.instant DESC LIMIT $3) UNION ALL \
             (SELECT {columns} {of} AND s.instant > $2 ORDER BY s.instant LIMIT $3) ORDER BY 1, 5"
        );
        let client = self.reader().await?;
        let rows = client.query(&sql, &[&schedule.as_str(), &now, &count]).await;
        self.sorted("read starts", rows)?.iter().map(line).collect()
    }

    /// The newest stretches of starts that were not made up for.
    pub async fn skipped_starts(&self, schedule: &DefinitionName) -> Result<Vec<SkippedStarts>, StoreError> {
        let client = self.reader().await?;
        let sql = "SELECT first, last, count, reason FROM plan_skips WHERE schedule = $1 ORDER BY first DESC LIMIT 10";
        let rows = self.sorted("read skips", client.query(sql, &[&schedule.as_str()]).await)?;
        let skip = |row: &Row| SkippedStarts {
            first: row.get(0),
            last: row.get(1),
            count: unsigned(row.get(2)),
            reason: row.get(3),
        };
        Ok(rows.iter().map(skip).collect())
    }
}

fn line(row: &Row) -> Result<PlanLine, StoreError> {
    let (at, until, count): (DateTime<Utc>, DateTime<Utc>, i64) = (row.get(0), row.get(1), row.get(2));
    let one = count == 1;
    let order: Option<&str> = row.get(7);
    Ok(PlanLine {
        at,
        until: (!one).then_some(until),
        count: unsigned(count),
        schedule: checked(DefinitionName::new(row.get::<_, &str>(3)))?,
        parameterisation: row.get(4),
        workflow: checked(WorkflowName::new(row.get::<_, &str>(5)))?,
        state: row.get(6),
        order: order.filter(|_| one).map(|order| checked(OrderId::new(order))).transpose()?,
        started_at: row.get(8),
        ended_at: row.get(9),
        late_by: row.get::<_, Option<i64>>(10).map(|ms| Span::from_millis(unsigned(ms))),
        reason: row.get(11),
    })
}

fn schedule_line(row: &Row) -> Result<(ScheduleLine, Option<Schedule>), StoreError> {
    let definition: Option<Schedule> = from_json(row.get(3)).unwrap_or_default();
    let line = ScheduleLine {
        schedule: checked(DefinitionName::new(row.get::<_, &str>(0)))?,
        version: u32::try_from(row.get::<_, i32>(1)).unwrap_or_default(),
        suspended: row.get(2),
        title: definition.as_ref().and_then(|d| d.title.clone()),
        workflow: definition.as_ref().map(|d| d.workflow.clone()),
        next_at: row.get(6),
        ahead: unsigned(row.get(7)),
        submitted: unsigned(row.get(8)),
        planned_through: row.get(4),
        last_at: row.get(9),
        last_state: row.get(10),
        trouble: row.get(5),
    };
    Ok((line, definition))
}
