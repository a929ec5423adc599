//! A batch of events on the orders that are watched: what is raised, what recovers, which timers are set. Pure.
//!
//! The file is longer than others: what each event means is read in one place.

use super::raise::{Raised, Telling};
use super::watched::{MEASURED, Seen, Stage, Watch, Watched};
use crate::timer::Timer;
use chrono::NaiveDate;
use ordo_contract::request::monitor::{ControllerFacts, Incident, Object, OrderFacts};
use ordo_domain::alert::{Kind, Rule, Subject};
use ordo_domain::order::event::{CancelReason, Child, OrderAdded};
use ordo_domain::workflow::WhenFailed;
use ordo_domain::{ContentHash, Event, Failure, Instant, OrderId, Span};
use std::collections::{BTreeMap, BTreeSet};

/// The controller that was activated last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControllerSeen {
    pub(crate) instance: String,
    pub(crate) epoch: u64,
    pub(crate) handed_over: bool,
}

/// Where an event stands in the journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    pub(crate) index: u32,
    pub(crate) at: Instant,
}

impl Place {
    /// `20261122-48213-0`
    fn id(&self) -> String {
        format!("{}-{}-{}", self.at.format("%Y%m%d"), self.sequence, self.index)
    }
}

/// What is worked on in memory until the transaction is written.
#[derive(Default)]
pub(crate) struct Board {
    pub(crate) rules: Vec<Rule>,
    orders: BTreeMap<String, Watched>,
    runs: BTreeMap<String, String>,
    changed: BTreeSet<String>,
    gone: BTreeSet<String>,
    /// Orders whose branches are no longer watched, also those that are not on the board.
    families: BTreeSet<String>,
    timers: BTreeMap<String, Option<Timer>>,
    pub(crate) controller: Option<ControllerSeen>,
    pub(crate) controller_changed: bool,
    /// Title, folder and tags of workflows of which no order could be made, from their last order.
    pub(crate) workflows: BTreeMap<String, OrderFacts>,
    /// In the order in which it happened.
    pub(crate) telling: Vec<Telling>,
}

/// What is written of orders and timers.
pub(crate) struct Written {
    pub(crate) changed: Vec<(String, Watched)>,
    pub(crate) gone: Vec<String>,
    pub(crate) families: Vec<String>,
    pub(crate) set: Vec<Timer>,
    pub(crate) cancelled: Vec<String>,
}

/// Orders and runs that an event names, to be read before.
pub(crate) fn names(event: &Event, orders: &mut BTreeSet<String>, runs: &mut BTreeSet<String>) {
    let mut order = |id: &OrderId| {
        orders.insert(id.to_string());
    };
    match event {
        Event::RunClaimed(e) => {
            runs.insert(e.run.to_string());
        }
        Event::OrderForked(e) => {
            order(&e.order);
            e.children.iter().for_each(|child| order(&child.order));
        }
        Event::OrderJoined(e) => {
            order(&e.order);
            if let ordo_domain::Outcome::Failed { failure: Failure::BranchFailed { order: branch, .. } } = &e.outcome {
                order(branch);
            }
        }
        Event::OrderFailed(e) => {
            order(&e.order);
            if let Failure::BranchFailed { order: branch, .. } = &e.failure {
                order(branch);
            }
        }
        Event::OrdersForgotten(e) => e.orders.iter().for_each(order),
        other => {
            if let Some(id) = other.order() {
                order(id);
            }
        }
    }
}

impl Board {
    pub(crate) fn new(rules: &[Rule]) -> Self {
        Self { rules: rules.to_vec(), ..Self::default() }
    }

    /// Puts an order there that the database knows.
    pub(crate) fn put(&mut self, order: String, watched: Watched) {
        if let Some(run) = &watched.run {
            self.runs.insert(run.clone(), order.clone());
        }
        self.orders.insert(order, watched);
    }

    /// An order that history knows, when nothing is known here.
    pub(crate) fn know(&mut self, order: String, watched: Watched) {
        self.orders.insert(order.clone(), watched);
        self.changed.insert(order.clone());
        MEASURED.into_iter().for_each(|kind| self.watch(&order, kind));
    }

    pub(crate) fn finish(self) -> Written {
        let Self { mut orders, changed, gone, families, timers, .. } = self;
        let changed = changed.into_iter().filter_map(|id| orders.remove(&id).map(|w| (id, w))).collect();
        let (mut set, mut cancelled) = (Vec::new(), Vec::new());
        for (key, timer) in timers {
            match timer {
                Some(timer) => set.push(timer),
                None => cancelled.push(key),
            }
        }
        let (gone, families) = (gone.into_iter().collect(), families.into_iter().collect());
        Written { changed, gone, families, set, cancelled }
    }

    /// What the event means.
    pub(crate) fn take(&mut self, event: &Event, place: Place) {
        let at = place.at;
        match event {
            Event::OrderAdded(e) => self.added(e),
            Event::OrderWaits(e) => self.waits(e.order.as_str(), at),
            Event::OrderStarted(e) => self.started(e.order.as_str(), e.position.as_str(), e.late_by, place),
            Event::OrderMoved(e) => self.moved(e.order.as_str(), e.to.as_str(), at),
            Event::OrderTried(e) => self.moved(e.order.as_str(), e.to.as_str(), at),
            Event::OrderQueued(e) => {
                self.change(e.order.as_str(), |w| w.facts.position = Some(e.position.to_string()));
                self.waits(e.order.as_str(), at);
            }
            Event::OrderForked(e) => {
                let is_waited_for = e.when_failed == WhenFailed::Wait;
                self.change(e.order.as_str(), |w| w.facts.position = Some(e.position.to_string()));
                for child in &e.children {
                    self.forked(e.order.as_str(), child, is_waited_for, at);
                }
            }
            Event::OrderJoined(e) => self.joined(e.order.as_str(), &e.outcome, at),
            Event::OrderCaught(e) => self.went_on(e.order.as_str(), e.to.as_str(), at),
            Event::OrderRetrying(e) => self.went_on(e.order.as_str(), e.to.as_str(), at),
            Event::OrderFailed(e) => {
                self.failed(e.order.as_str(), e.position.as_ref().map(|p| p.as_str()), &e.failure, place);
            }
            Event::OrderFinished(e) => self.finished(e.order.as_str(), at),
            Event::OrderCancelled(e) => self.cancelled(e.order.as_str(), &e.reason, place),
            Event::OrderSuspended(e) => self.suspended(e.order.as_str(), true),
            Event::OrderResumed(e) => self.resumed(e.order.as_str(), e.to.as_ref().map(|p| p.as_str()), at),
            Event::OrdersForgotten(e) => e.orders.iter().for_each(|order| self.remove(order.as_str())),
            Event::RunDispatched(e) => {
                let (run, id) = (e.run.to_string(), e.order.to_string());
                self.runs.insert(run.clone(), id.clone());
                self.change(&id, |w| {
                    w.run = Some(run);
                    w.facts.position = Some(e.position.to_string());
                    w.facts.attempt = Some(e.attempt);
                    w.facts.agent = Some(e.agent.to_string());
                    w.facts.instance = None;
                });
                self.waits(&id, at);
            }
            Event::RunClaimed(e) => {
                if let Some(order) = self.runs.get(e.run.as_str()).cloned() {
                    self.change(&order, |w| w.facts.instance = Some(e.instance.to_string()));
                    self.waits_no_more(&order, at);
                }
            }
            Event::StartSkipped(e) => {
                let text = match e.count {
                    1 => e.reason.clone(),
                    n => format!("{n} starts skipped: {}", e.reason),
                };
                let facts =
                    OrderFacts { due_at: Some(e.start.instant), ..self.start(e.workflow.as_str(), &e.start.schedule) };
                self.no_start(facts, text, place);
            }
            Event::StartNotPlanned(e) => {
                let due_at = e.start.as_ref().map(|start| start.instant);
                let facts = OrderFacts { due_at, ..self.start(e.workflow.as_str(), e.schedule.as_str()) };
                self.no_start(facts, e.reason.clone(), place);
            }
            Event::ControllerActivated(e) => self.activated(e, place),
            Event::ControllerHandedOver(_) => {
                if let Some(controller) = &mut self.controller {
                    controller.handed_over = true;
                    self.controller_changed = true;
                }
            }
            // Named one by one: a new event does not compile until somebody thought of it here.
            Event::OrderAwoke(_)
            | Event::OrderCancelRequested(_)
            | Event::OrderSuspendRequested(_)
            | Event::RunKillRequested(_)
            | Event::RunEnded(_)
            | Event::ReportRefused(_)
            | Event::WorkflowDeployed(_)
            | Event::WorkflowRemoved(_)
            | Event::LockDeployed(_)
            | Event::DefinitionDeployed(_)
            | Event::DefinitionRemoved(_)
            | Event::ScheduleSuspended(_)
            | Event::ScheduleResumed(_)
            | Event::AgentAdded(_)
            | Event::AgentReady(_)
            | Event::AgentStopped(_)
            | Event::RoleHeld(_)
            | Event::CommandAccepted(_)
            | Event::CommandRefused(_)
            | Event::CommandFailed(_)
            | Event::StateDigest(_) => {}
        }
    }

    // ---- orders -------------------------------------------------------------------------------------------------------

    fn change(&mut self, order: &str, change: impl FnOnce(&mut Watched)) {
        let watched = self.orders.entry(order.to_owned()).or_insert_with(|| Watched::guessed(order));
        change(watched);
        self.changed.insert(order.to_owned());
        self.gone.remove(order);
    }

    fn remove(&mut self, order: &str) {
        let Some(watched) = self.orders.remove(order) else { return };
        for key in watched.timers {
            self.timers.insert(key, None);
        }
        if let Some(run) = watched.run {
            self.runs.remove(&run);
        }
        self.changed.remove(order);
        self.gone.insert(order.to_owned());
        if watched.parent.is_none() {
            self.forget_branches(order);
        }
    }

    fn forget_branches(&mut self, order: &str) {
        let prefix = format!("{order}:");
        let branches: Vec<String> = self.orders.keys().filter(|id| id.starts_with(&prefix)).cloned().collect();
        branches.iter().for_each(|branch| self.remove(branch));
        self.families.insert(order.to_owned());
    }

    fn added(&mut self, e: &OrderAdded) {
        let facts = OrderFacts {
            order: Some(e.order.to_string()),
            workflow: e.workflow.name.to_string(),
            version: Some(e.workflow.version),
            title: e.title.clone(),
            folder: e.folder.clone(),
            tags: e.tags.iter().cloned().collect(),
            business_day: Some(e.business_day),
            due_at: e.due_at,
            schedule: e.start.as_ref().map(|start| start.schedule.to_string()),
            added_by: Some(e.by.user.to_string()),
            ..OrderFacts::default()
        };
        let id = e.order.to_string();
        self.gone.remove(&id);
        let series = Some(series(e));
        self.orders.insert(id.clone(), Watched { suspended: e.held, series, ..Watched::new(facts) });
        self.changed.insert(id.clone());
        self.watch(&id, Kind::NotStarted);
    }

    fn forked(&mut self, parent: &str, child: &Child, is_waited_for: bool, at: Instant) {
        let mut facts = self.orders.get(parent).map(|p| p.facts.clone()).unwrap_or_default();
        facts.order = Some(child.order.to_string());
        facts.position = child.position.as_ref().map(ToString::to_string);
        facts.started_at = Some(at);
        (facts.agent, facts.instance, facts.attempt) = (None, None, None);
        if let Some(called) = &child.call {
            facts.workflow = called.workflow.name.to_string();
            facts.version = Some(called.workflow.version);
            facts.title.clone_from(&called.title);
            facts.folder.clone_from(&called.folder);
        }
        let id = child.order.to_string();
        self.gone.remove(&id);
        let parent = Some(parent.to_owned());
        let watched = Watched { stage: Stage::Started, parent, is_waited_for, ..Watched::new(facts) };
        self.orders.insert(id.clone(), watched);
        self.changed.insert(id);
    }

    fn started(&mut self, order: &str, position: &str, late_by: Option<Span>, place: Place) {
        self.change(order, |w| {
            w.stage = Stage::Started;
            w.facts.started_at = Some(place.at);
            w.facts.position = Some(position.to_owned());
        });
        self.waits_no_more(order, place.at);
        self.unwatch(order, Kind::NotStarted);
        self.recovers(order, &[Kind::NotStarted], place.at);
        self.watch(order, Kind::RunsTooLong);
        if let Some(late_by) = late_by {
            let text = format!("{late_by} late");
            self.raise_order(Kind::StartedLate, order, place.id(), place.at, text, Some(late_by));
        }
    }

    fn moved(&mut self, order: &str, to: &str, at: Instant) {
        self.change(order, |w| {
            w.facts.position = Some(to.to_owned());
            (w.facts.agent, w.facts.instance, w.facts.attempt) = (None, None, None);
        });
        self.waits_no_more(order, at);
    }

    /// A failure was caught, or the step is tried again.
    fn went_on(&mut self, order: &str, to: &str, at: Instant) {
        self.change(order, |w| w.seen = None);
        self.moved(order, to, at);
    }

    fn joined(&mut self, order: &str, outcome: &ordo_domain::Outcome, at: Instant) {
        if let ordo_domain::Outcome::Failed { failure: Failure::BranchFailed { order: branch, .. } } = outcome {
            let seen = self.orders.get(branch.as_str()).and_then(|w| w.seen.clone());
            self.change(order, |w| w.seen = seen);
        }
        let prefix = format!("{order}:");
        let branches: Vec<String> = self.orders.keys().filter(|id| id.starts_with(&prefix)).cloned().collect();
        for branch in branches {
            self.recovers(&branch, &[Kind::WaitsTooLong], at);
        }
        self.forget_branches(order);
    }

    fn failed(&mut self, order: &str, position: Option<&str>, failure: &Failure, place: Place) {
        if let Failure::BranchFailed { order: branch, .. } = failure
            && let Some(seen) = self.orders.get(branch.as_str()).and_then(|w| w.seen.clone())
        {
            self.change(order, |w| w.seen = Some(seen));
        }
        self.change(order, |w| {
            let seen: Seen = w.failure(order, position, failure);
            w.seen = Some(seen);
            w.stage = Stage::Failed;
        });
        self.waits_no_more(order, place.at);
        self.unwatch(order, Kind::RunsTooLong);
        self.unwatch(order, Kind::NotStarted);
        let Some(watched) = self.orders.get(order) else { return };
        // A branch that ends its fork is told of with the whole order.
        if watched.is_root() || watched.is_waited_for {
            let text = watched.seen.as_ref().map(|seen| seen.text.clone()).unwrap_or_default();
            self.raise_order(Kind::Failed, order, place.id(), place.at, text, None);
        }
    }

    fn finished(&mut self, order: &str, at: Instant) {
        let kinds = [Kind::Failed, Kind::NotStarted, Kind::RunsTooLong, Kind::WaitsTooLong];
        self.recovers(order, &kinds, at);
        let watched = self.orders.get(order).filter(|watched| watched.is_root());
        let rerun = watched.and_then(|w| w.series.clone().zip(w.facts.started_at));
        if let Some((series, since)) = rerun.filter(|_| !self.rules.is_empty()) {
            self.telling.push(Telling::Rerun { series, since, at });
        }
        self.ended(order);
    }

    fn cancelled(&mut self, order: &str, reason: &CancelReason, place: Place) {
        self.recovers(order, &[Kind::RunsTooLong, Kind::WaitsTooLong], place.at);
        if let CancelReason::Late { late_by } = reason {
            let text = format!("skipped, {late_by} late, more than its grace allows");
            self.raise_order(Kind::NotStarted, order, place.id(), place.at, text, None);
        }
        if let CancelReason::Overlap { earlier } = reason {
            let text = format!("skipped, {earlier} still ran");
            self.raise_order(Kind::NotStarted, order, place.id(), place.at, text, None);
        }
        self.ended(order);
    }

    /// A branch stays until its fork is joined, because that asks what became of it.
    fn ended(&mut self, order: &str) {
        match self.orders.get(order) {
            Some(watched) if !watched.is_root() => {
                for kind in MEASURED {
                    self.unwatch(order, kind);
                }
            }
            _ => self.remove(order),
        }
    }

    fn suspended(&mut self, order: &str, suspended: bool) {
        self.change(order, |w| w.suspended = suspended);
    }

    fn resumed(&mut self, order: &str, to: Option<&str>, at: Instant) {
        let mut goes_on = false;
        self.change(order, |w| {
            w.suspended = false;
            w.seen = None;
            if let Some(to) = to {
                w.facts.position = Some(to.to_owned());
            }
            if w.stage == Stage::Failed {
                goes_on = true;
                w.stage = if w.facts.started_at.is_some() { Stage::Started } else { Stage::Scheduled };
            }
        });
        self.waits_no_more(order, at);
        if goes_on {
            self.watch(order, Kind::RunsTooLong);
        }
        self.watch(order, Kind::NotStarted);
    }

    fn waits(&mut self, order: &str, at: Instant) {
        // From one wait into the next (a lock, then the agent) it has waited all the time.
        self.change(order, |w| w.waits_since = w.waits_since.or(Some(at)));
        self.watch(order, Kind::WaitsTooLong);
    }

    fn waits_no_more(&mut self, order: &str, at: Instant) {
        if self.orders.get(order).is_some_and(|w| w.waits_since.is_some()) {
            self.change(order, |w| w.waits_since = None);
            self.unwatch(order, Kind::WaitsTooLong);
            self.recovers(order, &[Kind::WaitsTooLong], at);
        }
    }

    // ---- timers -------------------------------------------------------------------------------------------------------

    /// Sets the timers that rules want for this.
    pub(crate) fn watch(&mut self, order: &str, kind: Kind) {
        let Some(watched) = self.orders.get_mut(order) else { return };
        let Some(since) = watched.since(kind) else { return };
        let subject = watched.subject();
        let spans: BTreeSet<Span> = self.rules.iter().filter_map(|rule| rule.watch(kind, &subject)).collect();
        for longer_than in spans {
            let watch = Watch { kind, order: order.to_owned(), longer_than, since };
            let key = watch.key();
            if !watched.timers.contains(&key) {
                watched.timers.push(key.clone());
                self.changed.insert(order.to_owned());
            }
            let timer = Timer::new(key.clone(), since + longer_than.to_chrono(), &watch);
            self.timers.insert(key, Some(timer));
        }
    }

    fn unwatch(&mut self, order: &str, kind: Kind) {
        let Some(watched) = self.orders.get_mut(order) else { return };
        let prefix = format!("watch/{kind}/");
        let (over, left) = std::mem::take(&mut watched.timers).into_iter().partition(|key| key.starts_with(&prefix));
        watched.timers = left;
        let over: Vec<String> = over;
        if !over.is_empty() {
            self.changed.insert(order.to_owned());
        }
        for key in over {
            self.timers.insert(key, None);
        }
    }

    /// A timer went off: raised if it is still so.
    pub(crate) fn lasted(&mut self, watch: &Watch, now: Instant) {
        let still = self.orders.get(&watch.order).and_then(|w| w.since(watch.kind)) == Some(watch.since);
        if !still {
            return;
        }
        let key = watch.key();
        self.change(&watch.order, |w| w.timers.retain(|k| *k != key));
        let due = watch.since + watch.longer_than.to_chrono();
        let id = format!(
            "{}-{}-{}-{}",
            due.format("%Y%m%d"),
            watch.kind.word().replace('_', "-"),
            watch.order,
            watch.longer_than.as_millis() / 1_000
        );
        let text = match watch.kind {
            Kind::NotStarted => String::new(),
            _ => format!("longer than {}", watch.longer_than),
        };
        // A restart of the monitor comes late to it, but it happened then.
        let at = due.min(now);
        self.raise_exactly(watch.kind, &watch.order, id, at, text, watch.longer_than);
    }

    // ---- telling ------------------------------------------------------------------------------------------------------

    fn rules_for(&self, kind: Kind, subject: &Subject<'_>, lasted: Option<Span>) -> Vec<String> {
        let matching = self.rules.iter().filter(|rule| rule.matches(kind, subject, lasted));
        matching.map(|rule| rule.name.to_string()).collect()
    }

    fn raise_order(&mut self, kind: Kind, order: &str, id: String, at: Instant, text: String, lasted: Option<Span>) {
        let Some(watched) = self.orders.get(order) else { return };
        let facts = if kind == Kind::Failed { watched.failed_facts() } else { watched.facts.clone() };
        let mut subject = watched.subject();
        subject.agent = facts.agent.as_deref();
        let rules = self.rules_for(kind, &subject, lasted);
        self.raise_facts(kind, order, id, at, text, facts, rules);
    }

    fn raise_exactly(&mut self, kind: Kind, order: &str, id: String, at: Instant, text: String, span: Span) {
        let Some(watched) = self.orders.get(order) else { return };
        let subject = watched.subject();
        let rules = self.rules.iter().filter(|rule| rule.watch(kind, &subject) == Some(span));
        let rules = rules.map(|rule| rule.name.to_string()).collect();
        let facts = watched.facts.clone();
        self.raise_facts(kind, order, id, at, text, facts, rules);
    }

    fn raise_facts(
        &mut self,
        kind: Kind,
        order: &str,
        id: String,
        at: Instant,
        text: String,
        facts: OrderFacts,
        rules: Vec<String>,
    ) {
        if rules.is_empty() {
            return;
        }
        self.change(order, |w| w.is_told_of = true);
        let (thing, business_day) = (facts.workflow.clone(), facts.business_day);
        self.raise(order.to_owned(), thing, business_day, rules, id, kind, at, text, Object::Order(Box::new(facts)));
    }

    fn raise(
        &mut self,
        object: String,
        thing: String,
        business_day: Option<NaiveDate>,
        rules: Vec<String>,
        id: String,
        kind: Kind,
        at: Instant,
        text: String,
        facts: Object,
    ) {
        let series = self.orders.get(&object).and_then(|w| w.series.clone());
        let incident = Incident { id, kind, at, object: facts, text, recovered_at: None };
        let raised = Raised { incident, object, thing, business_day, series, rules };
        self.telling.push(Telling::Raise(Box::new(raised)));
    }

    fn recovers(&mut self, order: &str, kinds: &[Kind], at: Instant) {
        if self.orders.get(order).is_some_and(|w| w.is_told_of) {
            self.telling.push(Telling::Recover { object: order.to_owned(), kinds: kinds.to_vec(), at });
        }
    }

    fn no_start(&mut self, facts: OrderFacts, text: String, place: Place) {
        let subject = Subject::order(&facts.workflow, facts.folder.as_deref(), &facts.tags);
        let rules = self.rules_for(Kind::NotStarted, &subject, None);
        if rules.is_empty() {
            return;
        }
        let object = facts.schedule.clone().unwrap_or_default();
        let thing = facts.workflow.clone();
        let facts = Object::Order(Box::new(facts));
        self.raise(object, thing, None, rules, place.id(), Kind::NotStarted, place.at, text, facts);
    }

    /// Of a start of which no order was made.
    fn start(&self, workflow: &str, schedule: &str) -> OrderFacts {
        let known = self.workflows.get(workflow).cloned().unwrap_or_default();
        OrderFacts { workflow: workflow.to_owned(), schedule: Some(schedule.to_owned()), ..known }
    }

    fn activated(&mut self, e: &ordo_domain::controller::ControllerActivated, place: Place) {
        let instance = e.instance.to_string();
        let before =
            self.controller.replace(ControllerSeen { instance: instance.clone(), epoch: e.epoch, handed_over: false });
        self.controller_changed = true;
        let Some(before) = before.filter(|b| b.instance != instance && !b.handed_over && b.epoch < e.epoch) else {
            return;
        };
        let rules = self.rules_for(Kind::ControllerFailedOver, &Subject::default(), None);
        if rules.is_empty() {
            return;
        }
        let facts = Object::Controller(ControllerFacts {
            instance,
            before: Some(before.instance),
            epoch: e.epoch,
            how: e.how.clone(),
        });
        let kind = Kind::ControllerFailedOver;
        self.raise(
            "controller".into(),
            "controller".into(),
            None,
            rules,
            place.id(),
            kind,
            place.at,
            String::new(),
            facts,
        );
    }
}

fn series(e: &OrderAdded) -> String {
    // What cannot be written is never equal to anything.
    let arguments = serde_json::to_vec(&e.arguments).unwrap_or_else(|_| e.order.as_str().into());
    let hash = ContentHash::of(&arguments);
    format!("{}/{}/{}", e.workflow.name, e.business_day, &hash.as_str()[..16])
}
