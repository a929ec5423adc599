//! How schedules and the plan of a day look.

use crate::cli_file::expect;
use chrono_tz::Tz;
use ordo_cli::command::{plan, schedule};
use ordo_cli::show::Look;
use ordo_contract::request::daily_plan::{PlanRunReply, PlanShowReply, PreviewReply, ScheduleLine, ScheduleShowReply};
use ordo_domain::Instant;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn tokyo() -> Look {
    Look { width: 140, zone: Tz::Asia__Tokyo, ..Look::plain() }
}

/// 02:14 in Tokyo.
fn now() -> Instant {
    "2026-11-21T17:14:09Z".parse().unwrap()
}

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn line(at: &str, schedule: &str, state: &str, more: Value) -> Value {
    let mut value = json!({
        "at": at, "count": 1, "schedule": schedule, "parameterisation": "default", "workflow": "backup", "state": state
    });
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    value
}

fn starts() -> Vec<Value> {
    vec![
        line(
            "2026-11-21T15:00:00Z",
            "tick",
            "finished",
            json!({"until": "2026-11-21T15:59:00Z", "count": 60, "late_by": "1s200ms", "started_at": "2026-11-21T15:00:00Z", "ended_at": "2026-11-21T15:59:01Z"}),
        ),
        line(
            "2026-11-21T16:00:00Z",
            "nightly-backup",
            "finished",
            json!({"parameterisation": "small", "order": "20261122-P1-backup-small", "started_at": "2026-11-21T16:00:00Z", "ended_at": "2026-11-21T16:04:10Z"}),
        ),
        line(
            "2026-11-21T16:30:00Z",
            "sales",
            "failed",
            json!({"order": "20261122-P3-sales", "started_at": "2026-11-21T16:32:05Z", "ended_at": "2026-11-21T16:33:00Z", "late_by": "2m5s", "reason": "exit code 75"}),
        ),
        line(
            "2026-11-21T17:00:00Z",
            "sales",
            "skipped",
            json!({"order": "20261122-P4-sales", "reason": "20261122-P3-sales still ran"}),
        ),
        line(
            "2026-11-21T17:10:00Z",
            "report",
            "started",
            json!({"order": "20261122-P7-report", "started_at": "2026-11-21T17:10:00Z"}),
        ),
        line("2026-11-21T21:00:00Z", "report", "submitted", json!({"order": "20261122-P9-report"})),
        line("2026-11-22T14:30:00Z", "sales", "planned", json!({})),
    ]
}

#[test]
fn a_day_is_a_timeline_with_now_in_it() {
    let day: PlanShowReply = of(json!({"date": "2026-11-22", "zone": "Asia/Tokyo", "starts": starts(), "sequence": 9}));
    expect("plan_show", &plan::day_view(&day, now(), &tokyo()));
    let empty: PlanShowReply = of(json!({"date": "2026-11-23", "zone": "Asia/Tokyo", "starts": [], "sequence": 9}));
    assert!(plan::day_view(&empty, now(), &tokyo()).contains("nothing is planned"));
}

fn schedule_line(name: &str, more: Value) -> Value {
    let mut value = json!({"schedule": name, "version": 3, "suspended": false, "ahead": 14, "submitted": 2});
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    value
}

#[test]
fn schedules_are_listed_with_their_next_start() {
    let lines: Vec<ScheduleLine> = vec![
        of(schedule_line(
            "nightly-backup",
            json!({"title": "夜間バックアップ", "workflow": "backup", "next_at": "2026-11-22T16:00:00Z", "last_state": "finished"}),
        )),
        of(schedule_line(
            "report",
            json!({"suspended": true, "ahead": 0, "workflow": "report", "last_state": "failed"}),
        )),
        of(schedule_line(
            "sales",
            json!({"ahead": 0, "trouble": "version 3: its definition is not in the definition store"}),
        )),
    ];
    expect("schedule_list", &schedule::list_view(&lines, now(), &tokyo()));
    assert!(schedule::list_view(&[], now(), &tokyo()).contains("ordo deploy"));
}

#[test]
fn a_schedule_is_shown_with_its_rules_and_its_starts_around_now() {
    let definition = json!({
        "name": "nightly-backup", "title": "夜間バックアップ", "workflow": "backup", "zone": "Europe/Berlin",
        "times": [{"cron": "0 2 * * 1-5"}, {"at": {"times": ["06:00", "18:30:15"], "weekdays": ["mon", "sat"]}}],
        "except": ["2026-12-25"], "valid": {"from": "2026-01-01"}, "late": {"grace": "2h", "then": "skip"}, "overlap": "wait",
        "plan_ahead": "7d", "submit_ahead": "1d", "max_starts": 1000,
        "orders": [{"name": "small", "arguments": {"keep": 3}}, {"name": "large", "priority": 5, "title": "everything"}]
    });
    let reply: ScheduleShowReply = of(json!({
        "line": schedule_line("nightly-backup", json!({"planned_through": "2026-11-28T17:00:00Z"})),
        "definition": definition,
        "starts": starts()[1..].to_vec(),
        "skips": [{"first": "2026-11-20T00:00:00Z", "last": "2026-11-20T05:00:00Z", "count": 1200, "reason": "1200 starts were missed, more than the 1000 that are made up for"}]
    }));
    expect("schedule_show", &schedule::show_view(&reply, now(), &tokyo()));
}

#[test]
fn a_preview_shows_both_clocks() {
    let reply: PreviewReply = of(json!({
        "zone": "Europe/Berlin", "orders": ["small", "large"], "more": true,
        "instants": ["2027-03-27T01:30:00Z", "2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"]
    }));
    expect("schedule_preview", &schedule::preview_view(&reply, &tokyo()));
    let done = PlanRunReply { planned: 1200, submitted: 1, ..Default::default() };
    assert_eq!(plan::run_view(&done), "1,200 starts planned, 1 start handed to the controller\n");
    assert_eq!(plan::run_view(&PlanRunReply::default()), "the plan is up to date\n");
}
