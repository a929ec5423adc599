//! Why an order does not move, from the state alone.

use super::{
    Order, OrderState,
    event::{Demand, Resource},
    series,
    state::Mark,
};
use crate::{
    AgentName, Failure, InstanceId, Instant, Label, LockName, OrderId, RunId, Site, Span, WorkflowName, run::RunState,
    workflow::WhenFailed,
};
use serde::{Deserialize, Serialize};

/// A reason to wait, as code and arguments. `Display` is the English text; the code is the name of the variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, thiserror::Error)]
#[serde(tag = "code", content = "arguments", rename_all = "snake_case")]
pub enum Wait {
    #[error("due at {at}")]
    Due { at: Instant },
    #[error("waits until {order} of the same schedule has ended")]
    Behind { order: OrderId },
    #[error("held since {since}: starts when it is resumed")]
    Held { since: Instant },
    #[error("suspended since {since}: goes on when it is resumed")]
    Suspended { since: Instant },
    #[error("will be suspended when its running job or its branches have stopped")]
    Suspending,
    #[error("will be cancelled when its running job or its branches have ended")]
    Cancelling,
    #[error("waits for {weight} of lock {lock}, {held} of {capacity} held by {}; {ahead} ahead of it", list(holders))]
    Lock { lock: LockName, weight: u32, held: u32, capacity: u32, holders: Vec<OrderId>, ahead: u32 },
    #[error("waits for a free slot of job {job} of {workflow}, {held} run now: {}; {ahead} ahead of it", list(holders))]
    Slot { workflow: WorkflowName, job: Label, held: u32, holders: Vec<OrderId>, ahead: u32 },
    #[error("retry delay until {until}, attempt {attempt}{}", why(failure))]
    Retry { until: Instant, attempt: u32, failure: Option<Failure> },
    #[error("waits for its branches: {}", list(branches))]
    Branches { branches: Vec<OrderId> },
    #[error("branch {order} has failed and waits to be resumed or cancelled: {failure}")]
    BranchFailed { order: OrderId, failure: Failure },
    #[error("sent to agent {agent}, not claimed since {since}")]
    NotClaimed { agent: AgentName, since: Instant },
    #[error("agent {agent} is not known: add it with `ordo agent add {agent}`")]
    AgentUnknown { agent: AgentName },
    #[error("no instance of agent {agent} is ready")]
    NoInstance { agent: AgentName },
    #[error("runs on {agent}/{instance} since {since}")]
    Running { agent: AgentName, instance: InstanceId, since: Instant },
    #[error("killed on {agent}/{instance}, its end is not reported yet")]
    Killing { agent: AgentName, instance: InstanceId },
    #[error("failed: {failure}; it can be resumed or cancelled")]
    Failed { failure: Failure },
    #[error("its next step is being decided")]
    Deciding,
    #[error("overdue by {by}: no controller was active, or it is busy")]
    Overdue { by: Span },
}

fn list(orders: &[OrderId]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = orders.iter().take(SHOWN).map(OrderId::as_str).collect();
    match orders.len().saturating_sub(SHOWN) {
        0 if shown.is_empty() => "nobody".into(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn why(failure: &Option<Failure>) -> String {
    failure.as_ref().map_or_else(String::new, |f| format!(", after: {f}"))
}

impl Site {
    /// Every reason why this order does not move now, the nearest first; those of its branches are asked of them. Empty for an
    /// ended or unknown order.
    pub fn explain(&self, order: &OrderId, now: Instant) -> Vec<Wait> {
        let Some(order) = self.orders.get(order) else { return vec![] };
        let mut waits = vec![];
        match order.mark {
            Some(Mark::Cancel { .. }) => waits.push(Wait::Cancelling),
            Some(Mark::Suspend { .. }) => waits.push(Wait::Suspending),
            None => {}
        }
        if order.suspended {
            let since = order.since;
            waits.push(if order.started_at.is_none() { Wait::Held { since } } else { Wait::Suspended { since } });
        }
        waits.extend(self.waits_of_state(order, now));
        waits
    }

    fn waits_of_state(&self, order: &Order, now: Instant) -> Vec<Wait> {
        match &order.state {
            OrderState::Finished | OrderState::Cancelled => vec![],
            OrderState::Scheduled => match (order.due_at, &order.behind) {
                (Some(at), _) if at > now => vec![Wait::Due { at }],
                (_, Some(behind)) => {
                    let earlier = series::earlier(self, order).unwrap_or(behind);
                    vec![Wait::Behind { order: earlier.clone() }]
                }
                _ if order.suspended => vec![],
                (due, None) => vec![Wait::Overdue { by: Span::from_chrono(now - due.unwrap_or(order.added_at)) }],
            },
            OrderState::Ready if order.suspended => vec![],
            OrderState::Ready | OrderState::Processed { .. } => vec![Wait::Deciding],
            OrderState::Queued { demands } => demands.iter().filter_map(|d| self.wait_for(order, d)).collect(),
            OrderState::Processing { run } => self.waits_of_run(run),
            OrderState::Retrying { until } if *until <= now && !order.suspended => {
                vec![Wait::Overdue { by: Span::from_chrono(now - *until) }]
            }
            OrderState::Retrying { until } => {
                let retried = order.tries.values().find(|t| t.retried.is_some());
                let failure = retried.and_then(|t| t.retried.as_ref()).map(|(_, failure)| failure.clone());
                vec![Wait::Retry { until: *until, attempt: retried.map_or(2, |t| t.attempt), failure }]
            }
            OrderState::Forked { when_failed, children } => self.waits_of_branches(*when_failed, children),
            OrderState::Failed { failure } => vec![Wait::Failed { failure: failure.clone() }],
        }
    }

    fn waits_of_branches(&self, when_failed: WhenFailed, children: &[OrderId]) -> Vec<Wait> {
        let (mut waits, mut branches) = (vec![], vec![]);
        for child in children.iter().filter_map(|id| self.orders.get(id)) {
            match &child.state {
                OrderState::Failed { failure } if when_failed == WhenFailed::Wait => {
                    waits.push(Wait::BranchFailed { order: child.id.clone(), failure: failure.clone() });
                }
                state if state.is_ended() => {}
                _ => branches.push(child.id.clone()),
            }
        }
        if !branches.is_empty() {
            waits.push(Wait::Branches { branches });
        }
        if waits.is_empty() { vec![Wait::Deciding] } else { waits }
    }

    /// None where this resource is free for it: it waits for another one.
    fn wait_for(&self, order: &Order, demand: &Demand) -> Option<Wait> {
        let usage = self.resources.0.get(&demand.resource)?;
        let ahead = usage.queue.iter().take_while(|(_, _, queued)| *queued != order.id).count();
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        let held = usage.held_weight();
        let holders: Vec<OrderId> =
            usage.held.keys().filter_map(|run| self.runs.get(run)).map(|run| run.order.clone()).collect();
        match &demand.resource {
            Resource::Lock(lock) => {
                let capacity = self.locks.get(lock).map_or(0, |l| l.definition.capacity);
                let weight = demand.weight;
                let is_free = ahead == 0 && held.saturating_add(weight) <= capacity;
                (!is_free).then(|| Wait::Lock { lock: lock.clone(), weight, held, capacity, holders, ahead })
            }
            Resource::Job { workflow, job } => {
                let is_free = ahead == 0 && held == 0;
                (!is_free).then(|| Wait::Slot { workflow: workflow.clone(), job: job.clone(), held, holders, ahead })
            }
        }
    }

    fn waits_of_run(&self, run: &RunId) -> Vec<Wait> {
        let Some(run) = self.runs.get(run) else { return vec![Wait::Deciding] };
        let agent = run.agent.clone();
        match &run.state {
            RunState::Claimed { instance, .. } if run.kill_requested => {
                vec![Wait::Killing { agent, instance: instance.clone() }]
            }
            RunState::Claimed { instance, at } => vec![Wait::Running { agent, instance: instance.clone(), since: *at }],
            RunState::Dispatched { .. } => {
                let mut waits = vec![];
                match self.agents.get(&agent) {
                    None => waits.push(Wait::AgentUnknown { agent: agent.clone() }),
                    Some(known) if !known.instances.values().any(|i| i.ready) => {
                        waits.push(Wait::NoInstance { agent: agent.clone() });
                    }
                    Some(_) => {}
                }
                waits.push(Wait::NotClaimed { agent, since: run.dispatched_at });
                waits
            }
        }
    }
}
