//! The whole of it: two controllers, agents with a twin, the bus, a clock, and everything that can go wrong, in the order
//! that a seed says.

use crate::{
    agent::SimAgent,
    bus::SimBus,
    catalog,
    controller::{self, Ended, Phase, SimController},
    coverage::Coverage,
    invariant::{Broken, Checker},
    workload::{self, Author, SimulatedIds, chance, id, pick},
};
use ordo_contract::{command::CommandMessage, commit::Source};
use ordo_domain::{
    Command, CommandId, ContentHash, Ctx, Definitions, Instant, OrderId, WorkflowName,
    agent::AddAgent,
    catalog::CatalogDefinition,
    command::By,
    ctx::LoadedWorkflow,
    definition::Definition,
    lock::LockDefinition,
    order::command::{CancelOrders, ResumeOrders},
    run::RunState,
};
use ordo_journal::{Fault, Faults};
use rand::{Rng, RngExt, rngs::SmallRng};
use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
};

/// At least so many, else the seed is too tame to count. A seed goes on for its orders.
pub const MIN_ORDERS: usize = 50;
pub const MIN_FAULTS: u32 = 10;
const STEPS: u32 = 2_500;
/// A world that has not come to rest by then is stuck.
const QUIET_STEPS: u32 = 400_000;

/// Bodies by hash, as the definition store has them.
#[derive(Default)]
pub struct Store {
    workflows: RwLock<BTreeMap<ContentHash, Arc<LoadedWorkflow>>>,
    locks: RwLock<BTreeMap<ContentHash, LockDefinition>>,
    catalog: RwLock<BTreeMap<ContentHash, Arc<CatalogDefinition>>>,
}

impl Definitions for Store {
    fn workflow(&self, hash: &ContentHash) -> Option<Arc<LoadedWorkflow>> {
        self.workflows.read().expect("not poisoned").get(hash).cloned()
    }
    fn lock(&self, hash: &ContentHash) -> Option<LockDefinition> {
        self.locks.read().expect("not poisoned").get(hash).cloned()
    }
    fn catalog(&self, hash: &ContentHash) -> Option<Arc<CatalogDefinition>> {
        self.catalog.read().expect("not poisoned").get(hash).cloned()
    }
}

pub struct World {
    pub seed: u64,
    rng: SmallRng,
    pub now: Instant,
    /// How far the clock of each controller is off; it jumps.
    skews: [chrono::TimeDelta; 2],
    pub bus: SimBus,
    store: Arc<Store>,
    pub controllers: [SimController; 2],
    pub agents: Vec<SimAgent>,
    workflows: Vec<WorkflowName>,
    author: Author,
    pub faults: u32,
    pub checker: Checker,
    /// What was done, newest last: the story of a failure.
    pub story: Vec<String>,
    calm: bool,
    commands: u32,
}

/// What can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Ask,
    Activate(usize),
    Append(usize),
    ReadCommand(usize),
    ReadReport(usize),
    Tick(usize),
    Effect(usize),
    Resend(usize),
    Forget(usize),
    Crash(usize),
    Snapshot(usize),
    Give(usize),
    AgentStep(usize),
    ProcessEnds(usize),
    DeliverKill,
    AgentCrash(usize),
    RunnerCrash(usize),
    RepeatReport,
    Time,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = workload::rng(seed);
        let now = chrono::DateTime::from_timestamp_millis(1_795_305_600_000).expect("a time");
        let agents = vec![
            SimAgent::new(id("one"), "one-1", rng.next_u64()),
            SimAgent::new(id("one"), "one-2", rng.next_u64()),
            SimAgent::new(id("two"), "two-1", rng.next_u64()),
        ];
        let mut world = Self {
            seed,
            rng,
            now,
            skews: [chrono::TimeDelta::zero(); 2],
            bus: SimBus::default(),
            store: Arc::new(Store::default()),
            controllers: [SimController::new("c1"), SimController::new("c2")],
            agents,
            workflows: Vec::new(),
            author: Author::new(),
            faults: 0,
            checker: Checker::new(seed),
            story: Vec::new(),
            calm: false,
            commands: 0,
        };
        for agent in workload::AGENTS {
            world.ask(Command::AddAgent(AddAgent { agent: id(agent), title: None }));
        }
        world.deploy();
        world
    }

    /// Runs the seed to its end, faults first, then in peace until everything has come to rest.
    pub fn run(&mut self, coverage: &mut Coverage) -> Result<(), Broken> {
        let mut steps = 0;
        while steps < STEPS || (self.checker.orders() < MIN_ORDERS && steps < 2 * STEPS) {
            self.step(coverage)?;
            steps += 1;
        }
        self.calm = true;
        // The lease lets one go on.
        self.controllers[0].crash();
        self.settle(coverage)?;
        // People clean up: what waits for them goes on or is cancelled.
        let left = self.orders_of(|o| !o.state.is_terminated() && o.parent.is_none());
        self.ask(Command::ResumeOrders(ResumeOrders { orders: left, position: None }));
        self.settle(coverage)?;
        for order in self.orders_of(|o| !o.state.is_terminated()) {
            self.ask(Command::CancelOrders(CancelOrders { orders: vec![order], kill: true, replan: false }));
        }
        self.settle(coverage)?;
        self.checker.at_rest(self)
    }

    fn settle(&mut self, coverage: &mut Coverage) -> Result<(), Broken> {
        for _ in 0..QUIET_STEPS {
            if self.is_at_rest() {
                let ids = SimulatedIds(std::cell::RefCell::new(workload::rng(0)));
                let ctx = Ctx { now: self.now, zone: controller::ZONE, ids: &ids, definitions: &*self.store };
                return ordo_domain::invariant::nothing_is_left_undecided(self.checker.site(), ctx)
                    .map_err(|v| Broken::new(v.invariant, v.detail));
            }
            self.step(coverage)?;
        }
        Err(Broken::new("everything_comes_to_rest", format!("not after {QUIET_STEPS} steps: {}", self.unrest())))
    }

    fn step(&mut self, coverage: &mut Coverage) -> Result<(), Broken> {
        let actions = self.actions();
        let total: u32 = actions.iter().map(|(_, weight)| weight).sum();
        let mut roll = self.rng.random_range(0..total.max(1));
        let chosen = actions.iter().find(|(_, weight)| {
            let hit = roll < *weight;
            roll = roll.saturating_sub(*weight);
            hit
        });
        let Some(&(action, _)) = chosen else { return Ok(()) };
        self.now += chrono::TimeDelta::milliseconds(self.rng.random_range(0..20));
        self.story.push(format!("{} {action:?}", self.now.format("%H:%M:%S%.3f")));
        self.act(action, coverage)?;
        let mut checker = std::mem::take(&mut self.checker);
        let checked = checker.after_step(self, coverage);
        self.checker = checker;
        checked
    }

    fn actions(&self) -> Vec<(Action, u32)> {
        let mut actions = vec![(Action::Time, 4)];
        let (active, faulty) = (self.controllers.iter().any(|c| matches!(c.phase, Phase::Active(_))), !self.calm);
        if faulty {
            actions.push((Action::Ask, 4));
            actions.push((Action::RepeatReport, 1));
        }
        for (i, controller) in self.controllers.iter().enumerate() {
            match &controller.phase {
                Phase::Active(active) => {
                    actions.push((Action::Append(i), if active.wants_to_append() { 40 } else { 0 }));
                    for (source, action) in
                        [(Source::Commands, Action::ReadCommand(i)), (Source::Reports, Action::ReadReport(i))]
                    {
                        if active.may_read(source) && active.next_message(&self.bus, source).is_some() {
                            actions.push((action, 25));
                        }
                    }
                    if active.is_serving() {
                        actions.push((Action::Tick(i), 8));
                        if active.effects.is_empty() {
                            actions.push((Action::Resend(i), 1));
                        }
                        if !active.site().ended.is_empty() {
                            actions.push((Action::Forget(i), 3));
                        }
                    }
                    if !active.effects.is_empty() {
                        actions.push((Action::Effect(i), 40));
                    }
                    if faulty {
                        actions.push((Action::Crash(i), 1));
                    }
                }
                // With one active already: both believe to hold the lease, and the fence must do.
                Phase::Down if !active => actions.push((Action::Activate(i), 20)),
                Phase::Down => {
                    if faulty {
                        actions.push((Action::Activate(i), 1));
                    }
                    actions.push((Action::Snapshot(i), 1));
                }
            }
        }
        for (i, agent) in self.agents.iter().enumerate() {
            if agent.wants_jobs() && self.bus.jobs.iter().any(|j| agent.may_take(j)) {
                actions.push((Action::Give(i), 30));
            }
            if agent.has_steps() {
                actions.push((Action::AgentStep(i), 40));
            }
            if agent.has_processes() {
                actions.push((Action::ProcessEnds(i), 15));
            }
            if faulty {
                actions.push((Action::AgentCrash(i), 1));
                if agent.has_processes() && self.seed.is_multiple_of(3) {
                    actions.push((Action::RunnerCrash(i), 1));
                }
            }
        }
        if !self.bus.kills.is_empty() {
            actions.push((Action::DeliverKill, 15));
        }
        actions
    }

    fn act(&mut self, action: Action, coverage: &mut Coverage) -> Result<(), Broken> {
        match action {
            Action::Ask => self.somebody_asks(),
            Action::Time => {
                self.now += chrono::TimeDelta::milliseconds(self.rng.random_range(0..1_500));
                if !self.calm && chance(&mut self.rng, 10) {
                    let i = self.rng.random_range(0..2);
                    self.skews[i] = chrono::TimeDelta::milliseconds(self.rng.random_range(-5_000..5_000));
                }
            }
            Action::Give(i) => self.give(i),
            Action::AgentStep(i) => {
                let drop_ack = !self.calm && chance(&mut self.rng, 3);
                let said = self.agents[i].step(&mut self.bus, self.now, drop_ack);
                self.story.push(format!("    {said}"));
            }
            Action::ProcessEnds(i) => {
                let said = self.agents[i].a_process_ends(self.now, &mut self.rng);
                self.story.push(format!("    {said}"));
            }
            Action::DeliverKill => self.deliver_kill(),
            Action::AgentCrash(i) => {
                self.fault(coverage, "agent crash");
                let instance = self.agents[i].instance.clone();
                match chance(&mut self.rng, 25) {
                    true => self.agents[i].restart(self.now),
                    false => self.agents[i].crash(self.now),
                }
                self.bus.give_back(&instance);
            }
            Action::RunnerCrash(i) => {
                self.fault(coverage, "runner crash");
                self.agents[i].runner_crash(self.now);
            }
            Action::RepeatReport => {
                if !self.bus.reports.is_empty() {
                    let stored = pick(&mut self.rng, &self.bus.reports).clone();
                    if stored.message.number > 0 {
                        self.fault(coverage, "report twice");
                        self.bus.report(&stored.agent, stored.message);
                    }
                }
            }
            Action::Snapshot(i) => self.controllers[i].snapshot = self.controllers[i].recover(&self.bus),
            Action::Crash(i) => {
                let point = self.controllers[i].active().map_or("down", |a| a.crash_point());
                self.fault(coverage, "controller crash");
                coverage.crash_point(point, self.controllers[i].active().map(|a| a.site()));
                self.controllers[i].crash();
            }
            Action::Activate(i) => self.activate(i, coverage)?,
            _ => self.controller_acts(action)?,
        }
        Ok(())
    }

    fn controller_acts(&mut self, action: Action) -> Result<(), Broken> {
        let (Action::Append(i)
        | Action::ReadCommand(i)
        | Action::ReadReport(i)
        | Action::Tick(i)
        | Action::Effect(i)
        | Action::Resend(i)
        | Action::Forget(i)) = action
        else {
            return Ok(());
        };
        let instance = self.controllers[i].instance.clone();
        let now = self.now + self.skews[i];
        let Some(active) = self.controllers[i].active() else { return Ok(()) };
        let source = if matches!(action, Action::ReadCommand(_)) { Source::Commands } else { Source::Reports };
        let outcome = match action {
            Action::Append(_) => active.step_append(&self.bus, now),
            Action::Tick(_) => active.tick(now),
            Action::Forget(_) => active.forget(self.checker.site(), now),
            Action::Effect(_) => {
                active.effect(&mut self.bus, &instance, now);
                Ok(())
            }
            Action::Resend(_) => {
                active.resend(&self.bus);
                Ok(())
            }
            _ => match active.next_message(&self.bus, source) {
                Some(message) => {
                    // A reader that began again may read what was decided already.
                    let again = active.message_before(&self.bus, &message).filter(|_| chance(&mut self.rng, 5));
                    if let Some(before) = again
                        && let Err(Ended::Error(text)) = active.accept(&before, now)
                    {
                        return Err(Broken::new("a_decision_fits_its_state", text));
                    }
                    active.accept(&message, now)
                }
                None => Ok(()),
            },
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(Ended::Fenced) => {
                self.story.push(format!("    {instance} is fenced"));
                self.controllers[i].crash();
                Ok(())
            }
            Err(Ended::Error(text)) => Err(Broken::new("a_decision_fits_its_state", text)),
        }
    }

    fn activate(&mut self, i: usize, coverage: &mut Coverage) -> Result<(), Broken> {
        let other = &self.controllers[1 - i].phase;
        if matches!(other, Phase::Active(_)) {
            self.fault(coverage, "two believe to be active");
        }
        let faults = if self.calm { Box::new(|_| Fault::None) } else { self.journal_faults() };
        let (seed, now, store) = (self.rng.next_u64(), self.now + self.skews[i], self.store.clone());
        match self.controllers[i].activate(&self.bus, now, seed, store, faults) {
            Ok(()) => Ok(()),
            Err(e) => Err(Broken::new("activation_succeeds", format!("{e:?}"))),
        }
    }

    /// What the network does to appends.
    fn journal_faults(&mut self) -> Faults {
        let mut rng = workload::rng(self.rng.next_u64());
        Box::new(move |_| match rng.random_range(0..100) {
            0..3 => Fault::LostRequest,
            3..6 => Fault::LostAck,
            6 => Fault::Noise,
            _ => Fault::None,
        })
    }

    fn fault(&mut self, coverage: &mut Coverage, kind: &'static str) {
        self.faults += 1;
        coverage.fault(kind);
    }

    fn give(&mut self, i: usize) {
        let agent = &mut self.agents[i];
        let candidates: Vec<usize> = (0..self.bus.jobs.len()).filter(|j| agent.may_take(&self.bus.jobs[*j])).collect();
        if candidates.is_empty() {
            return;
        }
        let j = *pick(&mut self.rng, &candidates);
        // A redelivery that is not needed: ack_wait ran out while the other was still at it.
        let keep = !self.calm && chance(&mut self.rng, 10);
        let job = &mut self.bus.jobs[j];
        job.out_to = (!keep).then(|| agent.instance.clone());
        let job = job.clone();
        agent.take(job);
    }

    fn deliver_kill(&mut self) {
        let i = self.rng.random_range(0..self.bus.kills.len());
        let (_, instance, kill) = self.bus.kills.swap_remove(i);
        if let Some(agent) = self.agents.iter_mut().find(|a| a.instance == instance) {
            agent.kill(&kill, self.now);
        }
    }

    fn somebody_asks(&mut self) {
        if self.calm {
            return;
        }
        if chance(&mut self.rng, 8) {
            return self.deploy();
        }
        if chance(&mut self.rng, 10) {
            return self.about_definitions();
        }
        if chance(&mut self.rng, 5) && !self.bus.commands.is_empty() {
            // The sender did not get an answer and asks again, with the same id.
            let again = pick(&mut self.rng, &self.bus.commands).clone();
            self.bus.commands.push(again);
            return;
        }
        let orders = self.orders_of(|_| true);
        let command = workload::command(&mut self.rng, &self.workflows, &orders, self.now);
        self.ask(command);
    }

    fn deploy(&mut self) {
        let names = ["alpha", "beta", "gamma"];
        self.author.begin();
        let workflows: Vec<_> = names.iter().map(|n| self.author.workflow(&mut self.rng, n)).collect();
        let shrink = self.rng.random_range(0..3);
        let deployment =
            workload::deployment(workflows, |capacity| if shrink == 0 { capacity.min(2) } else { capacity });
        for workflow in deployment.workflows {
            let hash = workload::hash_of(&workflow);
            let loaded = LoadedWorkflow::new(workflow);
            self.store.workflows.write().expect("not poisoned").insert(hash, Arc::new(loaded));
        }
        for lock in deployment.locks {
            self.store.locks.write().expect("not poisoned").insert(workload::hash_of(&lock), lock);
        }
        self.workflows = names.iter().map(id).collect();
        self.ask(deployment.command);
    }

    /// What services act by, and a workflow that nobody uses: they come and go.
    fn about_definitions(&mut self) {
        let (command, items) = catalog::command(&mut self.rng, self.now);
        for item in items {
            match item.definition {
                Definition::Workflow(workflow) => {
                    let loaded = Arc::new(LoadedWorkflow::new(workflow));
                    self.store.workflows.write().expect("not poisoned").insert(item.hash, loaded);
                }
                Definition::Catalog(definition) => {
                    self.store.catalog.write().expect("not poisoned").insert(item.hash, Arc::new(definition));
                }
                Definition::Lock(_) => {}
            }
        }
        self.ask(command);
    }

    fn ask(&mut self, command: Command) {
        self.commands += 1;
        let id: CommandId = id(format!("command-{}", self.commands));
        let by = By { user: self::id("tester"), reason: None };
        self.bus.commands.push(CommandMessage { id, by, at: self.now, command });
    }

    /// Orders of the journalled state.
    fn orders_of(&self, wanted: impl Fn(&ordo_domain::order::Order) -> bool) -> Vec<OrderId> {
        self.checker.site().orders.values().filter(|o| wanted(o)).map(|o| o.id.clone()).collect()
    }

    fn is_at_rest(&self) -> bool {
        self.unrest().is_empty()
    }

    /// What still has to happen by itself.
    fn unrest(&self) -> String {
        let mut unrest = Vec::new();
        let actives: Vec<_> = self
            .controllers
            .iter()
            .filter_map(|c| match &c.phase {
                Phase::Active(active) => Some(active),
                _ => None,
            })
            .collect();
        match &actives[..] {
            [active] if active.is_serving() => {
                if active.wants_to_append() || !active.effects.is_empty() {
                    unrest.push("the controller has work".to_owned());
                }
                for source in [Source::Commands, Source::Reports] {
                    if active.next_message(&self.bus, source).is_some() {
                        unrest.push(format!("{source} to be read"));
                    }
                }
                if !active.site().timers.is_empty() {
                    unrest.push("timers".to_owned());
                }
                if !active.site().runs.is_empty() {
                    let runs = active.site().runs.values().map(|run| {
                        let is_claimed = matches!(run.state, RunState::Claimed { .. });
                        let claim = self.bus.claimed_by(&run.id).map(|claim| (&claim.instance, &claim.report));
                        format!("run {} claimed {is_claimed}, kill {}, {claim:?}", run.id, run.kill_requested)
                    });
                    unrest.push(runs.collect::<Vec<_>>().join("; "));
                }
            }
            others => unrest.push(format!("{} controllers active", others.len())),
        }
        for agent in &self.agents {
            if agent.has_steps() || agent.has_processes() {
                unrest.push(format!("{} has work", agent.instance));
            }
        }
        if !self.bus.jobs.is_empty() || !self.bus.kills.is_empty() {
            unrest.push("jobs or kills under way".to_owned());
        }
        unrest.join(", ")
    }
}
