use crate::outline::{Around, carry_out, extend};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use ordo_domain::catalog::CatalogDefinition;
use ordo_domain::definition::{self, Definition};
use ordo_domain::plan::Schedule;
use ordo_domain::{ContentHash, DefinitionName};
use ordo_store::plan::{ExistingStart, PlanChange, PlanUpdate, PlannedSchedule, Skip};

fn schedule(yaml: &str) -> Schedule {
    let text = format!("schedule: tick\nworkflow: w\n{yaml}\n");
    let compiled = definition::read("s.yaml", &text).unwrap_or_else(|p| panic!("{p:#?}"));
    match compiled.items.into_iter().next().map(|item| item.definition) {
        Some(Definition::Catalog(CatalogDefinition::Schedule(schedule))) => schedule,
        other => panic!("{other:?}"),
    }
}

/// Each minute, a horizon of an hour.
fn minutely(more: &str) -> Schedule {
    schedule(&format!("times: [{{ cron: \"* * * * *\" }}]\nplan_ahead: 1h\nsubmit_ahead: 10m\n{more}"))
}

fn at(text: &str) -> DateTime<Utc> {
    format!("2026-11-25T{text}Z").parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn planned(schedule: Schedule, through: &str) -> PlannedSchedule {
    PlannedSchedule {
        schedule: schedule.name.clone(),
        version: Some(1),
        definition: Some(schedule),
        active: true,
        planned_through: Some(at(through)),
        trouble: None,
    }
}

fn around<'a>(now: &str, skips: &'a [Skip], ahead: usize) -> Around<'a> {
    Around { now: at(now), site: Tz::UTC, skips, ahead }
}

fn change(what: &str, time: &str, active: bool) -> PlanChange {
    PlanChange {
        schedule: DefinitionName::new("tick").unwrap_or_else(|e| panic!("{e}")),
        sequence: 9,
        index: 0,
        at: at(time),
        change: what.into(),
        version: 2,
        hash: ContentHash::of(b"x"),
        active,
    }
}

fn times(update: &PlanUpdate) -> (DateTime<Utc>, DateTime<Utc>, usize) {
    let (first, last) = (update.starts.first(), update.starts.last());
    let instant = |start: Option<&ordo_store::plan::StartRow>| start.map(|s| s.instant).unwrap_or_default();
    (instant(first), instant(last), update.starts.len())
}

#[test]
fn planning_goes_on_where_it_ended_and_ends_at_the_horizon() {
    let before = planned(minutely(""), "10:30:00");
    let update = extend(&before, None, around("10:00:00", &[], 30)).unwrap();
    assert_eq!(times(&update), (at("10:31:00"), at("11:00:00"), 30));
    assert_eq!(update.to.planned_through, Some(at("11:00:00")));
    assert_eq!(update.starts[0].submit_at, at("10:21:00"));
    assert!(extend(&update.to, None, around("10:00:00", &[], 60)).is_none());
    let suspended = PlannedSchedule { active: false, ..before };
    assert!(extend(&suspended, None, around("10:00:00", &[], 0)).is_none());
}

#[test]
fn a_count_bounds_what_is_planned_ahead_and_the_rest_follows_later() {
    let before = planned(minutely("max_starts: 10"), "10:00:00");
    let update = extend(&before, None, around("10:00:30", &[], 4)).unwrap();
    assert_eq!(times(&update), (at("10:01:00"), at("10:06:00"), 6));
    assert_eq!(update.to.planned_through, Some(at("10:06:00")));
    assert!(extend(&update.to, None, around("10:00:30", &[], 10)).is_none());
    let later = extend(&update.to, None, around("10:05:30", &[], 1)).unwrap();
    assert_eq!(times(&later), (at("10:07:00"), at("10:15:00"), 9));
}

#[test]
fn what_an_outage_missed_is_planned_and_the_oldest_of_too_many_are_skipped_with_one_note() {
    let before = planned(minutely("max_starts: 30\norders: [{ name: a }, { name: b }]"), "08:00:00");
    let update = extend(&before, None, around("10:00:30", &[], 0)).unwrap();
    // 120 instants with two orders each were missed: the last 15 are made up for.
    let past = update.starts.iter().filter(|s| s.instant <= at("10:00:30")).count();
    assert_eq!((times(&update).0, past), (at("09:46:00"), 30));
    assert_eq!(update.starts.len() - past, 30);
    let skip = update.skips.first().unwrap();
    assert_eq!((skip.first, skip.last, skip.count), (at("08:01:00"), at("09:45:00"), 210));
    assert_eq!(update.notes.len(), 1);
    // A restored copy, which reads of the skip in the journal, plans none of it.
    let again = extend(&before, None, around("10:01:30", &update.skips, 0)).unwrap();
    assert_eq!(again.starts.first().map(|s| s.instant), Some(at("09:47:00")));
    assert_eq!(again.skips.first().map(|s| (s.first, s.count)), Some((at("09:46:00"), 2)));
}

#[test]
fn what_a_clock_that_was_ahead_skipped_is_planned_after_all() {
    let before = planned(minutely("max_starts: 10"), "10:00:00");
    let ahead = extend(&before, None, around("12:00:00", &[], 0)).unwrap();
    let skip = ahead.skips.first().unwrap().clone();
    assert_eq!((skip.first, skip.last), (at("10:01:00"), at("11:50:00")));
    let back = extend(&ahead.to, None, around("10:00:30", std::slice::from_ref(&skip), 0)).unwrap();
    assert_eq!(back.void_skips, [skip.first]);
    assert_eq!(times(&back), (at("10:01:00"), at("10:10:00"), 10));
}

fn existing(update: &PlanUpdate, state: &str) -> Vec<ExistingStart> {
    let of = |start: &ordo_store::plan::StartRow| ExistingStart {
        instant: start.instant,
        parameterisation: start.parameterisation.clone(),
        state: state.into(),
        wanted: Some(start.wanted),
        submit_at: start.submit_at,
    };
    update.starts.iter().map(of).collect()
}

#[test]
fn a_new_version_changes_only_what_it_must() {
    let first = extend(&planned(minutely(""), "10:00:00"), None, around("10:00:00", &[], 0)).unwrap();
    let there = existing(&first, "submitted");
    let deployed = change("deployed", "10:00:30", true);
    let same = minutely("late: { grace: 2h, then: run }\nexcept: [2026-12-24]");
    // Its late policy is another one: every start has to be asked for anew.
    let update = carry_out(&first.to, &deployed, Some(&same), &there, around("10:00:40", &[], 0));
    assert_eq!((update.starts.len(), update.withdrawn.len()), (60, 0));
    // A day left out, far away: nothing changes.
    let same = minutely("except: [2026-12-24]");
    let update = carry_out(&first.to, &deployed, Some(&same), &there, around("10:00:40", &[], 0));
    assert_eq!((update.starts.len(), update.withdrawn.len()), (0, 0));
    // Only every second minute: the others go.
    let half = schedule("times: [{ cron: \"*/2 * * * *\" }]\nplan_ahead: 1h\nsubmit_ahead: 10m");
    let update = carry_out(&first.to, &deployed, Some(&half), &there, around("10:00:40", &[], 0));
    assert_eq!((update.starts.len(), update.withdrawn.len()), (0, 30));
    assert!(update.withdrawn.iter().all(|(at, _)| at.timestamp() / 60 % 2 == 1));
    assert_eq!(update.to.version, Some(2));
}

#[test]
fn a_change_counts_from_its_own_time_on_however_late_it_is_read() {
    // The service was away from 09:00 to 10:00; at 09:30 a version with another rhythm was deployed.
    let before = planned(minutely(""), "09:10:00");
    let up_to = extend(&before, Some(at("09:30:00")), around("10:00:00", &[], 0)).unwrap();
    assert_eq!(times(&up_to), (at("09:11:00"), at("09:30:00"), 20));
    let fifths = schedule("times: [{ cron: \"*/5 * * * *\" }]\nplan_ahead: 1h\nsubmit_ahead: 10m");
    let deployed = change("deployed", "09:30:00", true);
    let update = carry_out(&up_to.to, &deployed, Some(&fifths), &[], around("10:00:00", &[], 0));
    assert_eq!(times(&update), (at("09:35:00"), at("11:00:00"), 18));
}

#[test]
fn a_suspended_schedule_has_no_starts_and_a_resumed_one_only_those_from_then_on() {
    let first = extend(&planned(minutely(""), "10:00:00"), None, around("10:00:00", &[], 0)).unwrap();
    let there = existing(&first, "planned");
    let after: Vec<ExistingStart> = there.into_iter().filter(|s| s.instant > at("10:10:30")).collect();
    let suspended = change("suspended", "10:10:30", false);
    let update = carry_out(&first.to, &suspended, None, &after, around("10:10:31", &[], 0));
    assert_eq!((update.starts.len(), update.withdrawn.len()), (0, 50));
    assert!(!update.to.active && update.to.definition.is_some());
    let resumed = change("resumed", "10:40:30", true);
    let update = carry_out(&update.to, &resumed, None, &[], around("10:45:00", &[], 0));
    // Also those that came between the resume and its reading.
    assert_eq!(times(&update), (at("10:41:00"), at("11:45:00"), 65));
}

#[test]
fn starts_that_the_controller_would_not_know_any_more_are_not_asked_for() {
    let daily = schedule("times: [{ at: [\"06:00\"] }]");
    let through = at("00:00:00") - TimeDelta::days(100);
    let before = PlannedSchedule { planned_through: Some(through), ..planned(daily, "00:00:00") };
    let update = extend(&before, None, around("12:00:00", &[], 0)).unwrap();
    assert_eq!(update.starts.iter().filter(|s| s.instant < at("12:00:00")).count(), 31);
    assert_eq!(update.skips.first().map(|s| s.count), Some(70));
}
