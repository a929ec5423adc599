use super::id;
use crate::{
    AgentName, Command, CommandId, ContentHash, Ctx, Definitions, Event, Ids, Instant, OrderId, Refusal, RunId, Site,
    advance, apply,
    catalog::CatalogDefinition,
    command::{Accepted, By, Deploy, DeployItem},
    controller::CommandRefused,
    ctx::LoadedWorkflow,
    decide, invariant,
    lock::LockDefinition,
    order::{
        Order, OrderState,
        command::{AddOrders, CancelOrders, NewOrder, ResumeOrders, SuspendOrders},
    },
    run::{Report, RunEnd, RunFacts},
    workflow::Workflow,
};
use chrono::{TimeDelta, TimeZone, Utc};
use std::{cell::Cell, collections::BTreeMap, sync::Arc};

pub(crate) struct World {
    pub site: Site,
    /// What a follower has: the same events, read from JSON, by `apply` alone.
    pub replica: Site,
    pub now: Instant,
    pub bodies: Bodies,
    pub ids: Counter,
    pub events: Vec<Event>,
    pub zone: chrono_tz::Tz,
    commands: u64,
}

#[derive(Default)]
pub(crate) struct Bodies {
    workflows: BTreeMap<ContentHash, Arc<LoadedWorkflow>>,
    locks: BTreeMap<ContentHash, LockDefinition>,
    pub catalog: BTreeMap<ContentHash, Arc<CatalogDefinition>>,
}

impl Definitions for Bodies {
    fn workflow(&self, hash: &ContentHash) -> Option<Arc<LoadedWorkflow>> {
        self.workflows.get(hash).cloned()
    }
    fn lock(&self, hash: &ContentHash) -> Option<LockDefinition> {
        self.locks.get(hash).cloned()
    }
    fn catalog(&self, hash: &ContentHash) -> Option<Arc<CatalogDefinition>> {
        self.catalog.get(hash).cloned()
    }
}

#[derive(Default)]
pub(crate) struct Counter(Cell<u128>);

impl Ids for Counter {
    fn run_id(&self) -> RunId {
        self.0.set(self.0.get() + 1);
        RunId::from_bits(self.0.get())
    }
}

pub(crate) fn hash_of(body: &impl serde::Serialize) -> ContentHash {
    ContentHash::of(&serde_json::to_vec(body).unwrap())
}

impl World {
    /// With an agent `etl` whose instance `i1` is ready.
    pub fn new() -> Self {
        let mut world = Self {
            site: Site::default(),
            replica: Site::default(),
            now: Utc.with_ymd_and_hms(2026, 11, 22, 10, 0, 0).unwrap(),
            bodies: Bodies::default(),
            ids: Counter::default(),
            events: vec![],
            zone: chrono_tz::UTC,
            commands: 0,
        };
        world.command(Command::AddAgent(crate::agent::AddAgent { agent: id("etl"), title: None })).unwrap();
        world.report("etl", "i1", Report::Ready { node: id("node-a"), version: "1".into() });
        world
    }

    pub fn ctx(&self) -> Ctx<'_> {
        Ctx { now: self.now, zone: self.zone, ids: &self.ids, definitions: &self.bodies }
    }

    /// Settles one decision and all that is left of it, as the controller does.
    pub fn settle(&mut self, events: Vec<Event>) -> Vec<Event> {
        let ctx = Ctx { now: self.now, zone: self.zone, ids: &self.ids, definitions: &self.bodies };
        let mut settled = advance::settle(&mut self.site, events, ctx).unwrap();
        let mut all = settled.events;
        let mut rounds = 0;
        while !settled.rest.is_empty() {
            settled = advance::settle_touched(&mut self.site, settled.rest, ctx).unwrap();
            all.append(&mut settled.events);
            rounds += 1;
            assert!(rounds < 10_000, "it goes on for ever: {:?}", settled.rest);
        }
        self.follow(&all);
        all
    }

    fn follow(&mut self, events: &[Event]) {
        for event in events {
            let read: Event = serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap();
            assert_eq!(&read, event);
            apply::apply(&mut self.replica, self.now, &read).unwrap();
        }
        self.events.extend(events.iter().cloned());
        assert_eq!(self.replica, self.site);
        if let Err(e) =
            invariant::check(&self.site).and_then(|()| invariant::nothing_is_left_undecided(&self.site, self.ctx()))
        {
            panic!("{e}\nafter {events:#?}");
        }
    }

    pub fn command(&mut self, command: Command) -> Result<Accepted, Refusal> {
        self.commands += 1;
        let id: CommandId = id(&format!("c{}", self.commands));
        self.command_with(&id, command)
    }

    /// All its parts.
    pub fn command_with(&mut self, id: &CommandId, command: Command) -> Result<Accepted, Refusal> {
        let parts = decide::parts(&self.site, &command, self.ctx());
        for part in 1..=parts {
            self.part(id, &command, part)?;
        }
        match self.site.commands.by_id.get(id) {
            Some((_, crate::site::CommandOutcome::Accepted(accepted))) => Ok(accepted.clone()),
            other => panic!("{other:?}"),
        }
    }

    pub fn part(&mut self, id: &CommandId, command: &Command, part: u32) -> Result<Vec<Event>, Refusal> {
        match decide::decide(&self.site, id, &by(), command, part, self.ctx()) {
            Ok(events) => {
                assert!(crate::limit::json_bytes(&events) < 230_000);
                Ok(self.settle(events))
            }
            Err(refusal) => {
                let refused = CommandRefused { command: Some(id.clone()), refusal: refusal.clone() };
                self.settle(vec![refused.into()]);
                Err(refusal)
            }
        }
    }

    pub fn deploy(&mut self, workflow: Workflow) {
        self.try_deploy(vec![workflow], vec![]).unwrap();
    }

    pub fn lock(&mut self, name: &str, capacity: u32) {
        self.try_deploy(vec![], vec![LockDefinition { name: id(name), title: None, capacity }]).unwrap();
    }

    pub fn try_deploy(&mut self, workflows: Vec<Workflow>, locks: Vec<LockDefinition>) -> Result<Accepted, Refusal> {
        let mut items = vec![];
        for lock in locks {
            let hash = hash_of(&lock);
            items.push(DeployItem::Lock { name: lock.name.clone(), hash: hash.clone() });
            self.bodies.locks.insert(hash, lock);
        }
        for workflow in workflows {
            let hash = hash_of(&workflow);
            items.push(DeployItem::Workflow { name: workflow.name.clone(), hash: hash.clone() });
            self.bodies.workflows.insert(hash, Arc::new(LoadedWorkflow::new(workflow)));
        }
        self.command(Command::Deploy(Deploy { items }))
    }

    pub fn forget_bodies(&mut self) {
        self.bodies = Bodies::default();
    }

    pub fn add(&mut self, workflow: &str) -> OrderId {
        self.add_with(workflow, |_| {}).unwrap()
    }

    pub fn add_with(&mut self, workflow: &str, change: impl FnOnce(&mut NewOrder)) -> Result<OrderId, Refusal> {
        let mut new = new_order(workflow);
        change(&mut new);
        match self.command(Command::AddOrders(AddOrders { orders: vec![new] }))? {
            Accepted::Orders { orders } => Ok(orders[0].clone()),
            other => panic!("{other:?}"),
        }
    }

    pub fn cancel(&mut self, order: &OrderId, kill: bool) -> Result<Accepted, Refusal> {
        self.command(Command::CancelOrders(CancelOrders { orders: vec![order.clone()], kill, replan: false }))
    }

    pub fn suspend(&mut self, order: &OrderId, kill: bool) -> Result<Accepted, Refusal> {
        self.command(Command::SuspendOrders(SuspendOrders { orders: vec![order.clone()], kill }))
    }

    pub fn resume(&mut self, order: &OrderId) -> Result<Accepted, Refusal> {
        self.command(Command::ResumeOrders(ResumeOrders { orders: vec![order.clone()], position: None }))
    }

    pub fn resume_at(&mut self, order: &OrderId, position: &str) -> Result<Accepted, Refusal> {
        let position = Some(id(position));
        self.command(Command::ResumeOrders(ResumeOrders { orders: vec![order.clone()], position }))
    }

    pub fn report(&mut self, agent: &str, instance: &str, report: Report) -> Vec<Event> {
        let events = decide::report(&self.site, &id::<AgentName>(agent), &id(instance), &report, self.ctx());
        assert!(!events.is_empty());
        self.settle(events)
    }

    pub fn run_of(&self, order: &OrderId) -> RunId {
        match &self.order(order).state {
            OrderState::Processing { run } => run.clone(),
            other => panic!("{order} is {other:?}"),
        }
    }

    pub fn claim(&mut self, order: &OrderId) -> RunId {
        let run = self.run_of(order);
        self.report("etl", "i1", Report::Accepted { run: run.clone() });
        run
    }

    /// The job of the order is claimed, where it is not yet, and ends with this exit code.
    pub fn exits(&mut self, order: &OrderId, code: i32) -> Vec<Event> {
        self.ends(order, RunEnd::Exited { code })
    }

    pub fn ends(&mut self, order: &OrderId, end: RunEnd) -> Vec<Event> {
        self.ends_with(order, end, serde_json::json!({}))
    }

    pub fn ends_with(&mut self, order: &OrderId, end: RunEnd, results: serde_json::Value) -> Vec<Event> {
        let run = self.run_of(order);
        if matches!(self.site.runs[&run].state, crate::run::RunState::Dispatched { .. }) {
            self.claim(order);
        }
        let mut facts = facts(end, self.now);
        facts.results = serde_json::from_value(results).unwrap();
        self.report("etl", "i1", Report::Ended { run, facts })
    }

    /// Time goes on and due orders with it.
    pub fn pass(&mut self, delta: TimeDelta) {
        self.now += delta;
        loop {
            let due = advance::due(&self.site, self.now);
            let Some(first) = due.first().cloned() else { break };
            let ctx = Ctx { now: self.now, zone: self.zone, ids: &self.ids, definitions: &self.bodies };
            let settled = advance::settle_touched(&mut self.site, vec![first], ctx).unwrap();
            assert!(settled.rest.is_empty());
            assert!(!settled.events.is_empty());
            let events = settled.events;
            for event in &events {
                apply::apply(&mut self.replica, self.now, event).unwrap();
            }
            self.events.extend(events);
        }
        self.follow(&[]);
    }

    pub fn order(&self, order: &OrderId) -> &Order {
        self.site.orders.get(order).unwrap_or_else(|| panic!("no order {order}"))
    }

    /// In one word, as people see it.
    pub fn state(&self, order: &OrderId) -> &'static str {
        self.order(order).state.word()
    }

    pub fn position(&self, order: &OrderId) -> String {
        self.order(order).position.as_ref().map_or("-".into(), |p| p.to_string())
    }

    pub fn child(&self, order: &OrderId, branch: &str) -> OrderId {
        order.child(branch).unwrap()
    }

    /// Names of all events since the last call.
    pub fn told(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.events).iter().map(Event::name).collect()
    }
}

pub(crate) fn by() -> By {
    By { user: id("ops"), reason: None }
}

pub(crate) fn new_order(workflow: &str) -> NewOrder {
    NewOrder {
        workflow: id(workflow),
        name: None,
        arguments: BTreeMap::new(),
        title: None,
        tags: Default::default(),
        business_day: None,
        due_at: None,
        held: false,
        priority: None,
        late: None,
        overlap: Default::default(),
        start: None,
    }
}

pub(crate) fn facts(end: RunEnd, now: Instant) -> RunFacts {
    RunFacts {
        end,
        started_at: Some(now),
        ended_at: now,
        usage: Default::default(),
        output: Default::default(),
        results: BTreeMap::new(),
        results_error: None,
    }
}
