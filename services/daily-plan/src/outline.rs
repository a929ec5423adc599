//! What the starts of a schedule are, as far as they are to be planned; and what a change of it makes of them. Pure.

use crate::command;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use ordo_contract::request::daily_plan::PlanRunReply;
use ordo_domain::WorkflowName;
use ordo_domain::catalog::{StartNote, StartSkipped};
use ordo_domain::order::command::StartKey;
use ordo_domain::plan::{PlannedStart, Schedule};
use ordo_store::plan::{
    ExistingStart, Note, PlanChange, PlanUpdate, PlannedSchedule, Skip, StartRow, Template, fingerprint,
};
use std::collections::{BTreeMap, VecDeque};

/// The controller knows starts for a month: older ones cannot be made up for.
const OLDEST: TimeDelta = TimeDelta::days(31);

/// What is known around a schedule when it is planned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) now: DateTime<Utc>,
    pub(crate) site: Tz,
    /// Stretches whose starts are not made.
    pub(crate) skips: &'a [Skip],
    /// Starts that are in the plan and ahead.
    pub(crate) ahead: usize,
}

/// Starts of a stretch of time.
#[derive(Debug, Default)]
struct Filled {
    starts: Vec<StartRow>,
    templates: Vec<Template>,
    skip: Option<Skip>,
    note: Option<Note>,
    through: DateTime<Utc>,
}

/// Plans on, up to `until` or to the horizon of the schedule. None: there is nothing to be written.
pub(crate) fn extend(
    planned: &PlannedSchedule,
    until: Option<DateTime<Utc>>,
    around: Around<'_>,
) -> Option<PlanUpdate> {
    let (schedule, through) = (planned.definition.as_ref().filter(|_| planned.active)?, planned.planned_through?);
    // A clock that was ahead and came back: what was passed over as too late is not late after all.
    let void: Vec<&Skip> = around.skips.iter().filter(|skip| skip.last > around.now).collect();
    let skips: Vec<Skip> = around.skips.iter().filter(|skip| skip.last <= around.now).cloned().collect();
    let through = void.iter().map(|skip| skip.first - TimeDelta::milliseconds(1)).fold(through, DateTime::min);
    let until = until.unwrap_or(around.now + schedule.plan_ahead.to_chrono());
    let filled = fill(schedule, through, until, &skips, around.ahead, around);
    if void.is_empty() && filled.through <= through {
        return None;
    }
    let to = PlannedSchedule { planned_through: Some(filled.through), ..planned.clone() };
    let mut update = update(planned, to, Some(schedule.workflow.clone()), filled);
    update.void_skips = void.iter().map(|skip| skip.first).collect();
    Some(update)
}

/// Carries out a change: from its time on the new schedule counts. `planned` reaches up to that time already.
pub(crate) fn carry_out(
    planned: &PlannedSchedule,
    change: &PlanChange,
    definition: Option<&Schedule>,
    existing: &[ExistingStart],
    around: Around<'_>,
) -> PlanUpdate {
    let definition = definition.or(planned.definition.as_ref());
    let filled = match definition.filter(|_| change.active) {
        Some(schedule) => {
            let until = around.now + schedule.plan_ahead.to_chrono();
            fill(schedule, change.at, until.max(change.at), around.skips, 0, around)
        }
        None => Filled { through: change.at, ..Filled::default() },
    };
    let to = PlannedSchedule {
        schedule: planned.schedule.clone(),
        version: Some(change.version),
        definition: definition.cloned(),
        active: change.active,
        planned_through: Some(filled.through),
        trouble: None,
    };
    let workflow = definition.map(|schedule| schedule.workflow.clone());
    let mut update = update(planned, to, workflow, filled);
    let (starts, withdrawn) = difference(std::mem::take(&mut update.starts), existing);
    PlanUpdate { starts, withdrawn, change: Some(change.clone()), ..update }
}

fn update(from: &PlannedSchedule, to: PlannedSchedule, workflow: Option<WorkflowName>, filled: Filled) -> PlanUpdate {
    PlanUpdate {
        from: from.clone(),
        to,
        change: None,
        workflow,
        templates: filled.templates,
        starts: filled.starts,
        withdrawn: Vec::new(),
        skips: filled.skip.into_iter().collect(),
        void_skips: Vec::new(),
        notes: filled.note.into_iter().collect(),
    }
}

/// What must be written so that what is there becomes what is wanted; and what must go.
fn difference(wanted: Vec<StartRow>, existing: &[ExistingStart]) -> (Vec<StartRow>, Vec<(DateTime<Utc>, String)>) {
    let mut wanted: BTreeMap<(DateTime<Utc>, String), StartRow> =
        wanted.into_iter().map(|start| ((start.instant, start.parameterisation.clone()), start)).collect();
    let mut withdrawn = Vec::new();
    for there in existing {
        let key = (there.instant, there.parameterisation.clone());
        match wanted.get(&key) {
            Some(start) => {
                let open = matches!(there.state.as_str(), "refused" | "withdrawn");
                let moved = there.state == "planned" && there.submit_at != start.submit_at;
                if there.wanted == Some(start.wanted) && !open && !moved {
                    wanted.remove(&key);
                }
            }
            None if there.wanted.is_some() => withdrawn.push(key),
            None => {}
        }
    }
    (wanted.into_values().collect(), withdrawn)
}

/// Every start after `from` and up to `until`. Of those that are past the last `max_starts`, the earlier ones are skipped;
/// of those ahead as many as may be in the plan.
fn fill(
    schedule: &Schedule,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    skips: &[Skip],
    ahead: usize,
    around: Around<'_>,
) -> Filled {
    let Around { now, site, .. } = around;
    let most = schedule.max_starts as usize;
    let orders = schedule.orders.len().max(1);
    let is_skipped = |at: &DateTime<Utc>| skips.iter().any(|skip| skip.first <= *at && *at <= skip.last);
    let mut filled = Filled { through: until.max(from), ..Filled::default() };
    let mut past: VecDeque<DateTime<Utc>> = VecDeque::new();
    let mut missed: Option<(DateTime<Utc>, DateTime<Utc>, u64)> = None;
    for at in schedule.instants(site, from, until.min(now)).filter(|at| !is_skipped(at)) {
        past.push_back(at);
        let too_old = |at: &DateTime<Utc>| *at < now - OLDEST;
        while past.len() > most.div_ceil(orders) || past.front().is_some_and(too_old) {
            let Some(dropped) = past.pop_front() else { break };
            let (first, _, count) = missed.unwrap_or((dropped, dropped, 0));
            missed = Some((first, dropped, count + orders as u64));
        }
    }
    let coming = schedule.instants(site, from.max(now), until).filter(|at| !is_skipped(at));
    let room = most.saturating_sub(ahead) / orders;
    let mut instants: Vec<DateTime<Utc>> = past.into_iter().collect();
    let before = instants.len();
    for at in coming {
        if instants.len() - before >= room {
            // There are more: what comes after the last one is not planned yet.
            filled.through = instants.last().copied().filter(|_| room > 0).unwrap_or(from.max(now.min(until)));
            break;
        }
        instants.push(at);
    }
    if let Some((first, last, count)) = missed {
        let reason = format!("{count} starts were missed, more than the {most} that are made up for");
        filled.note = note(schedule, first, last, count, &reason);
        filled.skip = Some(Skip { first, last, count, reason });
    }
    let submit_ahead = schedule.submit_ahead.to_chrono();
    let prints: Vec<(String, i64)> = schedule
        .orders
        .iter()
        .map(|with| {
            let body = schedule.template(with);
            let fingerprint = fingerprint(&body);
            filled.templates.push(Template { fingerprint, body });
            (with.name.to_string(), fingerprint)
        })
        .collect();
    filled.starts.reserve(instants.len() * orders);
    for instant in instants {
        let business_day = PlannedStart::business_day(site, instant);
        for (name, wanted) in &prints {
            let (parameterisation, wanted) = (name.clone(), *wanted);
            let submit_at = instant - submit_ahead;
            filled.starts.push(StartRow { instant, parameterisation, business_day, submit_at, wanted });
        }
    }
    filled
}

fn note(schedule: &Schedule, first: DateTime<Utc>, last: DateTime<Utc>, count: u64, reason: &str) -> Option<Note> {
    let start = StartKey {
        schedule: schedule.name.to_string(),
        parameterisation: schedule.orders.first()?.name.to_string(),
        instant: first,
    };
    let workflow = schedule.workflow.clone();
    command::note(StartNote::Skipped(StartSkipped { start, workflow, until: Some(last), count, reason: reason.into() }))
}

/// When a schedule is looked at again: a tenth of what is planned ahead from now.
pub(crate) fn look_at(planned: &PlannedSchedule, now: DateTime<Utc>) -> DateTime<Utc> {
    let ahead = planned.planned_through.map_or(TimeDelta::zero(), |through| through - now);
    now + (ahead / 10).clamp(TimeDelta::seconds(1), TimeDelta::hours(1))
}

/// What an update does, in numbers.
pub(crate) fn count(update: &PlanUpdate, done: &mut PlanRunReply) {
    let starts = update.starts.len() as u64;
    done.schedules += 1;
    done.withdrawn += update.withdrawn.len() as u64;
    done.planned += starts;
}
