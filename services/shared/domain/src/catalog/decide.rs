//! Removing definitions, suspending and resuming schedules, and what the daily plan wants journalled.

use super::{
    DefinitionKind, DefinitionRemoved, NoteStarts, RemoveDefinitions, RemoveItem, ResumeSchedules, ScheduleResumed,
    ScheduleSuspended, StartNote, SuspendSchedules, WorkflowRemoved,
};
use crate::{
    Ctx, DefinitionName, Event, Refusal, Site, WorkflowName,
    command::{Accepted, By},
    decide::at_most,
    definition::KnownWorkflow,
    limit,
};
use std::collections::BTreeSet;

/// Referrers that a refusal names.
const SHOWN: usize = 20;

pub(crate) fn remove(
    site: &Site,
    by: &By,
    command: &RemoveDefinitions,
    ctx: Ctx,
) -> Result<(Vec<Event>, Accepted), Refusal> {
    not_empty("the list of definitions", command.items.len())?;
    let items: BTreeSet<&RemoveItem> = command.items.iter().collect();
    let mut events = Vec::with_capacity(items.len());
    for item in &items {
        match item {
            RemoveItem::Workflow { name } => {
                if !site.workflows.contains_key(name) {
                    return Err(Refusal::WorkflowUnknown { workflow: name.clone() });
                }
                let referrers = referrers(site, name, &items, ctx);
                if !referrers.is_empty() {
                    return Err(in_use(format!("workflow {name}"), referrers));
                }
                events.push(WorkflowRemoved { workflow: name.clone(), by: by.clone() }.into());
            }
            RemoveItem::Definition { kind, name } => {
                known(site, *kind, name)?;
                events.push(DefinitionRemoved { kind: *kind, name: name.clone(), by: by.clone() }.into());
            }
        }
    }
    // Schedules and rules first: what they refer to is never removed before them.
    events.sort_by_key(|event| matches!(event, Event::WorkflowRemoved(_)));
    Ok((events, Accepted::Removed { items: command.items.clone() }))
}

fn in_use(definition: String, referrers: Vec<String>) -> Refusal {
    let more = referrers.len().saturating_sub(SHOWN);
    let mut text = referrers.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text = format!("{text} and {more} more");
    }
    Refusal::DefinitionInUse { definition, referrers: text }
}

/// Who needs a workflow, apart from what is removed together with it.
fn referrers(site: &Site, workflow: &WorkflowName, removed: &BTreeSet<&RemoveItem>, ctx: Ctx) -> Vec<String> {
    let mut referrers = Vec::new();
    for (name, deployed) in &site.workflows {
        let also_removed = removed.contains(&RemoveItem::Workflow { name: name.clone() });
        if name == workflow || also_removed {
            continue;
        }
        let calls = ctx.definitions.workflow(&deployed.hash).map(|body| KnownWorkflow::from(&body.workflow).calls);
        if calls.is_some_and(|calls| calls.contains(workflow)) {
            referrers.push(format!("workflow {name}"));
        }
    }
    for (kind, of_kind) in &site.definitions {
        for (name, definition) in of_kind.iter().filter(|(_, d)| d.references.workflows.contains(workflow)) {
            let also_removed = removed.contains(&RemoveItem::Definition { kind: *kind, name: name.clone() });
            if !definition.removed && !also_removed {
                referrers.push(format!("{kind} {name}"));
            }
        }
    }
    let live = site.orders.values().filter(|o| o.workflow.name == *workflow && !o.state.is_terminated());
    referrers.extend(live.map(|order| format!("order {}", order.id)));
    referrers
}

fn known(site: &Site, kind: DefinitionKind, name: &DefinitionName) -> Result<bool, Refusal> {
    match site.definition(kind, name) {
        Some(definition) => Ok(definition.suspended),
        None => Err(Refusal::DefinitionUnknown { kind, name: name.clone() }),
    }
}

pub(crate) fn suspend(site: &Site, by: &By, command: &SuspendSchedules) -> Result<(Vec<Event>, Accepted), Refusal> {
    let wanted = of_schedules(site, &command.schedules, false)?;
    let event = |schedule: DefinitionName| ScheduleSuspended { schedule, by: by.clone() }.into();
    Ok((wanted.into_iter().map(event).collect(), Accepted::Schedules { schedules: command.schedules.clone() }))
}

pub(crate) fn resume(site: &Site, by: &By, command: &ResumeSchedules) -> Result<(Vec<Event>, Accepted), Refusal> {
    let wanted = of_schedules(site, &command.schedules, true)?;
    let event = |schedule: DefinitionName| ScheduleResumed { schedule, by: by.clone() }.into();
    Ok((wanted.into_iter().map(event).collect(), Accepted::Schedules { schedules: command.schedules.clone() }))
}

/// Those that change; one that is as wanted already is no error, so that a list can be repeated.
fn of_schedules(site: &Site, names: &[DefinitionName], suspended: bool) -> Result<BTreeSet<DefinitionName>, Refusal> {
    not_empty("the list of schedules", names.len())?;
    let mut wanted = BTreeSet::new();
    for name in names {
        if known(site, DefinitionKind::Schedule, name)? == suspended {
            wanted.insert(name.clone());
        }
    }
    Ok(wanted)
}

pub(crate) fn note(command: &NoteStarts) -> Result<(Vec<Event>, Accepted), Refusal> {
    not_empty("the list of notes", command.notes.len())?;
    let mut events = Vec::with_capacity(command.notes.len());
    for note in &command.notes {
        let (reason, event) = match note {
            StartNote::Skipped(e) => (&e.reason, Event::from(e.clone())),
            StartNote::NotPlanned(e) => (&e.reason, Event::from(e.clone())),
        };
        at_most("reason", Some(reason), limit::REASON_BYTES)?;
        events.push(event);
    }
    Ok((events, Accepted::Noted))
}

fn not_empty(what: &str, count: usize) -> Result<(), Refusal> {
    match count {
        0 => Err(Refusal::Empty { what: what.into() }),
        _ if count > limit::DEPLOY_ITEMS => {
            let (count, limit) = (count as u64, limit::DEPLOY_ITEMS as u64);
            Err(Refusal::TooMany { what: what.into(), count, limit })
        }
        _ => Ok(()),
    }
}
