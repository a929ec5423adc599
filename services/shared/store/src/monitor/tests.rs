use super::board::{Board, Place, names};
use super::raise::Telling;
use super::watched::{Watch, Watched};
use chrono::{DateTime, TimeDelta};
use ordo_contract::request::monitor::{Incident, Object, OrderFacts};
use ordo_domain::alert::{Kind, Rule, Scope, Trigger};
use ordo_domain::order::event::*;
use ordo_domain::run::event::RunClaimed;
use ordo_domain::workflow::WhenFailed;
use ordo_domain::{ContentHash, DefinitionName, Event, Failure, Instant, Outcome, RunId, Span};
use std::collections::BTreeSet;

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn at(second: i64) -> Instant {
    DateTime::from_timestamp(1_795_300_000 + second, 0).unwrap()
}

fn rule(on: &[Trigger]) -> Rule {
    let name = DefinitionName::new("nights").unwrap();
    let fold = Span::from_secs(300);
    Rule { name, title: None, scope: Scope::default(), on: on.to_vec(), notify: Vec::new(), fold, enabled: true }
}

struct World {
    board: Board,
    sequence: u64,
}

impl World {
    fn new(on: &[Trigger]) -> Self {
        Self { board: Board::new(&[rule(on)]), sequence: 0 }
    }

    fn take(&mut self, second: i64, event: impl Into<Event>) {
        self.sequence += 1;
        let event = event.into();
        // All that it touches is named before, so that it is read.
        let (mut orders, mut runs) = (BTreeSet::new(), BTreeSet::new());
        names(&event, &mut orders, &mut runs);
        assert!(event.order().is_none_or(|order| orders.contains(order.as_str())), "{event:?}");
        self.board.take(&event, Place { sequence: self.sequence, index: 0, at: at(second) });
    }

    fn add(&mut self, order: &str) {
        let added = OrderAdded {
            order: id(order),
            workflow: WorkflowRef { name: id("sales"), version: 3, hash: ContentHash::of(b"x") },
            title: None,
            folder: None,
            tags: Default::default(),
            business_day: "2026-11-22".parse().unwrap(),
            priority: 0,
            due_at: Some(at(0)),
            held: false,
            late: Default::default(),
            arguments: Default::default(),
            start: None,
            overlap: Default::default(),
            by: ordo_domain::command::By { user: id("ops"), reason: None },
            counter: 1,
            command: None,
        };
        self.take(0, added);
    }

    fn start(&mut self, order: &str) {
        self.take(1, OrderStarted { order: id(order), position: id("extract"), late_by: None });
    }

    fn fork(&mut self, order: &str, when_failed: WhenFailed) {
        let child = |branch: &str| Child {
            order: id(&format!("{order}:{branch}")),
            branch: id(branch),
            position: Some(id(&format!("loads:{branch}/load"))),
            call: None,
        };
        let children = vec![child("east"), child("west")];
        self.take(2, OrderForked { order: id(order), position: id("loads"), when_failed, children });
    }

    fn fail(&mut self, second: i64, order: &str, position: &str, failure: Failure) {
        self.take(second, OrderFailed { order: id(order), position: Some(id(position)), failure });
    }

    fn told(&mut self) -> Vec<(Kind, String)> {
        let telling = std::mem::take(&mut self.board.telling);
        telling
            .into_iter()
            .filter(|one| !matches!(one, Telling::Rerun { .. }))
            .map(|one| match one {
                Telling::Raise(raised) => (raised.incident.kind, words(&raised.incident)),
                Telling::Recover { object, .. } => (Kind::Recovered, object),
                Telling::Rerun { .. } => unreachable!(),
            })
            .collect()
    }
}

fn words(incident: &Incident) -> String {
    let Object::Order(order) = &incident.object else { panic!("no order") };
    let OrderFacts { order, position, failed_order, .. } = order.as_ref();
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    format!("{} at {} of {}: {}", text(order), text(position), text(failed_order), incident.text)
}

const ORDER: &str = "20261122-P7-sales";

#[test]
fn a_branch_that_ends_its_fork_is_told_once_with_the_order_and_says_where_it_was() {
    let mut world = World::new(&[Trigger::Failed]);
    world.add(ORDER);
    world.start(ORDER);
    world.fork(ORDER, WhenFailed::Join);
    let west = format!("{ORDER}:west");
    world.fail(3, &west, "loads:west/load", Failure::ExitCode { return_code: 75 });
    assert_eq!(world.told(), []);
    let failure = Failure::BranchFailed { branch: id("west"), order: id(&west) };
    let outcome: Outcome = failure.clone().into();
    world.take(4, OrderJoined { order: id(ORDER), position: id("loads"), outcome });
    world.fail(5, ORDER, "loads", failure);
    assert_eq!(world.told(), [(Kind::Failed, format!("{ORDER} at loads:west/load of {west}: exit code 75"))]);
}

#[test]
fn a_branch_for_which_its_fork_waits_is_told_at_once() {
    let mut world = World::new(&[Trigger::Failed]);
    world.add(ORDER);
    world.start(ORDER);
    world.fork(ORDER, WhenFailed::Wait);
    let west = format!("{ORDER}:west");
    world.fail(3, &west, "loads:west/load", Failure::ExitCode { return_code: 75 });
    assert_eq!(world.told(), [(Kind::Failed, format!("{west} at loads:west/load of {west}: exit code 75"))]);
    world.take(4, OrderResumed { order: id(&west), to: None, left: Vec::new() });
    world.take(5, OrderFinished { order: id(&west), message: None });
    assert_eq!(world.told(), [(Kind::Recovered, west)]);
}

#[test]
fn a_failure_that_was_caught_is_not_what_a_later_one_says() {
    let mut world = World::new(&[Trigger::Failed]);
    world.add(ORDER);
    world.start(ORDER);
    let caught = OrderCaught {
        order: id(ORDER),
        block: id("try1"),
        failed_at: id("load"),
        failure: Failure::ExitCode { return_code: 75 },
        to: id("quarantine"),
        left: Vec::new(),
    };
    world.take(2, caught);
    world.fail(3, ORDER, "fail1", Failure::Fail { message: "region west not loaded".into() });
    let said = world.board.telling.clone();
    assert_eq!(world.told(), [(Kind::Failed, format!("{ORDER} at fail1 of {ORDER}: region west not loaded"))]);
    let Telling::Raise(raised) = &said[0] else { panic!() };
    assert!(matches!(&raised.incident.object, Object::Order(order) if order.said && order.run.is_none()));
}

#[test]
fn the_same_event_has_the_same_id_whenever_it_is_read() {
    let tell = || {
        let mut world = World::new(&[Trigger::Failed]);
        world.add(ORDER);
        world.fail(3, ORDER, "load", Failure::ExitCode { return_code: 1 });
        let Telling::Raise(raised) = world.board.telling.remove(0) else { panic!() };
        raised.incident.id
    };
    assert_eq!(tell(), tell());
    assert_eq!(tell(), format!("{}-2-0", at(3).format("%Y%m%d")));
}

#[test]
fn an_order_that_was_added_before_the_monitor_looked_is_told_by_its_id() {
    let mut world = World::new(&[Trigger::Failed]);
    world.fail(3, "20261122-P7-nightly-sales", "load", Failure::ExitCode { return_code: 1 });
    let Telling::Raise(raised) = world.board.telling.remove(0) else { panic!() };
    assert_eq!((raised.thing.as_str(), raised.business_day), ("nightly-sales", "2026-11-22".parse().ok()));
    assert_eq!(Watched::guessed("x").facts.workflow, "x");
    assert!(!Watched::guessed("20261122-P7-a:west").is_root());
}

#[test]
fn waiting_for_a_lock_and_then_for_an_agent_is_one_wait() {
    let limit = Span::from_secs(600);
    let mut world = World::new(&[Trigger::WaitsTooLong { longer_than: limit }]);
    world.add(ORDER);
    world.start(ORDER);
    world.take(2, OrderQueued { order: id(ORDER), position: id("load"), resources: Vec::new() });
    let watch = Watch { kind: Kind::WaitsTooLong, order: ORDER.into(), longer_than: limit, since: at(2) };
    world.board.lasted(&watch, at(2) + TimeDelta::minutes(11));
    assert_eq!(world.told(), [(Kind::WaitsTooLong, format!("{ORDER} at load of : longer than 10m"))]);
    let run = RunId::from_bits(1);
    let mut watched = Watched::guessed(ORDER);
    (watched.run, watched.waits_since, watched.is_told_of) = (Some(run.to_string()), Some(at(2)), true);
    world.board.put(ORDER.into(), watched);
    world.take(700, RunClaimed { run, instance: id("e1") });
    assert_eq!(world.told(), [(Kind::Recovered, ORDER.to_owned())]);
    world.board.lasted(&watch, at(900));
    assert_eq!(world.told(), [], "it waits no more");
}

#[test]
fn timers_go_with_what_they_are_for() {
    let limit = Span::from_secs(60);
    let mut world =
        World::new(&[Trigger::NotStarted { longer_than: limit }, Trigger::RunsTooLong { longer_than: limit }]);
    world.add(ORDER);
    world.start(ORDER);
    world.take(2, OrderFinished { order: id(ORDER), message: None });
    let written = world.board.finish();
    assert!(written.set.is_empty() && written.changed.is_empty(), "what ended within a batch leaves nothing");
    assert_eq!((written.cancelled.len(), written.gone.len()), (2, 1));
}

#[test]
fn what_is_held_is_not_missed() {
    let limit = Span::from_secs(60);
    let mut world = World::new(&[Trigger::NotStarted { longer_than: limit }]);
    world.add(ORDER);
    world.take(1, OrderSuspended { order: id(ORDER) });
    let watch = Watch { kind: Kind::NotStarted, order: ORDER.into(), longer_than: limit, since: at(0) };
    world.board.lasted(&watch, at(61));
    assert_eq!(world.told(), []);
    world.take(70, OrderResumed { order: id(ORDER), to: None, left: Vec::new() });
    world.board.lasted(&watch, at(71));
    assert_eq!(world.told().len(), 1);
}

#[test]
fn a_start_that_its_late_policy_skips_is_not_started() {
    let mut world = World::new(&[Trigger::NotStarted { longer_than: Span::from_secs(60) }]);
    world.add(ORDER);
    let reason = CancelReason::Late { late_by: Span::from_secs(7_200) };
    world.take(2, OrderCancelled { order: id(ORDER), reason });
    assert_eq!(world.told().len(), 1);
    world.add("20261122-P8-sales");
    world.take(3, OrderCancelled { order: id("20261122-P8-sales"), reason: CancelReason::Requested });
    assert_eq!(world.told(), [], "somebody wanted it so");
}

#[test]
fn a_rerun_is_of_the_same_workflow_day_and_arguments_and_began_later() {
    let mut world = World::new(&[Trigger::Failed]);
    world.add(ORDER);
    world.fail(3, ORDER, "load", Failure::ExitCode { return_code: 1 });
    let Telling::Raise(raised) = world.board.telling.remove(0) else { panic!() };
    world.add("20261122-D8-sales");
    world.take(10, OrderStarted { order: id("20261122-D8-sales"), position: id("extract"), late_by: None });
    world.take(12, OrderFinished { order: id("20261122-D8-sales"), message: None });
    let [Telling::Rerun { series, since, .. }] = world.board.telling.as_slice() else { panic!() };
    assert_eq!((Some(series), *since), (raised.series.as_ref(), at(10)));
    assert!(series.starts_with("sales/2026-11-22/"), "{series}");
}
