//! Deployed locks, and who holds and who waits.

use super::LockDeployed;
use crate::{
    OrderId, RunId, Site,
    apply::{Applied, misfit},
    order::event::{Demand, Resource},
    site::DeployedLock,
};

pub(crate) fn deployed(site: &mut Site, e: &LockDeployed) -> Applied {
    let last = site.locks.get(&e.lock.name).map_or(0, |l| l.version);
    if e.version != last + 1 {
        let state = format_args!("version {last}");
        return Err(misfit(format_args!("lock {}", e.lock.name), state, format_args!("{} is not the next", e.version)));
    }
    let lock =
        DeployedLock { version: e.version, hash: e.hash.clone(), definition: e.lock.clone(), lowered_from: None };
    site.locks.insert(e.lock.name.clone(), lock);
    note_excess(site, &Resource::Lock(e.lock.name.clone()));
    Ok(())
}

pub(crate) fn take(site: &mut Site, run: &RunId, demands: &[Demand]) {
    for demand in demands {
        let usage = site.resources.0.entry(demand.resource.clone()).or_default();
        usage.held.insert(run.clone(), demand.weight);
    }
}

pub(crate) fn free(site: &mut Site, run: &RunId, demands: &[Demand]) {
    for demand in demands {
        if let Some(usage) = site.resources.0.get_mut(&demand.resource) {
            usage.held.remove(run);
        }
        drop_if_idle(site, &demand.resource);
        note_excess(site, &demand.resource);
    }
}

/// One ticket for all queues: the order with the smallest is the first in each of its queues some time.
pub(crate) fn enqueue(site: &mut Site, order: &OrderId, priority: i16, demands: &[Demand]) {
    site.tickets += 1;
    for demand in demands {
        let usage = site.resources.0.entry(demand.resource.clone()).or_default();
        usage.queue.insert((-i32::from(priority), site.tickets, order.clone()));
    }
}

pub(crate) fn dequeue(site: &mut Site, order: &OrderId, demands: &[Demand]) {
    for demand in demands {
        if let Some(usage) = site.resources.0.get_mut(&demand.resource) {
            // Nearly always the first.
            let entry = usage.queue.iter().find(|(_, _, queued)| queued == order).cloned();
            if let Some(entry) = entry {
                usage.queue.remove(&entry);
            }
        }
        drop_if_idle(site, &demand.resource);
    }
}

fn drop_if_idle(site: &mut Site, resource: &Resource) {
    if site.resources.0.get(resource).is_some_and(super::Usage::is_idle) {
        site.resources.0.remove(resource);
    }
}

/// Keeps account of what is held above a lowered capacity: it only shrinks.
fn note_excess(site: &mut Site, resource: &Resource) {
    let Resource::Lock(name) = resource else { return };
    let held = site.resources.0.get(resource).map_or(0, super::Usage::held_weight);
    if let Some(lock) = site.locks.get_mut(name) {
        lock.lowered_from = (held > lock.definition.capacity).then_some(held);
    }
}
