use crate::{
    Failure, OrderId,
    order::{OrderState, Wait},
    tests::*,
    workflow::{Step, WhenFailed},
};
use chrono::TimeDelta;

fn locked(label: &str, locks: &[(&str, u32)]) -> Step {
    job_with(label, |j| j.locks = locks.iter().map(|(name, weight)| (id(name), *weight)).collect())
}

/// With locks x and y of capacity 3, and a workflow for each weight of them.
fn world() -> World {
    let mut w = World::new();
    w.lock("x", 3);
    w.lock("y", 3);
    for (name, locks) in
        [("x1", &[("x", 1)][..]), ("x3", &[("x", 3)]), ("y3", &[("y", 3)]), ("xy", &[("x", 1), ("y", 1)])]
    {
        w.deploy(workflow(name, vec![locked("a", locks)]));
    }
    w
}

fn states(w: &World, orders: &[OrderId]) -> Vec<&'static str> {
    orders.iter().map(|o| w.state(o)).collect()
}

#[test]
fn a_lock_is_shared_up_to_its_capacity_and_freed_when_the_job_ends() {
    let mut w = world();
    let orders: Vec<_> = (0..5).map(|_| w.add("x1")).collect();
    assert_eq!(states(&w, &orders), ["running", "running", "running", "queued", "queued"]);
    w.exits(&orders[1], 1);
    assert_eq!(states(&w, &orders), ["running", "failed", "running", "running", "queued"]);
    for i in [0, 2, 3, 4] {
        w.exits(&orders[i], 0);
    }
    assert!(w.site.resources.0.is_empty());
}

#[test]
fn a_heavy_order_is_not_starved_by_light_ones_behind_it() {
    let mut w = world();
    let light = w.add("x1");
    let heavy = w.add("x3");
    let behind = w.add("x1");
    assert_eq!(states(&w, &[heavy.clone(), behind.clone()]), ["queued", "queued"]);
    w.exits(&light, 0);
    assert_eq!(states(&w, &[heavy.clone(), behind.clone()]), ["running", "queued"]);
    w.exits(&heavy, 0);
    assert_eq!(w.state(&behind), "running");
}

#[test]
fn a_higher_priority_goes_first_then_the_ticket() {
    let mut w = world();
    let holder = w.add("x3");
    let low = w.add("x3");
    let high = w.add_with("x3", |o| o.priority = Some(5)).unwrap();
    let high_too = w.add_with("x3", |o| o.priority = Some(5)).unwrap();
    w.exits(&holder, 0);
    assert_eq!(states(&w, &[low.clone(), high.clone(), high_too.clone()]), ["queued", "running", "queued"]);
    w.exits(&high, 0);
    assert_eq!(states(&w, &[low, high_too]), ["queued", "running"]);
}

#[test]
fn all_locks_are_taken_or_none() {
    let mut w = world();
    let holder = w.add("y3");
    let both = w.add("xy");
    assert_eq!(w.state(&both), "queued");
    assert_eq!(w.site.resources.0.values().map(|u| u.held_weight()).sum::<u32>(), 3);
    // Strictly in turn: nobody passes it on x.
    let behind = w.add("x1");
    assert_eq!(w.state(&behind), "queued");
    let waits = w.site.explain(&both, w.now);
    assert!(
        matches!(&waits[..], [Wait::Lock { lock, holders, ahead: 0, .. }] if lock.as_str() == "y" && *holders == [holder.clone()])
    );
    w.exits(&holder, 0);
    assert_eq!(states(&w, &[both, behind]), ["running", "running"]);
}

#[test]
fn a_cancelled_or_suspended_waiter_gives_up_its_place() {
    let mut w = world();
    let holder = w.add("y3");
    let first = w.add("xy");
    let second = w.add("xy");
    let third = w.add("x1");
    w.cancel(&first, false).unwrap();
    assert_eq!(states(&w, &[second.clone(), third.clone()]), ["queued", "queued"]);
    w.suspend(&second, false).unwrap();
    assert_eq!(states(&w, &[second.clone(), third]), ["ready", "running"]);
    w.resume(&second).unwrap();
    assert_eq!(w.state(&second), "queued");
    w.exits(&holder, 0);
    assert_eq!(w.state(&second), "running");
}

#[test]
fn a_raised_capacity_lets_waiters_go() {
    let mut w = world();
    let orders: Vec<_> = (0..6).map(|_| w.add("x1")).collect();
    w.lock("x", 5);
    assert_eq!(states(&w, &orders[3..]), ["running", "running", "queued"]);
}

#[test]
fn a_lowered_capacity_waits_for_what_is_held_and_fails_what_wants_more() {
    let mut w = world();
    let running: Vec<_> = (0..3).map(|_| w.add("x1")).collect();
    let heavy = w.add("x3");
    let light = w.add("x1");
    w.lock("x", 2);
    assert_eq!(w.site.locks["x"].lowered_from, Some(3));
    assert!(matches!(
        w.order(&heavy).state,
        OrderState::Failed { failure: Failure::LockTooSmall { capacity: 2, wanted: 3, .. } }
    ));
    assert_eq!(w.state(&light), "queued");
    w.exits(&running[0], 0);
    assert_eq!((w.state(&light), w.site.locks["x"].lowered_from), ("queued", None));
    w.exits(&running[1], 0);
    assert_eq!(w.state(&light), "running");
}

#[test]
fn a_job_runs_in_parallel_up_to_its_limit_over_all_orders() {
    let mut w = World::new();
    let limited = || job_with("a", |j| j.parallel = Some(2));
    w.deploy(workflow("w", vec![limited(), job("b")]));
    let orders: Vec<_> = (0..4).map(|_| w.add("w")).collect();
    assert_eq!(states(&w, &orders), ["running", "running", "queued", "queued"]);
    assert!(matches!(w.site.explain(&orders[3], w.now)[..], [Wait::Slot { ahead: 1, held: 2, .. }]));
    // A newer version of the workflow counts with the older ones.
    w.deploy(workflow("w", vec![limited()]));
    let newer = w.add("w");
    w.exits(&orders[0], 0);
    assert_eq!((w.position(&orders[0]).as_str(), w.state(&orders[2]), w.state(&newer)), ("b", "running", "queued"));
}

#[test]
fn branches_of_one_order_queue_like_orders() {
    let mut w = World::new();
    w.lock("x", 1);
    let branches = vec![("a", vec![locked("ja", &[("x", 1)])]), ("b", vec![locked("jb", &[("x", 1)])])];
    w.deploy(workflow("w", vec![fork("f", WhenFailed::CancelOthers, branches)]));
    let o = w.add("w");
    assert_eq!((w.state(&w.child(&o, "a")), w.state(&w.child(&o, "b"))), ("running", "queued"));
    w.exits(&w.child(&o, "a"), 1);
    assert_eq!(w.state(&o), "failed");
    assert!(w.site.resources.0.is_empty());
}

#[test]
fn a_waiter_whose_workflow_is_due_again_is_passed_on_the_way() {
    let mut w = world();
    let holder = w.add("x3");
    let due = w.now + TimeDelta::seconds(5);
    let later = w.add_with("x3", |o| o.due_at = Some(due)).unwrap();
    w.pass(TimeDelta::seconds(5));
    assert_eq!(w.state(&later), "queued");
    w.exits(&holder, 0);
    assert_eq!(w.state(&later), "running");
}
