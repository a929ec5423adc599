//! What the journal says becomes of starts and schedules.

use super::asking::{Note, write_notes};
use super::{anew, lock};
use crate::decode::Decoded;
use crate::error::StoreError;
use crate::history::order::column;
use crate::projection::signed;
use crate::projector::Rows;
use crate::read::checked;
use crate::transaction::Tx;
use crate::value::{clean, jsonb};
use chrono::{DateTime, NaiveDate, Utc};
use ordo_contract::request::catalog::DeployedReply;
use ordo_domain::catalog::{DefinitionKind, NoteStarts, StartNotPlanned, StartNote, StartSkipped};
use ordo_domain::order::command::{NewOrder, StartKey};
use ordo_domain::order::event::{CancelReason, OrderAdded};
use ordo_domain::{CommandId, ContentHash, DefinitionName, Event, OrderId, Refusal, WorkflowName, limit};
use std::collections::{BTreeMap, BTreeSet};

/// Commands of the daily plan begin with this.
const COMMANDS: &str = "plan-";

/// See [`Rows`].
#[derive(Debug, Default)]
pub struct PlanRows;

/// What a batch says of the plan, in the order in which it is written.
#[derive(Default)]
struct Fold<'a> {
    /// Orders of one start follow each other: each in a round of its own.
    rounds: Vec<Round<'a>>,
    refused: BTreeMap<&'a CommandId, Option<&'a Refusal>>,
    accepted: BTreeSet<&'a CommandId>,
    workflows: BTreeMap<&'a str, DateTime<Utc>>,
    skipped: Vec<&'a StartSkipped>,
    changes: Vec<Change<'a>>,
}

#[derive(Default)]
struct Round<'a> {
    added: BTreeMap<&'a StartKey, &'a OrderAdded>,
    fates: BTreeMap<&'a OrderId, Fate>,
}

/// What became of an order.
#[derive(Debug, Clone, Default)]
struct Fate {
    /// `resumed`, `replanned` and `waits` depend on what was before.
    state: &'static str,
    started_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    late_ms: Option<i64>,
    reason: Option<String>,
}

/// Of a schedule.
struct Change<'a> {
    sequence: u64,
    index: u32,
    at: DateTime<Utc>,
    schedule: &'a str,
    what: &'static str,
    /// Version and hash of a deployment.
    deployed: Option<(u32, &'a str)>,
}

impl Rows for PlanRows {
    const READER: &'static str = "daily-plan";
    const CAN_BEGIN: bool = true;

    async fn begin(&mut self, tx: &mut Tx<'_>, picture: &DeployedReply) -> Result<(), StoreError> {
        lock(tx.store, &tx.tx).await?;
        anew::begin(tx, picture).await
    }

    async fn write(&mut self, tx: &mut Tx<'_>, batch: &[Decoded<'_>]) -> Result<(), StoreError> {
        let fold = fold(batch);
        lock(tx.store, &tx.tx).await?;
        for round in &fold.rounds {
            added(tx, &round.added).await?;
            fates(tx, &round.fates).await?;
        }
        answered(tx, &fold).await?;
        workflows(tx, &fold.workflows).await?;
        for skipped in &fold.skipped {
            skip(tx, skipped).await?;
        }
        for change in &fold.changes {
            schedule(tx, change).await?;
        }
        Ok(())
    }
}

/// `20261122-P7-…`: only planned orders are in the plan, and none of their branches.
fn is_planned(order: &OrderId) -> bool {
    let text = order.as_str();
    text.as_bytes().get(9) == Some(&b'P') && !text.contains(':')
}

fn fold<'a>(batch: &'a [Decoded<'_>]) -> Fold<'a> {
    let mut fold = Fold::default();
    for commit in batch {
        let at = commit.commit.at;
        for (index, event) in commit.events() {
            let change =
                |schedule, what, deployed| Change { sequence: commit.sequence, index, at, schedule, what, deployed };
            match event {
                Event::OrderAdded(e) => {
                    if let Some(start) = &e.start {
                        fold.round_without(start).added.insert(start, e);
                    }
                }
                Event::CommandRefused(e) => {
                    if let Some(command) = e.command.as_ref().filter(|id| is_ours(id)) {
                        fold.refused.insert(command, Some(&e.refusal));
                    }
                }
                Event::CommandFailed(e) => {
                    if let Some(command) = e.command.as_ref().filter(|id| is_ours(id)) {
                        fold.refused.insert(command, None);
                    }
                }
                Event::CommandAccepted(e) if is_ours(&e.command) => drop(fold.accepted.insert(&e.command)),
                Event::WorkflowDeployed(e) => drop(fold.workflows.insert(e.workflow.as_str(), at)),
                Event::StartSkipped(e) => fold.skipped.push(e),
                Event::DefinitionDeployed(e) if e.kind == DefinitionKind::Schedule => {
                    fold.changes.push(change(e.name.as_str(), "deployed", Some((e.version, e.hash.as_str()))));
                }
                Event::DefinitionRemoved(e) if e.kind == DefinitionKind::Schedule => {
                    fold.changes.push(change(e.name.as_str(), "removed", None));
                }
                Event::ScheduleSuspended(e) => fold.changes.push(change(e.schedule.as_str(), "suspended", None)),
                Event::ScheduleResumed(e) => fold.changes.push(change(e.schedule.as_str(), "resumed", None)),
                other => {
                    if let Some(order) = other.order().filter(|order| is_planned(order))
                        && let Some(fate) = fate(other, at)
                    {
                        fold.become_of(order, fate);
                    }
                }
            }
        }
    }
    fold
}

fn is_ours(command: &CommandId) -> bool {
    command.as_str().starts_with(COMMANDS)
}

impl<'a> Fold<'a> {
    /// The last round, or a new one where that has an order of this start already.
    fn round_without(&mut self, start: &StartKey) -> &mut Round<'a> {
        if self.rounds.last().is_none_or(|round| round.added.contains_key(start)) {
            self.rounds.push(Round::default());
        }
        let last = self.rounds.len() - 1;
        &mut self.rounds[last]
    }

    fn become_of(&mut self, order: &'a OrderId, fate: Fate) {
        if self.rounds.is_empty() {
            self.rounds.push(Round::default());
        }
        let last = self.rounds.len() - 1;
        let before = self.rounds[last].fates.remove(order);
        let depends = matches!(fate.state, "resumed" | "waits");
        let fate = match before {
            // What `resumed` means, depends on what the row was: it cannot be folded into one change.
            Some(before) if depends => {
                self.rounds[last].fates.insert(order, before);
                self.rounds.push(Round::default());
                fate
            }
            Some(before) => Fate {
                started_at: fate.started_at.or(before.started_at),
                late_ms: fate.late_ms.or(before.late_ms),
                ..fate
            },
            None => fate,
        };
        let last = self.rounds.len() - 1;
        self.rounds[last].fates.insert(order, fate);
    }
}

/// None: it does not show in the plan.
fn fate(event: &Event, at: DateTime<Utc>) -> Option<Fate> {
    let ended = |state, reason| Fate { state, ended_at: Some(at), reason, ..Fate::default() };
    Some(match event {
        Event::OrderStarted(e) => Fate {
            state: "started",
            started_at: Some(at),
            late_ms: e.late_by.map(|late| signed(late.as_millis())),
            ..Fate::default()
        },
        Event::OrderWaits(e) => {
            Fate { state: "waits", reason: Some(format!("waits until {} has ended", e.earlier)), ..Fate::default() }
        }
        Event::OrderResumed(_) => Fate { state: "resumed", ..Fate::default() },
        Event::OrderFailed(e) => ended("failed", Some(e.failure.to_string())),
        Event::OrderFinished(e) => ended("finished", e.message.clone()),
        Event::OrderCancelled(e) => match &e.reason {
            CancelReason::Replanned => Fate { state: "replanned", ..Fate::default() },
            CancelReason::Late { late_by } => Fate {
                late_ms: Some(signed(late_by.as_millis())),
                ..ended("late", Some(format!("it was {late_by} late")))
            },
            CancelReason::Overlap { earlier } => ended("skipped", Some(format!("{earlier} still ran"))),
            _ => ended("cancelled", None),
        },
        _ => return None,
    })
}

/// What an order that nobody planned here was asked for, as far as the journal shows it.
fn found(e: &OrderAdded) -> NewOrder {
    NewOrder {
        workflow: e.workflow.name.clone(),
        name: None,
        arguments: e.arguments.clone(),
        title: e.title.clone(),
        tags: e.tags.clone(),
        business_day: None,
        due_at: None,
        held: false,
        priority: Some(e.priority),
        late: Some(e.late),
        start: None,
        overlap: e.overlap,
    }
}

/// A start has an order: also one that is in no row, or in one of which nothing was sent, where the rows are an older copy.
async fn added(tx: &Tx<'_>, added: &BTreeMap<&StartKey, &OrderAdded>) -> Result<(), StoreError> {
    if added.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO plan_starts AS p (schedule, instant, parameterisation, business_day, workflow, version, state, submit_at, order_id, found) \
        SELECT schedule, instant, parameterisation, business_day, workflow, 0, 'submitted', instant, order_id, found \
        FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::date[], $5::text[], $6::text[], $7::json[]) \
            AS a (schedule, instant, parameterisation, business_day, workflow, order_id, found) \
        ON CONFLICT (schedule, instant, parameterisation) DO UPDATE SET state = 'submitted', order_id = excluded.order_id, reason = NULL, \
            sent = CASE WHEN p.state = 'sent' THEN p.sent END, found = CASE WHEN p.state <> 'sent' THEN excluded.found END";
    let rows: Vec<(&StartKey, &OrderAdded)> = added.iter().map(|(start, e)| (*start, *e)).collect();
    let statement = tx.store.sorted("prepare noting orders of the plan", tx.tx.prepare_cached(sql).await)?;
    let days: Vec<NaiveDate> = column!(rows, |(_, e)| e.business_day);
    let done = tx
        .tx
        .execute(
            &statement,
            &[
                &column!(rows, |(s, _)| s.schedule.as_str()),
                &column!(rows, |(s, _)| s.instant),
                &column!(rows, |(s, _)| s.parameterisation.as_str()),
                &days,
                &column!(rows, |(_, e)| e.workflow.name.as_str()),
                &column!(rows, |(_, e)| e.order.as_str()),
                &column!(rows, |(_, e)| jsonb(&found(e))),
            ],
        )
        .await;
    tx.store.sorted("note orders of the plan", done).map(drop)
}

async fn fates(tx: &Tx<'_>, fates: &BTreeMap<&OrderId, Fate>) -> Result<(), StoreError> {
    if fates.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE plan_starts p SET \
            state = CASE c.state WHEN 'replanned' THEN CASE WHEN p.wanted IS NULL THEN 'withdrawn' ELSE 'planned' END \
                WHEN 'resumed' THEN CASE WHEN p.state <> 'failed' THEN p.state WHEN p.started_at IS NULL THEN 'submitted' ELSE 'started' END \
                WHEN 'waits' THEN p.state ELSE c.state END, \
            started_at = CASE WHEN c.state <> 'replanned' THEN coalesce(c.started_at, p.started_at) END, \
            ended_at = CASE c.state WHEN 'waits' THEN p.ended_at ELSE c.ended_at END, \
            late_ms = coalesce(c.late_ms, p.late_ms), \
            reason = c.reason, \
            order_id = CASE WHEN c.state <> 'replanned' THEN p.order_id END, \
            sent = CASE WHEN c.state <> 'replanned' THEN p.sent END, \
            found = CASE WHEN c.state <> 'replanned' THEN p.found END, \
            command = CASE WHEN c.state <> 'replanned' THEN p.command END, \
            alone = p.alone AND c.state <> 'replanned', \
            tries = CASE WHEN c.state <> 'replanned' THEN p.tries ELSE 0 END, \
            generation = p.generation + CASE WHEN c.state = 'replanned' THEN 1 ELSE 0 END \
        FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::bigint[], $6::text[]) \
            AS c (order_id, state, started_at, ended_at, late_ms, reason) \
        WHERE p.order_id = c.order_id";
    let rows: Vec<(&OrderId, &Fate)> = fates.iter().map(|(order, fate)| (*order, fate)).collect();
    let statement = tx.store.sorted("prepare noting fates of the plan", tx.tx.prepare_cached(sql).await)?;
    let done = tx
        .tx
        .execute(
            &statement,
            &[
                &column!(rows, |(order, _)| order.as_str()),
                &column!(rows, |(_, f)| f.state),
                &column!(rows, |(_, f)| f.started_at),
                &column!(rows, |(_, f)| f.ended_at),
                &column!(rows, |(_, f)| f.late_ms),
                &column!(rows, |(_, f)| f.reason.as_deref().map(clean)),
            ],
        )
        .await;
    tx.store.sorted("note fates of the plan", done).map(drop)
}

/// The outcome of our commands, where no order has shown it.
async fn answered(tx: &Tx<'_>, fold: &Fold<'_>) -> Result<(), StoreError> {
    for (command, refusal) in &fold.refused {
        refused(tx, command, *refusal).await?;
    }
    if fold.accepted.is_empty() {
        return Ok(());
    }
    let commands: Vec<&str> = fold.accepted.iter().map(|id| id.as_str()).collect();
    // Accepted, and no order came: this is the outcome of an earlier life of the same id. Another generation has another one.
    // Recalled and passed over: it has started, or is on its way to.
    let sql = "UPDATE plan_starts SET tries = 0, \
            state = CASE WHEN state = 'recalled' THEN 'submitted' WHEN wanted IS NULL THEN 'withdrawn' ELSE 'planned' END, \
            generation = generation + CASE WHEN state = 'sent' THEN 1 ELSE 0 END, \
            wanted = CASE WHEN state = 'recalled' THEN sent ELSE wanted END \
        WHERE command = ANY($1) AND state IN ('sent', 'recalled')";
    let statement = tx.store.sorted("prepare noting outcomes", tx.tx.prepare_cached(sql).await)?;
    tx.store.sorted("note outcomes", tx.tx.execute(&statement, &[&commands]).await)?;
    let sql = "DELETE FROM plan_notes WHERE command = ANY($1)";
    let statement = tx.store.sorted("prepare noting what is journalled", tx.tx.prepare_cached(sql).await)?;
    tx.store.sorted("note what is journalled", tx.tx.execute(&statement, &[&commands]).await).map(drop)
}

async fn refused(tx: &Tx<'_>, command: &CommandId, refusal: Option<&Refusal>) -> Result<(), StoreError> {
    let id = command.as_str();
    let sql = "SELECT count(*) FROM plan_starts WHERE command = $1 AND state IN ('sent', 'recalled')";
    let count: i64 = tx.store.sorted("look for what was refused", tx.tx.query_one(sql, &[&id]).await)?.get(0);
    let reason = refusal.map_or_else(|| "the controller could not read it".to_owned(), ToString::to_string);
    let done = match (count, refusal) {
        (0, _) => {
            // A note: nobody can help it.
            tracing::warn!(command = id, reason, "refused");
            tx.tx.execute("DELETE FROM plan_notes WHERE command = $1", &[&id]).await
        }
        (1, Some(Refusal::StartKnown { order, .. })) => {
            let sql = "UPDATE plan_starts SET state = 'submitted', order_id = $2, reason = NULL WHERE command = $1 AND state = 'sent'";
            tx.tx.execute(sql, &[&id, &order.as_str()]).await
        }
        // The journal has to be emptied first: it is the same start, later.
        (_, Some(Refusal::JournalFull { .. })) => {
            let sql = "UPDATE plan_starts SET state = CASE WHEN state = 'recalled' THEN 'submitted' WHEN wanted IS NULL THEN 'withdrawn' \
                    ELSE 'planned' END, generation = generation + 1, tries = 0, reason = $2, submit_at = now() + interval '10 s' \
                WHERE command = $1 AND state IN ('sent', 'recalled')";
            tx.tx.execute(sql, &[&id, &clean(&reason)]).await
        }
        (1, _) => return refused_alone(tx, command, &reason).await,
        // One of several is wrong: each by itself.
        _ => {
            let sql = "UPDATE plan_starts SET generation = generation + 1, tries = 0, alone = true, \
                    state = CASE WHEN state = 'recalled' THEN 'submitted' WHEN wanted IS NULL THEN 'withdrawn' ELSE 'planned' END \
                WHERE command = $1 AND state IN ('sent', 'recalled')";
            tx.tx.execute(sql, &[&id]).await
        }
    };
    tx.store.sorted("note what was refused", done).map(drop)
}

/// It will not be: that is an event, too.
async fn refused_alone(tx: &Tx<'_>, command: &CommandId, reason: &str) -> Result<(), StoreError> {
    let sql = "UPDATE plan_starts SET generation = generation + 1, tries = 0, reason = $2, \
            state = CASE WHEN state = 'recalled' THEN 'submitted' ELSE 'refused' END, \
            wanted = CASE WHEN state = 'recalled' THEN sent ELSE wanted END \
        WHERE command = $1 AND state IN ('sent', 'recalled') RETURNING state, schedule, parameterisation, instant, workflow";
    let rows = tx.tx.query(sql, &[&command.as_str(), &clean(reason)]).await;
    for row in tx.store.sorted("note what was refused", rows)? {
        if row.get::<_, &str>(0) != "refused" {
            continue;
        }
        let start = StartKey { schedule: row.get(1), parameterisation: row.get(2), instant: row.get(3) };
        let note = StartNotPlanned {
            schedule: checked(DefinitionName::new(&start.schedule))?,
            workflow: checked(WorkflowName::new(row.get::<_, &str>(4)))?,
            start: Some(start),
            reason: short(reason),
        };
        let id = ContentHash::of(command.as_str().as_bytes());
        let id = checked(CommandId::new(format!("plan-note-{}", &id.as_str()[..32])))?;
        let notes = NoteStarts { notes: vec![StartNote::NotPlanned(note)] };
        write_notes(tx.store, &tx.tx, &[Note { command: id, notes }]).await?;
    }
    Ok(())
}

/// What an event takes.
fn short(reason: &str) -> String {
    reason
        .chars()
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= limit::REASON_BYTES).then_some(c)
        })
        .collect()
}

/// What a workflow refused, its new version may take.
async fn workflows(tx: &Tx<'_>, deployed: &BTreeMap<&str, DateTime<Utc>>) -> Result<(), StoreError> {
    if deployed.is_empty() {
        return Ok(());
    }
    let rows: Vec<(&&str, &DateTime<Utc>)> = deployed.iter().collect();
    let sql = "UPDATE plan_starts p SET state = 'planned', reason = NULL FROM unnest($1::text[], $2::timestamptz[]) AS w (workflow, at) \
        WHERE p.state = 'refused' AND p.workflow = w.workflow AND p.instant > w.at AND p.wanted IS NOT NULL";
    let (names, times) = (column!(rows, |(name, _)| **name), column!(rows, |(_, at)| **at));
    tx.store.sorted("try refused starts again", tx.tx.execute(sql, &[&names, &times]).await).map(drop)
}

async fn skip(tx: &Tx<'_>, e: &StartSkipped) -> Result<(), StoreError> {
    let Some(last) = e.until else { return Ok(()) };
    let sql = "INSERT INTO plan_skips (schedule, first, last, count, reason) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    let (schedule, count) = (e.start.schedule.as_str(), signed(e.count));
    let done = tx.tx.execute(sql, &[&schedule, &e.start.instant, &last, &count, &clean(&e.reason)]).await;
    tx.store.sorted("note skipped starts", done).map(drop)
}

/// Notes what a schedule is, and that it has to be planned.
async fn schedule(tx: &Tx<'_>, change: &Change<'_>) -> Result<(), StoreError> {
    let Change { sequence, index, at, schedule, what, deployed } = change;
    let suspended = match *what {
        "suspended" => Some(true),
        "resumed" | "removed" => Some(false),
        _ => None,
    };
    if let Some((version, hash)) = deployed {
        let sql = "INSERT INTO plan_schedules AS p (schedule, version, hash, changed_at) VALUES ($1, $2, $3, $4) \
            ON CONFLICT (schedule) DO UPDATE SET version = excluded.version, hash = excluded.hash, removed = false, \
                suspended = p.suspended AND NOT p.removed, changed_at = excluded.changed_at";
        let version = i32::try_from(*version).unwrap_or(i32::MAX);
        tx.store.sorted("note a schedule", tx.tx.execute(sql, &[schedule, &version, hash, at]).await)?;
    } else {
        let sql = "UPDATE plan_schedules SET removed = $2, suspended = $3, changed_at = $4 WHERE schedule = $1";
        let (removed, suspended) = (*what == "removed", suspended.unwrap_or_default());
        tx.store.sorted("note a schedule", tx.tx.execute(sql, &[schedule, &removed, &suspended, at]).await)?;
    }
    let sql = "INSERT INTO plan_changes (schedule, sequence, index, at, change, version, hash, active) \
        SELECT schedule, $2, $3, $4, $5, version, hash, NOT (suspended OR removed) FROM plan_schedules WHERE schedule = $1 \
        ON CONFLICT DO NOTHING";
    let (sequence, index) = (signed(*sequence), i32::try_from(*index).unwrap_or(i32::MAX));
    let done = tx.tx.execute(sql, &[schedule, &sequence, &index, at, what]).await;
    tx.store.sorted("note a change of a schedule", done).map(drop)
}
