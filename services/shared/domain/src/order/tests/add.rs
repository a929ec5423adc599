use super::*;
use crate::{
    Event, Refusal,
    command::{Accepted, Command},
    limit,
    order::{
        Wait,
        command::{AddOrders, CancelOrders, StartKey},
        event::CancelReason,
    },
    workflow::{LateAction, LatePolicy},
};
use chrono::TimeDelta;
use serde_json::json;

#[test]
fn order_ids_carry_business_day_counter_and_name() {
    let mut w = world();
    assert_eq!(w.add("w").as_str(), "20261122-D1-w");
    assert_eq!(w.add_with("w", |o| o.name = Some("night".into())).unwrap().as_str(), "20261122-D2-night");
    let day = "2026-12-01".parse().unwrap();
    assert_eq!(w.add_with("w", |o| o.business_day = Some(day)).unwrap().as_str(), "20261201-D1-w");
    let refused = w.add_with("w", |o| o.name = Some("no blanks".into()));
    assert!(matches!(refused, Err(Refusal::InvalidId { .. })));
}

#[test]
fn the_business_day_is_that_of_the_sites_zone() {
    let mut w = world();
    w.zone = chrono_tz::Asia::Tokyo;
    w.pass(TimeDelta::hours(5));
    assert_eq!(w.add("w").as_str(), "20261123-D1-w");
}

#[test]
fn an_order_for_later_waits_and_says_so() {
    let mut w = world();
    let due = w.now + TimeDelta::hours(1);
    let o = w.add_with("w", |o| o.due_at = Some(due)).unwrap();
    assert_eq!(w.site.explain(&o, w.now), [Wait::Due { at: due }]);
    assert_eq!(crate::advance::next_timer(&w.site), Some(due));
    w.pass(TimeDelta::minutes(59));
    assert_eq!(w.state(&o), "scheduled");
    w.pass(TimeDelta::minutes(1));
    assert_eq!(w.state(&o), "running");
    assert_eq!(crate::advance::next_timer(&w.site), None);
}

#[test]
fn a_held_order_starts_when_it_is_resumed() {
    let mut w = world();
    let o = w.add_with("w", |o| o.held = true).unwrap();
    assert_eq!(w.state(&o), "scheduled");
    assert!(matches!(w.site.explain(&o, w.now)[..], [Wait::Held { .. }]));
    w.resume(&o).unwrap();
    assert_eq!(w.state(&o), "running");
}

#[test]
fn a_held_order_for_later_still_waits_for_its_time_when_it_is_resumed() {
    let mut w = world();
    let due = w.now + TimeDelta::hours(1);
    let add = |w: &mut World| w.add_with("w", |o| (o.held, o.due_at) = (true, Some(due))).unwrap();
    let (early, late) = (add(&mut w), add(&mut w));
    w.resume(&early).unwrap();
    assert_eq!(w.state(&early), "scheduled");
    w.pass(TimeDelta::hours(2));
    assert_eq!((w.state(&early), w.state(&late)), ("running", "scheduled"));
    w.resume(&late).unwrap();
    assert_eq!(w.state(&late), "running");
}

#[test]
fn late_orders_run_are_skipped_or_fail_after_their_grace() {
    let mut w = world();
    let due = w.now - TimeDelta::minutes(10);
    let mut add = |grace: Option<u64>, then| {
        let grace = grace.map(crate::Span::from_secs);
        w.add_with("w", |o| (o.due_at, o.late) = (Some(due), Some(LatePolicy { grace, then }))).unwrap()
    };
    let run = add(Some(60), LateAction::Run);
    let within = add(Some(3600), LateAction::Skip);
    let skipped = add(Some(60), LateAction::Skip);
    let failed = add(Some(60), LateAction::Fail);
    assert_eq!((w.state(&run), w.state(&within), w.state(&skipped)), ("running", "running", "cancelled"));
    assert!(matches!(failure(&w, &failed), Failure::Late { late_by } if late_by == crate::Span::from_secs(600)));
    assert!(w.events.iter().any(|e| matches!(e, Event::OrderStarted(e) if e.order == run && e.late_by.is_some())));
    let is_late = |e: &Event| matches!(e, Event::OrderCancelled(e) if matches!(e.reason, CancelReason::Late { .. }));
    assert!(w.events.iter().any(is_late));
    w.resume(&failed).unwrap();
    assert_eq!(w.state(&failed), "running");
}

#[test]
fn arguments_are_checked_and_defaults_filled_in() {
    let mut w = World::new();
    let mut typed = workflow("t", vec![job("a")]);
    for (name, of) in [
        ("day", json!({"type": "string", "default": "${ order.business_day }"})),
        ("file", json!({"type": "string", "default": "/data/${ zone }/${ day }.csv"})),
        ("zone", json!({"type": "string", "default": "east"})),
        ("regions", json!({"type": "list", "items": "string", "default": ["a", "b"]})),
        ("limit", json!({"type": "number"})),
    ] {
        typed.parameters.insert(id(name), parameter(of));
    }
    w.deploy(typed);
    let mut add =
        |arguments: serde_json::Value| w.add_with("t", |o| o.arguments = serde_json::from_value(arguments).unwrap());
    assert!(matches!(add(json!({})), Err(Refusal::ParameterMissing { .. })));
    assert!(matches!(add(json!({"limit": "3"})), Err(Refusal::ParameterType { .. })));
    assert!(matches!(add(json!({"limit": 3, "regions": ["a", 1]})), Err(Refusal::ParameterType { .. })));
    assert!(matches!(add(json!({"limit": 3, "other": 1})), Err(Refusal::ParameterUnknown { .. })));
    let large = "x".repeat(70_000);
    assert!(matches!(add(json!({"limit": 3, "zone": large})), Err(Refusal::TooLarge { .. })));
    let mut deep = json!([]);
    for _ in 0..40 {
        deep = json!([deep]);
    }
    let refused = add(json!({"limit": 3, "regions": deep}));
    assert!(matches!(refused, Err(Refusal::ParameterInvalid { .. })), "{refused:?}");
    let o = add(json!({"limit": 3})).unwrap();
    let known = serde_json::to_value(&*w.order(&o).arguments).unwrap();
    let wanted = json!({"day": "2026-11-22", "file": "/data/east/2026-11-22.csv", "limit": 3, "regions": ["a", "b"], "zone": "east"});
    assert_eq!(known, wanted);
}

#[test]
fn unknown_workflows_and_empty_or_too_large_commands_are_refused() {
    let mut w = world();
    assert!(matches!(w.add_with("nothing", |_| {}), Err(Refusal::WorkflowUnknown { .. })));
    assert!(matches!(w.command(Command::AddOrders(AddOrders { orders: vec![] })), Err(Refusal::Empty { .. })));
    let orders = vec![new_order("w"); limit::ORDERS_PER_COMMAND + 1];
    assert!(matches!(w.command(Command::AddOrders(AddOrders { orders })), Err(Refusal::TooMany { .. })));
    let far = "9998-12-31".parse::<chrono::NaiveDate>().unwrap() + TimeDelta::days(400);
    assert!(matches!(w.add_with("w", |o| o.business_day = Some(far)), Err(Refusal::InvalidId { .. })));
    let due = far.and_time(chrono::NaiveTime::MIN).and_utc();
    assert!(matches!(w.add_with("w", |o| o.due_at = Some(due)), Err(Refusal::InvalidId { .. })));
}

#[test]
fn one_bad_order_refuses_the_whole_command() {
    let mut w = world();
    let mut orders = vec![new_order("w"); 300];
    orders[299].workflow = id("nothing");
    assert!(w.command(Command::AddOrders(AddOrders { orders })).is_err());
    assert!(w.site.orders.is_empty());
    assert_eq!(w.add("w").as_str(), "20261122-D1-w");
}

#[test]
fn many_orders_are_added_in_parts_with_running_counters() {
    let mut w = world();
    let mut orders = vec![new_order("w"); 250];
    let other_day = "2026-12-01".parse().unwrap();
    orders[0].business_day = Some(other_day);
    orders[120].business_day = Some(other_day);
    let command = Command::AddOrders(AddOrders { orders });
    assert_eq!(crate::decide::parts(&w.site, &command, w.ctx()), 3);
    let name = id("bulk");
    w.part(&name, &command, 1).unwrap();
    assert_eq!(w.site.orders.len(), 100);
    // The day changes before the second part: today stays what it was.
    w.pass(TimeDelta::hours(20));
    w.part(&name, &command, 2).unwrap();
    let last = w.part(&name, &command, 3).unwrap();
    assert_eq!(w.site.orders.len(), 250);
    assert!(w.site.adding.is_none());
    let accepted = last.iter().find_map(|e| match e {
        Event::CommandAccepted(e) => Some(e.outcome.clone()),
        _ => None,
    });
    let Some(Accepted::Orders { orders }) = accepted else { panic!() };
    assert_eq!((orders.len(), orders[0].as_str(), orders[1].as_str()), (250, "20261201-D1-w", "20261122-D1-w"));
    assert_eq!((orders[120].as_str(), orders[249].as_str()), ("20261201-D2-w", "20261122-D248-w"));
    assert!(orders.iter().all(|o| w.site.orders.contains_key(o)));
}

#[test]
fn orders_with_large_arguments_make_smaller_parts() {
    let mut w = World::new();
    let mut large = workflow("l", vec![job("a")]);
    large.parameters.insert(id("x"), parameter(json!({"type": "string", "default": "y".repeat(20_000)})));
    w.deploy(large);
    let command = Command::AddOrders(AddOrders { orders: vec![new_order("l"); 10] });
    assert_eq!(crate::decide::parts(&w.site, &command, w.ctx()), 4);
    w.command(command).unwrap();
}

#[test]
fn a_repeated_command_gives_the_same_outcome_and_nothing_else() {
    let mut w = world();
    let command = Command::AddOrders(AddOrders { orders: vec![new_order("w"); 150] });
    let first = w.command_with(&id("same"), command.clone()).unwrap();
    w.told();
    assert_eq!(w.command_with(&id("same"), command).unwrap(), first);
    assert_eq!(w.told(), ["CommandAccepted", "CommandAccepted"]);
    let bad = Command::CancelOrders(CancelOrders { orders: vec![id("x")], kill: false, replan: false });
    let refusal = w.command_with(&id("bad"), bad.clone()).unwrap_err();
    w.told();
    let events = w.part(&id("bad"), &bad, 1).unwrap();
    assert!(matches!(&events[..], [Event::CommandRefused(e)] if e.refusal == refusal));
}

#[test]
fn outcomes_of_commands_are_known_for_a_day() {
    let mut w = world();
    let command = Command::AddOrders(AddOrders { orders: vec![new_order("w")] });
    w.command_with(&id("c"), command.clone()).unwrap();
    w.pass(TimeDelta::hours(24));
    w.command_with(&id("d"), command).unwrap();
    assert!(!w.site.commands.by_id.contains_key("c"));
    assert!(w.site.commands.by_id.contains_key("d"));
}

#[test]
fn a_planned_start_is_made_once() {
    let mut w = world();
    let key = |instant| StartKey { schedule: "nightly".into(), parameterisation: "p".into(), instant };
    let start = key(w.now);
    let o = w.add_with("w", |o| o.start = Some(start.clone())).unwrap();
    assert_eq!(o.as_str(), "20261122-P1-w");
    let again = w.add_with("w", |o| o.start = Some(start.clone()));
    assert!(matches!(again, Err(Refusal::StartKnown { order, .. }) if order == o));
    let twice = vec![key(w.now + TimeDelta::hours(1)); 2];
    let orders = twice.into_iter().map(|start| {
        let mut new = new_order("w");
        new.start = Some(start);
        new
    });
    let command = Command::AddOrders(AddOrders { orders: orders.collect() });
    assert!(matches!(w.command(command), Err(Refusal::StartKnown { .. })));
    let old = key(w.now - TimeDelta::days(40));
    assert!(matches!(w.add_with("w", |o| o.start = Some(old)), Err(Refusal::StartBelowWatermark { .. })));
    w.pass(TimeDelta::days(40));
    let later = key(w.now);
    w.add_with("w", |o| o.start = Some(later)).unwrap();
    assert_eq!(w.site.starts.known.len(), 1);
    let again = w.add_with("w", |o| o.start = Some(start));
    assert!(matches!(again, Err(Refusal::StartBelowWatermark { .. })));
}

#[test]
fn a_long_reason_is_refused() {
    let w = world();
    let by = crate::command::By { user: id("ops"), reason: Some("x".repeat(500)) };
    let command = Command::AddOrders(AddOrders { orders: vec![new_order("w")] });
    let refused = crate::decide::decide(&w.site, &id("c"), &by, &command, 1, w.ctx());
    assert!(matches!(refused, Err(Refusal::TooLarge { .. })));
}
