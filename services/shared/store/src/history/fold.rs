//! A batch of commits as rows: several events of one order or run become one row or one change. Pure, so that a test can
//! compare it with the database.

use super::order::{Heritage, NewOrder, OrderChange, unknown_parent};
use super::site::{CommandRow, SiteRows, code_of, outcome_of};
use super::step::{NewStep, StepChange};
use crate::decode::Decoded;
use crate::error::StoreError;
use crate::projection::signed;
use chrono::{DateTime, Utc};
use ordo_domain::command::By;
use ordo_domain::{Event, OrderId, RunId};
use std::collections::{BTreeMap, BTreeSet};

/// Numbers of rows are the journal sequence times this, and a count within the commit: a rebuilt table has the same.
const NUMBERS: u64 = 16_384;

/// Where and when something happened.
pub(crate) struct Place {
    pub(crate) at: DateTime<Utc>,
    pub(crate) number: i64,
}

/// A row of `events`.
pub(crate) struct EventRow<'a> {
    pub(crate) sequence: i64,
    pub(crate) index: i32,
    pub(crate) at: DateTime<Utc>,
    pub(crate) epoch: i64,
    pub(crate) name: &'static str,
    pub(crate) order: Option<OrderId>,
    pub(crate) run: Option<RunId>,
    pub(crate) cause: &'a str,
    pub(crate) event: &'a str,
}

/// What a batch refers to and does not hold itself.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) parents: BTreeMap<OrderId, Heritage>,
    pub(crate) runs: BTreeMap<RunId, OrderId>,
}

/// The rows of a batch.
#[derive(Default)]
pub(crate) struct Fold<'a> {
    pub(crate) events: Vec<EventRow<'a>>,
    pub(crate) orders: BTreeMap<OrderId, NewOrder>,
    pub(crate) order_changes: BTreeMap<OrderId, OrderChange>,
    pub(crate) steps: BTreeMap<RunId, NewStep>,
    pub(crate) step_changes: BTreeMap<RunId, StepChange>,
    pub(crate) site: SiteRows<'a>,
}

/// Orders and runs that a batch mentions and that came to be before it.
pub(crate) fn references(batch: &[Decoded<'_>]) -> (Vec<OrderId>, Vec<RunId>) {
    let (mut born, mut sent) = (BTreeSet::new(), BTreeSet::new());
    let (mut parents, mut runs) = (BTreeSet::new(), BTreeSet::new());
    for event in batch.iter().flat_map(|d| &d.commit.decisions).flat_map(|d| &d.events) {
        match event {
            Event::OrderAdded(e) => {
                born.insert(&e.order);
            }
            Event::OrderForked(e) => {
                if !born.contains(&e.order) {
                    parents.insert(&e.order);
                }
                born.extend(e.children.iter().map(|c| &c.order));
            }
            Event::RunDispatched(e) => {
                sent.insert(&e.run);
            }
            other => {
                if let Some(run) = other.run().filter(|run| !sent.contains(run)) {
                    runs.insert(run);
                }
            }
        }
    }
    (parents.into_iter().cloned().collect(), runs.into_iter().cloned().collect())
}

pub(crate) fn fold<'a>(stream: &str, batch: &[Decoded<'a>], known: &Known) -> Result<Fold<'a>, StoreError> {
    let mut fold = Fold::default();
    for decoded in batch {
        let (sequence, commit) = (decoded.sequence, &decoded.commit);
        let (mut index, mut count) = (0, 0);
        for (decision, text) in commit.decisions.iter().zip(&decoded.texts) {
            let by = decision.events.iter().find_map(asked_by);
            for (event, raw) in decision.events.iter().zip(&text.events) {
                fold.events.push(EventRow {
                    sequence: signed(sequence),
                    index,
                    at: commit.at,
                    epoch: signed(commit.epoch),
                    name: event.name(),
                    order: event.order().cloned().or_else(|| fold.order_of(event.run()?, known)),
                    run: event.run().cloned(),
                    cause: text.cause.get(),
                    event: raw.get(),
                });
                let mut place = || {
                    count += 1;
                    Place { at: commit.at, number: signed(sequence * NUMBERS + count) }
                };
                if let Event::OrderForked(e) = event {
                    let heritage = match fold.orders.get(&e.order) {
                        Some(order) => &order.heritage,
                        None => {
                            known.parents.get(&e.order).ok_or_else(|| unknown_parent(stream, sequence, &e.order))?
                        }
                    };
                    let born: Vec<_> = e
                        .children
                        .iter()
                        .map(|child| {
                            (child.order.clone(), NewOrder::child(&e.order, &e.position, child, heritage, &place()))
                        })
                        .collect();
                    fold.orders.extend(born);
                } else {
                    fold.rows(event, &place());
                }
                fold.command(event, signed(sequence), index, commit.at, by, text.cause.get());
                fold.site.take(event, commit.at, commit.epoch);
                index += 1;
            }
        }
    }
    Ok(fold)
}

/// Who asked for it, where the event says so.
fn asked_by(event: &Event) -> Option<&By> {
    match event {
        Event::OrderAdded(e) => Some(&e.by),
        Event::WorkflowDeployed(e) => Some(&e.by),
        Event::AgentAdded(e) => Some(&e.by),
        Event::DefinitionDeployed(e) => Some(&e.by),
        Event::DefinitionRemoved(e) => Some(&e.by),
        Event::WorkflowRemoved(e) => Some(&e.by),
        Event::ScheduleSuspended(e) => Some(&e.by),
        Event::ScheduleResumed(e) => Some(&e.by),
        _ => None,
    }
}

impl<'a> Fold<'a> {
    fn order_of(&self, run: &RunId, known: &Known) -> Option<OrderId> {
        self.steps.get(run).map(|step| &step.order).or_else(|| known.runs.get(run)).cloned()
    }

    fn order(&mut self, order: &OrderId) -> &mut OrderChange {
        match self.orders.get_mut(order) {
            Some(new) => &mut new.change,
            None => self.order_changes.entry(order.clone()).or_default(),
        }
    }

    fn step(&mut self, run: &RunId) -> &mut StepChange {
        match self.steps.get_mut(run) {
            Some(new) => &mut new.change,
            None => self.step_changes.entry(run.clone()).or_default(),
        }
    }

    /// Rows of orders and steps. What is not named changes neither.
    fn rows(&mut self, event: &Event, place: &Place) {
        let at = place.at;
        match event {
            Event::OrderAdded(e) => {
                self.orders.insert(e.order.clone(), NewOrder::added(e, place));
            }
            Event::OrderStarted(e) => self.order(&e.order).started(at),
            Event::OrderFailed(e) => self.order(&e.order).failed(at, &e.failure),
            Event::OrderFinished(e) => self.order(&e.order).finished(at, e.message.as_deref()),
            Event::OrderCancelled(e) => self.order(&e.order).cancelled(at, &e.reason),
            Event::OrderSuspended(e) => self.order(&e.order).suspended(true),
            Event::OrderResumed(e) => self.order(&e.order).resumed(),
            Event::RunDispatched(e) => {
                self.steps.insert(e.run.clone(), NewStep::dispatched(e, place));
            }
            Event::RunClaimed(e) => self.step(&e.run).claimed(&e.instance, at),
            Event::RunKillRequested(e) => self.step(&e.run).kill_asked(at),
            Event::RunEnded(e) => self.step(&e.run).ended(e),
            _ => {}
        }
    }

    fn command(
        &mut self,
        event: &Event,
        sequence: i64,
        index: i32,
        at: DateTime<Utc>,
        by: Option<&By>,
        cause: &'a str,
    ) {
        let (command, result, code, text, outcome) = match event {
            Event::CommandAccepted(e) => (Some(e.command.clone()), "accepted", None, None, outcome_of(&e.outcome)),
            Event::CommandRefused(e) => {
                (e.command.clone(), "refused", code_of(&e.refusal), Some(e.refusal.to_string()), outcome_of(&e.refusal))
            }
            Event::CommandFailed(e) => {
                (e.command.clone(), "failed", code_of(&e.failure), Some(e.failure.to_string()), outcome_of(&e.failure))
            }
            _ => return,
        };
        let by = by.cloned();
        self.site.commands.push(CommandRow { sequence, index, at, command, result, code, text, by, outcome, cause });
    }
}
