//! Who may take what it needs.
//!
//! All or nothing, and strictly in turn: an order goes when it is the first in each of its queues and everything fits. The
//! order with the highest priority and the smallest ticket is the first everywhere, so nobody waits for ever: not a
//! heavy one for the light ones behind it, and no two for each other.

use crate::{
    Failure, Site,
    order::{
        Order, OrderState,
        event::{Demand, Resource},
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Granted,
    Waits,
}

/// `parallel` is the limit of the order's own version of the workflow.
pub(crate) fn admit(
    site: &Site,
    order: &Order,
    demands: &[Demand],
    parallel: Option<u32>,
) -> Result<Admission, Failure> {
    let mut admission = Admission::Granted;
    for demand in demands {
        let capacity = capacity(site, demand, parallel)?;
        let Some(usage) = site.resources.0.get(&demand.resource) else { continue };
        let is_its_turn = match (usage.queue.first(), &order.state) {
            (None, _) => true,
            (Some((_, _, first)), OrderState::Queued { .. }) => *first == order.id,
            // A new one passes those of lower priority only.
            (Some((rank, _, _)), _) => *rank > -i32::from(order.priority),
        };
        let free = capacity.saturating_sub(usage.held_weight());
        if !is_its_turn || demand.weight > free {
            admission = Admission::Waits;
        }
    }
    Ok(admission)
}

/// A demand that can never be met is a failure.
fn capacity(site: &Site, demand: &Demand, parallel: Option<u32>) -> Result<u32, Failure> {
    match &demand.resource {
        Resource::Job { .. } => Ok(parallel.unwrap_or(u32::MAX)),
        Resource::Lock(name) => {
            let known = site.locks.get(name).ok_or_else(|| Failure::UnknownLock { lock: name.clone() })?;
            let capacity = known.definition.capacity;
            if demand.weight > capacity {
                return Err(Failure::LockTooSmall { lock: name.clone(), capacity, wanted: demand.weight });
            }
            Ok(capacity)
        }
    }
}
