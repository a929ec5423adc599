use super::{CommandAccepted, CommandFailed, CommandRefused, ControllerActivated, ControllerHandedOver, RoleHeld};
use crate::{
    Instant, Refusal, Site,
    apply::{Applied, misfit},
    id::CommandId,
    site::{CommandMemory, CommandOutcome},
};
use chrono::TimeDelta;

/// For this long a repeat of a command gets the same outcome.
const COMMAND_MEMORY: TimeDelta = TimeDelta::hours(24);

pub(crate) fn activated(site: &mut Site, e: &ControllerActivated) -> Applied {
    if e.epoch <= site.epoch {
        let state = format_args!("epoch {}", site.epoch);
        return Err(misfit("the site", state, format_args!("epoch {} is not a later one", e.epoch)));
    }
    site.epoch = e.epoch;
    site.active = Some(e.instance.clone());
    site.held_by = None;
    Ok(())
}

pub(crate) fn handed_over(site: &mut Site, e: &ControllerHandedOver) -> Applied {
    if site.active.as_ref() != Some(&e.from) || site.epoch != e.epoch {
        let active = site.active.as_ref().map_or("nobody", |i| i.as_str());
        let state = format!("epoch {}, {active} is active", site.epoch);
        return Err(misfit("the site", state, format_args!("{} was not active in epoch {}", e.from, e.epoch)));
    }
    site.active = None;
    Ok(())
}

pub(crate) fn role_held(site: &mut Site, e: &RoleHeld) -> Applied {
    site.held_by = Some(e.instance.clone());
    site.active = None;
    Ok(())
}

pub(crate) fn command_accepted(site: &mut Site, at: Instant, e: &CommandAccepted) -> Applied {
    close(site, &e.command);
    remember(&mut site.commands, at, &e.command, CommandOutcome::Accepted(e.outcome.clone()));
    Ok(())
}

pub(crate) fn command_refused(site: &mut Site, at: Instant, e: &CommandRefused) -> Applied {
    if let Some(command) = &e.command {
        close(site, command);
        remember(&mut site.commands, at, command, CommandOutcome::Refused(e.refusal.clone()));
    }
    Ok(())
}

pub(crate) fn command_failed(site: &mut Site, at: Instant, e: &CommandFailed) -> Applied {
    if let Some(command) = &e.command {
        close(site, command);
        let refusal = Refusal::Failed { reason: e.failure.to_string() };
        remember(&mut site.commands, at, command, CommandOutcome::Refused(refusal));
    }
    Ok(())
}

fn close(site: &mut Site, command: &CommandId) {
    if site.adding.as_ref().is_some_and(|a| a.command == *command) {
        site.adding = None;
    }
}

/// The first outcome stays: a repeat repeats it.
fn remember(memory: &mut CommandMemory, at: Instant, command: &CommandId, outcome: CommandOutcome) {
    while let Some((then, _)) = memory.by_time.first()
        && *then + COMMAND_MEMORY <= at
    {
        if let Some((_, old)) = memory.by_time.pop_first() {
            memory.by_id.remove(&old);
        }
    }
    if !memory.by_id.contains_key(command) {
        memory.by_time.insert((at, command.clone()));
        memory.by_id.insert(command.clone(), (at, outcome));
    }
}
