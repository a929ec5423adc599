//! What the commands print, from answers made by hand: no site, no clock, no terminal.

use crate::cli_file::expect;
use chrono_tz::Tz;
use ordo_cli::command::{agent, cleanup, deploy, events, history, order, status, workflow};
use ordo_cli::show::{Look, text};
use ordo_contract::request::cleanup::CleanupStatusReply;
use ordo_contract::request::{
    AgentLine, DeployReply, EventLine, HistoryOrder, HistoryStep, OrderLine, OrderShowReply, StatusReply,
    WorkflowListReply, WorkflowShowReply,
};
use ordo_domain::Instant;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A reader in Tokyo whose terminal has 120 columns.
fn tokyo() -> Look {
    Look { width: 120, zone: Tz::Asia__Tokyo, ..Look::plain() }
}

fn now() -> Instant {
    "2026-11-21T17:14:09Z".parse().unwrap()
}

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn lines() -> Vec<OrderLine> {
    let line = |order: &str, state: &str, more: Value| {
        let mut value = json!({
            "order": order, "workflow": "nightly-sales", "version": 12, "state": state, "suspended": false,
            "business_day": "2026-11-22", "priority": 0, "added_at": "2026-11-21T16:59:00Z", "since": "2026-11-21T17:00:00Z"
        });
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        of(value)
    };
    vec![
        line("20261122-A1-nightly-sales", "running", json!({"title": "売上の夜間集計", "position": "extract"})),
        line(
            "20261122-A2-nightly-sales",
            "retrying",
            json!({"title": "売上の夜間集計", "position": "loads:west/load", "why": "retry delay until 2026-11-21 17:15:09 UTC, attempt 2, after: exit code 75"}),
        ),
        line(
            "20261122-A3-backup",
            "failed",
            json!({"position": "dump", "why": "failed: exit code 1; it can be resumed or cancelled"}),
        ),
        line(
            "20261122-A4-backup",
            "scheduled",
            json!({"suspended": true, "why": "held since 2026-11-21 17:00:00 UTC: starts when it is resumed"}),
        ),
        line(
            "20261122-A5-etl",
            "queued",
            json!({"position": "load", "why": "waits for 1 of lock sales-db, 2 of 2 held by 20261122-A1-nightly-sales, 20261122-A2-nightly-sales; 3 ahead of it"}),
        ),
    ]
}

#[test]
fn orders_are_listed_with_the_reason_for_every_wait() {
    expect("order_list", &order::list_view(&lines(), now(), &Look { width: 160, ..tokyo() }));
}

#[test]
fn on_a_narrow_terminal_no_line_is_broken() {
    let look = Look { width: 80, ..tokyo() };
    let view = order::list_view(&lines(), now(), &look);
    expect("order_list_narrow", &view);
    let colourful = order::list_view(&lines(), now(), &Look { colour: true, ..look });
    assert!(colourful.contains("\x1b[31m✖ failed\x1b[0m"));
    assert!(view.lines().all(|line| text::width(line) <= 80), "{view}");
    let bare: String = colourful.lines().map(|line| format!("{}\n", strip(line))).collect();
    assert_eq!(bare, view, "colours change nothing but colours");
}

fn strip(text: &str) -> String {
    let mut bare = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            chars.by_ref().find(|c| c.is_ascii_alphabetic());
        } else {
            bare.push(c);
        }
    }
    bare
}

#[test]
fn an_order_is_shown_with_all_that_is_known() {
    let reply: OrderShowReply = of(json!({
        "order": "20261122-A1-nightly-sales", "workflow": "nightly-sales", "version": 12, "title": "売上の夜間集計",
        "state": "forked", "suspended": false, "position": "loads", "why": "waits for its branches: 20261122-A1-nightly-sales:west",
        "business_day": "2026-11-22", "priority": 5, "added_at": "2026-11-21T16:59:00Z", "started_at": "2026-11-21T17:00:00Z",
        "since": "2026-11-21T17:00:09Z", "due_at": "2026-11-21T17:00:00Z", "waits": [], "arguments": {"day": "2026-11-22", "regions": ["east", "west"]},
        "results": {"extract": {"return_code": 0, "rows": 1200}}, "attempt": 2, "tags": ["finance"], "folder": "finance/sales", "added_by": "ops",
        "children": [{
            "order": "20261122-A1-nightly-sales:west", "workflow": "nightly-sales", "version": 12, "state": "running", "suspended": false,
            "position": "loads:west/load", "business_day": "2026-11-22", "priority": 5, "added_at": "2026-11-21T17:00:09Z", "since": "2026-11-21T17:14:00Z"
        }],
        "sequence": 48213
    }));
    expect("order_show", &order::show_view(&reply, now(), &tokyo()));
}

#[test]
fn text_of_others_cannot_command_the_terminal() {
    let mut hostile = lines().remove(0);
    hostile.title = Some("\x1b]0;owned\x07\x1b[2J".into());
    hostile.why = Some("waits\r\nfor \u{202e}gpj".into());
    hostile.position = Some("a\u{200b}b".into());
    let view = order::list_view(&[hostile], now(), &Look::plain());
    expect("hostile", &view);
    assert!(view.chars().all(|c| c == '\n' || text::harmless(&c.to_string()) == c.to_string()), "{view:?}");
}

#[test]
fn workflows_are_listed_and_shown() {
    let list: WorkflowListReply = of(json!({"workflows": [
        {"workflow": "backup", "title": "Back up Ordo's own database", "version": 3, "deployed_at": "2026-11-20T17:14:09Z", "orders": 0},
        {"workflow": "nightly-sales", "title": "売上の夜間集計", "folder": "finance/sales", "tags": ["finance", "night"], "version": 12, "deployed_at": "2026-11-21T17:00:09Z", "orders": 10000}
    ]}));
    let text = r#"
workflow: nightly-sales
title: 売上の夜間集計
folder: finance/sales
tags: [finance]
zone: Asia/Tokyo
parameters:
  day:     { type: string, default: "${ order.business_day }" }
  regions: { type: list, items: string, default: [east, west] }
  limit:   { type: number, title: Rows at most }
  db:      { type: secret, from: sales-db }
defaults: { agent: etl, timeout: 30m }
steps:
  - job: extract
    script: |
      ./extract --day "$DAY" > "/data/$DAY.csv"
      echo "rows=3" >> "$ORDO_RESULTS"
    env: { DAY: "${ day }", DB_URL: "${ db }" }
    results: { rows: number }
  - if: extract.rows == 0
    then:
      - finish: nothing to load for ${ day }
  - try:
      - job: load
        locks: { sales-db: 1 }
        command: [./load, --day, "${ day }"]
    retry: { delays: [10s, 1m, 5m], if: "load.returnCode in [75, 111]" }
    catch:
      - fail: not loaded
  - fork:
      web:  [ { job: publish-web,  command: [./publish, web] } ]
      mail: [ { job: publish-mail, command: [./publish, mail] } ]
"#;
    let items = deploy::check(&[deploy::DeployText { file: "sales.yaml".into(), text: text.into() }]);
    let items = items.unwrap_or_else(|e| panic!("{e}"));
    let show: WorkflowShowReply = of(json!({
        "version": 12, "versions": [11, 12], "hash": items[0].hash, "deployed_at": "2026-11-21T17:00:09Z",
        "definition": serde_json::from_slice::<Value>(&items[0].body).unwrap()
    }));
    let text =
        format!("{}\n---\n{}", workflow::list_view(&list, now(), &tokyo()), workflow::show_view(&show, &tokyo()));
    expect("workflow", &text);
}

#[test]
fn the_status_is_never_green_by_default() {
    let link = |to: &str, ok: bool, error: Option<&str>| json!({"to": to, "ok": ok, "rtt_ms": ok.then_some(0.42), "probed_at": "2026-11-21T17:14:08Z", "error": error});
    let beat = |role: &str, instance: &str, activity: &str, at: &str, links: Vec<Value>, more: Value| {
        let mut value = json!({"role": role, "instance": instance, "node": "node-a", "version": "0.1.0", "event_level": 1, "activity": activity, "started_at": "2026-11-21T10:00:00Z", "at": at, "links": links});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        value
    };
    let reply: StatusReply = of(json!({
        "site": "default", "at": "2026-11-21T17:14:09Z", "epoch": 7, "active_controller": "c1",
        "instances": [
            beat("agent-etl", "2", "active", "2026-11-21T16:58:00Z", vec![link("nats", true, None)], json!({"agent": {"slots": 8, "runs": [], "outbox": 0}})),
            beat("agent-etl", "1", "active", "2026-11-21T17:14:08Z", vec![link("nats", true, None)], json!({"agent": {"slots": 8, "runs": ["0123456789abcdef0123456789abcdef"], "outbox": 3}})),
            beat("history", "h1", "active", "2026-11-21T17:14:08Z", vec![link("nats", true, None), link("postgres", false, Some("2 of 5 probes late"))], json!({"lag": 12})),
            beat("proxy", "p1", "active", "2026-11-21T17:14:08.600Z", vec![link("nats", true, None)], json!({"lag": 0})),
            beat("proxy", "p0", "stopping", "2026-11-20T17:14:08Z", vec![], json!({})),
            beat("controller", "c2", "standby", "2026-11-21T17:14:08.700Z", vec![link("nats", true, None)], json!({"lag": 0})),
            beat("controller", "c1", "active", "2026-11-21T17:14:08.600Z", vec![link("nats", true, None)], json!({}))
        ],
        "orders": {"running": 37, "failed": 2, "finished": 10000},
        "journal": {"first": 120000, "last": 148213, "bytes": 73400320, "lag": {"history": 12, "proxy": 0}}
    }));
    let nobody: StatusReply = of(json!({
        "site": "default", "at": "2026-11-21T17:14:09Z", "epoch": 0, "instances": [], "orders": {},
        "journal": {"first": 1, "last": 0, "bytes": 0, "lag": {}}
    }));
    expect("status", &format!("{}\n---\n{}", status::view(&reply, &tokyo()), status::view(&nobody, &tokyo())));
}

#[test]
fn agents_are_listed_with_their_instances() {
    let agents: Vec<AgentLine> = of(json!([
        {"agent": "etl", "title": "Loads", "waiting": 12, "running": 3, "instances": [
            {"instance": "i1", "node": "node-a", "version": "0.1.0", "state": "ready", "seen_at": "2026-11-21T17:14:08Z", "slots": 8, "runs": 3, "outbox": 0},
            {"instance": "i2", "node": "node-c", "version": "0.1.0", "state": "unknown", "seen_at": "2026-11-21T16:58:00Z", "slots": 8, "runs": 0, "outbox": 41}
        ]},
        {"agent": "new", "waiting": 0, "running": 0, "instances": []}
    ]));
    expect("agent_list", &agent::list_view(&agents, now(), &tokyo()));
}

#[test]
fn the_past_is_shown_in_the_readers_zone() {
    let orders: Vec<HistoryOrder> = of(json!([
        {"number": 2, "order": "20261122-A2-nightly-sales", "workflow": "nightly-sales", "version": 12, "title": "売上の夜間集計", "business_day": "2026-11-22",
         "state": "failed", "text": "exit code 3", "added_by": "ops", "added_at": "2026-11-21T17:00:00Z", "started_at": "2026-11-21T17:00:01Z", "ended_at": "2026-11-21T17:27:01Z",
         "arguments": {"day": "2026-11-22"}, "results": {"extract": {"return_code": 0}}},
        {"number": 1, "order": "20261122-A1-backup", "workflow": "backup", "version": 3, "business_day": "2026-11-22",
         "state": "finished", "added_by": "ops", "added_at": "2026-11-21T16:00:00Z", "started_at": "2026-11-21T16:00:01Z", "ended_at": "2026-11-21T16:00:05.300Z"}
    ]));
    let steps: Vec<HistoryStep> = of(json!([
        {"number": 1, "run": "0123456789abcdef0123456789abcdef", "order": "20261122-A2-nightly-sales", "workflow": "nightly-sales", "position": "extract", "job": "extract",
         "attempt": 1, "agent": "etl", "instance": "i1", "state": "succeeded", "exit_code": 0, "sent_at": "2026-11-21T17:00:01Z", "started_at": "2026-11-21T17:00:01Z",
         "ended_at": "2026-11-21T17:00:09Z", "output": {"bytes": 100, "lines": 12, "kept_bytes": 100, "chunks": 1}, "log_complete": true},
        {"number": 2, "run": "0123456789abcdef0123456789abcde0", "order": "20261122-A2-nightly-sales", "workflow": "nightly-sales", "position": "loads:west/load", "job": "load",
         "attempt": 2, "agent": "etl", "instance": "i2", "state": "failed", "exit_code": 3, "text": "exit code 3", "sent_at": "2026-11-21T17:00:10Z", "started_at": "2026-11-21T17:00:10Z",
         "ended_at": "2026-11-21T17:27:00Z", "output": {"bytes": 9, "lines": 1, "kept_bytes": 9, "chunks": 1}, "log_complete": false}
    ]));
    let parts = [
        history::orders_view(&orders, &tokyo()),
        history::order_view(&orders[0], &tokyo()),
        history::steps_view(&steps, false, &tokyo()),
        history::steps_view(&steps, true, &tokyo()),
    ];
    expect("history", &parts.join("\n---\n"));
}

#[test]
fn a_deployment_says_what_changed() {
    let reply: DeployReply = of(json!({"items": [
        {"kind": "workflow", "name": "backup", "change": "unchanged", "version": 3},
        {"kind": "workflow", "name": "nightly-sales", "change": "changed", "version": 13, "differences": ["extract: timeout 30m -> 1h", "publish: new step"]},
        {"kind": "lock", "name": "sales-db", "change": "new", "version": 1}
    ]}));
    expect(
        "deploy",
        &format!("{}\n---\n{}", deploy::view(&reply, true, &tokyo()), deploy::view(&reply, false, &tokyo())),
    );
}

#[test]
fn events_are_one_line_each() {
    let events: Vec<EventLine> = of(json!([
        {"sequence": 48212, "index": 0, "at": "2026-11-21T17:14:08Z", "epoch": 7, "event": {"OrderStarted": {"order": "20261122-A1-backup", "position": "dump"}}},
        {"sequence": 48213, "index": 2, "at": "2026-11-21T17:14:09Z", "epoch": 7, "event": {"OrderFinished": {"order": "20261122-A1-backup", "message": "all\u{1b}[31m done"}}},
        {"sequence": 48214, "index": 0, "at": "2026-11-21T17:14:09Z", "epoch": 7, "event": {"ControllerActivated": {"epoch": 8, "instance": "c2", "how": "lease marker", "event_level": 1}}}
    ]));
    let text: Vec<String> = events.iter().map(|event| events::view(event, &tokyo())).collect();
    expect("events", &format!("{}\n", text.join("\n")));
}

#[test]
fn the_cleanup_says_what_is_kept_and_what_went() {
    let step = |kind: &str, counts: Value, note: Value| {
        let state = if note == json!("no controller is there") { "failed" } else { "done" };
        json!({"kind": kind, "cut_off": "2026-09-22T17:00:00Z", "state": state, "counts": counts, "note": note})
    };
    let status: CleanupStatusReply = of(json!({
        "at": "2026-11-21T17:14:09Z", "version": 3, "opens_at": "2026-11-22T01:00:00Z",
        "retention": {
            "name": "default", "batch": 1000, "keep": {"orders": "60d", "events": "forever"},
            "window": {"days": ["tue", "wed", "sat"], "from": "02:00", "to": "05:00", "zone": "Europe/Berlin"}
        },
        "runs": [
            {"run": 8, "state": "failed", "asked_by": "ops", "started_at": "2026-11-21T17:00:00Z", "ended_at": "2026-11-21T17:00:12.300Z", "steps": [
                step("orders", json!({"orders": 120000, "steps": 240000, "log_bytes": 9500000}), Value::Null),
                step("events", json!({}), Value::Null),
                step("journal", json!({"messages": 88120, "message_bytes": 40100200}), json!("held by reader monitor, at 48211")),
                step("definitions", json!({}), json!("no controller is there"))
            ]},
            {"run": 7, "state": "done", "dry_run": true, "asked_by": "ops", "started_at": "2026-11-21T16:59:00Z", "ended_at": "2026-11-21T16:59:01Z", "steps": [
                step("orders", json!({"orders": 120000}), Value::Null)
            ]},
            {"run": 6, "state": "stopped", "started_at": "2026-11-20T16:00:00Z", "until": "2026-11-20T19:00:00Z", "ended_at": "2026-11-20T19:00:00Z", "steps": [
                step("orders", json!({"orders": 3}), Value::Null)
            ]}
        ]
    }));
    let parts: Vec<String> = status.runs[..2].iter().map(|run| cleanup::run_view(run, &tokyo())).collect();
    expect("cleanup", &format!("{}\n---\n{}", cleanup::status_view(&status, &tokyo()), parts.join("\n---\n")));
}
