use super::*;
use crate::{
    Event, Site, advance, apply,
    controller::{ControllerActivated, ControllerHandedOver, RoleHeld},
};
use chrono::TimeDelta;

fn activated(epoch: u64) -> Event {
    ControllerActivated { epoch, instance: id("c1"), how: "first start".into(), event_level: 1 }.into()
}

#[test]
fn the_epoch_only_rises() {
    let mut site = Site::default();
    let now = World::new().now;
    apply::apply(&mut site, now, &activated(3)).unwrap();
    let again = apply::apply(&mut site, now, &activated(3)).unwrap_err();
    assert_eq!(again.to_string(), "ControllerActivated does not fit the site (epoch 3): epoch 3 is not a later one");
}

#[test]
fn a_hand_over_and_a_held_role_leave_nobody_active() {
    let mut site = Site::default();
    let now = World::new().now;
    apply::apply(&mut site, now, &activated(1)).unwrap();
    let over = |from: &str| ControllerHandedOver { epoch: 1, from: id(from), to: None }.into();
    assert!(apply::apply(&mut site, now, &over("c2")).is_err());
    apply::apply(&mut site, now, &over("c1")).unwrap();
    assert_eq!(site.active, None);
    let held = RoleHeld { instance: id("c1"), who: "ops".into(), why: "repair".into() };
    apply::apply(&mut site, now, &held.into()).unwrap();
    assert_eq!(site.held_by, Some(id("c1")));
    apply::apply(&mut site, now, &activated(2)).unwrap();
    assert_eq!((site.held_by, site.active), (None, Some(id("c1"))));
}

#[test]
fn a_snapshot_is_the_same_state_with_the_same_digest() {
    let mut w = World::new();
    w.lock("x", 1);
    let locked = job_with("j", |j| j.locks = [(id("x"), 1)].into());
    let branches = vec![("a", vec![locked]), ("b", vec![try_catch("t", vec![job("k")], Some(&[60]), vec![])])];
    w.deploy(workflow("w", vec![fork("f", WhenFailed::Join, branches)]));
    let (o, _) = (w.add("w"), w.add("w"));
    w.exits(&w.child(&o, "b"), 1);
    let read: Site = serde_json::from_slice(&serde_json::to_vec(&w.site).unwrap()).unwrap();
    assert_eq!(read, w.site);
    assert_eq!(read.digest(), w.site.digest());
    let mut other = read.clone();
    other.at = Some(w.now);
    assert_eq!(other.digest(), w.site.digest());
    other.tickets += 1;
    assert_ne!(other.digest(), w.site.digest());
}

#[test]
fn a_long_chain_of_steps_is_decided_in_several_decisions() {
    let mut w = World::new();
    let steps = (0..500).map(|i| if_else(&format!("i{i}"), "true", vec![], vec![])).collect();
    let chain = (0..500)
        .map(|i| try_catch(&format!("t{i}"), vec![if_else(&format!("j{i}"), "true", vec![], vec![])], None, vec![]));
    w.deploy(workflow("ifs", steps));
    w.deploy(workflow("tries", chain.collect()));
    let (a, b) = (w.add("ifs"), w.add("tries"));
    assert_eq!((w.state(&a), w.state(&b)), ("finished", "finished"));
}

#[test]
fn a_decision_stays_small_and_the_rest_follows() {
    let mut w = World::new();
    let dir = "d".repeat(20_000);
    w.deploy(workflow("w", vec![job_with("a", |j| j.directory = Some(crate::workflow::Template(dir)))]));
    let later = w.now + TimeDelta::seconds(1);
    for _ in 0..30 {
        w.add_with("w", |o| o.due_at = Some(later)).unwrap();
    }
    w.now = later;
    let due = advance::due(&w.site, later);
    assert_eq!(due.len(), 30);
    let ctx = crate::Ctx { now: w.now, zone: w.zone, ids: &w.ids, definitions: &w.bodies };
    let settled = advance::settle_touched(&mut w.site, due, ctx).unwrap();
    assert!(crate::limit::json_bytes(&settled.events) < 130_000);
    assert_eq!(w.site.runs.len() + settled.rest.len(), 30);
    let one = advance::advance(&w.site, &settled.rest, w.ctx());
    assert!(matches!(one[..], [Event::OrderStarted(_)] | [Event::RunDispatched(_)]));
    // After a crash here, activation finds the rest.
    let mut found = advance::due(&w.site, later);
    found.extend(advance::everything(&w.site));
    assert!(settled.rest.iter().all(|order| found.contains(order)));
}

#[test]
fn activation_goes_on_where_a_crash_cut_a_decision_short() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![job("a")]));
    let command = crate::Command::AddOrders(crate::order::command::AddOrders { orders: vec![new_order("w"); 3] });
    let events = crate::decide::decide(&w.site, &id("c"), &by(), &command, 1, w.ctx()).unwrap();
    // Only the decision itself reached the journal.
    for event in &events {
        apply::apply(&mut w.site, w.now, event).unwrap();
        apply::apply(&mut w.replica, w.now, event).unwrap();
    }
    let everything = advance::everything(&w.site);
    assert_eq!(everything.len(), 3);
    let ctx = crate::Ctx { now: w.now, zone: w.zone, ids: &w.ids, definitions: &w.bodies };
    advance::settle_touched(&mut w.site, everything, ctx).unwrap();
    assert_eq!(w.site.runs.len(), 3);
}

#[test]
fn a_change_touches_few_of_many_waiting_orders() {
    let mut w = World::new();
    w.lock("x", 1);
    w.deploy(workflow("locked", vec![job_with("j", |j| j.locks = [(id("x"), 1)].into())]));
    w.deploy(workflow("w", vec![job("a")]));
    let later = w.now + TimeDelta::hours(1);
    for i in 0..6_000u64 {
        let mut add = crate::order::event::OrderAdded {
            order: id(&format!("20261122-D{}-w", i + 1)),
            workflow: crate::order::event::WorkflowRef {
                name: id(if i % 2 == 0 { "w" } else { "locked" }),
                version: 1,
                hash: w.site.workflows[if i % 2 == 0 { "w" } else { "locked" }].hash.clone(),
            },
            title: None,
            folder: None,
            tags: Default::default(),
            business_day: "2026-11-22".parse().unwrap(),
            priority: 0,
            due_at: None,
            held: false,
            late: Default::default(),
            arguments: Default::default(),
            start: None,
            overlap: Default::default(),
            by: by(),
            counter: i + 1,
            command: None,
        };
        if i % 2 == 0 {
            add.due_at = Some(later);
        }
        let ctx = crate::Ctx { now: w.now, zone: w.zone, ids: &w.ids, definitions: &w.bodies };
        advance::settle(&mut w.site, vec![add.into()], ctx).unwrap();
    }
    let began = std::time::Instant::now();
    for _ in 0..500 {
        let run = w.site.runs.values().next().unwrap().id.clone();
        let ctx = crate::Ctx { now: w.now, zone: w.zone, ids: &w.ids, definitions: &w.bodies };
        let claimed = crate::decide::report(
            &w.site,
            &id("etl"),
            &id("i1"),
            &crate::run::Report::Accepted { run: run.clone() },
            ctx,
        );
        advance::settle(&mut w.site, claimed, ctx).unwrap();
        let facts = facts(crate::run::RunEnd::Exited { code: 0 }, w.now);
        let ended =
            crate::decide::report(&w.site, &id("etl"), &id("i1"), &crate::run::Report::Ended { run, facts }, ctx);
        let settled = advance::settle(&mut w.site, ended, ctx).unwrap();
        assert_eq!(settled.events.len(), 3, "{:?}", settled.events);
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
    crate::invariant::check(&w.site).unwrap();
}

#[test]
fn every_invariant_sees_its_rule_broken() {
    let mut w = World::new();
    w.lock("x", 2);
    let locked = || job_with("j", |j| j.locks = [(id("x"), 2)].into());
    w.deploy(workflow("locked", vec![locked()]));
    w.deploy(workflow("forked", vec![fork("f", WhenFailed::Join, vec![("a", vec![job("k")])])]));
    let later = w.now + TimeDelta::hours(1);
    let (holder, queued) = (w.add("locked"), w.add("locked"));
    let forked = w.add("forked");
    let scheduled = w.add_with("locked", |o| o.due_at = Some(later)).unwrap();
    let done = w.add_with("locked", |o| o.held = true).unwrap();
    w.cancel(&done, false).unwrap();
    let start = crate::order::command::StartKey { schedule: "s".into(), parameterisation: "p".into(), instant: w.now };
    w.add_with("locked", |o| (o.held, o.start) = (true, Some(start))).unwrap();
    let run = w.run_of(&holder);
    let child = w.child(&forked, "a");
    type Sabotage = Box<dyn Fn(&mut Site)>;
    let sabotage: Vec<(&str, Sabotage)> = vec![
        ("locks_are_within_capacity", Box::new(|s| s.locks.get_mut("x").unwrap().definition.capacity = 1)),
        (
            "resources_are_held_by_live_runs_alone",
            Box::new(|s| {
                s.resources.0.values_mut().next().unwrap().held.values_mut().for_each(|weight| *weight = 1);
            }),
        ),
        ("runs_hold_what_they_demand", Box::new(|s| s.resources.0.values_mut().next().unwrap().held.clear())),
        (
            "queues_hold_queued_orders_alone",
            Box::new({
                let (scheduled, ticket) = (scheduled.clone(), w.site.tickets);
                move |s| {
                    s.resources.0.values_mut().next().unwrap().queue.insert((0, ticket, scheduled.clone()));
                }
            }),
        ),
        (
            "queued_orders_are_in_all_their_queues",
            Box::new(|s| s.resources.0.values_mut().next().unwrap().queue.clear()),
        ),
        (
            "idle_resources_are_forgotten",
            Box::new(|s| {
                s.resources
                    .0
                    .insert(crate::order::event::Resource::Job { workflow: id("w"), job: id("j") }, Default::default());
            }),
        ),
        (
            "processing_orders_have_their_run",
            Box::new({
                let child = child.clone();
                move |s| {
                    s.runs.retain(|_, r| r.order != child);
                }
            }),
        ),
        (
            "runs_have_their_processing_order",
            Box::new({
                let child = child.clone();
                move |s| s.orders.get_mut(&child).unwrap().state = crate::order::OrderState::Ready
            }),
        ),
        ("timers_match_states", Box::new(|s| s.timers.clear())),
        (
            "parents_know_their_children",
            Box::new({
                let forked = forked.clone();
                move |s| s.orders.get_mut(&forked).unwrap().state = crate::order::OrderState::Ready
            }),
        ),
        (
            "children_know_their_parents",
            Box::new({
                let child = child.clone();
                move |s| s.orders.get_mut(&child).unwrap().parent = None
            }),
        ),
        (
            "marks_are_on_orders_that_must_stop",
            Box::new({
                let scheduled = scheduled.clone();
                move |s| {
                    s.orders.get_mut(&scheduled).unwrap().mark = Some(crate::order::state::Mark::Cancel { kill: false })
                }
            }),
        ),
        (
            "suspended_orders_do_nothing",
            Box::new({
                let queued = queued.clone();
                move |s| s.orders.get_mut(&queued).unwrap().suspended = true
            }),
        ),
        (
            "started_orders_stand_somewhere",
            Box::new({
                let queued = queued.clone();
                move |s| s.orders.get_mut(&queued).unwrap().position = None
            }),
        ),
        (
            "kills_have_a_reason",
            Box::new({
                let holder = holder.clone();
                move |s| {
                    s.orders.get_mut(&holder).unwrap().mark = Some(crate::order::state::Mark::Cancel { kill: true })
                }
            }),
        ),
        ("counters_are_above_all_ids", Box::new(|s| s.counters.clear())),
        ("ended_orders_are_listed_once", Box::new(|s| s.ended.clear())),
        ("command_memory_agrees", Box::new(|s| s.commands.by_time.clear())),
        ("schedules_with_starts_have_a_watermark", Box::new(|s| s.starts.watermarks.clear())),
        (
            "series_match_orders",
            Box::new(|s| {
                let series = crate::order::series::Series { schedule: "s".into(), parameterisation: "p".into() };
                s.series.0.entry(series).or_default().running.insert(id("20261122-P9-w"));
            }),
        ),
        ("versions_are_consecutive", Box::new(|s| s.workflows.get_mut("locked").unwrap().version = 7)),
    ];
    assert!(w.site.runs.contains_key(&run));
    let names: Vec<&str> = sabotage.iter().map(|(name, _)| *name).collect();
    let all: Vec<&str> = crate::invariant::INVARIANTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, all);
    for (name, break_it) in &sabotage {
        let mut site = w.site.clone();
        break_it(&mut site);
        let (_, holds) = crate::invariant::INVARIANTS.iter().find(|(n, _)| n == name).unwrap();
        assert!(holds(&site).is_err(), "{name} does not see it");
        assert!(crate::invariant::check(&site).is_err());
    }
}

#[test]
fn an_order_stays_small_in_memory() {
    // 100,000 waiting orders: every 100 bytes here are 10 MB.
    assert!(size_of::<crate::order::Order>() <= 640, "{}", size_of::<crate::order::Order>());
}
