//! A made-up life of a site: commits as a controller would write them, each event checked by the domain's `apply`, and
//! beside them what the history must say in the end. Same seed, same life.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use ordo_contract::commit::{COMMIT_VERSION, Cause, Commit, Decision, MessageCause, Source, chain_hash};
use ordo_contract::request::{EventListRequest, HistoryOrdersRequest, HistoryStepsRequest};
use ordo_domain::catalog::{DefinitionDeployed, DefinitionKind};
use ordo_domain::command::{Accepted, By};
use ordo_domain::controller::{CommandAccepted, CommandRefused, ControllerActivated};
use ordo_domain::definition::WorkflowDeployed;
use ordo_domain::order::event::*;
use ordo_domain::order::state::{Order, OrderState};
use ordo_domain::run::event::{RunClaimed, RunDispatched, RunEnded};
use ordo_domain::run::report::{OutputSummary, Usage};
use ordo_domain::run::spec::SpecAction;
use ordo_domain::run::{JobSpec, RunEnd, RunFacts, RunState};
use ordo_domain::workflow::{LatePolicy, WhenFailed};
use ordo_domain::{
    AgentName, BranchName, CommandId, ContentHash, DefinitionName, Event, Failure, InstanceId, Label, OrderId, Outcome,
    Position, Refusal, RunId, Site, Span, UserName, Value, VariableName, WorkflowName,
};
use ordo_store::{Message, Store};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// What the history must say of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedRun {
    pub order: OrderId,
    pub state: &'static str,
    pub attempt: u32,
    pub instance: Option<InstanceId>,
    pub exit_code: Option<i32>,
    pub results: BTreeMap<VariableName, Value>,
}

pub struct Chronicle {
    rng: StdRng,
    pub site: Site,
    /// Journal sequence (from 1) and bytes.
    pub commits: Vec<Vec<u8>>,
    hash: String,
    pub at: DateTime<Utc>,
    epoch: u64,
    counter: u64,
    serial: u64,
    /// Every order that ever was, as it was when it was last in the state.
    pub orders: BTreeMap<OrderId, Order>,
    pub runs: BTreeMap<RunId, ExpectedRun>,
    /// (sequence, index, event) of everything.
    pub events: Vec<(u64, u32, serde_json::Value)>,
    pending: Vec<Decision>,
    pub commands: usize,
    /// What is deployed again and again, by the hash of its body.
    pub definition: Option<(DefinitionKind, DefinitionName, ContentHash)>,
}

fn id<T, E: std::fmt::Debug>(made: Result<T, E>) -> T {
    made.unwrap()
}

fn workflow(version: u32) -> WorkflowRef {
    let hash = ContentHash::of(format!("nightly {version}").as_bytes());
    WorkflowRef { name: id(WorkflowName::new("nightly")), version, hash }
}

impl Chronicle {
    pub fn new(seed: u64) -> Self {
        let mut it = Self {
            rng: StdRng::seed_from_u64(seed),
            site: Site::default(),
            commits: Vec::new(),
            hash: String::new(),
            at: DateTime::from_timestamp_millis(1_795_300_000_123).unwrap(),
            epoch: 1,
            counter: 0,
            serial: 0,
            orders: BTreeMap::new(),
            runs: BTreeMap::new(),
            events: Vec::new(),
            pending: Vec::new(),
            commands: 0,
            definition: None,
        };
        it.activate();
        let by = By { user: id(UserName::new("ops")), reason: Some("erste \"Fassung\"\u{0}".into()) };
        let w = workflow(1);
        it.decide(vec![WorkflowDeployed { workflow: w.name, version: 1, hash: w.hash, by }.into()]);
        it.commit();
        it
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn fresh_run(&mut self) -> RunId {
        RunId::from_bits(self.rng.random())
    }

    /// A new epoch, by another controller.
    pub fn activate(&mut self) {
        self.epoch = self.site.epoch + 1;
        let instance = id(InstanceId::new(format!("c{}", 1 + self.epoch % 2)));
        let how = "first start".to_owned();
        self.decide(vec![ControllerActivated { epoch: self.epoch, instance, how, event_level: 1 }.into()]);
        self.commit();
    }

    /// Applies events and keeps those that fit; they become one decision.
    fn decide(&mut self, events: Vec<Event>) -> bool {
        let mut kept = Vec::new();
        for event in events {
            if ordo_domain::apply::apply(&mut self.site, self.at, &event).is_err() {
                break;
            }
            self.note(&event);
            kept.push(event);
        }
        if kept.is_empty() {
            return false;
        }
        self.serial += 1;
        let cause = match self.serial % 3 {
            0 => Cause::Timer,
            1 => Cause::Advance,
            _ => Cause::Message(MessageCause {
                source: Source::Reports,
                incarnation: "i-reports".into(),
                sequence: self.serial,
                part: 1,
                parts: 1,
            }),
        };
        let entity = kept[0].order().map_or_else(|| "site".to_owned(), ToString::to_string);
        self.pending.push(Decision { cause, entity, events: kept });
        true
    }

    /// Looks at the state after each event: branches leave it when they are joined.
    fn note(&mut self, event: &Event) {
        for (id, order) in &self.site.orders {
            if self.orders.get(id) != Some(order) {
                self.orders.insert(id.clone(), order.clone());
            }
        }
        match event {
            Event::RunDispatched(e) => {
                let run = ExpectedRun {
                    order: e.order.clone(),
                    state: "sent",
                    attempt: e.attempt,
                    instance: None,
                    exit_code: None,
                    results: BTreeMap::new(),
                };
                self.runs.insert(e.run.clone(), run);
            }
            Event::RunClaimed(e) => {
                let run = self.runs.get_mut(&e.run).unwrap();
                (run.state, run.instance) = ("running", Some(e.instance.clone()));
            }
            Event::RunEnded(e) => {
                let run = self.runs.get_mut(&e.run).unwrap();
                run.results = e.facts.results.clone();
                (run.state, run.exit_code) = match &e.facts.end {
                    RunEnd::Lost { .. } => ("lost", None),
                    RunEnd::Killed => ("killed", None),
                    RunEnd::Exited { code: 0 } => ("succeeded", Some(0)),
                    RunEnd::Exited { code: 4 } => ("warning", Some(4)),
                    RunEnd::Exited { code } => ("failed", Some(*code)),
                    _ => ("failed", None),
                };
            }
            _ => {}
        }
    }

    pub fn commit(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let decisions = std::mem::take(&mut self.pending);
        let sequence = self.commits.len() as u64 + 1;
        for (index, event) in decisions.iter().flat_map(|d| &d.events).enumerate() {
            self.events.push((sequence, index as u32, serde_json::to_value(event).unwrap()));
        }
        let prev_hash = std::mem::take(&mut self.hash);
        let commit =
            Commit { v: COMMIT_VERSION, epoch: self.epoch, at: self.at, build: "test".into(), prev_hash, decisions };
        let bytes = commit.encode().unwrap();
        self.hash = chain_hash(&bytes);
        self.site.at = Some(self.at);
        self.commits.push(bytes);
        let pause = self.rng.random_range(0..40_000);
        self.at += TimeDelta::milliseconds(pause);
    }

    /// Goes on for so many commits.
    pub fn live(&mut self, commits: usize) {
        let goal = self.commits.len() + commits;
        while self.commits.len() < goal {
            for _ in 0..self.rng.random_range(1..6) {
                self.something();
            }
            if self.commits.len().is_multiple_of(5) {
                self.deploy();
            }
            self.commit();
        }
    }

    fn deploy(&mut self) {
        let Some((kind, name, hash)) = self.definition.clone() else { return };
        let version = self.deployed().map_or(1, |version| version + 1);
        let by = By { user: id(UserName::new("ops")), reason: None };
        let references = Default::default();
        self.decide(vec![DefinitionDeployed { kind, name, version, hash, references, by }.into()]);
    }

    /// The version of the definition.
    pub fn deployed(&self) -> Option<u32> {
        let (kind, name, _) = self.definition.as_ref()?;
        self.site.deployed_definitions().find(|(k, n, _)| k == kind && *n == name).map(|(_, _, d)| d.version)
    }

    /// Something of a kind that does not happen by itself.
    pub fn happens(&mut self, event: Event) {
        assert!(self.decide(vec![event]), "not in this state");
        self.commit();
    }

    fn something(&mut self) {
        let open: Vec<OrderId> =
            self.site.orders.values().filter(|o| !o.state.is_terminated()).map(|o| o.id.clone()).collect();
        if open.len() < 4 || self.chance(12) {
            return self.add();
        }
        if self.site.ended.len() > 5 {
            let orders = self.site.ended.clone();
            self.decide(vec![OrdersForgotten { orders }.into()]);
        }
        let order = open[self.rng.random_range(0..open.len())].clone();
        self.go_on(&order);
    }

    fn add(&mut self) {
        self.counter += 1;
        let day = NaiveDate::from_ymd_opt(2026, 11, 22).unwrap();
        let order = id(OrderId::new(format!("20261122-P{}-nightly", self.counter)));
        let due = self.chance(50).then(|| self.at + TimeDelta::minutes(3));
        let arguments =
            BTreeMap::from([(id(VariableName::new("day")), Value::from("22. \u{1F319} \"quoted\" \\u0000"))]);
        let held = self.chance(15);
        let by = By { user: id(UserName::new("ops")), reason: held.then(|| "später".to_owned()) };
        let command = id(CommandId::new(format!("cmd-{}", self.counter)));
        let added = OrderAdded {
            order: order.clone(),
            workflow: workflow(1),
            title: Some("売上".into()),
            folder: Some("finance/sales".into()),
            tags: BTreeSet::from(["b".to_owned(), "a \"x\"".to_owned()]),
            business_day: day,
            priority: 3,
            due_at: due,
            held,
            late: LatePolicy::default(),
            arguments,
            overlap: Default::default(),
            start: None,
            by,
            counter: self.counter,
            command: None,
        };
        let outcome = Accepted::Orders { orders: vec![order] };
        self.decide(vec![added.into(), CommandAccepted { command, outcome }.into()]);
        self.commands += 1;
        if self.chance(10) {
            let command = Some(id(CommandId::new(format!("refused-{}", self.counter))));
            let refusal = Refusal::WorkflowUnknown { workflow: id(WorkflowName::new("nothing")) };
            self.decide(vec![CommandRefused { command, refusal }.into()]);
            self.commands += 1;
        }
    }

    fn go_on(&mut self, order: &OrderId) {
        let now = self.site.orders[order].clone();
        let order = order.clone();
        if now.suspended {
            self.decide(vec![OrderResumed { order, to: None, left: vec![] }.into()]);
            return;
        }
        match &now.state {
            OrderState::Scheduled if self.chance(10) => {
                let reason = CancelReason::Late { late_by: Span::from_secs(90) };
                self.decide(vec![OrderCancelled { order, reason }.into()]);
            }
            OrderState::Scheduled if self.chance(10) => {
                let failure = Failure::Late { late_by: Span::from_secs(9) };
                self.decide(vec![OrderFailed { order, position: None, failure }.into()]);
            }
            OrderState::Scheduled => {
                let position = id(Position::new("extract"));
                self.decide(vec![OrderStarted { order, position, late_by: None }.into()]);
            }
            OrderState::Ready if now.started_at.is_none() => {
                let position = id(Position::new("extract"));
                self.decide(vec![OrderStarted { order, position, late_by: None }.into()]);
            }
            OrderState::Ready => self.at_a_step(&now),
            OrderState::Processing { run } => self.of_run(&now, run),
            OrderState::Processed { outcome: Outcome::Failed { failure } } => {
                let failure = failure.clone();
                self.decide(vec![OrderFailed { order, position: now.position, failure }.into()]);
            }
            OrderState::Processed { .. } if self.chance(50) => {
                let position = now.position.unwrap();
                let label = position.label();
                let other =
                    label.as_str().strip_suffix("-load").map_or_else(|| format!("{label}-load"), ToOwned::to_owned);
                let to = position.sibling(&id(Label::new(other)));
                self.decide(vec![OrderMoved { order, to, left: vec![] }.into()]);
            }
            OrderState::Processed { .. } => {
                let message = self.chance(30).then(|| "nichts zu tun\u{0}".to_owned());
                self.decide(vec![OrderFinished { order, message }.into()]);
            }
            OrderState::Forked { children, .. } => self.join(&now, children),
            OrderState::Failed { .. } if now.parent.is_none() && self.chance(50) => {
                let event = if self.chance(70) {
                    Event::from(OrderResumed { order, to: None, left: vec![] })
                } else {
                    OrderCancelled { order, reason: CancelReason::Requested }.into()
                };
                self.decide(vec![event]);
            }
            _ => {}
        }
    }

    fn at_a_step(&mut self, now: &Order) {
        let (order, Some(position)) = (now.id.clone(), now.position.clone()) else { return };
        match self.rng.random_range(0..100) {
            0..8 => {
                self.decide(vec![OrderSuspended { order }.into()]);
            }
            8..25 if now.id.as_str().matches(':').count() < 2 => self.fork(now, &position),
            _ => {
                let run = self.fresh_run();
                let arguments = vec!["./load".to_owned(), "\u{0}".to_owned()];
                let action = SpecAction::Command { arguments };
                let spec = JobSpec {
                    action,
                    env: BTreeMap::new(),
                    directory: None,
                    timeout: None,
                    kill_after: Span::from_secs(15),
                    results: BTreeMap::new(),
                };
                let (job, agent, attempt) = (position.label(), id(AgentName::new("etl")), now.attempt + 1);
                self.decide(vec![
                    RunDispatched { run, order, position, job, agent, attempt, resources: vec![], spec }.into(),
                ]);
            }
        }
    }

    fn fork(&mut self, now: &Order, position: &Position) {
        self.serial += 1;
        let called = self.chance(30);
        let count = if called { 1 } else { self.rng.random_range(1..4) };
        let mut children = Vec::new();
        for n in 0..count {
            let branch = id(BranchName::new(format!("b{n}-{}", self.serial)));
            let at = match called {
                true => id(Position::new("extract")),
                // Labels are unique in a workflow: those of branches are none of their parents'.
                false => position.into_branch(&branch, &id(Label::new(format!("x{n}-{}", self.serial)))),
            };
            let call = called.then(|| Called {
                workflow: workflow(1),
                title: Some("called".into()),
                folder: None,
                arguments: BTreeMap::from([(id(VariableName::new("n")), Value::from(7))]),
            });
            let empty = !called && self.chance(20);
            children.push(Child {
                order: id(now.id.child(branch.as_str())),
                branch,
                position: (!empty).then_some(at),
                call,
            });
        }
        let (order, position, when_failed) = (now.id.clone(), position.clone(), WhenFailed::Join);
        self.decide(vec![OrderForked { order, position, when_failed, children }.into()]);
    }

    fn join(&mut self, now: &Order, children: &[OrderId]) {
        let state = |id: &OrderId| self.site.orders.get(id).map(|o| o.state.clone());
        let states: Vec<_> = children.iter().filter_map(state).collect();
        let is_failed = |s: &OrderState| matches!(s, OrderState::Failed { .. } | OrderState::Cancelled);
        if !states.iter().all(|s| is_failed(s) || *s == OrderState::Finished) {
            return;
        }
        let failure = Failure::BranchFailed { branch: id(BranchName::new("b0")), order: children[0].clone() };
        let outcome = if states.iter().any(is_failed) { failure.into() } else { Outcome::Succeeded };
        self.decide(vec![
            OrderJoined { order: now.id.clone(), position: now.position.clone().unwrap(), outcome }.into(),
        ]);
    }

    fn of_run(&mut self, now: &Order, run: &RunId) {
        if matches!(self.site.runs[run].state, RunState::Dispatched { .. }) {
            let instance = id(InstanceId::new(format!("i{}", self.rng.random_range(1..4))));
            self.decide(vec![RunClaimed { run: run.clone(), instance }.into()]);
            return;
        }
        let (end, outcome) = match self.rng.random_range(0..100) {
            0..5 => (RunEnd::Lost { reason: "runner died".into() }, None),
            5..10 => (RunEnd::Killed, Some(Failure::Killed { reason: "cancelled".into() }.into())),
            10..15 => (RunEnd::Signalled { signal: 9 }, Some(Failure::Signal { signal: 9 }.into())),
            15..22 => (RunEnd::Exited { code: 4 }, Some(Outcome::Warning { return_code: 4 })),
            22..35 => (RunEnd::Exited { code: 75 }, Some(Failure::ExitCode { return_code: 75 }.into())),
            _ => (RunEnd::Exited { code: 0 }, Some(Outcome::Succeeded)),
        };
        let rows = self.rng.random_range(0..100_i64);
        let facts = RunFacts {
            end,
            started_at: Some(self.at - TimeDelta::seconds(1)),
            ended_at: self.at,
            usage: Usage { cpu_user_ms: 12, cpu_system_ms: 3, memory_peak_bytes: 1_000_000 },
            output: OutputSummary::default(),
            results: BTreeMap::from([(id(VariableName::new("rows")), Value::from(rows))]),
            results_error: None,
        };
        let (order, position) = (now.id.clone(), now.position.clone().unwrap());
        self.decide(vec![RunEnded { run: run.clone(), order, position, facts, outcome }.into()]);
    }

    /// The commits after a sequence, as the projection takes them.
    pub fn after(&self, sequence: usize) -> Vec<Message<'_>> {
        let numbered = self.commits.iter().enumerate().skip(sequence);
        numbered.map(|(i, bytes)| Message { sequence: i as u64 + 1, bytes }).collect()
    }

    /// Asserts that the database says what happened: every order, every run, every event.
    pub async fn assert_told_by(&self, store: &Store) {
        self.assert_events(store).await;
        self.assert_runs(store).await;
        self.assert_orders(store).await;
    }

    async fn assert_events(&self, store: &Store) {
        let (mut told, mut after) = (Vec::new(), Some(0));
        loop {
            let reply = store.events(&EventListRequest { after, limit: Some(1000), order: None }).await.unwrap();
            after = reply.events.last().map(|e| e.sequence);
            told.extend(reply.events.into_iter().map(|e| (e.sequence, e.index, e.event)));
            if !reply.more {
                break;
            }
        }
        assert_eq!(told.len(), self.events.len(), "number of events");
        for (told, happened) in told.iter().zip(&self.events) {
            assert_eq!(told, happened);
        }
    }

    async fn assert_runs(&self, store: &Store) {
        let (mut told, mut before) = (BTreeMap::new(), None);
        loop {
            let reply =
                store.steps(&HistoryStepsRequest { limit: Some(500), before, ..Default::default() }).await.unwrap();
            before = reply.steps.last().map(|s| s.number);
            told.extend(reply.steps.into_iter().map(|s| (s.run.clone(), s)));
            if !reply.more {
                break;
            }
        }
        assert_eq!(told.len(), self.runs.len(), "number of runs");
        for (run, expected) in &self.runs {
            let s = &told[run];
            let state = ["sent", "running", "succeeded", "warning", "failed", "lost", "killed"]
                .into_iter()
                .find(|w| *w == s.state);
            let seen = ExpectedRun {
                order: s.order.clone(),
                state: state.unwrap(),
                attempt: s.attempt,
                instance: s.instance.clone(),
                exit_code: s.exit_code,
                results: s.results.clone(),
            };
            assert_eq!(&seen, expected, "run {run}");
        }
    }

    async fn assert_orders(&self, store: &Store) {
        let (mut told, mut before) = (BTreeMap::new(), None);
        loop {
            let request = HistoryOrdersRequest { limit: Some(500), before, children: true, ..Default::default() };
            let reply = store.orders(&request).await.unwrap();
            assert_eq!(reply.sequence, self.commits.len() as u64, "position");
            before = reply.orders.last().map(|o| o.number);
            told.extend(reply.orders.into_iter().map(|o| (o.order.clone(), o)));
            if !reply.more {
                break;
            }
        }
        assert_eq!(told.len(), self.orders.len(), "number of orders");
        for (id, order) in &self.orders {
            let row = &told[id];
            let (state, outcome) = match &order.state {
                OrderState::Failed { failure } => ("failed", Some(failure.clone().into())),
                OrderState::Finished => ("finished", Some(Outcome::Succeeded)),
                OrderState::Cancelled => ("cancelled", None),
                _ if order.started_at.is_some() => ("started", None),
                _ => ("scheduled", None),
            };
            assert_eq!(row.state, state, "order {id}");
            assert_eq!(row.outcome, outcome, "order {id}");
            assert_eq!(row.parent, order.parent.as_ref().map(|p| p.order.clone()));
            assert_eq!((&row.workflow, row.version), (&order.workflow.name, order.workflow.version));
            assert_eq!((&row.title, &row.folder), (&order.title, &order.folder), "order {id}");
            assert_eq!(row.tags, order.tags.iter().cloned().collect::<Vec<_>>());
            assert_eq!(row.arguments, *order.arguments, "order {id}");
            assert_eq!(
                (row.added_at, row.started_at, row.planned_at),
                (order.added_at, order.started_at, order.due_at),
                "order {id}"
            );
            let ended = matches!(state, "failed" | "finished" | "cancelled").then_some(order.since);
            // A suspended failed order is in its state since it was suspended.
            assert!(row.ended_at == ended || order.suspended, "order {id}: {:?} {ended:?}", row.ended_at);
            if !matches!(order.state, OrderState::Forked { .. }) {
                let results: BTreeMap<String, serde_json::Value> = order
                    .results
                    .iter()
                    .map(|(label, result)| (label.to_string(), serde_json::to_value(result).unwrap()))
                    .collect();
                assert_eq!(json!(row.results), json!(results), "results of order {id}");
            }
        }
    }
}
