use crate::{
    Event, Failure, OrderId, Refusal,
    command::{Accepted, Command},
    limit,
    order::{
        OrderState, Wait,
        command::{AddOrders, CancelOrders, StartKey},
        event::{CancelReason, OrderFailed},
        state::Mark,
    },
    run::{Report, RunEnd},
    tests::*,
    workflow::{LateAction, LatePolicy, WhenFailed},
};
use chrono::TimeDelta;
use serde_json::json;

fn world() -> World {
    let mut w = World::new();
    w.deploy(workflow("w", vec![job("a"), job("b")]));
    w
}

fn failure(w: &World, order: &OrderId) -> Failure {
    match &w.order(order).state {
        OrderState::Failed { failure } => failure.clone(),
        other => panic!("{other:?}"),
    }
}

// --- adding ---

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
    let mut add = |arguments: serde_json::Value| {
        w.add_with("t", |o| o.arguments = serde_json::from_value(arguments).unwrap())
    };
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
    let bad = Command::CancelOrders(CancelOrders { orders: vec![id("x")], kill: false });
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

// --- cancelling ---

#[test]
fn orders_that_do_not_run_are_cancelled_at_once() {
    let mut w = world();
    w.lock("l", 1);
    let locked = |label: &str| job_with(label, |j| j.locks = [(id("l"), 1)].into());
    w.deploy(workflow("locked", vec![locked("a")]));
    w.deploy(workflow("retry", vec![try_catch("t", vec![job("a")], Some(&[10]), vec![])]));
    let later = w.now + TimeDelta::hours(1);
    let scheduled = w.add_with("w", |o| o.due_at = Some(later)).unwrap();
    let held = w.add_with("w", |o| o.held = true).unwrap();
    let _holder = w.add("locked");
    let queued = w.add("locked");
    let retrying = w.add("retry");
    w.exits(&retrying, 1);
    let failed = w.add("w");
    w.exits(&failed, 1);
    for order in [scheduled, held, queued, retrying, failed] {
        w.cancel(&order, false).unwrap();
        assert_eq!(w.state(&order), "cancelled");
    }
    assert!(w.site.timers.is_empty());
}

#[test]
fn a_running_order_is_cancelled_after_its_job() {
    let mut w = world();
    let o = w.add("w");
    w.claim(&o);
    w.cancel(&o, false).unwrap();
    assert_eq!(w.site.explain(&o, w.now)[0], Wait::Cancelling);
    w.exits(&o, 0);
    assert_eq!((w.state(&o), w.position(&o).as_str()), ("cancelled", "a"));
    assert!(w.site.runs.is_empty());
}

#[test]
fn cancel_with_kill_ends_a_claimed_job_and_refuses_one_that_is_only_sent() {
    let mut w = world();
    let (claimed, sent) = (w.add("w"), w.add("w"));
    let run = w.claim(&claimed);
    w.cancel(&claimed, true).unwrap();
    let effects = crate::effect::effects(&w.site, &w.events);
    assert!(effects.iter().any(|e| matches!(e, crate::effect::Effect::KillRun { .. })), "{effects:?}");
    w.report("etl", "i1", Report::Ended { run, facts: facts(RunEnd::Killed, w.now) });
    assert_eq!(w.state(&claimed), "cancelled");
    w.cancel(&sent, true).unwrap();
    let run = w.run_of(&sent);
    assert_eq!(crate::effect::outstanding(&w.site), [crate::effect::Effect::RefuseRun { run: run.clone(), agent: id("etl") }]);
    w.report("etl", "c1", Report::Refused { run });
    assert_eq!(w.state(&sent), "cancelled");
}

#[test]
fn a_kill_that_lost_against_the_claim_goes_to_its_winner() {
    let mut w = world();
    let o = w.add("w");
    w.cancel(&o, true).unwrap();
    let run = w.claim(&o);
    assert!(matches!(crate::effect::outstanding(&w.site)[..], [crate::effect::Effect::KillRun { .. }]));
    let events = w.report("etl", "c1", Report::Refused { run: run.clone() });
    assert!(matches!(events[..], [Event::ReportRefused(_)]));
    w.report("etl", "i1", Report::Ended { run, facts: facts(RunEnd::Killed, w.now) });
    assert_eq!(w.state(&o), "cancelled");
}

#[test]
fn cancel_can_be_made_harder_and_repeated() {
    let mut w = world();
    let o = w.add("w");
    let run = w.claim(&o);
    w.cancel(&o, false).unwrap();
    w.cancel(&o, false).unwrap();
    assert!(!w.site.runs[&run].kill_requested);
    w.cancel(&o, true).unwrap();
    w.cancel(&o, true).unwrap();
    assert!(w.site.runs[&run].kill_requested);
    assert_eq!(w.order(&o).mark, Some(Mark::Cancel { kill: true }));
    assert!(matches!(w.suspend(&o, false), Err(Refusal::OrderCancelling { .. })));
}

#[test]
fn cancelling_an_ended_or_unknown_order_is_refused() {
    let mut w = world();
    let o = w.add("w");
    w.exits(&o, 0);
    w.exits(&o, 0);
    assert!(matches!(w.cancel(&o, false), Err(Refusal::OrderTerminated { .. })));
    assert!(matches!(w.cancel(&id("nobody"), false), Err(Refusal::OrderUnknown { .. })));
}

#[test]
fn cancel_goes_down_to_all_branches_and_the_order_ends_after_them() {
    let mut w = World::new();
    w.deploy(workflow("inner", vec![job("deep")]));
    let branches = vec![("a", vec![call("c", "inner", json!({}))]), ("b", vec![job("y"), job("z")]), ("c", vec![job("x")])];
    w.deploy(workflow("w", vec![fork("f", WhenFailed::Wait, branches)]));
    let o = w.add("w");
    let (a, b) = (w.child(&o, "a"), w.child(&o, "b"));
    let deep = w.child(&a, "c");
    w.exits(&w.child(&o, "c"), 1);
    w.claim(&deep);
    w.claim(&b);
    assert!(matches!(w.cancel(&b, false), Err(Refusal::OrderIsChild { .. })));
    w.cancel(&o, true).unwrap();
    assert_eq!(w.order(&deep).mark, Some(Mark::Cancel { kill: true }));
    w.ends(&deep, RunEnd::Killed);
    assert_eq!((w.state(&a), w.state(&o)), ("cancelled", "forked"));
    w.ends(&b, RunEnd::Killed);
    assert_eq!(w.state(&o), "cancelled");
    assert_eq!(w.site.orders.len(), 1);
    let reasons: Vec<_> = w.events.iter().filter_map(|e| match e {
        Event::OrderCancelled(e) => Some(e.reason.clone()),
        _ => None,
    }).collect();
    assert_eq!(reasons.last(), Some(&CancelReason::Requested));
    assert_eq!(reasons[0], CancelReason::ParentCancelled);
}

// --- suspending and resuming ---

#[test]
fn a_suspended_order_stops_before_its_next_step_and_goes_on_there() {
    let mut w = world();
    let o = w.add("w");
    w.claim(&o);
    w.suspend(&o, false).unwrap();
    assert_eq!(w.site.explain(&o, w.now)[0], Wait::Suspending);
    assert!(matches!(w.suspend(&o, false), Err(Refusal::OrderSuspended { .. })));
    w.exits(&o, 0);
    assert_eq!((w.state(&o), w.position(&o).as_str(), w.order(&o).suspended), ("ready", "b", true));
    assert!(matches!(w.site.explain(&o, w.now)[..], [Wait::Suspended { .. }]));
    w.resume(&o).unwrap();
    assert_eq!(w.state(&o), "running");
}

#[test]
fn suspending_the_last_step_lets_the_order_finish() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![job("a")]));
    let o = w.add("w");
    w.suspend(&o, false).unwrap();
    w.exits(&o, 0);
    assert_eq!(w.state(&o), "finished");
}

#[test]
fn a_job_killed_by_suspend_runs_again_on_resume() {
    let mut w = world();
    let o = w.add("w");
    let run = w.claim(&o);
    w.suspend(&o, true).unwrap();
    w.ends(&o, RunEnd::Killed);
    assert_eq!((w.state(&o), w.position(&o).as_str(), w.order(&o).suspended), ("ready", "a", true));
    w.resume(&o).unwrap();
    assert_ne!(w.run_of(&o), run);
    assert_eq!(w.site.runs[&w.run_of(&o)].attempt, 2);
}

#[test]
fn a_resume_takes_a_suspend_back_but_not_its_kill() {
    let mut w = world();
    let (gentle, killed) = (w.add("w"), w.add("w"));
    w.claim(&gentle);
    w.claim(&killed);
    w.suspend(&gentle, false).unwrap();
    w.suspend(&killed, true).unwrap();
    w.resume(&gentle).unwrap();
    w.resume(&killed).unwrap();
    w.exits(&gentle, 0);
    assert_eq!((w.state(&gentle), w.position(&gentle).as_str()), ("running", "b"));
    w.ends(&killed, RunEnd::Killed);
    assert_eq!((w.state(&killed), w.position(&killed).as_str()), ("running", "a"));
}

#[test]
fn a_suspended_retry_waits_for_a_person_even_after_its_delay() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![try_catch("t", vec![job("a")], Some(&[10]), vec![])]));
    let o = w.add("w");
    w.exits(&o, 1);
    w.suspend(&o, false).unwrap();
    w.pass(TimeDelta::seconds(20));
    assert_eq!(w.state(&o), "retrying");
    w.resume(&o).unwrap();
    assert_eq!(w.state(&o), "running");
}

#[test]
fn suspending_a_scheduled_order_holds_it() {
    let mut w = world();
    let due = w.now + TimeDelta::hours(1);
    let o = w.add_with("w", |o| o.due_at = Some(due)).unwrap();
    w.suspend(&o, false).unwrap();
    w.pass(TimeDelta::hours(2));
    assert_eq!(w.state(&o), "scheduled");
    w.resume(&o).unwrap();
    assert_eq!(w.state(&o), "running");
}

#[test]
fn a_failed_order_can_be_suspended_and_one_resume_lets_it_go_on() {
    let mut w = world();
    let o = w.add("w");
    w.exits(&o, 1);
    w.suspend(&o, false).unwrap();
    w.resume(&o).unwrap();
    assert_eq!(w.state(&o), "running");
}

#[test]
fn suspend_goes_down_to_the_branches_and_resume_as_well() {
    let mut w = World::new();
    let branches = vec![("a", vec![job("x"), job("x2")]), ("b", vec![job("y"), job("y2")])];
    w.deploy(workflow("w", vec![fork("f", WhenFailed::Join, branches), job("last")]));
    let o = w.add("w");
    let (a, b) = (w.child(&o, "a"), w.child(&o, "b"));
    w.claim(&a);
    w.claim(&b);
    w.suspend(&o, true).unwrap();
    w.ends(&a, RunEnd::Killed);
    assert!(!w.order(&o).suspended);
    w.exits(&b, 0);
    assert!(w.order(&o).suspended && w.order(&a).suspended && w.order(&b).suspended);
    assert_eq!((w.position(&a).as_str(), w.position(&b).as_str()), ("f:a/x", "f:b/y2"));
    assert!(matches!(w.resume(&a), Err(Refusal::OrderIsChild { .. })));
    assert!(matches!(w.resume_at(&o, "last"), Err(Refusal::OrderNotResumable { .. })));
    w.resume(&o).unwrap();
    for _ in 0..2 {
        w.exits(&a, 0);
    }
    w.exits(&b, 0);
    assert_eq!(w.position(&o), "last");
}

#[test]
fn a_suspended_order_joins_only_after_its_resume() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![fork("f", WhenFailed::Join, vec![("a", vec![job("x")])]), job("last")]));
    let o = w.add("w");
    w.suspend(&o, false).unwrap();
    w.exits(&w.child(&o, "a"), 0);
    assert_eq!((w.state(&o), w.order(&o).suspended), ("forked", true));
    w.resume(&o).unwrap();
    assert_eq!(w.position(&o), "last");
}

#[test]
fn resume_refuses_orders_that_are_neither_suspended_nor_failed() {
    let mut w = world();
    let o = w.add("w");
    assert!(matches!(w.resume(&o), Err(Refusal::OrderNotResumable { .. })));
}

#[test]
fn resume_can_go_to_any_step_of_the_same_branch() {
    let mut w = World::new();
    let block = try_catch("t", vec![job("b")], Some(&[1]), vec![job("c")]);
    let f = fork("f", WhenFailed::Wait, vec![("x", vec![job("in"), job("in2")])]);
    w.deploy(workflow("w", vec![job("a"), block, f, job("z")]));
    let o = w.add("w");
    w.exits(&o, 1);
    let refused = w.resume_at(&o, "in");
    assert!(matches!(&refused, Err(Refusal::PositionUnknown { steps, .. }) if steps == "a, t, b, c, f, z"), "{refused:?}");
    assert!(matches!(w.resume_at(&o, "f:x/in"), Err(Refusal::PositionUnknown { .. })));
    assert!(matches!(w.resume_at(&o, "nowhere"), Err(Refusal::PositionUnknown { .. })));
    w.resume_at(&o, "b").unwrap();
    // Its try block counts from its first attempt.
    w.exits(&o, 1);
    assert_eq!(w.state(&o), "retrying");
    w.pass(TimeDelta::seconds(1));
    w.exits(&o, 1);
    w.exits(&o, 9);
    assert_eq!((w.state(&o), w.position(&o).as_str()), ("failed", "c"));
    w.resume_at(&o, "f").unwrap();
    let child = w.child(&o, "x");
    w.exits(&child, 1);
    assert!(matches!(w.resume_at(&child, "z"), Err(Refusal::PositionUnknown { .. })));
    w.resume_at(&child, "in2").unwrap();
    assert_eq!(w.position(&child), "f:x/in2");
    w.exits(&child, 0);
    w.exits(&o, 0);
    assert_eq!(w.state(&o), "finished");
}

#[test]
fn a_held_order_can_be_started_at_a_later_step() {
    let mut w = world();
    let o = w.add_with("w", |o| o.held = true).unwrap();
    w.resume_at(&o, "b").unwrap();
    assert_eq!((w.state(&o), w.position(&o).as_str()), ("running", "b"));
}

#[test]
fn commands_for_many_orders_are_decided_in_parts() {
    let mut w = world();
    let later = w.now + TimeDelta::hours(1);
    let mut new = new_order("w");
    new.due_at = Some(later);
    let Accepted::Orders { orders } = w.command(Command::AddOrders(AddOrders { orders: vec![new; 450] })).unwrap() else {
        panic!()
    };
    let mut twice = orders.clone();
    twice.extend(orders[..10].iter().cloned());
    let command = Command::CancelOrders(CancelOrders { orders: twice, kill: false });
    assert_eq!(crate::decide::parts(&w.site, &command, w.ctx()), 3);
    w.part(&id("many"), &command, 1).unwrap();
    // One of the later ones ends by other means in between: it is passed over.
    w.cancel(&orders[300], false).unwrap();
    w.part(&id("many"), &command, 2).unwrap();
    w.part(&id("many"), &command, 3).unwrap();
    assert!(orders.iter().all(|o| w.state(o) == "cancelled"));
}

#[test]
fn one_unknown_order_refuses_the_whole_command() {
    let mut w = world();
    let o = w.add_with("w", |o| o.held = true).unwrap();
    let command = Command::CancelOrders(CancelOrders { orders: vec![o.clone(), id("x")], kill: false });
    assert!(matches!(w.command(command), Err(Refusal::OrderUnknown { .. })));
    assert_eq!(w.state(&o), "scheduled");
}

// --- the end ---

#[test]
fn ended_orders_are_forgotten_and_failed_ones_stay() {
    let mut w = world();
    let (done, failed) = (w.add("w"), w.add("w"));
    w.exits(&done, 0);
    w.exits(&done, 0);
    w.exits(&failed, 1);
    let forgotten = crate::order::event::OrdersForgotten { orders: vec![done.clone()] };
    w.settle(vec![forgotten.into()]);
    assert!(!w.site.orders.contains_key(&done) && w.site.ended.is_empty());
    let forgotten = crate::order::event::OrdersForgotten { orders: vec![failed] };
    assert!(crate::apply::apply(&mut w.site, w.now, &forgotten.into()).is_err());
}

#[test]
fn ends_of_top_orders_are_effects() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![fork("f", WhenFailed::Join, vec![("a", vec![job("x")])])]));
    let o = w.add("w");
    w.told();
    w.exits(&w.child(&o, "a"), 1);
    let ended = crate::effect::Effect::OrderTerminated { order: o };
    assert_eq!(crate::effect::effects(&w.site, &w.events), [ended]);
}

#[test]
fn an_order_that_cannot_be_decided_is_failed_in_nearly_any_state() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![try_catch("t", vec![job("a")], Some(&[10]), vec![])]));
    let o = w.add("w");
    w.exits(&o, 1);
    let failure = Failure::Internal { reason: "panicked twice".into() };
    let failed = OrderFailed { order: o.clone(), position: w.order(&o).position.clone(), failure };
    w.settle(vec![failed.into()]);
    assert_eq!(w.state(&o), "failed");
    assert!(w.site.timers.is_empty());
}
