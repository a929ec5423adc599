//! Rows of `orders`: what the events of a batch make of an order, as one row or one change.

use super::fold::Place;
use crate::connect::Store;
use crate::error::StoreError;
use crate::projection::signed;
use crate::value::{JsonText, clean, jsonb};
use chrono::{DateTime, NaiveDate, Utc};
use deadpool_postgres::Transaction;
use ordo_domain::order::event::{CancelReason, Child, OrderAdded, WorkflowRef};
use ordo_domain::{Failure, OrderId, Outcome, Position};
use std::collections::BTreeMap;

/// Words of the column `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Scheduled,
    Started,
    Failed,
    Finished,
    Cancelled,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Scheduled => "scheduled",
            State::Started => "started",
            State::Failed => "failed",
            State::Finished => "finished",
            State::Cancelled => "cancelled",
        }
    }
}

/// What a branch takes from the order that it is a branch of.
#[derive(Debug, Clone)]
pub(crate) struct Heritage {
    pub(crate) workflow: String,
    pub(crate) version: i32,
    pub(crate) workflow_hash: String,
    pub(crate) title: Option<String>,
    pub(crate) folder: Option<String>,
    /// A JSON list.
    pub(crate) tags: String,
    pub(crate) business_day: NaiveDate,
    pub(crate) priority: i16,
    pub(crate) added_by: String,
    pub(crate) reason: Option<String>,
    /// The order whose arguments it uses, if not its own.
    pub(crate) scope: Option<String>,
}

/// A new row.
#[derive(Debug, Clone)]
pub(crate) struct NewOrder {
    number: i64,
    parent: Option<OrderId>,
    branch: Option<String>,
    forked_at: Option<String>,
    called: bool,
    arguments: Option<JsonText<'static>>,
    planned_at: Option<DateTime<Utc>>,
    added_at: DateTime<Utc>,
    pub(crate) heritage: Heritage,
    pub(crate) change: OrderChange,
}

/// What changes in a row. A state brings its outcome, text and end along, be they nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct OrderChange {
    state: Option<State>,
    outcome: Option<Outcome>,
    text: Option<String>,
    ended_at: Option<DateTime<Utc>>,
    started_at: Option<DateTime<Utc>>,
    suspended: Option<bool>,
    /// It goes on; what that means depends on the state that it is in.
    resumed: bool,
}

impl OrderChange {
    fn enter(&mut self, state: State, at: Option<DateTime<Utc>>, outcome: Option<Outcome>, text: Option<String>) {
        self.state = Some(state);
        self.ended_at = at;
        self.outcome = outcome;
        self.text = text.map(|t| clean(&t));
    }

    pub(crate) fn started(&mut self, at: DateTime<Utc>) {
        self.started_at = Some(at);
        self.enter(State::Started, None, None, None);
    }

    pub(crate) fn failed(&mut self, at: DateTime<Utc>, failure: &Failure) {
        self.enter(State::Failed, Some(at), Some(failure.clone().into()), Some(failure.to_string()));
    }

    pub(crate) fn finished(&mut self, at: DateTime<Utc>, message: Option<&str>) {
        self.suspended = Some(false);
        self.enter(State::Finished, Some(at), Some(Outcome::Succeeded), message.map(ToOwned::to_owned));
    }

    pub(crate) fn cancelled(&mut self, at: DateTime<Utc>, reason: &CancelReason) {
        let text = match reason {
            CancelReason::Requested => "cancelled on request".to_owned(),
            CancelReason::Late { late_by } => format!("skipped: {late_by} late, more than its grace allows"),
            CancelReason::Overlap { earlier } => format!("skipped: {earlier} of the same schedule still ran"),
            CancelReason::Replanned => "taken back by the daily plan before it started".to_owned(),
            CancelReason::BranchFailed => "cancelled because another branch failed".to_owned(),
            CancelReason::ParentCancelled => "cancelled together with the order it is a branch of".to_owned(),
        };
        self.suspended = Some(false);
        self.enter(State::Cancelled, Some(at), None, Some(text));
    }

    pub(crate) fn suspended(&mut self, suspended: bool) {
        self.suspended = Some(suspended);
    }

    pub(crate) fn resumed(&mut self) {
        self.suspended = Some(false);
        match self.state {
            Some(State::Failed) => {
                let state = if self.started_at.is_some() { State::Started } else { State::Scheduled };
                self.enter(state, None, None, None);
                // Whether it had started before this batch the row knows.
                self.resumed = self.started_at.is_none();
            }
            Some(_) => {}
            None => self.resumed = true,
        }
    }
}

impl NewOrder {
    pub(crate) fn added(e: &OrderAdded, place: &Place) -> Self {
        let heritage = Heritage {
            workflow: e.workflow.name.to_string(),
            version: version(&e.workflow),
            workflow_hash: e.workflow.hash.to_string(),
            title: e.title.as_deref().map(clean),
            folder: e.folder.as_deref().map(clean),
            tags: tags(e.tags.iter()),
            business_day: e.business_day,
            priority: e.priority,
            added_by: e.by.user.to_string(),
            reason: e.by.reason.as_deref().map(clean),
            scope: None,
        };
        let change = OrderChange { state: Some(State::Scheduled), suspended: Some(e.held), ..OrderChange::default() };
        Self {
            number: place.number,
            parent: None,
            branch: None,
            forked_at: None,
            called: false,
            arguments: Some(jsonb(&e.arguments)),
            planned_at: e.due_at,
            added_at: place.at,
            heritage,
            change,
        }
    }

    pub(crate) fn child(parent: &OrderId, position: &Position, child: &Child, of: &Heritage, place: &Place) -> Self {
        let mut heritage = of.clone();
        heritage.scope = of.scope.clone().or_else(|| Some(parent.to_string()));
        let mut arguments = None;
        if let Some(called) = &child.call {
            heritage.workflow = called.workflow.name.to_string();
            heritage.version = version(&called.workflow);
            heritage.workflow_hash = called.workflow.hash.to_string();
            heritage.title = called.title.as_deref().map(clean);
            heritage.folder = called.folder.as_deref().map(clean);
            heritage.scope = None;
            arguments = Some(jsonb(&called.arguments));
        }
        let mut change = OrderChange::default();
        change.started(place.at);
        change.suspended(false);
        if child.position.is_none() {
            change.finished(place.at, None);
        }
        Self {
            number: place.number,
            parent: Some(parent.clone()),
            branch: Some(child.branch.to_string()),
            forked_at: Some(position.to_string()),
            called: child.call.is_some(),
            arguments,
            planned_at: None,
            added_at: place.at,
            heritage,
            change,
        }
    }
}

fn version(workflow: &WorkflowRef) -> i32 {
    i32::try_from(workflow.version).unwrap_or(i32::MAX)
}

fn tags<'a>(tags: impl Iterator<Item = &'a String>) -> String {
    let tags: Vec<String> = tags.map(|tag| clean(tag)).collect();
    serde_json::to_string(&tags).unwrap_or_else(|_| "[]".to_owned())
}

/// One vector per column, made of all rows.
macro_rules! column {
    ($rows:expr, |$row:pat_param| $value:expr) => {
        $rows.iter().map(|$row| $value).collect::<Vec<_>>()
    };
}
pub(crate) use column;

impl Store {
    /// What the branches of these orders take from them.
    pub(crate) async fn heritage(&self, orders: &[OrderId]) -> Result<BTreeMap<OrderId, Heritage>, StoreError> {
        let mut known = BTreeMap::new();
        if orders.is_empty() {
            return Ok(known);
        }
        let client = self.writer().await?;
        let sql = "SELECT order_id, workflow, version, workflow_hash, title, folder, to_json(tags)::text, business_day, priority, \
                   added_by, reason, scope FROM orders WHERE order_id = ANY($1)";
        let ids = column!(orders, |id| id.as_str());
        let statement = self.sorted("prepare reading parents", client.prepare_cached(sql).await)?;
        for row in self.sorted("read parents", client.query(&statement, &[&ids]).await)? {
            let heritage = Heritage {
                workflow: row.get(1),
                version: row.get(2),
                workflow_hash: row.get(3),
                title: row.get(4),
                folder: row.get(5),
                tags: row.get(6),
                business_day: row.get(7),
                priority: row.get(8),
                added_by: row.get(9),
                reason: row.get(10),
                scope: row.get(11),
            };
            if let Ok(id) = OrderId::new(row.get::<_, &str>(0)) {
                known.insert(id, heritage);
            }
        }
        Ok(known)
    }

    pub(crate) async fn insert_orders(
        &self,
        tx: &Transaction<'_>,
        orders: &BTreeMap<OrderId, NewOrder>,
    ) -> Result<(), StoreError> {
        if orders.is_empty() {
            return Ok(());
        }
        // Nothing but the present state changes in a row that is there: all else is settled when it is made.
        let sql = "INSERT INTO orders (order_id, number, parent, branch, forked_at, called, scope, workflow, version, workflow_hash, \
            title, folder, tags, business_day, priority, arguments, added_by, reason, planned_at, added_at, started_at, ended_at, \
            state, suspended, outcome, text) \
            SELECT order_id, number, parent, branch, forked_at, called, scope, workflow, version, workflow_hash, title, folder, \
            CASE WHEN tags = '[]' THEN '{}' ELSE ARRAY(SELECT json_array_elements_text(tags::json)) END, \
            business_day, priority, arguments, added_by, reason, planned_at, added_at, started_at, ended_at, \
            state, suspended, outcome, text \
            FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::text[], $8::text[], $9::int[], \
            $10::text[], $11::text[], $12::text[], $13::text[], $14::date[], $15::smallint[], $16::jsonb[], $17::text[], $18::text[], \
            $19::timestamptz[], $20::timestamptz[], $21::timestamptz[], $22::timestamptz[], $23::text[], $24::boolean[], $25::jsonb[], \
            $26::text[]) AS u (order_id, number, parent, branch, forked_at, called, scope, workflow, version, workflow_hash, title, \
            folder, tags, business_day, priority, arguments, added_by, reason, planned_at, added_at, started_at, ended_at, state, \
            suspended, outcome, text) \
            ON CONFLICT (order_id) DO UPDATE SET started_at = excluded.started_at, ended_at = excluded.ended_at, \
            state = excluded.state, suspended = excluded.suspended, outcome = excluded.outcome, text = excluded.text";
        let statement = self.sorted("prepare inserting orders", tx.prepare_cached(sql).await)?;
        let mut rows: Vec<(&OrderId, &NewOrder)> = orders.iter().collect();
        rows.sort_by_key(|(_, order)| order.number);
        let done = tx
            .execute(
                &statement,
                &[
                    &column!(rows, |(id, _)| id.as_str()),
                    &column!(rows, |(_, o)| o.number),
                    &column!(rows, |(_, o)| o.parent.as_ref().map(OrderId::as_str)),
                    &column!(rows, |(_, o)| o.branch.as_deref()),
                    &column!(rows, |(_, o)| o.forked_at.as_deref()),
                    &column!(rows, |(_, o)| o.called),
                    &column!(rows, |(_, o)| o.heritage.scope.as_deref()),
                    &column!(rows, |(_, o)| o.heritage.workflow.as_str()),
                    &column!(rows, |(_, o)| o.heritage.version),
                    &column!(rows, |(_, o)| o.heritage.workflow_hash.as_str()),
                    &column!(rows, |(_, o)| o.heritage.title.as_deref()),
                    &column!(rows, |(_, o)| o.heritage.folder.as_deref()),
                    &column!(rows, |(_, o)| o.heritage.tags.as_str()),
                    &column!(rows, |(_, o)| o.heritage.business_day),
                    &column!(rows, |(_, o)| o.heritage.priority),
                    &column!(rows, |(_, o)| o.arguments.as_ref()),
                    &column!(rows, |(_, o)| o.heritage.added_by.as_str()),
                    &column!(rows, |(_, o)| o.heritage.reason.as_deref()),
                    &column!(rows, |(_, o)| o.planned_at),
                    &column!(rows, |(_, o)| o.added_at),
                    &column!(rows, |(_, o)| o.change.started_at),
                    &column!(rows, |(_, o)| o.change.ended_at),
                    &column!(rows, |(_, o)| o.change.state.unwrap_or(State::Scheduled).word()),
                    &column!(rows, |(_, o)| o.change.suspended.unwrap_or_default()),
                    &column!(rows, |(_, o)| o.change.outcome.as_ref().map(jsonb)),
                    &column!(rows, |(_, o)| o.change.text.as_deref()),
                ],
            )
            .await;
        self.sorted("insert orders", done).map(|_| ())
    }

    pub(crate) async fn change_orders(
        &self,
        tx: &Transaction<'_>,
        changes: &BTreeMap<OrderId, OrderChange>,
    ) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        // A resumed order that had failed goes on where it was; its old outcome is gone unless a new one came in this batch.
        let sql = "UPDATE orders o SET \
            started_at = coalesce(u.started_at, o.started_at), \
            suspended = coalesce(u.suspended, o.suspended), \
            state = CASE WHEN u.resumed AND o.state = 'failed' AND coalesce(u.state, 'scheduled') = 'scheduled' \
                         THEN CASE WHEN o.started_at IS NULL THEN 'scheduled' ELSE 'started' END \
                         WHEN u.resumed AND u.state = 'scheduled' \
                         THEN CASE WHEN o.started_at IS NULL THEN 'scheduled' ELSE 'started' END \
                         ELSE coalesce(u.state, o.state) END, \
            ended_at = CASE WHEN u.state IS NOT NULL OR u.resumed AND o.state = 'failed' THEN u.ended_at ELSE o.ended_at END, \
            outcome = CASE WHEN u.state IS NOT NULL OR u.resumed AND o.state = 'failed' THEN u.outcome ELSE o.outcome END, \
            text = CASE WHEN u.state IS NOT NULL OR u.resumed AND o.state = 'failed' THEN u.text ELSE o.text END \
            FROM unnest($1::text[], $2::timestamptz[], $3::boolean[], $4::text[], $5::timestamptz[], $6::jsonb[], $7::text[], $8::boolean[]) \
            AS u (order_id, started_at, suspended, state, ended_at, outcome, text, resumed) WHERE o.order_id = u.order_id";
        let statement = self.sorted("prepare changing orders", tx.prepare_cached(sql).await)?;
        let rows: Vec<(&OrderId, &OrderChange)> = changes.iter().collect();
        let done = tx
            .execute(
                &statement,
                &[
                    &column!(rows, |(id, _)| id.as_str()),
                    &column!(rows, |(_, c)| c.started_at),
                    &column!(rows, |(_, c)| c.suspended),
                    &column!(rows, |(_, c)| c.state.map(State::word)),
                    &column!(rows, |(_, c)| c.ended_at),
                    &column!(rows, |(_, c)| c.outcome.as_ref().map(jsonb)),
                    &column!(rows, |(_, c)| c.text.as_deref()),
                    &column!(rows, |(_, c)| c.resumed),
                ],
            )
            .await;
        self.sorted("change orders", done).map(|_| ())
    }
}

/// For places in messages that name a row which must be there.
pub(crate) fn unknown_parent(stream: &str, sequence: u64, parent: &OrderId) -> StoreError {
    StoreError::Refused {
        what: format!(
            "{stream} {}: order {parent} forks, but it is not in the database; rebuild needed",
            signed(sequence)
        ),
    }
}
