//! How orders come to be: added from outside, or as branches of another.

use super::{
    Order, OrderState,
    event::{Child, OrderAdded, WorkflowRef},
    state::Parent,
};
use crate::{
    Instant, Site,
    apply::{Applied, misfit},
    site::Adding,
};
use chrono::TimeDelta;
use std::{collections::BTreeMap, sync::Arc};

/// Planned starts are known for this long; older ones are refused as lying below the watermark.
const STARTS_KNOWN: TimeDelta = TimeDelta::days(32);
/// How far the watermark may lag, so that it does not move with every start.
const WATERMARK_STEP: TimeDelta = TimeDelta::days(1);

pub(crate) fn added(site: &mut Site, at: Instant, e: &OrderAdded) -> Applied {
    let refuse = |why: &str| Err(misfit(format_args!("order {}", e.order), "known", why));
    if site.orders.contains_key(&e.order) {
        return refuse("it was added already");
    }
    if site.counters.get(&e.business_day).is_some_and(|last| *last >= e.counter) {
        return refuse("its counter was used already");
    }
    if let Some(start) = &e.start {
        if site.starts.known.contains_key(start) {
            return refuse("its planned start was made already");
        }
        site.starts.known.insert(start.clone(), e.order.clone());
        raise_watermark(site, &start.schedule, at);
    }
    site.counters.insert(e.business_day, e.counter);
    if let Some(command) = &e.command {
        let adding = site.adding.get_or_insert_with(|| Adding { command: command.clone(), orders: vec![] });
        if adding.command != *command {
            *adding = Adding { command: command.clone(), orders: vec![] };
        }
        adding.orders.push(e.order.clone());
    }
    let order = Order {
        id: e.order.clone(),
        workflow: shared(site, &e.workflow),
        title: e.title.clone(),
        folder: e.folder.clone(),
        tags: e.tags.clone(),
        business_day: e.business_day,
        priority: e.priority,
        due_at: e.due_at,
        late: e.late,
        start: e.start.clone(),
        overlap: e.overlap,
        behind: None,
        by: e.by.clone(),
        arguments: Arc::new(e.arguments.clone()),
        results: BTreeMap::new(),
        parent: None,
        used_branches: Default::default(),
        position: None,
        tries: BTreeMap::new(),
        state: OrderState::Scheduled,
        suspended: e.held,
        mark: None,
        added_at: at,
        started_at: None,
        since: at,
        attempt: 0,
        runs: BTreeMap::new(),
    };
    if let Some(timer) = order.timer() {
        site.timers.insert((timer, e.order.clone()));
    }
    site.orders.insert(e.order.clone(), order);
    Ok(())
}

/// The same texts as the deployed version has: 100,000 waiting orders do not hold as many copies.
fn shared(site: &Site, workflow: &WorkflowRef) -> WorkflowRef {
    if let Some((name, deployed)) = site.workflows.get_key_value(&workflow.name)
        && let Some(hash) = deployed.versions.get(&workflow.version)
        && *hash == workflow.hash
    {
        return WorkflowRef { name: name.clone(), version: workflow.version, hash: hash.clone() };
    }
    workflow.clone()
}

fn raise_watermark(site: &mut Site, schedule: &str, at: Instant) {
    let wanted = at - STARTS_KNOWN;
    let watermark = site.starts.watermarks.entry(schedule.to_owned()).or_insert(wanted);
    if *watermark + WATERMARK_STEP < wanted {
        *watermark = wanted;
        site.starts.known.retain(|key, _| key.schedule != schedule || key.instant >= wanted);
    }
}

pub(super) fn branch(parent: &Order, child: &Child, at: Instant) -> Order {
    let called = child.call.as_ref();
    Order {
        id: child.order.clone(),
        workflow: called.map_or_else(|| parent.workflow.clone(), |c| c.workflow.clone()),
        title: called.map_or_else(|| parent.title.clone(), |c| c.title.clone()),
        folder: called.map_or_else(|| parent.folder.clone(), |c| c.folder.clone()),
        tags: parent.tags.clone(),
        business_day: parent.business_day,
        priority: parent.priority,
        due_at: None,
        late: parent.late,
        start: None,
        overlap: Default::default(),
        behind: None,
        by: parent.by.clone(),
        arguments: called.map_or_else(|| parent.arguments.clone(), |c| Arc::new(c.arguments.clone())),
        results: BTreeMap::new(),
        parent: Some(Parent { order: parent.id.clone(), branch: child.branch.clone(), called: called.is_some() }),
        used_branches: Default::default(),
        position: child.position.clone(),
        tries: BTreeMap::new(),
        state: if child.position.is_some() { OrderState::Ready } else { OrderState::Finished },
        suspended: false,
        mark: None,
        added_at: at,
        started_at: Some(at),
        since: at,
        attempt: 0,
        runs: BTreeMap::new(),
    }
}
