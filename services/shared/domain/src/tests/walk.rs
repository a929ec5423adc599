//! Random walks: whatever people and agents do in whatever order, every invariant holds after each step, a replay gives the
//! same state, nothing is left undecided, and in the end every order can be brought to its end.

use super::*;
use crate::{
    OrderId, Refusal, advance, apply,
    order::{
        OrderState,
        command::{CancelOrders, Overlap, StartKey},
        event::OrdersForgotten,
    },
    run::{Report, RunEnd, RunState},
};
use chrono::TimeDelta;
use serde_json::json;

/// SplitMix64: the walk of a seed is the same for ever.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }
    fn one_in(&mut self, n: usize) -> bool {
        self.roll(n) == 0
    }
    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.roll(from.len())].clone()) }
    }
}

fn locked(label: &str, lock: &str, weight: u32) -> crate::workflow::Step {
    job_with(label, |j| j.locks = [(id(lock), weight)].into())
}

/// All kinds of steps inside each other.
fn workflows(variant: usize) -> Vec<crate::workflow::Workflow> {
    let both = job_with("j1", |j| j.locks = [(id("x"), 2), (id("y"), 1)].into());
    let inner = vec![
        locked("i1", "x", 1),
        try_catch("it", vec![job("i2")], Some(&[5]), vec![]),
        if_else("iif", "i1.returnCode == 0", vec![finish("ifin", "early")], vec![job("i3")]),
    ];
    let busy = |p: &str| vec![locked(&format!("{p}1"), "y", 2), job_with(&format!("{p}2"), |j| j.warning = [4].into())];
    let deep = fork(
        "g",
        WhenFailed::CancelOthers,
        vec![("u", busy("u")), ("v", vec![call("c", "inner", json!({}))]), ("e", vec![])],
    );
    let block = try_when(
        "t",
        vec![deep],
        &[3, 9],
        "error.code == 'branch_failed'",
        vec![job_with("tidy", |j| j.restartable = false)],
    );
    let outer = vec![
        job_with("o1", |j| (j.parallel, j.locks) = (Some(2), [(id("x"), 1)].into())),
        fork(
            "f",
            WhenFailed::Wait,
            vec![
                ("a", vec![block]),
                ("b", vec![fork("h", WhenFailed::Join, vec![("p", busy("p")), ("q", busy("q"))])]),
            ],
        ),
        try_catch("quiet", vec![locked("o2", "x", 3)], None, vec![]),
        job(&format!("last{variant}")),
    ];
    vec![workflow("inner", inner), workflow("outer", outer), workflow("plain", vec![both, locked("j2", "y", 1)])]
}

fn lock(name: &str, capacity: u32) -> crate::lock::LockDefinition {
    crate::lock::LockDefinition { name: id(name), title: None, capacity }
}

fn begin() -> World {
    let mut w = World::new();
    w.try_deploy(workflows(0), vec![lock("x", 3), lock("y", 2)]).unwrap();
    w
}

fn orders(w: &World, wanted: impl Fn(&crate::order::Order) -> bool) -> Vec<OrderId> {
    w.site.orders.values().filter(|o| wanted(o)).map(|o| o.id.clone()).collect()
}

fn step_of(w: &mut World, dice: &mut Dice) -> Result<(), Refusal> {
    let top = orders(w, |o| o.parent.is_none() || matches!(o.state, OrderState::Failed { .. }));
    let Some(order) = dice.pick(&top) else { return add(w, dice) };
    match dice.roll(24) {
        0..=3 => add(w, dice),
        4 if dice.one_in(3) => {
            let taken_back = CancelOrders { orders: top, kill: false, replan: true };
            w.command(crate::Command::CancelOrders(taken_back)).map(drop)
        }
        4 => w.cancel(&order, dice.one_in(2)).map(drop),
        5 | 6 => w.suspend(&order, dice.one_in(2)).map(drop),
        7..=9 => w.resume(&order).map(drop),
        10 => {
            let label = dice.pick(&["o1", "f", "quiet", "o2", "last0", "j2", "u2", "tidy", "i3"]).unwrap();
            w.resume_at(&order, label).map(drop)
        }
        11 => {
            w.pass(TimeDelta::seconds(i64::try_from(dice.roll(8)).unwrap()));
            Ok(())
        }
        12 => {
            let locks = vec![
                lock("x", 3 + u32::try_from(dice.roll(3)).unwrap()),
                lock("y", 2 + u32::try_from(dice.roll(2)).unwrap()),
            ];
            w.try_deploy(workflows(dice.roll(3)), locks).map(drop)
        }
        13 => {
            let ended = w.site.ended.iter().take(dice.roll(4)).cloned().collect();
            w.settle(vec![OrdersForgotten { orders: ended }.into()]);
            Ok(())
        }
        14 => crash(w, dice),
        _ => {
            agent(w, dice);
            Ok(())
        }
    }
}

fn add(w: &mut World, dice: &mut Dice) -> Result<(), Refusal> {
    let name = dice.pick(&["outer", "outer", "plain", "inner"]).unwrap();
    let due = w.now + TimeDelta::seconds(i64::try_from(dice.roll(10)).unwrap());
    let (held, later, priority) = (dice.one_in(6), dice.one_in(3), i16::try_from(dice.roll(3)).unwrap());
    let overlaps = [None, None, Some(Overlap::Start), Some(Overlap::Skip), Some(Overlap::Wait), Some(Overlap::Wait)];
    let (planned, series) = (dice.pick(&overlaps).flatten(), dice.roll(2));
    w.add_with(name, |o| {
        (o.held, o.priority) = (held, Some(priority));
        o.due_at = later.then_some(due);
        if let Some(overlap) = planned {
            o.overlap = overlap;
            let (schedule, parameterisation) = (format!("s{series}"), "p".to_owned());
            o.start = Some(StartKey { schedule, parameterisation, instant: due });
        }
    })
    .map(drop)
}

/// Only the decision itself reached the journal; the next controller finds what follows.
fn crash(w: &mut World, dice: &mut Dice) -> Result<(), Refusal> {
    let runs: Vec<_> = w.site.runs.keys().cloned().collect();
    let Some(run) = dice.pick(&runs) else { return Ok(()) };
    for event in crate::decide::lost(&w.site, &run, "crash", w.ctx()) {
        apply::apply(&mut w.site, w.now, &event).unwrap();
        apply::apply(&mut w.replica, w.now, &event).unwrap();
    }
    let everything = advance::everything(&w.site);
    let ctx = crate::Ctx { now: w.now, zone: w.zone, ids: &w.ids, definitions: &w.bodies };
    let settled = advance::settle_touched(&mut w.site, everything, ctx).unwrap();
    for event in &settled.events {
        apply::apply(&mut w.replica, w.now, event).unwrap();
    }
    assert!(settled.rest.is_empty());
    w.settle(vec![]);
    Ok(())
}

/// Some run goes on: claimed, refused or ended in some way.
fn agent(w: &mut World, dice: &mut Dice) {
    let runs: Vec<_> = w.site.runs.keys().cloned().collect();
    let Some(run) = dice.pick(&runs) else { return };
    let known = &w.site.runs[&run];
    let (is_killed, order) = (known.kill_requested, known.order.clone());
    if matches!(known.state, RunState::Dispatched { .. }) {
        let report = if is_killed && dice.one_in(2) { Report::Refused { run } } else { Report::Accepted { run } };
        w.report("etl", "i1", report);
        return;
    }
    let end = match dice.roll(10) {
        _ if is_killed && !dice.one_in(5) => RunEnd::Killed,
        0 | 1 => RunEnd::Exited { code: 1 },
        2 => RunEnd::Exited { code: 4 },
        3 => RunEnd::Signalled { signal: 9 },
        4 => RunEnd::Lost { reason: "the runner died".into() },
        5 => RunEnd::TimedOut { limit: crate::Span::from_secs(1) },
        _ => RunEnd::Exited { code: 0 },
    };
    w.ends(&order, end);
}

/// People resume everything, every job ends well; what fails again is cancelled.
fn finish_all(w: &mut World) {
    for round in 0..2_000 {
        let open = orders(w, |o| !o.state.is_terminated());
        if open.is_empty() {
            return;
        }
        for order in &open {
            let Some(known) = w.site.orders.get(order) else { continue };
            let (is_failed, is_stopped) = (matches!(known.state, OrderState::Failed { .. }), known.suspended);
            let _ = match (is_failed, is_stopped) {
                (true, _) if round > 50 => w.cancel(order, false).map(drop),
                (true, _) | (_, true) => w.resume(order).map(drop),
                (false, false) => Ok(()),
            };
        }
        for (run, order) in w.site.runs.values().map(|r| (r.id.clone(), r.order.clone())).collect::<Vec<_>>() {
            if w.site.runs.contains_key(&run) {
                w.exits(&order, 0);
            }
        }
        w.pass(TimeDelta::seconds(10));
    }
    panic!("orders that never end: {:#?}", w.site.orders);
}

fn walk(seed: u64, steps: usize) {
    let mut w = begin();
    let mut dice = Dice(seed);
    for _ in 0..steps {
        let _ = step_of(&mut w, &mut dice);
    }
    finish_all(&mut w);
    assert!(w.site.runs.is_empty() && w.site.resources.0.is_empty() && w.site.timers.is_empty());
}

#[test]
fn random_walks_hold_every_invariant_and_end() {
    let seeds = std::env::var("ORDO_WALKS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    for seed in 0..seeds {
        let walked = std::panic::catch_unwind(|| walk(seed, 120));
        assert!(walked.is_ok(), "seed {seed}");
    }
}

#[test]
fn random_walks_see_every_order_event() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 1_000..1_040 {
        let mut w = begin();
        let mut dice = Dice(seed);
        for _ in 0..150 {
            let _ = step_of(&mut w, &mut dice);
        }
        seen.extend(w.events.iter().map(crate::Event::name));
    }
    let missing: Vec<_> = crate::Event::NAMES
        .iter()
        .filter(|n| (n.starts_with("Order") || n.starts_with("Run")) && !seen.contains(*n))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
