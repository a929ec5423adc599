use super::*;
use crate::{order::event::OrderFailed, workflow::WhenFailed};

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
    let ended = crate::effect::Effect::OrderTerminated { order: o.clone() };
    assert_eq!(crate::effect::effects(&w.site, &w.events), [ended]);
    let events = std::mem::take(&mut w.events);
    w.resume(&o).unwrap();
    assert!(crate::effect::effects(&w.site, &events).is_empty());
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
