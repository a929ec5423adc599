//! Answers to what comes from outside: commands, reports, and runs found lost. Dispatch only.

use crate::{
    AgentName, Command, CommandId, Ctx, Event, InstanceId, Refusal, RunId, Site, agent,
    catalog::decide as catalog,
    command::{Accepted, By},
    controller::{CommandAccepted, CommandRefused},
    limit,
    order::{add, decide as order},
    run::{Report, decide as run},
    site::CommandOutcome,
    workflow,
};

/// In how many parts the command is decided: `part` of [`decide`] goes from 1 to this. From the command and the
/// definitions that it names alone, so that it is the same after a crash between parts.
pub fn parts(site: &Site, command: &Command, ctx: Ctx) -> u32 {
    let parts = match command {
        Command::AddOrders(add) => add::cuts(site, add, ctx).len(),
        Command::CancelOrders(c) => order::parts(&c.orders),
        Command::SuspendOrders(c) => order::parts(&c.orders),
        Command::ResumeOrders(c) => order::parts(&c.orders),
        Command::Deploy(_)
        | Command::AddAgent(_)
        | Command::RemoveDefinitions(_)
        | Command::SuspendSchedules(_)
        | Command::ResumeSchedules(_)
        | Command::NoteStarts(_) => 1,
    };
    u32::try_from(parts).unwrap_or(u32::MAX).max(1)
}

/// The events of one part. The last part ends with `CommandAccepted`. The whole is checked in part 1: only that part can be
/// refused (then write `CommandRefused` and skip the other parts). A known command id gives the known outcome again.
pub fn decide(
    site: &Site,
    id: &CommandId,
    by: &By,
    command: &Command,
    part: u32,
    ctx: Ctx,
) -> Result<Vec<Event>, Refusal> {
    if let Some((_, outcome)) = site.commands.by_id.get(id) {
        return Ok(vec![again(id, outcome)]);
    }
    at_most("reason", by.reason.as_deref(), limit::REASON_BYTES)?;
    let (mut events, outcome) = answer(site, id, by, command, part, ctx)?;
    if part >= parts(site, command, ctx) {
        events.push(CommandAccepted { command: id.clone(), outcome }.into());
    }
    Ok(events)
}

fn answer(
    site: &Site,
    id: &CommandId,
    by: &By,
    command: &Command,
    part: u32,
    ctx: Ctx,
) -> Result<(Vec<Event>, Accepted), Refusal> {
    match command {
        Command::AddOrders(c) => add::add(site, id, by, c, part, ctx),
        Command::CancelOrders(c) => order::cancel(site, by, c, part),
        Command::SuspendOrders(c) => order::suspend(site, c, part),
        Command::ResumeOrders(c) => order::resume(site, c, part, ctx),
        Command::Deploy(c) => workflow::decide::deploy(site, by, c, ctx),
        Command::AddAgent(c) => agent::decide::add(site, by, c),
        Command::RemoveDefinitions(c) => catalog::remove(site, by, c, ctx),
        Command::SuspendSchedules(c) => catalog::suspend(site, by, c),
        Command::ResumeSchedules(c) => catalog::resume(site, by, c),
        Command::NoteStarts(c) => catalog::note(c),
    }
}

fn again(id: &CommandId, outcome: &CommandOutcome) -> Event {
    match outcome {
        CommandOutcome::Accepted(outcome) => CommandAccepted { command: id.clone(), outcome: outcome.clone() }.into(),
        CommandOutcome::Refused(refusal) => {
            CommandRefused { command: Some(id.clone()), refusal: refusal.clone() }.into()
        }
    }
}

/// What a report of an agent makes: never nothing, `ReportRefused` where it does not fit.
pub fn report(site: &Site, agent: &AgentName, instance: &InstanceId, report: &Report, ctx: Ctx) -> Vec<Event> {
    let (run, decided) = match report {
        Report::Accepted { run } => (Some(run), run::accepted(site, agent, instance, run)),
        Report::Refused { run } => (Some(run), run::refused(site, agent, instance, run, ctx)),
        Report::Ended { run, facts } => (Some(run), run::reported(site, agent, instance, run, facts, ctx)),
        Report::Ready { node, version } => (None, agent::decide::ready(site, agent, instance, node, version)),
        Report::Stopping => (None, agent::decide::stopped(site, agent, instance)),
    };
    let event = decided.unwrap_or_else(|reason| agent::decide::refused(agent, instance, run, reason));
    vec![event]
}

/// A claimed run that its instance does not know any more (reconciling, cause `Upkeep`). Nothing when it has ended meanwhile.
pub fn lost(site: &Site, run: &RunId, reason: &str, ctx: Ctx) -> Vec<Event> {
    run::lost(site, run, reason, ctx).into_iter().collect()
}

pub(crate) fn at_most(what: &str, text: Option<&str>, limit: usize) -> Result<(), Refusal> {
    let bytes = text.map_or(0, str::len);
    if bytes > limit {
        return Err(Refusal::TooLarge { what: what.into(), bytes: bytes as u64, limit: limit as u64 });
    }
    Ok(())
}
