//! What reports say of runs, and how the end of a run is judged.

use super::{
    Run, RunEnd, RunFacts, RunState,
    event::{ReportRefusal, RunClaimed, RunEnded},
    report::{OutputSummary, Usage},
};
use crate::{
    AgentName, Ctx, Event, Failure, InstanceId, Outcome, RunId, Site, limit,
    order::{Order, state::Mark},
    workflow::{Instruction, Job},
};

/// Texts of agents that go into events.
const REASON_CHARACTERS: usize = 1_000;

pub(crate) fn accepted(
    site: &Site,
    agent: &AgentName,
    instance: &InstanceId,
    run: &RunId,
) -> Result<Event, ReportRefusal> {
    match &of_agent(site, agent, run)?.state {
        RunState::Dispatched { .. } => Ok(RunClaimed { run: run.clone(), instance: instance.clone() }.into()),
        RunState::Claimed { instance: known, .. } if known == instance => Err(ReportRefusal::Repeated),
        RunState::Claimed { .. } => Err(ReportRefusal::WrongInstance),
    }
}

/// The claim of a run that must not start. Whoever made it, nobody can start the run any more: it has ended.
pub(crate) fn refused(
    site: &Site,
    agent: &AgentName,
    instance: &InstanceId,
    run: &RunId,
    ctx: Ctx,
) -> Result<Event, ReportRefusal> {
    let known = of_agent(site, agent, run)?;
    if let RunState::Claimed { instance: owner, .. } = &known.state {
        return Err(if owner == instance { ReportRefusal::Repeated } else { ReportRefusal::WrongInstance });
    }
    let end = if known.kill_requested {
        RunEnd::Killed
    } else {
        RunEnd::NotStarted { reason: format!("refused by {instance}, though nobody asked for that"), again: false }
    };
    Ok(ended(site, known, unmeasured(end, ctx), ctx))
}

pub(crate) fn reported(
    site: &Site,
    agent: &AgentName,
    instance: &InstanceId,
    run: &RunId,
    facts: &RunFacts,
    ctx: Ctx,
) -> Result<Event, ReportRefusal> {
    let known = of_agent(site, agent, run)?;
    match &known.state {
        RunState::Dispatched { .. } => Err(ReportRefusal::NotClaimed),
        RunState::Claimed { instance: owner, .. } if owner != instance => Err(ReportRefusal::WrongInstance),
        RunState::Claimed { .. } => Ok(ended(site, known, facts.clone(), ctx)),
    }
}

pub(crate) fn lost(site: &Site, run: &RunId, reason: &str, ctx: Ctx) -> Option<Event> {
    let known = site.runs.get(run).filter(|r| matches!(r.state, RunState::Claimed { .. }))?;
    Some(ended(site, known, unmeasured(RunEnd::Lost { reason: reason.into() }, ctx), ctx))
}

fn of_agent<'a>(site: &'a Site, agent: &AgentName, run: &RunId) -> Result<&'a Run, ReportRefusal> {
    if !site.agents.contains_key(agent) {
        return Err(ReportRefusal::AgentUnknown);
    }
    let run = site.runs.get(run).ok_or(ReportRefusal::RunUnknown)?;
    if run.agent == *agent { Ok(run) } else { Err(ReportRefusal::WrongAgent) }
}

fn unmeasured(end: RunEnd, ctx: Ctx) -> RunFacts {
    RunFacts {
        end,
        started_at: None,
        ended_at: ctx.now,
        usage: Usage::default(),
        output: OutputSummary::default(),
        results: Default::default(),
        results_error: None,
    }
}

fn ended(site: &Site, run: &Run, mut facts: RunFacts, ctx: Ctx) -> Event {
    shorten(&mut facts);
    let outcome = match site.orders.get(&run.order) {
        None => Some(Failure::Internal { reason: "its order is unknown".into() }.into()),
        Some(order) => match job(order, run, ctx) {
            Err(failure) => Some(failure.into()),
            Ok(job) => judge(order, run, &job, &mut facts),
        },
    };
    RunEnded { run: run.id.clone(), order: run.order.clone(), position: run.position.clone(), facts, outcome }.into()
}

fn shorten(facts: &mut RunFacts) {
    let cut = |text: &mut String| {
        if let Some((i, _)) = text.char_indices().nth(REASON_CHARACTERS) {
            text.truncate(i);
        }
    };
    match &mut facts.end {
        RunEnd::NotStarted { reason, .. } | RunEnd::Lost { reason } => cut(reason),
        RunEnd::Exited { .. } | RunEnd::Signalled { .. } | RunEnd::TimedOut { .. } | RunEnd::Killed => {}
    }
    if let Some((name, reason)) = &mut facts.results_error {
        cut(name);
        cut(reason);
    }
}

fn job(order: &Order, run: &Run, ctx: Ctx) -> Result<Job, Failure> {
    let missing = |what: &str| Failure::Definition {
        reason: format!("{what} of version {} of workflow {}", order.workflow.version, order.workflow.name),
    };
    let loaded = ctx.definitions.workflow(&order.workflow.hash).ok_or_else(|| missing("the body is missing:"))?;
    match loaded.step(&run.job).map(|s| &s.instruction) {
        Some(Instruction::Job(job)) => Ok((**job).clone()),
        _ => Err(missing(&format!("there is no job {} in the body", run.job))),
    }
}

/// None: the step will be run again. Results that cannot be kept leave the facts.
fn judge(order: &Order, run: &Run, job: &Job, facts: &mut RunFacts) -> Option<Outcome> {
    let is_cancelled = matches!(order.mark, Some(Mark::Cancel { .. }));
    let was_killed = match facts.end {
        RunEnd::Killed => true,
        RunEnd::Signalled { .. } => run.kill_requested,
        _ => false,
    };
    // A kill that comes from no cancel comes from a suspend: what it broke off is done again.
    if was_killed && run.kill_requested && !is_cancelled {
        facts.results.clear();
        return None;
    }
    let outcome = match &facts.end {
        _ if was_killed => {
            let reason =
                if is_cancelled { "the order is cancelled" } else { "by its agent, though nobody asked for that" };
            Failure::Killed { reason: reason.into() }.into()
        }
        RunEnd::Exited { code } if job.success.contains(code) => Outcome::Succeeded,
        RunEnd::Exited { code } if job.warning.contains(code) => Outcome::Warning { return_code: *code },
        RunEnd::Exited { code } => Failure::ExitCode { return_code: *code }.into(),
        RunEnd::Signalled { signal } => Failure::Signal { signal: *signal }.into(),
        RunEnd::TimedOut { limit } => Failure::TimedOut { limit: *limit }.into(),
        // Restartable or not: nothing ran.
        RunEnd::NotStarted { again: true, .. } if !is_cancelled => return None,
        RunEnd::NotStarted { reason, .. } => Failure::NotStarted { reason: reason.clone() }.into(),
        RunEnd::Lost { .. } if job.restartable && !is_cancelled => {
            facts.results.clear();
            return None;
        }
        RunEnd::Lost { reason } => Failure::RunLost { reason: reason.clone() }.into(),
        // Covered by `was_killed`.
        RunEnd::Killed => Failure::Killed { reason: "by its agent".into() }.into(),
    };
    match check_results(order, job, facts, outcome.is_failed()) {
        Ok(()) => Some(outcome),
        Err(failure) => {
            facts.results.clear();
            Some(if outcome.is_failed() { outcome } else { failure.into() })
        }
    }
}

/// A declared result is a promise of a job that ends well; a failed one may have written some.
fn check_results(order: &Order, job: &Job, facts: &RunFacts, is_failed: bool) -> Result<(), Failure> {
    if let Some((name, reason)) = &facts.results_error {
        return Err(Failure::Result { name: name.clone(), reason: reason.clone() });
    }
    let wrong = |name: &str, reason: String| Err(Failure::Result { name: name.into(), reason });
    for (name, value) in &facts.results {
        match job.results.get(name) {
            None => return wrong(name.as_str(), "the job does not declare it".into()),
            Some(kind) if value.kind() != *kind => {
                return wrong(name.as_str(), format!("it is a {}, declared as {kind}", value.kind()));
            }
            Some(_) if value.is_deeper_than(limit::VALUE_DEPTH) => {
                return wrong(
                    name.as_str(),
                    format!("lists and maps inside each other, more than {}", limit::VALUE_DEPTH),
                );
            }
            Some(_) => {}
        }
    }
    if let Some(name) = job.results.keys().find(|name| !is_failed && !facts.results.contains_key(*name)) {
        return wrong(name.as_str(), "the job ended without writing it to $ORDO_RESULTS".into());
    }
    if facts.results.is_empty() {
        return Ok(());
    }
    let bytes = limit::json_bytes(&facts.results);
    if bytes > limit::RESULTS_BYTES {
        return wrong("all", format!("{bytes} bytes, the limit is {}", limit::RESULTS_BYTES));
    }
    let bytes = bytes + limit::json_bytes(&order.results) + limit::json_bytes(&*order.arguments);
    if bytes > limit::ORDER_VARIABLES_BYTES {
        let limit = limit::ORDER_VARIABLES_BYTES as u64;
        return Err(Failure::VariablesTooLarge { bytes: bytes as u64, limit });
    }
    Ok(())
}
