//! What the world must be told after a commit is acknowledged. Every effect is conditional or harmless when late or repeated.

use crate::{AgentName, Event, InstanceId, OrderId, RunId, Site, run::RunState};
use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Put the job into JOBS. Repeated until claimed.
    SendJob { run: RunId },
    /// Ask the instance that claimed it to end it.
    KillRun { run: RunId, agent: AgentName, instance: InstanceId },
    /// Claim it as refused, so that it cannot start any more.
    RefuseRun { run: RunId, agent: AgentName },
    /// A consumer for a new agent.
    AdmitAgent { agent: AgentName },
    /// Somebody may wait for this top order's end: finished, cancelled, or failed (until it is resumed).
    OrderTerminated { order: OrderId },
}

/// What these events, now in the journal, ask of the world. `site` is the state after them, or later: what is no longer
/// true is left out. Each effect once.
pub fn effects(site: &Site, events: &[Event]) -> Vec<Effect> {
    let mut effects: Vec<Effect> = vec![];
    for event in events {
        let effect = match event {
            Event::RunDispatched(e) => of_run(site, &e.run),
            Event::RunClaimed(e) => of_run(site, &e.run),
            Event::RunKillRequested(e) => of_run(site, &e.run),
            Event::AgentAdded(e) => Some(Effect::AdmitAgent { agent: e.agent.clone() }),
            Event::OrderFinished(e) => ended(site, &e.order),
            Event::OrderCancelled(e) => ended(site, &e.order),
            Event::OrderFailed(e) => ended(site, &e.order),
            _ => None,
        };
        effects.extend(effect);
    }
    let mut seen = BTreeSet::new();
    effects.retain(|effect| seen.insert(effect.clone()));
    effects
}

/// All that may not have reached the world: every run that is dispatched and not claimed, and every wanted kill. For activation
/// and reconciling.
pub fn outstanding(site: &Site) -> Vec<Effect> {
    site.runs.keys().filter_map(|run| of_run(site, run)).collect()
}

/// What its state asks for now.
fn of_run(site: &Site, id: &RunId) -> Option<Effect> {
    let run = site.runs.get(id)?;
    match &run.state {
        RunState::Dispatched { .. } if run.kill_requested => {
            Some(Effect::RefuseRun { run: id.clone(), agent: run.agent.clone() })
        }
        RunState::Dispatched { .. } => Some(Effect::SendJob { run: id.clone() }),
        RunState::Claimed { instance, .. } if run.kill_requested => {
            Some(Effect::KillRun { run: id.clone(), agent: run.agent.clone(), instance: instance.clone() })
        }
        RunState::Claimed { .. } => None,
    }
}

/// Nobody waits for a branch: only its id has a colon. A failed order may have been resumed meanwhile.
fn ended(site: &Site, order: &OrderId) -> Option<Effect> {
    let is_over = site.orders.get(order).is_none_or(|o| o.state.is_ended());
    (is_over && !order.as_str().contains(':')).then(|| Effect::OrderTerminated { order: order.clone() })
}
