//! Rows of `steps`: one per run, and what the end of a run says of its log.

use super::fold::Place;
use super::order::column;
use crate::connect::Store;
use crate::error::StoreError;
use crate::value::{JsonText, clean, jsonb};
use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use ordo_domain::run::event::{RunDispatched, RunEnded};
use ordo_domain::run::report::RunEnd;
use ordo_domain::{InstanceId, OrderId, Outcome, RunId};
use std::collections::BTreeMap;

/// A new row.
#[derive(Debug, Clone)]
pub(crate) struct NewStep {
    number: i64,
    pub(crate) order: OrderId,
    position: String,
    job: String,
    attempt: i32,
    agent: String,
    sent_at: DateTime<Utc>,
    pub(crate) change: StepChange,
}

/// What changes in a row.
#[derive(Debug, Clone, Default)]
pub(crate) struct StepChange {
    instance: Option<String>,
    claimed_at: Option<DateTime<Utc>>,
    kill_asked_at: Option<DateTime<Utc>>,
    end: Option<Box<End>>,
}

#[derive(Debug, Clone)]
struct End {
    state: &'static str,
    started_at: Option<DateTime<Utc>>,
    ended_at: DateTime<Utc>,
    run_end: JsonText<'static>,
    return_code: i32,
    exit_code: Option<i32>,
    signal: Option<i32>,
    outcome: Option<JsonText<'static>>,
    text: Option<String>,
    results: Option<JsonText<'static>>,
    cpu_user_ms: i64,
    cpu_system_ms: i64,
    memory_peak: i64,
    output_bytes: i64,
    output_lines: i64,
    output_kept: i64,
    output_chunks: i32,
}

fn big(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl NewStep {
    pub(crate) fn dispatched(e: &RunDispatched, place: &Place) -> Self {
        Self {
            number: place.number,
            order: e.order.clone(),
            position: e.position.to_string(),
            job: e.job.to_string(),
            attempt: i32::try_from(e.attempt).unwrap_or(i32::MAX),
            agent: e.agent.to_string(),
            sent_at: place.at,
            change: StepChange::default(),
        }
    }
}

impl StepChange {
    pub(crate) fn claimed(&mut self, instance: &InstanceId, at: DateTime<Utc>) {
        self.instance = Some(instance.to_string());
        self.claimed_at = Some(at);
    }

    pub(crate) fn kill_asked(&mut self, at: DateTime<Utc>) {
        self.kill_asked_at = Some(at);
    }

    pub(crate) fn ended(&mut self, e: &RunEnded) {
        let facts = &e.facts;
        let state = match (&facts.end, &e.outcome) {
            (RunEnd::Lost { .. }, _) => "lost",
            (RunEnd::Killed, _) => "killed",
            (_, Some(Outcome::Succeeded)) => "succeeded",
            (_, Some(Outcome::Warning { .. })) => "warning",
            (_, Some(Outcome::Failed { .. }) | None) => "failed",
        };
        let text = match (&e.outcome, &facts.end) {
            (Some(Outcome::Failed { failure }), _) => Some(failure.to_string()),
            (_, RunEnd::Lost { reason } | RunEnd::NotStarted { reason, .. }) => Some(reason.clone()),
            (Some(Outcome::Warning { return_code }), _) => Some(format!("warning: exit code {return_code}")),
            _ => None,
        };
        self.end = Some(Box::new(End {
            state,
            started_at: facts.started_at,
            ended_at: facts.ended_at,
            run_end: jsonb(&facts.end),
            return_code: facts.end.return_code(),
            exit_code: if let RunEnd::Exited { code } = facts.end { Some(code) } else { None },
            signal: if let RunEnd::Signalled { signal } = facts.end { Some(signal) } else { None },
            outcome: e.outcome.as_ref().map(jsonb),
            text: text.map(|t| clean(&t)),
            results: (!facts.results.is_empty()).then(|| jsonb(&facts.results)),
            cpu_user_ms: big(facts.usage.cpu_user_ms),
            cpu_system_ms: big(facts.usage.cpu_system_ms),
            memory_peak: big(facts.usage.memory_peak_bytes),
            output_bytes: big(facts.output.bytes),
            output_lines: big(facts.output.lines),
            output_kept: big(facts.output.kept_bytes),
            output_chunks: i32::try_from(facts.output.chunks).unwrap_or(i32::MAX),
        }));
    }

    fn state(&self) -> Option<&'static str> {
        match (&self.end, &self.claimed_at) {
            (Some(end), _) => Some(end.state),
            (None, Some(_)) => Some("running"),
            (None, None) => None,
        }
    }

    fn of_end<'a, T>(&'a self, value: impl FnOnce(&'a End) -> Option<T>) -> Option<T> {
        self.end.as_deref().and_then(value)
    }
}

/// Columns of the change, in the order of the parameters behind the key; one list for both statements.
const CHANGED: &str = "instance, state, claimed_at, kill_asked_at, started_at, ended_at, run_end, return_code, exit_code, signal, \
    outcome, text, results, cpu_user_ms, cpu_system_ms, memory_peak, output_bytes, output_lines, output_kept, output_chunks";
const CHANGED_TYPES: [&str; 20] = [
    "text",
    "text",
    "timestamptz",
    "timestamptz",
    "timestamptz",
    "timestamptz",
    "jsonb",
    "int",
    "int",
    "int",
    "jsonb",
    "text",
    "jsonb",
    "bigint",
    "bigint",
    "bigint",
    "bigint",
    "bigint",
    "bigint",
    "int",
];

/// `$n::text[], $n+1::…[]` from `first` on.
fn parameters(types: &[&str], first: usize) -> String {
    let all: Vec<String> = types.iter().enumerate().map(|(i, ty)| format!("${}::{ty}[]", first + i)).collect();
    all.join(", ")
}

/// `instance = coalesce(u.instance, s.instance), …`: nothing that was known becomes unknown.
fn assignments(new: &str, old: &str) -> String {
    let all: Vec<String> = CHANGED.split(", ").map(|c| format!("{c} = coalesce({new}.{c}, {old}.{c})")).collect();
    all.join(", ")
}

type Column = Box<dyn tokio_postgres::types::ToSql + Sync + Send>;

fn change_columns(rows: &[&StepChange], unchanged: Option<&'static str>) -> Vec<Column> {
    let text = |value: &Option<String>| value.clone();
    vec![
        Box::new(column!(rows, |c| text(&c.instance))),
        Box::new(column!(rows, |c| c.state().or(unchanged))),
        Box::new(column!(rows, |c| c.claimed_at)),
        Box::new(column!(rows, |c| c.kill_asked_at)),
        Box::new(column!(rows, |c| c.of_end(|e| e.started_at))),
        Box::new(column!(rows, |c| c.of_end(|e| Some(e.ended_at)))),
        Box::new(column!(rows, |c| c.of_end(|e| Some(e.run_end.clone())))),
        Box::new(column!(rows, |c| c.of_end(|e| Some(e.return_code)))),
        Box::new(column!(rows, |c| c.of_end(|e| e.exit_code))),
        Box::new(column!(rows, |c| c.of_end(|e| e.signal))),
        Box::new(column!(rows, |c| c.of_end(|e| e.outcome.clone()))),
        Box::new(column!(rows, |c| c.of_end(|e| e.text.clone()))),
        Box::new(column!(rows, |c| c.of_end(|e| e.results.clone()))),
        Box::new(column!(rows, |c| c.of_end(|e| Some(e.cpu_user_ms)))),
        Box::new(column!(rows, |c| c.of_end(|e| Some(e.cpu_system_ms)))),
        Box::new(column!(rows, |c| c.of_end(|e| Some(e.memory_peak)))),
        Box::new(column!(rows, |c| c.of_end(|e| Some(e.output_bytes)))),
        Box::new(column!(rows, |c| c.of_end(|e| Some(e.output_lines)))),
        Box::new(column!(rows, |c| c.of_end(|e| Some(e.output_kept)))),
        Box::new(column!(rows, |c| c.of_end(|e| Some(e.output_chunks)))),
    ]
}

fn as_parameters(columns: &[Column]) -> Vec<&(dyn tokio_postgres::types::ToSql + Sync)> {
    columns.iter().map(|c| &**c as &(dyn tokio_postgres::types::ToSql + Sync)).collect()
}

impl Store {
    /// The orders that these runs are of.
    pub(crate) async fn orders_of_runs(&self, runs: &[RunId]) -> Result<BTreeMap<RunId, OrderId>, StoreError> {
        let mut known = BTreeMap::new();
        if runs.is_empty() {
            return Ok(known);
        }
        let client = self.writer().await?;
        let statement = client.prepare_cached("SELECT run_id, order_id FROM steps WHERE run_id = ANY($1)").await;
        let statement = self.sorted("prepare reading runs", statement)?;
        let ids = column!(runs, |run| run.as_str());
        for row in self.sorted("read runs", client.query(&statement, &[&ids]).await)? {
            if let (Ok(run), Ok(order)) = (RunId::new(row.get::<_, &str>(0)), OrderId::new(row.get::<_, &str>(1))) {
                known.insert(run, order);
            }
        }
        Ok(known)
    }

    pub(crate) async fn insert_steps(
        &self,
        tx: &Transaction<'_>,
        steps: &BTreeMap<RunId, NewStep>,
    ) -> Result<(), StoreError> {
        if steps.is_empty() {
            return Ok(());
        }
        const FIXED: &str = "run_id, number, order_id, position, job, attempt, agent, sent_at";
        const FIXED_TYPES: [&str; 8] = ["text", "bigint", "text", "text", "text", "int", "text", "timestamptz"];
        let sql = format!(
            "INSERT INTO steps ({FIXED}, {CHANGED}) SELECT {FIXED}, {CHANGED} FROM unnest({}, {}) AS u ({FIXED}, {CHANGED}) \
             ON CONFLICT (run_id) DO UPDATE SET {}",
            parameters(&FIXED_TYPES, 1),
            parameters(&CHANGED_TYPES, 9),
            assignments("excluded", "steps"),
        );
        let statement = self.sorted("prepare inserting steps", tx.prepare_cached(&sql).await)?;
        let mut rows: Vec<(&RunId, &NewStep)> = steps.iter().collect();
        rows.sort_by_key(|(_, step)| step.number);
        let changes: Vec<&StepChange> = rows.iter().map(|(_, s)| &s.change).collect();
        let mut columns: Vec<Column> = vec![
            Box::new(column!(rows, |(id, _)| id.to_string())),
            Box::new(column!(rows, |(_, s)| s.number)),
            Box::new(column!(rows, |(_, s)| s.order.to_string())),
            Box::new(column!(rows, |(_, s)| s.position.clone())),
            Box::new(column!(rows, |(_, s)| s.job.clone())),
            Box::new(column!(rows, |(_, s)| s.attempt)),
            Box::new(column!(rows, |(_, s)| s.agent.clone())),
            Box::new(column!(rows, |(_, s)| s.sent_at)),
        ];
        columns.extend(change_columns(&changes, Some("sent")));
        let done = tx.execute(&statement, &as_parameters(&columns)).await;
        self.sorted("insert steps", done).map(|_| ())
    }

    pub(crate) async fn change_steps(
        &self,
        tx: &Transaction<'_>,
        changes: &BTreeMap<RunId, StepChange>,
    ) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "UPDATE steps s SET {} FROM unnest($1::text[], {}) AS u (run_id, {CHANGED}) WHERE s.run_id = u.run_id",
            assignments("u", "s"),
            parameters(&CHANGED_TYPES, 2),
        );
        let statement = self.sorted("prepare changing steps", tx.prepare_cached(&sql).await)?;
        let rows: Vec<&StepChange> = changes.values().collect();
        let runs: Vec<String> = changes.keys().map(ToString::to_string).collect();
        let mut columns: Vec<Column> = vec![Box::new(runs)];
        columns.extend(change_columns(&rows, None));
        let done = tx.execute(&statement, &as_parameters(&columns)).await;
        self.sorted("change steps", done).map(|_| ())
    }

    /// Notes what the logs of ended runs must hold. Sorted by run, as the writer of chunks does: both lock in one order.
    pub(crate) async fn expect_logs(
        &self,
        tx: &Transaction<'_>,
        steps: &[(&RunId, &StepChange)],
    ) -> Result<(), StoreError> {
        let mut rows: Vec<(&str, i64, i64)> = Vec::new();
        for (run, change) in steps {
            if let Some(end) = change.end.as_deref()
                && end.output_chunks > 0
            {
                rows.push((run.as_str(), i64::from(end.output_chunks), end.output_kept));
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        rows.sort_unstable();
        let sql = "INSERT INTO logs (run_id, expected_chunks, expected_bytes) \
            SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS u (run_id, chunks, bytes) ORDER BY run_id COLLATE \"C\" \
            ON CONFLICT (run_id) DO UPDATE SET expected_chunks = excluded.expected_chunks, expected_bytes = excluded.expected_bytes";
        let statement = self.sorted("prepare noting logs", tx.prepare_cached(sql).await)?;
        let done =
            tx.execute(&statement, &[&column!(rows, |r| r.0), &column!(rows, |r| r.1), &column!(rows, |r| r.2)]).await;
        self.sorted("note what logs must hold", done).map(|_| ())
    }
}
