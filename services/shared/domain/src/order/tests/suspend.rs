use super::*;
use crate::{
    Refusal,
    command::{Accepted, Command},
    order::{
        Wait,
        command::{AddOrders, CancelOrders},
    },
    run::RunEnd,
    workflow::WhenFailed,
};
use chrono::TimeDelta;

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
fn a_failed_branch_of_a_suspended_order_waits_for_its_resume() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![fork("f", WhenFailed::Wait, vec![("a", vec![job("x")]), ("b", vec![job("y")])])]));
    let o = w.add("w");
    let (a, b) = (w.child(&o, "a"), w.child(&o, "b"));
    w.exits(&a, 1);
    w.suspend(&o, false).unwrap();
    w.ends(&b, RunEnd::Lost { reason: "gone".into() });
    assert!(w.order(&o).suspended);
    assert!(matches!(w.resume(&a), Err(Refusal::OrderIsChild { .. })));
    w.resume(&o).unwrap();
    assert_eq!((w.state(&a), w.state(&b)), ("failed", "running"));
    w.resume(&a).unwrap();
    assert_eq!(w.state(&a), "running");
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
    assert!(
        matches!(&refused, Err(Refusal::PositionUnknown { steps, .. }) if steps == "a, t, b, c, f, z"),
        "{refused:?}"
    );
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
    let Accepted::Orders { orders } = w.command(Command::AddOrders(AddOrders { orders: vec![new; 450] })).unwrap()
    else {
        panic!()
    };
    let mut twice = orders.clone();
    twice.extend(orders[..10].iter().cloned());
    let command = Command::CancelOrders(CancelOrders { orders: twice, kill: false, replan: false });
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
    let command = Command::CancelOrders(CancelOrders { orders: vec![o.clone(), id("x")], kill: false, replan: false });
    assert!(matches!(w.command(command), Err(Refusal::OrderUnknown { .. })));
    assert_eq!(w.state(&o), "scheduled");
}
