//! Runs of the cleanup and how far each of their steps is.

use super::{Batch, Counts, add_all};
use crate::connect::Store;
use crate::error::StoreError;
use crate::projection::{signed, unsigned};
use crate::value::JsonText;
use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use ordo_domain::retention::RetentionKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use tokio_postgres::Row;

/// How a run, or a step of it, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CleanupState {
    /// A step that is not done.
    Waiting,
    Running,
    Done,
    /// Its window closed.
    Stopped,
    Failed,
}

impl CleanupState {
    pub fn word(self) -> &'static str {
        match self {
            CleanupState::Waiting => "waiting",
            CleanupState::Running => "running",
            CleanupState::Done => "done",
            CleanupState::Stopped => "stopped",
            CleanupState::Failed => "failed",
        }
    }

    fn read(word: &str) -> Self {
        let all = [CleanupState::Waiting, CleanupState::Running, CleanupState::Done, CleanupState::Stopped];
        all.into_iter().find(|state| state.word() == word).unwrap_or(CleanupState::Failed)
    }
}

/// A run to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// None: the window opened.
    pub asked_by: Option<String>,
    /// The version of the definition; none: the defaults.
    pub retention: Option<u32>,
    pub batch: u32,
    pub started_at: DateTime<Utc>,
    /// When the window closes.
    pub until: Option<DateTime<Utc>>,
    /// It only counts.
    pub dry_run: bool,
    /// What is to be done, in this order, and the cut-off of each.
    pub steps: Vec<(RetentionKind, DateTime<Utc>)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CleanupRun {
    pub run: i64,
    pub asked_by: Option<String>,
    pub retention: Option<u32>,
    pub batch: u32,
    pub started_at: DateTime<Utc>,
    pub until: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub state: CleanupState,
    pub dry_run: bool,
    pub steps: Vec<CleanupStep>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CleanupStep {
    pub run: i64,
    pub kind: RetentionKind,
    pub cut_off: DateTime<Utc>,
    pub state: CleanupState,
    /// How many batches are done: who knows it may do the next.
    pub batches: u64,
    pub position: Option<Value>,
    pub counts: Counts,
    pub error: Option<String>,
    pub moved_at: Option<DateTime<Utc>>,
}

impl CleanupStep {
    /// As it is after a batch.
    pub(super) fn after(&self, batch: &Batch) -> Self {
        let mut after = Self { batches: self.batches + 1, position: batch.next.clone(), error: None, ..self.clone() };
        add_all(&mut after.counts, &batch.counts);
        if batch.next.is_none() {
            after.state = CleanupState::Done;
        }
        after
    }
}

const RUN: &str =
    "SELECT run, asked_by, retention, batch, started_at, until, ended_at, state, dry_run FROM cleanup_runs";

impl Store {
    /// Begins a run, unless one runs already: then that one, with `false`.
    pub async fn begin_cleanup(&self, new: &NewRun) -> Result<(CleanupRun, bool), StoreError> {
        let mut client = self.writer().await?;
        let tx = self.sorted("begin a transaction", client.transaction().await)?;
        let sql = "INSERT INTO cleanup_runs (asked_by, retention, batch, started_at, until, dry_run) VALUES ($1, $2, $3, $4, $5, $6) \
                   ON CONFLICT (state) WHERE state = 'running' DO NOTHING RETURNING run";
        let version = new.retention.map(|v| i32::try_from(v).unwrap_or(i32::MAX));
        let batch = i32::try_from(new.batch).unwrap_or(i32::MAX);
        let row =
            tx.query_opt(sql, &[&new.asked_by, &version, &batch, &new.started_at, &new.until, &new.dry_run]).await;
        let begun = self.sorted("note a run of the cleanup", row)?.map(|row| row.get::<_, i64>(0));
        if let Some(run) = begun {
            let sql = "INSERT INTO cleanup_steps (run, kind, number, cut_off) VALUES ($1, $2, $3, $4)";
            let statement = self.sorted("prepare noting steps", tx.prepare_cached(sql).await)?;
            for (number, (kind, cut_off)) in (0_i32..).zip(&new.steps) {
                let noted = tx.execute(&statement, &[&run, &kind.word(), &number, cut_off]).await;
                self.sorted("note a step of the cleanup", noted)?;
            }
        }
        self.sorted("commit a transaction", tx.commit().await)?;
        drop(client);
        let missing = || StoreError::Refused { what: "the run of the cleanup ended while it was begun".into() };
        Ok((self.running_cleanup().await?.ok_or_else(missing)?, begun.is_some()))
    }

    /// The run that is not ended.
    pub async fn running_cleanup(&self) -> Result<Option<CleanupRun>, StoreError> {
        Ok(self.cleanup_runs_where("WHERE state = 'running'", 1).await?.pop())
    }

    /// The last runs, newest first.
    pub async fn last_cleanups(&self, count: u32) -> Result<Vec<CleanupRun>, StoreError> {
        self.cleanup_runs_where("", count).await
    }

    async fn cleanup_runs_where(&self, condition: &str, count: u32) -> Result<Vec<CleanupRun>, StoreError> {
        // As the writer: its own last step must be seen, and a reader may be a follower one day.
        let client = self.writer().await?;
        let sql = format!("{RUN} {condition} ORDER BY run DESC LIMIT {count}");
        let rows = self.sorted("read runs of the cleanup", client.query(&sql, &[]).await)?;
        let mut runs: Vec<CleanupRun> = rows.iter().map(run).collect();
        for run in &mut runs {
            let sql = "SELECT run, kind, cut_off, state, batches, position::text, counts::text, error, moved_at FROM cleanup_steps \
                       WHERE run = $1 ORDER BY number";
            let rows = self.sorted("read steps of the cleanup", client.query(sql, &[&run.run]).await)?;
            run.steps = rows.iter().filter_map(step).collect();
        }
        Ok(runs)
    }

    /// A run of the window that closes then has ended.
    pub async fn cleaned_in_window(&self, closes: DateTime<Utc>) -> Result<bool, StoreError> {
        let client = self.writer().await?;
        let sql =
            "SELECT EXISTS (SELECT FROM cleanup_runs WHERE asked_by IS NULL AND until = $1 AND state <> 'running')";
        Ok(self.sorted("look for the window's run", client.query_one(sql, &[&closes]).await)?.get(0))
    }

    /// Ends a run.
    pub async fn end_cleanup(&self, run: i64, state: CleanupState, at: DateTime<Utc>) -> Result<(), StoreError> {
        let client = self.writer().await?;
        let sql = "UPDATE cleanup_runs SET state = $2, ended_at = $3 WHERE run = $1 AND state = 'running'";
        self.sorted("end a run of the cleanup", client.execute(sql, &[&run, &state.word(), &at]).await)?;
        Ok(())
    }

    /// Forgets runs that ended before this.
    pub async fn forget_cleanups(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let client = self.writer().await?;
        let sql = "DELETE FROM cleanup_runs WHERE ended_at < $1";
        self.sorted("forget old runs of the cleanup", client.execute(sql, &[&before]).await)
    }

    /// Notes what was done elsewhere (on the bus, by other services), or why it was not.
    pub async fn note_cleanup(&self, step: &mut CleanupStep, after: CleanupStep) -> Result<(), StoreError> {
        let mut client = self.writer().await?;
        let tx = self.sorted("begin a transaction", client.transaction().await)?;
        self.take_step(&tx, step).await?;
        let after = CleanupStep { batches: step.batches + 1, ..after };
        self.note_step(&tx, &after).await?;
        self.sorted("commit a transaction", tx.commit().await)?;
        *step = after;
        Ok(())
    }

    /// Locks the step for this transaction, when it is where we left it.
    pub(super) async fn take_step(&self, tx: &Transaction<'_>, step: &CleanupStep) -> Result<(), StoreError> {
        let sql = "UPDATE cleanup_steps SET batches = batches + 1, moved_at = now() \
                   WHERE run = $1 AND kind = $2 AND batches = $3 AND state = 'waiting'";
        let statement = self.sorted("prepare moving the cleanup", tx.prepare_cached(sql).await)?;
        let moved = tx.execute(&statement, &[&step.run, &step.kind.word(), &signed(step.batches)]).await;
        if self.sorted("move the cleanup", moved)? == 1 {
            return Ok(());
        }
        let sql = "SELECT batches FROM cleanup_steps WHERE run = $1 AND kind = $2";
        let row = self.sorted("read the cleanup's step", tx.query_opt(sql, &[&step.run, &step.kind.word()]).await)?;
        let theirs = row.map(|row| unsigned(row.get(0))).unwrap_or_default();
        Err(StoreError::Fenced { stream: format!("cleanup of {}", step.kind), ours: step.batches, theirs })
    }

    pub(super) async fn note_step(&self, tx: &Transaction<'_>, after: &CleanupStep) -> Result<(), StoreError> {
        let sql = "UPDATE cleanup_steps SET state = $3, batches = $4, position = $5, counts = $6, error = $7, moved_at = now() \
                   WHERE run = $1 AND kind = $2";
        let statement = self.sorted("prepare noting a batch", tx.prepare_cached(sql).await)?;
        let position = after.position.as_ref().map(|p| JsonText(Cow::Owned(p.to_string())));
        let counts = JsonText(Cow::Owned(serde_json::to_string(&after.counts).unwrap_or_else(|_| "{}".into())));
        let noted = tx
            .execute(
                &statement,
                &[
                    &after.run,
                    &after.kind.word(),
                    &after.state.word(),
                    &signed(after.batches),
                    &position,
                    &counts,
                    &after.error,
                ],
            )
            .await;
        self.sorted("note a batch", noted).map(|_| ())
    }
}

fn run(row: &Row) -> CleanupRun {
    let number = |i| row.get::<_, Option<i32>>(i).and_then(|n| u32::try_from(n).ok());
    CleanupRun {
        run: row.get(0),
        asked_by: row.get(1),
        retention: number(2),
        batch: number(3).unwrap_or_default(),
        started_at: row.get(4),
        until: row.get(5),
        ended_at: row.get(6),
        state: CleanupState::read(row.get(7)),
        dry_run: row.get(8),
        steps: Vec::new(),
    }
}

/// None: of a kind that only a newer Ordo knows.
fn step(row: &Row) -> Option<CleanupStep> {
    let kind: &str = row.get(1);
    Some(CleanupStep {
        run: row.get(0),
        kind: RetentionKind::ALL.into_iter().find(|k| k.word() == kind)?,
        cut_off: row.get(2),
        state: CleanupState::read(row.get(3)),
        batches: unsigned(row.get(4)),
        position: row.get::<_, Option<&str>>(5).and_then(|text| serde_json::from_str(text).ok()),
        counts: serde_json::from_str(row.get(6)).unwrap_or_default(),
        error: row.get(7),
        moved_at: row.get(8),
    })
}
