//! Runs, with what they hold and what they make of their order.

use super::{
    Run, RunState,
    event::{RunClaimed, RunDispatched, RunEnded, RunKillRequested},
};
use crate::{
    Instant, RunId, Site,
    apply::{Applied, misfit},
    lock,
    order::{OrderState, apply as order, state::StepResult},
};

pub(crate) fn dispatched(site: &mut Site, at: Instant, e: &RunDispatched) -> Applied {
    if site.runs.contains_key(&e.run) {
        return Err(misfit(format_args!("run {}", e.run), "known", "it was dispatched already"));
    }
    order::change(site, &e.order, |order| {
        match order.state {
            _ if order.suspended => return Err("it is suspended"),
            OrderState::Ready | OrderState::Queued { .. } => {}
            _ => return Err("only a ready or queued order gives a job to an agent"),
        }
        if order.position.as_ref() != Some(&e.position) {
            return Err("it is at another step");
        }
        order.enter(OrderState::Processing { run: e.run.clone() }, at);
        order.attempt = e.attempt;
        if !order.tries.is_empty() {
            order.runs.insert(e.job.clone(), e.attempt);
        }
        Ok(())
    })?;
    lock::apply::take(site, &e.run, &e.resources);
    let run = Run {
        id: e.run.clone(),
        order: e.order.clone(),
        position: e.position.clone(),
        job: e.job.clone(),
        agent: e.agent.clone(),
        attempt: e.attempt,
        resources: e.resources.clone(),
        state: RunState::Dispatched { spec: Box::new(e.spec.clone()) },
        kill_requested: false,
        dispatched_at: at,
    };
    site.runs.insert(e.run.clone(), run);
    Ok(())
}

pub(crate) fn claimed(site: &mut Site, at: Instant, e: &RunClaimed) -> Applied {
    let run = known(site, &e.run)?;
    if let RunState::Claimed { instance, .. } = &run.state {
        return Err(misfit(format_args!("run {}", e.run), "claimed", format_args!("{instance} has claimed it")));
    }
    run.state = RunState::Claimed { instance: e.instance.clone(), at };
    Ok(())
}

pub(crate) fn kill_requested(site: &mut Site, e: &RunKillRequested) -> Applied {
    let run = known(site, &e.run)?;
    if run.kill_requested {
        return Err(misfit(format_args!("run {}", e.run), "being killed", "that was asked for already"));
    }
    run.kill_requested = true;
    Ok(())
}

pub(crate) fn ended(site: &mut Site, at: Instant, e: &RunEnded) -> Applied {
    let run = known(site, &e.run)?;
    if run.order != e.order {
        return Err(misfit(format_args!("run {}", e.run), "known", format_args!("it is of order {}", run.order)));
    }
    let job = run.job.clone();
    order::change(site, &e.order, |order| {
        match &order.state {
            OrderState::Processing { run } if *run == e.run => {}
            _ => return Err("that run is not its present one"),
        }
        match &e.outcome {
            None => order.enter(OrderState::Ready, at),
            Some(outcome) => {
                let result = StepResult { return_code: e.facts.end.return_code(), values: e.facts.results.clone() };
                order.results.insert(job, result);
                order.enter(OrderState::Processed { outcome: outcome.clone() }, at);
            }
        }
        Ok(())
    })?;
    if let Some(run) = site.runs.remove(&e.run) {
        lock::apply::free(site, &e.run, &run.resources);
    }
    Ok(())
}

fn known<'a>(site: &'a mut Site, run: &RunId) -> Result<&'a mut Run, crate::apply::NotApplicable> {
    site.runs.get_mut(run).ok_or_else(|| misfit(format_args!("run {run}"), "unknown", "it has ended, or never was"))
}
