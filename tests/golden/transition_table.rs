//! `transition_table.txt`: what each event does to an order in each state, by asking `apply`. One line each; the file is
//! reviewed. `UPDATE_GOLDEN=1` writes it anew.

use crate::transition_samples::{self as samples, ORDER, OTHER_RUN, RUN, id};
use ordo_domain::{
    Event, OrderId, Outcome, Site,
    apply::apply,
    order::{Order, event::*, state::Mark},
    run::{RunEnd, event::*},
    workflow::WhenFailed,
};
use std::{collections::BTreeSet, fmt::Write, fs, path::PathBuf};

fn order() -> OrderId {
    id(ORDER)
}

fn add(change: impl FnOnce(&mut OrderAdded)) -> Event {
    let mut added = samples::added();
    added.start = None;
    added.command = None;
    change(&mut added);
    added.into()
}

fn started() -> Vec<Event> {
    vec![add(|_| {}), OrderStarted { order: order(), position: id("a"), late_by: None }.into()]
}

fn dispatched(run: &str) -> Event {
    RunDispatched {
        run: id(run),
        order: order(),
        position: id("a"),
        job: id("a"),
        agent: id("etl"),
        attempt: 1,
        resources: samples::demands(),
        spec: samples::spec(),
    }
    .into()
}

fn ended(outcome: Option<Outcome>) -> Event {
    let facts = samples::facts(RunEnd::Exited { code: 0 });
    RunEnded { run: id(RUN), order: order(), position: id("a"), facts, outcome }.into()
}

fn forked() -> Event {
    let mut children = samples::children();
    children.remove(1);
    OrderForked { order: order(), position: id("a"), when_failed: WhenFailed::Join, children }.into()
}

fn retrying() -> Event {
    let (block, failed_at, to) = (id("t"), id("a"), id("a"));
    let failure = samples::failure();
    OrderRetrying { order: order(), block, failed_at, failure, attempt: 2, until: samples::at(50), to, left: vec![] }
        .into()
}

fn waits() -> Event {
    OrderWaits { order: order(), earlier: id("20261121-P1-w") }.into()
}

fn cancel_requested() -> Event {
    OrderCancelRequested { order: order(), kill: false }.into()
}

fn suspend_requested() -> Event {
    OrderSuspendRequested { order: order(), kill: false }.into()
}

fn suspended() -> Event {
    OrderSuspended { order: order() }.into()
}

fn resumed(to: Option<&str>) -> Event {
    OrderResumed { order: order(), to: to.map(id), left: vec![] }.into()
}

fn failed() -> Event {
    OrderFailed { order: order(), position: Some(id("a")), failure: samples::failure() }.into()
}

fn then(mut events: Vec<Event>, more: impl IntoIterator<Item = Event>) -> Vec<Event> {
    events.extend(more);
    events
}

/// How an order comes into each state.
fn states() -> Vec<(&'static str, Vec<Event>)> {
    let running = || then(started(), [dispatched(RUN)]);
    let claimed = || then(running(), [RunClaimed { run: id(RUN), instance: id("i1") }.into()]);
    let branch = id::<OrderId>(&format!("{ORDER}:p"));
    let branch_ended = OrderFinished { order: branch, message: None };
    let queued = OrderQueued { order: order(), position: id("a"), resources: samples::demands() };
    vec![
        ("unknown", vec![]),
        ("scheduled", vec![add(|_| {})]),
        ("waits behind another", vec![add(|o| o.start = Some(samples::start())), waits()]),
        ("held", vec![add(|o| o.held = true)]),
        ("ready, not started", vec![add(|o| (o.held, o.due_at) = (true, None)), resumed(None)]),
        ("ready", started()),
        ("ready, suspended", then(started(), [suspended()])),
        ("queued", then(started(), [queued.into()])),
        ("sent", running()),
        ("running", claimed()),
        ("running, to be cancelled", then(claimed(), [cancel_requested()])),
        ("running, to be suspended", then(claimed(), [suspend_requested()])),
        ("step ended well", then(claimed(), [ended(Some(Outcome::Succeeded))])),
        ("step failed", then(claimed(), [ended(Some(samples::failure().into()))])),
        ("step ended well, to be cancelled", then(claimed(), [cancel_requested(), ended(Some(Outcome::Succeeded))])),
        ("retrying", then(started(), [retrying()])),
        ("retrying, suspended", then(started(), [retrying(), suspended()])),
        ("forked", then(started(), [forked()])),
        ("forked, to be cancelled", then(started(), [forked(), cancel_requested()])),
        ("forked, to be suspended", then(started(), [forked(), suspend_requested()])),
        ("forked, suspended", then(started(), [forked(), suspended()])),
        ("branches ended", then(started(), [forked(), branch_ended.into()])),
        ("failed", then(started(), [failed()])),
        ("failed, suspended", then(started(), [failed(), suspended()])),
        ("finished", then(started(), [OrderFinished { order: order(), message: None }.into()])),
        ("cancelled", then(started(), [OrderCancelled { order: order(), reason: CancelReason::Requested }.into()])),
    ]
}

/// What happens to it: with a word where an event comes in several forms.
fn events() -> Vec<(&'static str, Event)> {
    let caught = |to: &str| {
        let (block, failed_at, failure) = (id("t"), id("a"), samples::failure());
        OrderCaught { order: order(), block, failed_at, failure, to: id(to), left: vec![] }.into()
    };
    vec![
        ("", add(|_| {})),
        ("", waits()),
        ("", OrderStarted { order: order(), position: id("a"), late_by: None }.into()),
        ("", OrderMoved { order: order(), to: id("b"), left: vec![] }.into()),
        ("", OrderTried { order: order(), block: id("a"), to: id("b") }.into()),
        ("", OrderQueued { order: order(), position: id("a"), resources: samples::demands() }.into()),
        ("", forked()),
        ("", OrderJoined { order: order(), position: id("a"), outcome: Outcome::Succeeded }.into()),
        ("to catch steps", caught("c")),
        ("without catch steps", caught("t")),
        ("", retrying()),
        ("", OrderAwoke { order: order() }.into()),
        ("", failed()),
        ("", OrderFinished { order: order(), message: None }.into()),
        ("", cancel_requested()),
        ("", OrderCancelled { order: order(), reason: CancelReason::Requested }.into()),
        ("", suspend_requested()),
        ("", suspended()),
        ("", resumed(None)),
        ("elsewhere", resumed(Some("b"))),
        ("", OrdersForgotten { orders: vec![order()] }.into()),
        ("", dispatched(OTHER_RUN)),
        ("", RunClaimed { run: id(RUN), instance: id("i1") }.into()),
        ("", RunKillRequested { run: id(RUN) }.into()),
        ("with an outcome", ended(Some(Outcome::Succeeded))),
        ("to run again", ended(None)),
    ]
}

/// Agent, lock and workflow are there.
fn site() -> Site {
    let mut site = Site::default();
    for event in samples::all() {
        if matches!(
            event,
            Event::AgentAdded(_) | Event::AgentReady(_) | Event::LockDeployed(_) | Event::WorkflowDeployed(_)
        ) {
            apply(&mut site, samples::at(0), &event).unwrap();
        }
    }
    site
}

fn describe(site: &Site) -> String {
    let Some(order) = site.orders.get(ORDER) else { return "unknown".into() };
    let mut text = order.state.word().to_owned();
    if let Some(position) = &order.position {
        write!(text, " at {position}").unwrap();
    }
    describe_marks(order, &mut text);
    if let Some(run) = site.runs.get(RUN).filter(|r| r.kill_requested) {
        write!(text, ", run of {} being killed", run.order).unwrap();
    }
    text
}

fn describe_marks(order: &Order, text: &mut String) {
    if order.suspended {
        text.push_str(", suspended");
    }
    match order.mark {
        None => {}
        Some(Mark::Cancel { .. }) => text.push_str(", to be cancelled"),
        Some(Mark::Suspend { .. }) => text.push_str(", to be suspended"),
    }
}

fn table() -> String {
    let mut table = String::from("state × event → state, or why it is refused\n");
    for (state, history) in states() {
        let mut site = site();
        for event in &history {
            apply(&mut site, samples::at(1), event).unwrap_or_else(|e| panic!("{state}: {e}"));
        }
        ordo_domain::invariant::check(&site).unwrap_or_else(|e| panic!("{state}: {e}"));
        writeln!(table, "\n{state}: {}", describe(&site)).unwrap();
        for (form, event) in events() {
            let form = if form.is_empty() { String::new() } else { format!(" ({form})") };
            let name = format!("{}{form}", event.name());
            let mut after = site.clone();
            match apply(&mut after, samples::at(2), &event) {
                Err(refused) => {
                    assert_eq!(after, site, "{state} × {name} is refused and has changed something");
                    writeln!(table, "  {name:<36} refused: {}", refused.why).unwrap();
                }
                Ok(()) => writeln!(table, "  {name:<36} {}", describe(&after)).unwrap(),
            }
        }
    }
    table
}

#[test]
fn the_transition_table_is_as_reviewed() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/transition_table.txt");
    let table = table();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &table).unwrap();
    }
    let reviewed = fs::read_to_string(&path).unwrap_or_default();
    let differs = table.lines().zip(reviewed.lines()).find(|(now, then)| now != then);
    assert!(
        table == reviewed,
        "{} differs, first in {differs:?}; look at it, then UPDATE_GOLDEN=1 writes it anew",
        path.display()
    );
}

#[test]
fn every_event_is_in_the_table_or_touches_no_order() {
    let in_table: BTreeSet<&str> = events().iter().map(|(_, event)| event.name()).collect();
    let mut site = site();
    for event in states().remove(8).1 {
        apply(&mut site, samples::at(1), &event).unwrap();
    }
    for event in samples::all().iter().filter(|e| !in_table.contains(e.name())) {
        let mut after = site.clone();
        // Refused where it is there already: it does nothing to orders all the same.
        let _ = apply(&mut after, samples::at(2), event);
        assert_eq!((&after.orders, &after.runs), (&site.orders, &site.runs), "{}", event.name());
    }
    assert_eq!(samples::all().len(), Event::NAMES.len());
}
