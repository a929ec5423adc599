//! A simulated agent instance: the real state machine, with a disk and a runner that outlive it.

use crate::{
    bus::{SimBus, StoredJob},
    workload::{chance, id},
};
use ordo_agent::claim::{Action, AgentCore, Input, Me, Moment, OnDisk, Record};
use ordo_contract::job::KillMessage;
use ordo_domain::{
    AgentName, InstanceId, Instant, RunId, Span,
    run::{Report, RunEnd, RunFacts},
};
use rand::{RngExt, rngs::SmallRng};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A process under the runner, and what is left of it.
enum Process {
    Running { since: Instant, timeout: Option<Span>, killed: bool },
    Ended(RunFacts),
}

pub struct SimAgent {
    pub agent: AgentName,
    pub instance: InstanceId,
    core: AgentCore,
    actions: VecDeque<Action>,
    /// Job messages that were given out to it and not acknowledged.
    given: BTreeMap<RunId, Vec<u64>>,
    /// Outlives a crash of the agent.
    disk: Vec<Record>,
    /// Outlives a crash of the agent, not of the runner.
    processes: BTreeMap<RunId, Process>,
    spawned: Vec<RunId>,
    real_ends: BTreeMap<RunId, RunEnd>,
    /// Ends that the agent has not been told.
    news: BTreeSet<RunId>,
    tick: u64,
}

impl SimAgent {
    pub fn new(agent: AgentName, instance: &str, _seed: u64) -> Self {
        let instance: InstanceId = id(instance);
        let mut core = AgentCore::new(me(&agent, &instance));
        let mut actions = VecDeque::new();
        let begin = Moment { at: chrono::DateTime::UNIX_EPOCH, boot_ms: 0 };
        actions.extend(core.handle(Input::Ready, begin));
        Self {
            agent,
            instance,
            core,
            actions,
            given: BTreeMap::new(),
            disk: Vec::new(),
            processes: BTreeMap::new(),
            spawned: Vec::new(),
            real_ends: BTreeMap::new(),
            news: BTreeSet::new(),
            tick: 0,
        }
    }

    fn moment(&self, now: Instant) -> Moment {
        Moment { at: now, boot_ms: now.timestamp_millis().unsigned_abs() }
    }

    fn tell(&mut self, input: Input, now: Instant) {
        let moment = self.moment(now);
        self.actions.extend(self.core.handle(input, moment));
    }

    pub fn wants_jobs(&self) -> bool {
        self.core.free_slots() > 0
    }

    pub fn may_take(&self, job: &StoredJob) -> bool {
        job.message.agent == self.agent && job.out_to.is_none()
    }

    pub fn take(&mut self, job: StoredJob) {
        self.given.entry(job.message.run.clone()).or_default().push(job.sequence);
        let now = job.message.dispatched_at.max(self.last_seen());
        self.tell(Input::Job(Box::new(job.message)), now);
    }

    fn last_seen(&self) -> Instant {
        chrono::DateTime::UNIX_EPOCH
    }

    pub fn kill(&mut self, kill: &KillMessage, now: Instant) {
        self.tell(Input::Kill { run: kill.run.clone(), epoch: kill.epoch }, now);
    }

    pub fn has_steps(&self) -> bool {
        !self.actions.is_empty() || !self.news.is_empty() || self.core.outbox().next().is_some()
    }

    pub fn has_processes(&self) -> bool {
        self.processes.values().any(|p| matches!(p, Process::Running { .. }))
    }

    /// Carries out its next action, tells it what has ended, or publishes the first report that waits.
    pub fn step(&mut self, bus: &mut SimBus, now: Instant, lose_ack: bool) -> String {
        self.tick += 1;
        if let Some(action) = self.actions.pop_front() {
            let said = format!("{} {}", self.instance, short(&action));
            self.act(action, bus, now, lose_ack);
            return said;
        }
        if let Some(run) = self.news.pop_first()
            && let Some(Process::Ended(facts)) = self.processes.get(&run)
        {
            let facts = Box::new(facts.clone());
            self.tell(Input::Ended { run: run.clone(), facts }, now);
            return format!("{} hears that {run} ended", self.instance);
        }
        let Some(report) = self.core.outbox().next().cloned() else { return "nothing".to_owned() };
        bus.report(&self.agent, (*report).clone());
        if !lose_ack {
            self.disk.push(Record::Acked { number: report.number });
            self.tell(Input::ReportAcked { number: report.number }, now);
        }
        format!(
            "{} publishes report {}{}",
            self.instance,
            report.number,
            if lose_ack { ", the ack is lost" } else { "" }
        )
    }

    fn act(&mut self, action: Action, bus: &mut SimBus, now: Instant, lose_ack: bool) {
        match action {
            Action::Store(job) => {
                let run = job.job.run.clone();
                // Now and then the disk is full.
                if lose_ack {
                    return self.tell(Input::NotStored { run }, now);
                }
                self.disk.push(Record::Job(job));
                self.tell(Input::Stored { run }, now);
            }
            Action::Claim(claim) => {
                let Report::Accepted { run } = &claim.report else { panic!("no claim: {claim:?}") };
                let run = run.clone();
                match bus.claim(&self.agent, (*claim).clone()) {
                    Ok(_) => self.tell(Input::ClaimWon { run }, now),
                    Err(_) => {
                        let found = bus.claimed_by(&run).expect("somebody's");
                        let ours = found.instance == self.instance && matches!(found.report, Report::Accepted { .. });
                        self.tell(Input::ClaimFound { run, ours }, now);
                    }
                }
            }
            Action::Ack { run } => {
                for sequence in self.given.remove(&run).unwrap_or_default() {
                    if !lose_ack {
                        bus.acknowledge_job(sequence);
                    }
                }
                if lose_ack {
                    bus.give_back(&self.instance);
                }
            }
            Action::Nak { run, .. } => {
                self.given.remove(&run);
                bus.give_back(&self.instance);
            }
            Action::Start { job, before_boot_ms } => self.start(&job, before_boot_ms, now),
            Action::Kill { run } => {
                if let Some(Process::Running { killed, .. }) = self.processes.get_mut(&run) {
                    *killed = true;
                }
                self.tell(Input::KillSent { run }, now);
            }
            Action::AckKill { .. } => {}
            Action::Report(report) => self.disk.push(Record::Report(report)),
            Action::Drop { run } => self.disk.push(Record::Dropped { run }),
            Action::AwaitOutput { run } => self.tell(Input::OutputStored { run }, now),
            Action::Delete { run } => {
                self.processes.remove(&run);
                self.disk.push(Record::Deleted { run: run.clone() });
                self.tell(Input::Deleted { run }, now);
            }
        }
    }

    fn start(&mut self, job: &ordo_contract::job::JobMessage, before_boot_ms: u64, now: Instant) {
        let run = job.run.clone();
        if self.moment(now).boot_ms > before_boot_ms {
            return self.tell(Input::NotStarted { run, reason: "too late".into(), again: true }, now);
        }
        if self.processes.contains_key(&run) {
            return self.tell(Input::NotStarted { run, reason: "its folder is there".into(), again: false }, now);
        }
        self.spawned.push(run.clone());
        self.processes.insert(run.clone(), Process::Running { since: now, timeout: job.spec.timeout, killed: false });
        self.tell(Input::Started { run }, now);
    }

    /// One of its processes ends: as it was killed, by its timeout, or by itself.
    pub fn a_process_ends(&mut self, now: Instant, rng: &mut SmallRng) -> String {
        let running: Vec<_> = self
            .processes
            .iter()
            .filter_map(|(run, p)| match p {
                Process::Running { since, timeout, killed } => Some((run.clone(), *since, *timeout, *killed)),
                Process::Ended(_) => None,
            })
            .collect();
        let (run, since, timeout, killed) = running[rng.random_range(0..running.len())].clone();
        let end = match timeout {
            _ if killed => RunEnd::Killed,
            Some(limit) if now - since > limit.to_chrono() => RunEnd::TimedOut { limit },
            _ if chance(rng, 70) => RunEnd::Exited { code: 0 },
            _ => match rng.random_range(0..3) {
                0 => RunEnd::Signalled { signal: 11 },
                1 => RunEnd::Exited { code: 3 },
                _ => RunEnd::Exited { code: 1 },
            },
        };
        let said = format!("{}: {run} ends with {end:?}", self.instance);
        self.real_ends.insert(run.clone(), end.clone());
        self.processes.insert(run.clone(), Process::Ended(facts(end, since, now)));
        self.news.insert(run);
        said
    }

    /// It stops in order and starts again: the same as a crash, but for what it says first.
    pub fn restart(&mut self, now: Instant) {
        self.actions.clear();
        self.tell(Input::Stopping, now);
        let said = self.actions.drain(..).filter_map(|action| match action {
            Action::Report(report) => Some(Record::Report(report)),
            _ => None,
        });
        self.disk.extend(said);
        self.crash(now);
    }

    /// The agent's process dies and starts again; its processes go on under the runner.
    pub fn crash(&mut self, now: Instant) {
        self.actions.clear();
        self.given.clear();
        self.news.clear();
        let on_disk = self.on_disk();
        let moment = self.moment(now);
        let (core, actions) = AgentCore::recover(me(&self.agent, &self.instance), self.disk.clone(), on_disk, moment);
        self.core = core;
        self.actions.extend(actions);
        // The disk is written anew with the fewest records.
        self.disk = self.core.records();
        self.tell(Input::Ready, now);
    }

    /// The runner dies with its processes: their runs are lost.
    pub fn runner_crash(&mut self, now: Instant) {
        for (run, process) in &mut self.processes {
            if let Process::Running { since, .. } = process {
                let end = RunEnd::Lost { reason: "the runner died".into() };
                self.real_ends.insert(run.clone(), end.clone());
                *process = Process::Ended(facts(end, *since, now));
            }
        }
        let runs = self.on_disk();
        self.tell(Input::Runner { runs }, now);
    }

    fn on_disk(&self) -> BTreeMap<RunId, OnDisk> {
        let folder = |p: &Process| match p {
            Process::Running { .. } => OnDisk::Running,
            Process::Ended(facts) => OnDisk::Ended(Box::new(facts.clone())),
        };
        self.processes.iter().map(|(run, p)| (run.clone(), folder(p))).collect()
    }

    // For the checker.

    pub fn spawned(&self) -> &[RunId] {
        &self.spawned
    }

    pub fn real_ends(&self) -> &BTreeMap<RunId, RunEnd> {
        &self.real_ends
    }

    /// Nothing is held: every run was reported and its folder is gone.
    pub fn is_idle(&self) -> bool {
        self.core.heartbeat().runs.is_empty() && !self.has_processes()
    }

    pub fn held(&self) -> String {
        format!("{:?}", self.core.heartbeat())
    }
}

fn me(agent: &AgentName, instance: &InstanceId) -> Me {
    Me {
        agent: agent.clone(),
        instance: instance.clone(),
        node: id("node"),
        version: "1.0.0".into(),
        slots: 4,
        boot: "one".into(),
    }
}

fn facts(end: RunEnd, since: Instant, now: Instant) -> RunFacts {
    RunFacts {
        end,
        started_at: Some(since),
        ended_at: now,
        usage: Default::default(),
        output: Default::default(),
        results: BTreeMap::new(),
        results_error: None,
    }
}

fn short(action: &Action) -> String {
    let text = format!("{action:?}");
    text.chars().take(100).collect()
}
