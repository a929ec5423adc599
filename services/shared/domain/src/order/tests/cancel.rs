use super::*;
use crate::{
    Event, Refusal,
    order::{Wait, event::CancelReason, state::Mark},
    run::{Report, RunEnd},
    workflow::WhenFailed,
};
use chrono::TimeDelta;
use serde_json::json;

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
    assert_eq!(
        crate::effect::outstanding(&w.site),
        [crate::effect::Effect::RefuseRun { run: run.clone(), agent: id("etl") }]
    );
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
    let branches =
        vec![("a", vec![call("c", "inner", json!({}))]), ("b", vec![job("y"), job("z")]), ("c", vec![job("x")])];
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
    let reasons: Vec<_> = w
        .events
        .iter()
        .filter_map(|e| match e {
            Event::OrderCancelled(e) => Some(e.reason.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(reasons.last(), Some(&CancelReason::Requested));
    assert_eq!(reasons[0], CancelReason::ParentCancelled);
}

#[test]
fn the_cleanup_cancels_only_what_still_stands_failed() {
    let mut w = world();
    let (running, failed) = (w.add("w"), w.add("w"));
    w.exits(&failed, 1);
    let by = crate::command::By { user: id("cleanup"), reason: None };
    let ask = |w: &World, order: &OrderId| {
        let cancel = crate::order::command::CancelOrders { orders: vec![order.clone()], kill: false, replan: false };
        crate::decide::decide(&w.site, &id("k1"), &by, &crate::Command::CancelOrders(cancel), 1, w.ctx())
    };
    let refused = ask(&w, &running).unwrap_err();
    assert!(refused.to_string().contains("has not failed"), "{refused}");
    assert!(ask(&w, &failed).is_ok());
    w.resume(&failed).unwrap();
    assert!(ask(&w, &failed).is_err());
}
