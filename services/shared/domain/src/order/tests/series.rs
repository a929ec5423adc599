use super::*;
use crate::{
    Instant, OrderId,
    order::{
        Wait,
        command::{CancelOrders, Overlap, StartKey},
    },
};
use chrono::TimeDelta;

/// A planned order, due in so many minutes.
fn plan(w: &mut World, minutes: i64, overlap: Overlap) -> OrderId {
    let instant = due(w, minutes);
    let start = StartKey { schedule: "s".into(), parameterisation: "p".into(), instant };
    let planned = w.add_with("w", |o| (o.start, o.due_at, o.overlap) = (Some(start), Some(instant), overlap));
    planned.unwrap()
}

fn due(w: &World, minutes: i64) -> Instant {
    w.now + TimeDelta::minutes(minutes)
}

fn take_back(w: &mut World, order: &OrderId) {
    let command = CancelOrders { orders: vec![order.clone()], kill: false, replan: true };
    w.command(crate::Command::CancelOrders(command)).unwrap();
}

#[test]
fn a_planned_order_starts_beside_an_earlier_one_if_its_schedule_says_so() {
    let mut w = world();
    let (one, two) = (plan(&mut w, 1, Overlap::Start), plan(&mut w, 2, Overlap::Start));
    w.pass(TimeDelta::minutes(2));
    assert_eq!((w.state(&one), w.state(&two)), ("running", "running"));
}

#[test]
fn a_planned_order_is_skipped_while_an_earlier_one_runs() {
    let mut w = world();
    let (one, two) = (plan(&mut w, 1, Overlap::Skip), plan(&mut w, 2, Overlap::Skip));
    let three = plan(&mut w, 3, Overlap::Skip);
    w.pass(TimeDelta::minutes(2));
    assert_eq!((w.state(&one), w.state(&two)), ("running", "cancelled"));
    w.exits(&one, 0);
    w.exits(&one, 0);
    w.pass(TimeDelta::minutes(1));
    assert_eq!((w.state(&one), w.state(&three)), ("finished", "running"));
}

#[test]
fn planned_orders_wait_for_each_other_in_the_order_of_their_times() {
    let mut w = world();
    // Added the other way round: the time of the start counts.
    let (three, two) = (plan(&mut w, 3, Overlap::Wait), plan(&mut w, 2, Overlap::Wait));
    let one = plan(&mut w, 1, Overlap::Wait);
    w.pass(TimeDelta::minutes(3));
    assert_eq!((w.state(&one), w.state(&two), w.state(&three)), ("running", "scheduled", "scheduled"));
    assert_eq!(w.site.explain(&two, w.now), [Wait::Behind { order: one.clone() }]);
    w.exits(&one, 0);
    w.exits(&one, 1);
    assert_eq!(w.state(&one), "failed", "a failed one is in nobody's way");
    assert_eq!((w.state(&two), w.state(&three)), ("running", "scheduled"));
    assert_eq!(w.site.explain(&three, w.now), [Wait::Behind { order: two.clone() }]);
    w.cancel(&two, true).unwrap();
    w.ends(&two, crate::run::RunEnd::Signalled { signal: 9 });
    assert_eq!((w.state(&two), w.state(&three)), ("cancelled", "running"));
}

#[test]
fn the_time_behind_another_order_is_no_outage() {
    let mut w = world();
    let one = plan(&mut w, 1, Overlap::Wait);
    let two = plan(&mut w, 2, Overlap::Wait);
    w.pass(TimeDelta::minutes(2));
    w.pass(TimeDelta::days(2));
    w.exits(&one, 0);
    w.exits(&one, 0);
    assert_eq!(w.state(&two), "running");
}

#[test]
fn what_the_plan_takes_back_before_its_start_can_be_planned_again() {
    let mut w = world();
    let one = plan(&mut w, 1, Overlap::Wait);
    take_back(&mut w, &one);
    assert_eq!(w.state(&one), "cancelled");
    let again = plan(&mut w, 1, Overlap::Wait);
    w.pass(TimeDelta::minutes(1));
    // Harmless when late: it has started.
    take_back(&mut w, &again);
    assert_eq!(w.state(&again), "running");
    take_back(&mut w, &"20261122-P9-gone".parse().unwrap());
    let due = w.order(&again).start.clone();
    let twice = w.add_with("w", |o| o.start = due);
    assert!(matches!(twice, Err(crate::Refusal::StartKnown { .. })), "{twice:?}");
}

#[test]
fn a_person_who_resumes_a_waiting_order_starts_it() {
    let mut w = world();
    let (one, two) = (plan(&mut w, 1, Overlap::Wait), plan(&mut w, 2, Overlap::Wait));
    w.pass(TimeDelta::minutes(2));
    w.suspend(&two, false).unwrap();
    w.exits(&one, 0);
    w.exits(&one, 0);
    assert_eq!(w.state(&two), "scheduled", "suspended");
    w.resume(&two).unwrap();
    assert_eq!(w.state(&two), "running");
}
