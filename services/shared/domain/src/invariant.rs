//! What is true of every state between two decisions: one function each, for the simulation and for tests.

use crate::{
    Ctx, OrderId, Site,
    order::{
        Order, OrderState,
        event::{Demand, Resource},
        series::{Place, SeriesIndex},
        state::Mark,
    },
    run::{Run, RunState},
};
use std::collections::{BTreeMap, BTreeSet};

/// A rule that the state breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}: {detail}")]
pub struct Violation {
    pub invariant: &'static str,
    pub detail: String,
}

type Checked = Result<(), String>;

/// A rule by its name; `Err` says what breaks it.
pub type Invariant = (&'static str, fn(&Site) -> Result<(), String>);

/// Every invariant with its name.
pub const INVARIANTS: &[Invariant] = &[
    ("locks_are_within_capacity", locks_are_within_capacity),
    ("resources_are_held_by_live_runs_alone", resources_are_held_by_live_runs_alone),
    ("runs_hold_what_they_demand", runs_hold_what_they_demand),
    ("queues_hold_queued_orders_alone", queues_hold_queued_orders_alone),
    ("queued_orders_are_in_all_their_queues", queued_orders_are_in_all_their_queues),
    ("idle_resources_are_forgotten", idle_resources_are_forgotten),
    ("processing_orders_have_their_run", processing_orders_have_their_run),
    ("runs_have_their_processing_order", runs_have_their_processing_order),
    ("timers_match_states", timers_match_states),
    ("parents_know_their_children", parents_know_their_children),
    ("children_know_their_parents", children_know_their_parents),
    ("marks_are_on_orders_that_must_stop", marks_are_on_orders_that_must_stop),
    ("suspended_orders_do_nothing", suspended_orders_do_nothing),
    ("started_orders_stand_somewhere", started_orders_stand_somewhere),
    ("kills_have_a_reason", kills_have_a_reason),
    ("counters_are_above_all_ids", counters_are_above_all_ids),
    ("ended_orders_are_listed_once", ended_orders_are_listed_once),
    ("command_memory_agrees", command_memory_agrees),
    ("schedules_with_starts_have_a_watermark", schedules_with_starts_have_a_watermark),
    ("series_match_orders", series_match_orders),
    ("versions_are_consecutive", versions_are_consecutive),
];

/// All of them, the first broken one.
pub fn check(site: &Site) -> Result<(), Violation> {
    for (invariant, holds) in INVARIANTS {
        holds(site).map_err(|detail| Violation { invariant, detail })?;
    }
    Ok(())
}

/// After a decision and its rest: nothing could go on that did not.
pub fn nothing_is_left_undecided(site: &Site, ctx: Ctx) -> Result<(), Violation> {
    let mut orders = crate::advance::everything(site);
    orders.extend(crate::advance::due(site, ctx.now));
    let next = crate::advance::advance(site, &orders, ctx);
    match next.first() {
        None => Ok(()),
        Some(event) => Err(Violation {
            invariant: "nothing_is_left_undecided",
            detail: format!("{} of {:?} should have followed", event.name(), event.order()),
        }),
    }
}

fn broken(what: impl std::fmt::Display) -> Checked {
    Err(what.to_string())
}

/// More may be held only while it was held before a deployment lowered the capacity.
fn locks_are_within_capacity(site: &Site) -> Checked {
    for (resource, usage) in &site.resources.0 {
        let Resource::Lock(name) = resource else { continue };
        let Some(lock) = site.locks.get(name) else {
            return broken(format_args!("lock {name} is used but not deployed"));
        };
        let most = lock.lowered_from.unwrap_or(0).max(lock.definition.capacity);
        if usage.held_weight() > most {
            return broken(format_args!("{} of lock {name} is held, at most {most} can be", usage.held_weight()));
        }
    }
    Ok(())
}

fn resources_are_held_by_live_runs_alone(site: &Site) -> Checked {
    for (resource, usage) in &site.resources.0 {
        for (run, weight) in &usage.held {
            let demand = Demand { resource: resource.clone(), weight: *weight };
            if !site.runs.get(run).is_some_and(|r| r.resources.contains(&demand)) {
                return broken(format_args!("run {run} holds {weight} of {resource:?}, which no live run demands"));
            }
        }
    }
    Ok(())
}

fn runs_hold_what_they_demand(site: &Site) -> Checked {
    for run in site.runs.values() {
        for demand in &run.resources {
            let held = site.resources.0.get(&demand.resource).and_then(|usage| usage.held.get(&run.id));
            if held != Some(&demand.weight) {
                return broken(format_args!("run {} holds {held:?} of {:?}", run.id, demand));
            }
        }
    }
    Ok(())
}

fn queues_hold_queued_orders_alone(site: &Site) -> Checked {
    let mut tickets: BTreeMap<u64, &OrderId> = BTreeMap::new();
    for (resource, usage) in &site.resources.0 {
        for (rank, ticket, order) in &usage.queue {
            let Some(Order { state: OrderState::Queued { demands }, priority, .. }) = site.orders.get(order) else {
                return broken(format_args!("{order} is in the queue of {resource:?} but not queued"));
            };
            if !demands.iter().any(|d| d.resource == *resource) || *rank != -i32::from(*priority) {
                return broken(format_args!("{order} does not belong into its place in the queue of {resource:?}"));
            }
            if *ticket > site.tickets || *tickets.entry(*ticket).or_insert(order) != order {
                return broken(format_args!("ticket {ticket} of {order} is another's, or not given out yet"));
            }
        }
    }
    Ok(())
}

fn queued_orders_are_in_all_their_queues(site: &Site) -> Checked {
    for order in site.orders.values() {
        let OrderState::Queued { demands } = &order.state else { continue };
        for demand in demands {
            let queue = site.resources.0.get(&demand.resource).map(|usage| &usage.queue);
            let places = queue.map_or(0, |q| q.iter().filter(|(_, _, queued)| *queued == order.id).count());
            if places != 1 {
                return broken(format_args!("{} has {places} places in the queue of {:?}", order.id, demand.resource));
            }
        }
    }
    Ok(())
}

fn idle_resources_are_forgotten(site: &Site) -> Checked {
    match site.resources.0.iter().find(|(_, usage)| usage.is_idle()) {
        None => Ok(()),
        Some((resource, _)) => broken(format_args!("{resource:?} is neither held nor waited for")),
    }
}

fn processing_orders_have_their_run(site: &Site) -> Checked {
    for order in site.orders.values() {
        let OrderState::Processing { run } = &order.state else { continue };
        match site.runs.get(run) {
            Some(known) if known.order == order.id && order.position.as_ref() == Some(&known.position) => {}
            Some(known) => return broken(format_args!("{} is at {:?}, its run {known:?}", order.id, order.position)),
            None => return broken(format_args!("{} is processing run {run}, which is not known", order.id)),
        }
    }
    Ok(())
}

fn runs_have_their_processing_order(site: &Site) -> Checked {
    for (id, run) in &site.runs {
        let state = site.orders.get(&run.order).map(|o| &o.state);
        let is_processing = matches!(state, Some(OrderState::Processing { run }) if run == id);
        if !is_processing || run.id != *id {
            return broken(format_args!("run {id} of order {}, which is {state:?}", run.order));
        }
    }
    Ok(())
}

fn timers_match_states(site: &Site) -> Checked {
    let wanted: BTreeSet<_> = site.orders.values().filter_map(|o| Some((o.timer()?, o.id.clone()))).collect();
    match wanted.symmetric_difference(&site.timers).next() {
        None => Ok(()),
        Some((at, order)) => broken(format_args!("timer of {order} at {at} is missing or too much")),
    }
}

fn parents_know_their_children(site: &Site) -> Checked {
    for order in site.orders.values() {
        let Some(parent) = &order.parent else { continue };
        let state = site.orders.get(&parent.order).map(|p| &p.state);
        if !matches!(state, Some(OrderState::Forked { children, .. }) if children.contains(&order.id)) {
            return broken(format_args!("{} is a branch of {}, which is {state:?}", order.id, parent.order));
        }
    }
    Ok(())
}

fn children_know_their_parents(site: &Site) -> Checked {
    for order in site.orders.values() {
        let OrderState::Forked { children, .. } = &order.state else { continue };
        for child in children {
            let parent = site.orders.get(child).and_then(|c| c.parent.as_ref());
            if parent.map(|p| &p.order) != Some(&order.id) {
                return broken(format_args!("{child} should be a branch of {}, its parent is {parent:?}", order.id));
            }
            let last = child.as_str().strip_prefix(order.id.as_str()).and_then(|rest| rest.strip_prefix(':'));
            if !last.is_some_and(|last| order.used_branches.contains(last)) {
                return broken(format_args!("{} does not remember to have had {child}", order.id));
            }
        }
    }
    Ok(())
}

fn marks_are_on_orders_that_must_stop(site: &Site) -> Checked {
    for order in site.orders.values() {
        let must_stop = matches!(order.state, OrderState::Processing { .. } | OrderState::Forked { .. })
            // Between two parts of a decision only.
            || matches!(order.state, OrderState::Processed { .. } | OrderState::Ready);
        if order.mark.is_some() && !must_stop {
            return broken(format_args!("{} is {} with {:?}", order.id, order.state.word(), order.mark));
        }
    }
    Ok(())
}

fn suspended_orders_do_nothing(site: &Site) -> Checked {
    for order in site.orders.values().filter(|o| o.suspended) {
        let is_at_work = matches!(
            order.state,
            OrderState::Queued { .. }
                | OrderState::Processing { .. }
                | OrderState::Processed { .. }
                | OrderState::Finished
                | OrderState::Cancelled
        );
        if is_at_work || matches!(order.mark, Some(Mark::Suspend { .. })) {
            return broken(format_args!("{} is suspended and {}, {:?}", order.id, order.state.word(), order.mark));
        }
    }
    Ok(())
}

fn started_orders_stand_somewhere(site: &Site) -> Checked {
    for order in site.orders.values() {
        let is_wrong = match order.state {
            OrderState::Scheduled => order.started_at.is_some(),
            OrderState::Finished | OrderState::Cancelled => false,
            OrderState::Failed { .. } | OrderState::Ready => order.started_at.is_some() && order.position.is_none(),
            OrderState::Queued { .. }
            | OrderState::Processing { .. }
            | OrderState::Processed { .. }
            | OrderState::Retrying { .. }
            | OrderState::Forked { .. } => order.started_at.is_none() || order.position.is_none(),
        };
        if is_wrong {
            let (started, at) = (order.started_at, &order.position);
            return broken(format_args!("{} is {}, started at {started:?}, at {at:?}", order.id, order.state.word()));
        }
    }
    Ok(())
}

/// A resumed order does not take a kill back, so only claimed or sent runs count here, not marks.
fn kills_have_a_reason(site: &Site) -> Checked {
    let wants_kill = |run: &Run| {
        let mark = site.orders.get(&run.order).and_then(|o| o.mark);
        matches!(mark, Some(Mark::Cancel { kill: true } | Mark::Suspend { kill: true }))
    };
    match site.runs.values().find(|run| !run.kill_requested && wants_kill(run)) {
        None => Ok(()),
        Some(run) => {
            let is_sent = matches!(run.state, RunState::Dispatched { .. });
            broken(format_args!("run {} of {} (sent: {is_sent}) should be killed", run.id, run.order))
        }
    }
}

fn counters_are_above_all_ids(site: &Site) -> Checked {
    let top = site.orders.values().filter(|o| o.parent.is_none());
    let ids = top.map(|o| (&o.id, o.business_day));
    for (id, day) in ids {
        let counter = id.as_str().split('-').nth(1).and_then(|c| c.get(1..)?.parse::<u64>().ok());
        let Some(counter) = counter else { return broken(format_args!("{id} has no counter")) };
        let known = site.counters.get(&day).copied().unwrap_or(0);
        if counter > known || !id.as_str().starts_with(&day.format("%Y%m%d").to_string()) {
            return broken(format_args!("the counter of {day} is at {known}, {id} is above it or of another day"));
        }
    }
    Ok(())
}

fn ended_orders_are_listed_once(site: &Site) -> Checked {
    let listed: BTreeSet<&OrderId> = site.ended.iter().collect();
    let is_ended = |o: &&Order| o.parent.is_none() && o.state.is_terminated();
    let ended: BTreeSet<&OrderId> = site.orders.values().filter(is_ended).map(|o| &o.id).collect();
    if listed.len() != site.ended.len() {
        return broken("an ended order is listed twice");
    }
    match listed.symmetric_difference(&ended).next() {
        None => Ok(()),
        Some(order) => broken(format_args!("{order} is listed as ended and has not, or the other way round")),
    }
}

fn command_memory_agrees(site: &Site) -> Checked {
    let memory = &site.commands;
    let by_id: BTreeSet<_> = memory.by_id.iter().map(|(id, (at, _))| (*at, id.clone())).collect();
    if by_id == memory.by_time { Ok(()) } else { broken("commands by id and by time differ") }
}

fn schedules_with_starts_have_a_watermark(site: &Site) -> Checked {
    for key in site.starts.known.keys() {
        if !site.starts.watermarks.contains_key(&key.schedule) {
            return broken(format_args!("schedule {} has starts but no watermark", key.schedule));
        }
    }
    Ok(())
}

fn series_match_orders(site: &Site) -> Checked {
    let mut wanted = SeriesIndex::default();
    for order in site.orders.values() {
        let (Some(series), Some(place)) = (order.series(), order.place_in_series()) else { continue };
        let members = wanted.0.entry(series).or_default();
        match place {
            Place::Running => drop(members.running.insert(order.id.clone())),
            Place::Waiting(at) => drop(members.waiting.insert((at, order.id.clone()))),
        }
    }
    if wanted == site.series {
        return Ok(());
    }
    let differs = wanted.0.iter().find(|(series, members)| site.series.0.get(series) != Some(members));
    broken(format_args!("the series differ from the orders: {differs:?}"))
}

fn versions_are_consecutive(site: &Site) -> Checked {
    for (name, workflow) in site.workflows.iter().chain(&site.retired) {
        let numbers: Vec<u32> = workflow.versions.keys().copied().collect();
        let is_right = numbers.iter().copied().eq(1..=workflow.version)
            && workflow.versions.get(&workflow.version) == Some(&workflow.hash);
        if !is_right {
            return broken(format_args!("workflow {name} is at version {}, has {numbers:?}", workflow.version));
        }
    }
    Ok(())
}
