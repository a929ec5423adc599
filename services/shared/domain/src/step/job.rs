use super::{Here, sight::Sight};
use crate::{
    Event, Failure, expression, limit,
    lock::decide::{Admission, admit},
    order::{
        OrderState,
        event::{Demand, OrderQueued, Resource},
    },
    run::{JobSpec, event::RunDispatched, spec::SpecAction},
    workflow::{Action, Job},
};

/// What a job message has besides the specification: ids, names, times.
const MESSAGE_OVERHEAD: usize = 2 * 1024;

/// Gives the job to its agent, once all that it needs is free; queues until then.
pub(super) fn take(here: &Here, job: &Job) -> Result<Vec<Event>, Failure> {
    let resources = demands(here, job);
    match admit(here.site, here.order, &resources, job.parallel)? {
        Admission::Granted => Ok(vec![dispatch(here, job, resources)?]),
        Admission::Waits if matches!(here.order.state, OrderState::Queued { .. }) => Ok(vec![]),
        Admission::Waits => {
            let (order, position) = (here.order.id.clone(), here.position.clone());
            Ok(vec![OrderQueued { order, position, resources }.into()])
        }
    }
}

/// In the order of their names.
fn demands(here: &Here, job: &Job) -> Vec<Demand> {
    let locks =
        job.locks.iter().map(|(lock, weight)| Demand { resource: Resource::Lock(lock.clone()), weight: *weight });
    let slot = job.parallel.map(|_| Demand {
        resource: Resource::Job { workflow: here.order.workflow.name.clone(), job: here.label.clone() },
        weight: 1,
    });
    locks.chain(slot).collect()
}

fn dispatch(here: &Here, job: &Job, resources: Vec<Demand>) -> Result<Event, Failure> {
    let attempt = here.order.next_attempt();
    let dispatched = RunDispatched {
        run: here.ctx.ids.run_id(),
        order: here.order.id.clone(),
        position: here.position.clone(),
        job: here.label.clone(),
        agent: job.agent.clone(),
        attempt,
        resources,
        spec: spec(&Sight::new(here).with_attempt(attempt), job)?,
    };
    let bytes = limit::json_bytes(&dispatched.spec) + MESSAGE_OVERHEAD;
    if bytes > limit::JOB_MESSAGE_BYTES {
        return Err(Failure::JobTooLarge { bytes: bytes as u64, limit: limit::JOB_MESSAGE_BYTES as u64 });
    }
    Ok(dispatched.into())
}

fn spec(sight: &Sight, job: &Job) -> Result<JobSpec, Failure> {
    let scope = &sight.scope();
    let action = match &job.action {
        Action::Script { hash, .. } => SpecAction::Script { hash: hash.clone() },
        Action::Command { arguments } => SpecAction::Command {
            arguments: arguments.iter().map(|a| expression::render(a, scope)).collect::<Result<_, _>>()?,
        },
    };
    let env = job.env.iter().map(|(name, value)| Ok((name.clone(), expression::render_env(value, scope)?)));
    Ok(JobSpec {
        action,
        env: env.collect::<Result<_, Failure>>()?,
        directory: job.directory.as_ref().map(|d| expression::render(d, scope)).transpose()?,
        timeout: job.timeout,
        kill_after: job.kill_after,
        results: job.results.clone(),
    })
}
