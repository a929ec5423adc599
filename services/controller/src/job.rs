//! The messages that carry runs to their agents, made from the state when they are sent.

use ordo_contract::job::{JobMessage, KillMessage};
use ordo_domain::{RunId, Site, run::RunState};

/// Of this envelope.
const VERSION: u32 = 1;

/// None where the run has been claimed or has ended meanwhile.
pub fn message(site: &Site, run: &RunId) -> Option<JobMessage> {
    let run = site.runs.get(run)?;
    let RunState::Dispatched { spec } = &run.state else { return None };
    let order = site.orders.get(&run.order)?;
    Some(JobMessage {
        v: VERSION,
        run: run.id.clone(),
        order: run.order.clone(),
        workflow: order.workflow.name.clone(),
        position: run.position.clone(),
        job: run.job.clone(),
        agent: run.agent.clone(),
        attempt: run.attempt,
        priority: order.priority,
        epoch: site.epoch,
        dispatched_at: run.dispatched_at,
        spec: (**spec).clone(),
    })
}

pub fn kill(site: &Site, run: &RunId) -> KillMessage {
    KillMessage { v: VERSION, run: run.clone(), epoch: site.epoch }
}
