//! Cancelling, suspending, resuming: what a person's will does to an order.

use super::{
    Order, OrderState,
    apply::{change, end, ended_children, is_free, note_end, remove_children},
    event::*,
    state::Mark,
};
use crate::{Instant, OrderId, Site, apply::Applied};

pub(crate) fn cancel_requested(site: &mut Site, e: &OrderCancelRequested) -> Applied {
    change(site, &e.order, |order| {
        let before = match (&order.state, order.mark) {
            (OrderState::Processing { .. } | OrderState::Processed { .. } | OrderState::Forked { .. }, mark) => mark,
            _ => return Err("it can only be cancelled at once, or not at all"),
        };
        let kill = e.kill || matches!(before, Some(Mark::Cancel { kill: true }));
        order.mark = Some(Mark::Cancel { kill });
        Ok(())
    })
}

pub(crate) fn cancelled(site: &mut Site, at: Instant, e: &OrderCancelled) -> Applied {
    let children = ended_children(site, &e.order);
    change(site, &e.order, |order| {
        match &order.state {
            OrderState::Scheduled
            | OrderState::Ready
            | OrderState::Queued { .. }
            | OrderState::Processed { .. }
            | OrderState::Retrying { .. }
            | OrderState::Failed { .. } => {}
            OrderState::Forked { .. } => children.as_ref().map(|_| ()).map_err(|why| *why)?,
            OrderState::Processing { .. } => return Err("its job runs"),
            OrderState::Finished | OrderState::Cancelled => return Err("it has ended already"),
        }
        end(order, OrderState::Cancelled, at);
        Ok(())
    })?;
    if e.reason == CancelReason::Replanned {
        forget_start(site, &e.order);
    }
    remove_children(site, &children.unwrap_or_default());
    note_end(site, &e.order);
    Ok(())
}

/// Its start can be planned again.
fn forget_start(site: &mut Site, id: &OrderId) {
    let start = site.orders.get(id).and_then(|order| order.start.clone());
    if let Some(start) = start.filter(|start| site.starts.known.get(start) == Some(id)) {
        site.starts.known.remove(&start);
    }
}

pub(crate) fn suspend_requested(site: &mut Site, e: &OrderSuspendRequested) -> Applied {
    change(site, &e.order, |order| {
        is_free(order)?;
        let before = match (&order.state, order.mark) {
            (_, Some(Mark::Cancel { .. })) => return Err("it is being cancelled"),
            (OrderState::Processing { .. } | OrderState::Processed { .. } | OrderState::Forked { .. }, mark) => mark,
            _ => return Err("it can only be suspended at once, or not at all"),
        };
        let kill = e.kill || matches!(before, Some(Mark::Suspend { kill: true }));
        order.mark = Some(Mark::Suspend { kill });
        Ok(())
    })
}

pub(crate) fn suspended(site: &mut Site, at: Instant, e: &OrderSuspended) -> Applied {
    change(site, &e.order, |order| {
        is_free(order)?;
        if matches!(order.mark, Some(Mark::Cancel { .. })) {
            return Err("it is being cancelled");
        }
        match &order.state {
            OrderState::Scheduled
            | OrderState::Ready
            | OrderState::Retrying { .. }
            | OrderState::Forked { .. }
            | OrderState::Failed { .. } => {}
            // It gives up its place: nobody behind it shall wait for a person.
            OrderState::Queued { .. } => order.state = OrderState::Ready,
            OrderState::Processing { .. } => return Err("its job runs"),
            OrderState::Processed { .. } => return Err("what follows its step is not decided yet"),
            OrderState::Finished | OrderState::Cancelled => return Err("it has ended already"),
        }
        order.suspended = true;
        order.mark = None;
        order.since = at;
        Ok(())
    })
}

pub(crate) fn resumed(site: &mut Site, at: Instant, e: &OrderResumed) -> Applied {
    change(site, &e.order, |order| {
        let was_asked = matches!(order.mark, Some(Mark::Suspend { .. }));
        match &order.state {
            OrderState::Finished | OrderState::Cancelled => return Err("it has ended already"),
            OrderState::Failed { .. } => {}
            _ if order.suspended => {}
            OrderState::Processing { .. } | OrderState::Processed { .. } | OrderState::Forked { .. } if was_asked => {}
            _ => return Err("it is neither suspended nor failed"),
        }
        if e.to.is_some()
            && matches!(
                order.state,
                OrderState::Processing { .. } | OrderState::Processed { .. } | OrderState::Forked { .. }
            )
        {
            return Err("it cannot leave a step that has not ended");
        }
        if was_asked {
            order.mark = None;
        }
        order.suspended = false;
        order.since = at;
        resume_at(order, e, at);
        Ok(())
    })
}

fn resume_at(order: &mut Order, e: &OrderResumed, at: Instant) {
    if matches!(order.state, OrderState::Failed { .. }) {
        // A person has looked at it: its try blocks count from the start again.
        order.tries.values_mut().for_each(|t| t.attempt = if t.caught.is_none() { 1 } else { t.attempt });
        order.enter(OrderState::Ready, at);
    }
    // A person's resume does not wait for others.
    order.behind = None;
    // Not started yet: it starts when it is due, and a person's resume is not late.
    if order.state == OrderState::Scheduled && order.due_at.is_none_or(|due| due <= at) {
        order.enter(OrderState::Ready, at);
    }
    if let Some(to) = &e.to {
        let waits_to_start = order.state == OrderState::Scheduled;
        order.go_to(to, &e.left, at);
        if waits_to_start {
            order.state = OrderState::Scheduled;
        }
    }
}
