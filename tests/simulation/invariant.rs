//! What must be true after every step, and at the end. Everything is judged by the journal, the bus and the processes that
//! really ran; nothing by what the core says of itself.

use crate::{
    agent::SimAgent,
    controller::Phase,
    coverage::Coverage,
    world::{MIN_FAULTS, MIN_ORDERS, World},
};
use ordo_contract::{commit::Cause, commit::Commit, replica::Replica};
use ordo_domain::{
    Event, OrderId, Outcome, Position, RunId, Site,
    controller::CommandAccepted,
    run::{Report, RunEnd},
};
use std::collections::{BTreeMap, BTreeSet};

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub invariant: String,
    pub detail: String,
}

/// Those of the whole; the rules of a single state are [`ordo_domain::invariant::INVARIANTS`].
const INVARIANTS: [&str; 24] = [
    "the_journal_can_be_replayed",
    "commits_fit_their_limit",
    "epochs_rise_with_activations",
    "time_never_goes_back",
    "each_cause_is_decided_once",
    "no_order_is_added_twice",
    "no_order_ends_twice",
    "one_run_of_an_order_at_a_time",
    "no_step_that_succeeded_runs_again",
    "run_ids_are_fresh",
    "no_run_ends_twice",
    "a_command_has_one_outcome",
    "no_cause_is_poison",
    "recovered_state_equals_live_state",
    "snapshot_restores_the_state",
    "effects_follow_the_journal",
    "each_run_is_spawned_at_most_once",
    "processes_run_only_after_their_claim",
    "what_processes_did_is_in_the_journal",
    "nothing_is_held_at_rest",
    "every_order_ends",
    "every_command_has_an_outcome",
    "everything_comes_to_rest",
    "nothing_is_left_undecided",
];
/// Of the driver: that the engine takes what it is given, and that the seed says anything.
const OF_THE_DRIVER: [&str; 3] = ["a_decision_fits_its_state", "activation_succeeds", "a_seed_is_wild_enough"];

/// Every name that [`Broken`] can have.
pub fn names() -> impl Iterator<Item = &'static str> {
    let of_a_state = ordo_domain::invariant::INVARIANTS.iter().map(|(name, _)| *name);
    of_a_state.chain(INVARIANTS).chain(OF_THE_DRIVER)
}

impl Broken {
    pub fn new(invariant: &str, detail: impl Into<String>) -> Self {
        assert!(names().any(|known| known == invariant), "{invariant} is not among the names");
        Self { invariant: invariant.to_owned(), detail: detail.into() }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

type Checked = Result<(), Broken>;

/// Follows the journal and remembers what it said.
#[derive(Default)]
pub struct Checker {
    replica: Replica,
    epoch: u64,
    at: Option<ordo_domain::Instant>,
    /// By command: what was answered.
    outcomes: BTreeMap<String, String>,
    dispatched: BTreeMap<RunId, (OrderId, Position)>,
    ended: BTreeMap<RunId, RunEnd>,
    /// Steps that were done well and not gone back to.
    done: BTreeSet<(OrderId, Position)>,
    /// Causes that were journalled, whole: they may never come again.
    causes: BTreeSet<String>,
    added: BTreeSet<OrderId>,
    terminated: BTreeSet<OrderId>,
    steps: u64,
    spawned: BTreeSet<RunId>,
    seen_spawns: BTreeMap<String, usize>,
    seen_sent: usize,
    /// Of the last commit that the live state was compared at.
    compared: String,
}

impl Checker {
    pub fn new(_seed: u64) -> Self {
        Self::default()
    }

    /// The journalled state.
    pub fn site(&self) -> &Site {
        &self.replica.site
    }

    /// How many were added.
    pub fn orders(&self) -> usize {
        self.added.len()
    }

    pub fn after_step(&mut self, world: &World, coverage: &mut Coverage) -> Checked {
        self.steps += 1;
        let new = world.bus.journal.commits_from(self.replica.sequence + 1);
        for (sequence, bytes) in &new {
            if let Ok(commit) = Commit::decode(bytes) {
                coverage.commit(&self.replica.site, &commit);
            }
            let taken = self.replica.take(*sequence, bytes);
            let commit = taken.map_err(|e| Broken::new("the_journal_can_be_replayed", chain(&e)))?;
            self.invariant_commits_fit_their_limit(bytes.len())?;
            self.invariant_epochs_and_times_rise(&commit)?;
            self.invariant_each_cause_is_decided_once(&commit)?;
            for event in commit.decisions.iter().flat_map(|d| &d.events) {
                self.event(event)?;
            }
            ordo_domain::invariant::check(&self.replica.site).map_err(|v| Broken::new(v.invariant, v.detail))?;
        }
        if !new.is_empty() {
            self.invariant_snapshot_restores_the_state()?;
        }
        self.invariant_recovered_state_equals_live_state(world)?;
        self.invariant_jobs_follow_the_journal(world)?;
        self.spawns(world)
    }

    /// What was spawned since the last step.
    fn spawns(&mut self, world: &World) -> Checked {
        for agent in &world.agents {
            let seen = self.seen_spawns.entry(agent.instance.to_string()).or_default();
            for run in &agent.spawned()[*seen..] {
                if !self.spawned.insert(run.clone()) {
                    return Err(Broken::new("each_run_is_spawned_at_most_once", run.to_string()));
                }
                invariant_processes_run_only_after_their_claim(world, agent, run)?;
            }
            *seen = agent.spawned().len();
        }
        Ok(())
    }

    /// When nothing is to happen any more.
    pub fn at_rest(&self, world: &World) -> Checked {
        self.invariant_every_order_has_ended()?;
        self.invariant_every_command_has_an_outcome(world)?;
        self.invariant_what_processes_did_is_in_the_journal(world)?;
        self.invariant_nothing_is_held(world)?;
        if self.orders() < MIN_ORDERS || world.faults < MIN_FAULTS {
            let detail = format!("{} orders, {} faults", self.orders(), world.faults);
            return Err(Broken::new("a_seed_is_wild_enough", detail));
        }
        Ok(())
    }

    fn event(&mut self, event: &Event) -> Checked {
        match event {
            Event::OrderAdded(e) => self.invariant_no_order_is_added_twice(&e.order)?,
            Event::OrderForked(e) => {
                for child in &e.children {
                    self.invariant_no_order_is_added_twice(&child.order)?;
                }
            }
            Event::OrderFinished(e) => self.invariant_no_order_ends_twice(&e.order)?,
            Event::OrderCancelled(e) => self.invariant_no_order_ends_twice(&e.order)?,
            Event::RunDispatched(e) => {
                let at = (e.order.clone(), e.position.clone());
                self.invariant_one_run_at_a_time(&e.order)?;
                if self.done.contains(&at) {
                    let detail = format!("{} at {} had succeeded", e.order, e.position);
                    return Err(Broken::new("no_step_that_succeeded_runs_again", detail));
                }
                if self.dispatched.insert(e.run.clone(), at).is_some() {
                    return Err(Broken::new("run_ids_are_fresh", e.run.to_string()));
                }
            }
            Event::RunEnded(e) => {
                if self.ended.insert(e.run.clone(), e.facts.end.clone()).is_some() {
                    return Err(Broken::new("no_run_ends_twice", e.run.to_string()));
                }
                if matches!(e.outcome, Some(Outcome::Succeeded)) {
                    self.done.insert((e.order.clone(), e.position.clone()));
                }
            }
            // Going back is allowed to who says so.
            Event::OrderRetrying(e) => self.forget_done(&e.order),
            Event::OrderResumed(e) => self.forget_done(&e.order),
            Event::CommandAccepted(CommandAccepted { command, outcome }) => {
                self.invariant_a_command_has_one_outcome(command.as_str(), format!("{outcome:?}"))?;
            }
            Event::CommandRefused(e) => {
                if let Some(command) = &e.command {
                    self.invariant_a_command_has_one_outcome(command.as_str(), format!("{:?}", e.refusal))?;
                }
            }
            Event::CommandFailed(e) => return Err(Broken::new("no_cause_is_poison", format!("{e:?}"))),
            _ => {}
        }
        Ok(())
    }

    fn forget_done(&mut self, order: &OrderId) {
        self.done.retain(|(done, _)| done != order);
    }

    fn invariant_recovered_state_equals_live_state(&mut self, world: &World) -> Checked {
        if self.compared == self.replica.hash {
            return Ok(());
        }
        for controller in &world.controllers {
            let Phase::Active(active) = &controller.phase else { continue };
            let live = active.engine.replica();
            if !active.engine.is_settled() || live.hash != self.replica.hash {
                continue;
            }
            if live.site != self.replica.site {
                let detail = difference(&live.site, &self.replica.site);
                return Err(Broken::new("recovered_state_equals_live_state", detail));
            }
            if live.causes != self.replica.causes || live.decisions != self.replica.decisions {
                let detail = format!("{:?} and {:?}", live.causes, self.replica.causes);
                return Err(Broken::new("recovered_state_equals_live_state", detail));
            }
            self.compared.clone_from(&self.replica.hash);
        }
        Ok(())
    }

    fn invariant_snapshot_restores_the_state(&self) -> Checked {
        if !self.steps.is_multiple_of(50) {
            return Ok(());
        }
        let json =
            serde_json::to_vec(&self.replica).map_err(|e| Broken::new("snapshot_restores_the_state", e.to_string()))?;
        let restored: Replica =
            serde_json::from_slice(&json).map_err(|e| Broken::new("snapshot_restores_the_state", e.to_string()))?;
        if restored != self.replica {
            let detail = difference(&restored.site, &self.replica.site);
            return Err(Broken::new("snapshot_restores_the_state", detail));
        }
        Ok(())
    }

    fn invariant_commits_fit_their_limit(&self, bytes: usize) -> Checked {
        match bytes {
            b if b > ordo_domain::limit::COMMIT_BYTES => {
                Err(Broken::new("commits_fit_their_limit", format!("{b} bytes")))
            }
            _ => Ok(()),
        }
    }

    fn invariant_epochs_and_times_rise(&mut self, commit: &Commit) -> Checked {
        let activates = commit.decisions.iter().any(|d| matches!(d.cause, Cause::Activation { .. }));
        let expected = self.epoch + u64::from(activates);
        if commit.epoch != expected {
            let detail = format!("epoch {} where {expected} was expected", commit.epoch);
            return Err(Broken::new("epochs_rise_with_activations", detail));
        }
        self.epoch = commit.epoch;
        if self.at.is_some_and(|at| commit.at < at) {
            return Err(Broken::new("time_never_goes_back", format!("{:?} then {}", self.at, commit.at)));
        }
        self.at = Some(commit.at);
        Ok(())
    }

    fn invariant_each_cause_is_decided_once(&mut self, commit: &Commit) -> Checked {
        for decision in &commit.decisions {
            if let Cause::Message(m) = &decision.cause {
                let name = format!("{}/{}/{}", m.source, m.sequence, m.part);
                if !self.causes.insert(name.clone()) {
                    return Err(Broken::new("each_cause_is_decided_once", name));
                }
            }
        }
        Ok(())
    }

    fn invariant_no_order_is_added_twice(&mut self, order: &OrderId) -> Checked {
        match self.added.insert(order.clone()) {
            true => Ok(()),
            false => Err(Broken::new("no_order_is_added_twice", order.to_string())),
        }
    }

    fn invariant_no_order_ends_twice(&mut self, order: &OrderId) -> Checked {
        match self.terminated.insert(order.clone()) {
            true => Ok(()),
            false => Err(Broken::new("no_order_ends_twice", order.to_string())),
        }
    }

    fn invariant_one_run_at_a_time(&self, order: &OrderId) -> Checked {
        let open = self.dispatched.iter().find(|(run, (o, _))| o == order && !self.ended.contains_key(*run));
        match open {
            Some((run, _)) => {
                Err(Broken::new("one_run_of_an_order_at_a_time", format!("{order}: {run} has not ended")))
            }
            None => Ok(()),
        }
    }

    fn invariant_a_command_has_one_outcome(&mut self, command: &str, outcome: String) -> Checked {
        match self.outcomes.get(command) {
            Some(known) if *known != outcome => {
                let detail = format!("{command}: {known}, then {outcome}");
                Err(Broken::new("a_command_has_one_outcome", detail))
            }
            Some(_) => Ok(()),
            None => {
                self.outcomes.insert(command.to_owned(), outcome);
                Ok(())
            }
        }
    }

    fn invariant_jobs_follow_the_journal(&mut self, world: &World) -> Checked {
        let new = &world.bus.sent[self.seen_sent..];
        self.seen_sent = world.bus.sent.len();
        match new.iter().find(|run| !self.dispatched.contains_key(*run)) {
            Some(run) => {
                Err(Broken::new("effects_follow_the_journal", format!("{run} was sent, the journal has it not")))
            }
            None => Ok(()),
        }
    }

    fn invariant_every_order_has_ended(&self) -> Checked {
        let left: Vec<_> = self.site().orders.values().filter(|o| !o.state.is_terminated()).collect();
        match left.first() {
            None => Ok(()),
            Some(order) => {
                let detail = format!("{} of them, such as {}: {:?}", left.len(), order.id, order.state);
                Err(Broken::new("every_order_ends", detail))
            }
        }
    }

    fn invariant_every_command_has_an_outcome(&self, world: &World) -> Checked {
        match world.bus.commands.iter().find(|c| !self.outcomes.contains_key(c.id.as_str())) {
            Some(command) => Err(Broken::new("every_command_has_an_outcome", command.id.to_string())),
            None => Ok(()),
        }
    }

    /// Every process that ran to its end is in the journal with the end that it had, unless the journal calls it lost
    /// because its runner died.
    fn invariant_what_processes_did_is_in_the_journal(&self, world: &World) -> Checked {
        for agent in &world.agents {
            for (run, end) in agent.real_ends() {
                match self.ended.get(run) {
                    Some(known) if known == end => {}
                    other => {
                        let detail = format!("{run} ended with {end:?}, the journal says {other:?}");
                        return Err(Broken::new("what_processes_did_is_in_the_journal", detail));
                    }
                }
            }
        }
        Ok(())
    }

    fn invariant_nothing_is_held(&self, world: &World) -> Checked {
        if let Some((resource, usage)) = self.site().resources.0.iter().find(|(_, u)| !u.is_idle()) {
            return Err(Broken::new("nothing_is_held_at_rest", format!("{resource:?}: {usage:?}")));
        }
        match world.agents.iter().find(|a| !a.is_idle()) {
            Some(agent) => {
                Err(Broken::new("nothing_is_held_at_rest", format!("agent {}: {}", agent.instance, agent.held())))
            }
            None => Ok(()),
        }
    }
}

fn invariant_processes_run_only_after_their_claim(world: &World, agent: &SimAgent, run: &RunId) -> Checked {
    let claimed = world.bus.claimed_by(run);
    match claimed {
        Some(c) if c.instance == agent.instance && matches!(c.report, Report::Accepted { .. }) => Ok(()),
        _ => {
            let detail = format!("{} runs {run}, the claim is {claimed:?}", agent.instance);
            Err(Broken::new("processes_run_only_after_their_claim", detail))
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// The first place where two states differ, for people.
fn difference(a: &Site, b: &Site) -> String {
    let (a, b) = (serde_json::to_value(a).unwrap_or_default(), serde_json::to_value(b).unwrap_or_default());
    fn walk(path: &str, a: &serde_json::Value, b: &serde_json::Value) -> Option<String> {
        use serde_json::Value::{Array, Object};
        match (a, b) {
            (Object(x), Object(y)) => x.keys().chain(y.keys()).find_map(|k| {
                walk(
                    &format!("{path}/{k}"),
                    x.get(k).unwrap_or(&Object(Default::default())),
                    y.get(k).unwrap_or(&Object(Default::default())),
                )
            }),
            (Array(x), Array(y)) if x.len() == y.len() => {
                x.iter().zip(y).enumerate().find_map(|(i, (x, y))| walk(&format!("{path}/{i}"), x, y))
            }
            (x, y) if x == y => None,
            (x, y) => Some(format!("{path}: {x} and {y}")),
        }
    }
    walk("", &a, &b).unwrap_or_else(|| "equal as JSON".to_owned())
}
