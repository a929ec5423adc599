//! The life of a run at one agent instance, as a pure state machine: what it is told goes in as [`Input`], what is to be
//! done comes out as [`Action`]s. No I/O, no clock, no randomness; the same inputs give the same actions. The shell of
//! the agent drives it over NATS and a real disk, the simulation over a simulated bus with several agents at once.
//!
//! ```text
//! Job ──Store──▶ Stored ──Claim──▶ ClaimWon ──Ack, Start──▶ Started ──▶ Ended ──Report──▶ ReportAcked ──▶ OutputStored ──Delete──▶ Deleted
//!                   │                 └ too late, or a kill came: Report instead of Start
//!                   └ ClaimFound: somebody else's: Ack, Drop
//! ```
//!
//! The file is longer than others: one state machine is read in one place.
//!
//! # What the driver promises
//! - [`Action::Store`], [`Action::Report`]: on disk (synced) before anything that follows from them leaves the agent.
//!   [`Action::Drop`], [`Input::Deleted`] and acknowledged numbers may get lost with a crash; they are found out again.
//! - Reports are published in the order of their numbers, again and again until they are acknowledged.
//! - A crash loses the machine and nothing on disk: [`AgentCore::recover`] with the records and with what the runner
//!   and the run folders say gives one that goes on.
//! - Actions on one run are carried out in the order in which they come.

use ordo_contract::bus_config::JOB_AGE;
use ordo_contract::heartbeat::AgentHeartbeat;
use ordo_contract::job::JobMessage;
use ordo_contract::report::ReportMessage;
use ordo_domain::run::{Report, RunEnd, RunFacts};
use ordo_domain::{AgentName, InstanceId, Instant, NodeName, RunId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// From the first attempt to claim to the spawn; after it the run is reported as not started.
pub const SPAWN_WITHIN_MS: u64 = 5_000;
/// A job that cannot be stored goes back for this long.
pub const AGAIN_AFTER_MS: u64 = 5_000;

/// Now, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What people read.
    pub at: Instant,
    /// CLOCK_BOOTTIME: spans are measured with it.
    pub boot_ms: u64,
}

/// Who this agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    pub agent: AgentName,
    pub instance: InstanceId,
    pub node: NodeName,
    pub version: String,
    pub slots: u32,
    /// The boot of the machine: after another one nothing that was claimed and has no folder is known not to have run.
    pub boot: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A message of JOBS was given out to us; also again.
    Job(Box<JobMessage>),
    Stored {
        run: RunId,
    },
    /// The disk is full, say. The job goes back.
    NotStored {
        run: RunId,
    },
    /// Our claim is the first message on its subject.
    ClaimWon {
        run: RunId,
    },
    /// Another message was first. `ours`: it is an acceptance in the name of this instance, made by an earlier process.
    ClaimFound {
        run: RunId,
        ours: bool,
    },
    /// The controller wants it ended.
    Kill {
        run: RunId,
        epoch: u64,
    },
    /// The runner has the kill.
    KillSent {
        run: RunId,
    },
    Started {
        run: RunId,
    },
    /// Nothing was spawned and never will be, for this reason. `again`: another run of the step may do better.
    NotStarted {
        run: RunId,
        reason: String,
        again: bool,
    },
    /// Its results are filled in already.
    Ended {
        run: RunId,
        facts: Box<RunFacts>,
    },
    /// There is another runner, or the same again: what the run folders and the runners say now.
    Runner {
        runs: BTreeMap<RunId, OnDisk>,
    },
    ReportAcked {
        number: u64,
    },
    /// History has the end of the run and all of its output.
    OutputStored {
        run: RunId,
    },
    /// Its folder is gone.
    Deleted {
        run: RunId,
    },
    /// The agent serves from now on (again).
    Ready,
    /// The agent is about to stop; its runs go on.
    Stopping,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Write it to disk, then tell `Stored` or `NotStored`.
    Store(Box<StoredJob>),
    /// Publish the claim as the first message on its subject.
    Claim(Box<ReportMessage>),
    /// Of the job's message, as often as it was given out. Harmless where there is none to acknowledge.
    Ack {
        run: RunId,
    },
    Nak {
        run: RunId,
        after_ms: u64,
    },
    /// Let the runner spawn it, unless CLOCK_BOOTTIME has passed this.
    Start {
        job: Arc<JobMessage>,
        before_boot_ms: u64,
    },
    Kill {
        run: RunId,
    },
    AckKill {
        run: RunId,
    },
    /// Write it to disk behind all others, then publish it.
    Report(Box<ReportMessage>),
    /// It was not ours: its record may be dropped.
    Drop {
        run: RunId,
    },
    /// Ask history whether it has everything of this run, send what is missing.
    AwaitOutput {
        run: RunId,
    },
    /// Remove the folder.
    Delete {
        run: RunId,
    },
}

/// A job on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredJob {
    pub job: Arc<JobMessage>,
    /// The boot in which it was stored.
    pub boot: String,
}

/// What lies on disk, for [`AgentCore::recover`] and to be written anew from [`AgentCore::records`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    Job(Box<StoredJob>),
    Dropped {
        run: RunId,
    },
    Report(Box<ReportMessage>),
    Acked {
        number: u64,
    },
    Deleted {
        run: RunId,
    },
    /// Highest report number given and epoch seen, for records that are no longer there.
    Marks {
        number: u64,
        epoch: u64,
    },
    /// It ended and was reported; its folder waits for history.
    Reported {
        run: RunId,
    },
}

/// What a run folder says.
#[derive(Debug, Clone, PartialEq)]
pub enum OnDisk {
    Running,
    Ended(Box<RunFacts>),
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    Storing,
    /// `earlier`: the boot in which an earlier process stored it, which may have claimed it too.
    Claiming {
        since_boot_ms: u64,
        earlier: Option<String>,
    },
    Starting {
        before_boot_ms: u64,
    },
    Running,
    /// Ended; its report with this number waits in the outbox.
    Reporting {
        number: u64,
        output: bool,
    },
    /// Reported; history may lack output.
    Reported,
    Deleting,
}

#[derive(Debug, Clone, PartialEq)]
struct Held {
    job: Option<Arc<JobMessage>>,
    phase: Phase,
    kill: bool,
}

/// One agent instance.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentCore {
    me: Me,
    runs: BTreeMap<RunId, Held>,
    /// Given to the driver and not acknowledged, by number.
    outbox: BTreeMap<u64, Arc<ReportMessage>>,
    number: u64,
    epoch: u64,
}

impl AgentCore {
    /// One whose data folder is empty.
    pub fn new(me: Me) -> Self {
        Self { me, runs: BTreeMap::new(), outbox: BTreeMap::new(), number: 0, epoch: 0 }
    }

    /// Goes on where the last process of this data folder stopped. `on_disk` is asked of the runners after their
    /// connection to that process was closed, so that nothing of it can start any more. The reports that wait are not
    /// among the actions: see [`Self::outbox`].
    pub fn recover(
        me: Me,
        records: impl IntoIterator<Item = Record>,
        on_disk: BTreeMap<RunId, OnDisk>,
        now: Moment,
    ) -> (Self, Vec<Action>) {
        let mut core = Self::new(me);
        let mut boots = BTreeMap::new();
        for record in records {
            core.replay(record, &mut boots);
        }
        let mut actions = Vec::new();
        let undecided: Vec<RunId> =
            core.runs.iter().filter(|(_, h)| h.phase == Phase::Storing).map(|(r, _)| r.clone()).collect();
        for run in undecided {
            let Some(held) = core.runs.get_mut(&run) else { continue };
            if on_disk.contains_key(&run) {
                held.phase = Phase::Running;
            } else if held.job.as_ref().is_some_and(|job| is_too_old(job, now)) {
                // Whoever claimed it, its claim may be gone from the bus: ours would be the first again. If it was
                // ours, then the controller misses the run in our heartbeat and calls it lost.
                core.runs.remove(&run);
                actions.extend([Action::Ack { run: run.clone() }, Action::Drop { run }]);
            } else {
                held.phase = Phase::Claiming { since_boot_ms: now.boot_ms, earlier: boots.remove(&run) };
                actions.push(core.claim(&run, now));
            }
        }
        // Runs that only their folders tell of: their records went with a crash.
        for (run, _) in on_disk.iter().filter(|(_, state)| **state == OnDisk::Running) {
            let adopted = Held { job: None, phase: Phase::Running, kill: false };
            core.runs.entry(run.clone()).or_insert(adopted);
        }
        for (run, held) in &mut core.runs {
            if held.phase == Phase::Reported {
                let gone = !on_disk.contains_key(run);
                actions.push(if gone {
                    Action::Delete { run: run.clone() }
                } else {
                    Action::AwaitOutput { run: run.clone() }
                });
                held.phase = if gone { Phase::Deleting } else { Phase::Reported };
            }
        }
        core.compare(&on_disk, now, &mut actions);
        (core, actions)
    }

    fn replay(&mut self, record: Record, boots: &mut BTreeMap<RunId, String>) {
        match record {
            Record::Job(stored) => {
                self.epoch = self.epoch.max(stored.job.epoch);
                boots.insert(stored.job.run.clone(), stored.boot);
                self.runs
                    .insert(stored.job.run.clone(), Held { job: Some(stored.job), phase: Phase::Storing, kill: false });
            }
            Record::Dropped { run } | Record::Deleted { run } => drop(self.runs.remove(&run)),
            Record::Report(report) => {
                self.number = self.number.max(report.number);
                self.epoch = self.epoch.max(report.epoch);
                if let Report::Ended { run, facts } = &report.report {
                    let phase = Phase::Reporting { number: report.number, output: facts.output.chunks > 0 };
                    self.runs.insert(run.clone(), Held { job: None, phase, kill: false });
                }
                self.outbox.insert(report.number, Arc::from(report));
            }
            Record::Acked { number } => {
                if let Some((_, held)) = self.take_report(number) {
                    held.phase = Phase::Reported;
                }
            }
            Record::Marks { number, epoch } => {
                self.number = self.number.max(number);
                self.epoch = self.epoch.max(epoch);
            }
            Record::Reported { run } => {
                self.runs.insert(run, Held { job: None, phase: Phase::Reported, kill: false });
            }
        }
    }

    /// The fewest records from which [`Self::recover`] makes the same again.
    pub fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::Marks { number: self.number, epoch: self.epoch }];
        for (run, held) in &self.runs {
            match (&held.phase, &held.job) {
                // A job that is being stored too: its record may have gone into the file that this replaces.
                (Phase::Storing, Some(job)) => {
                    records.push(Record::Job(Box::new(StoredJob { job: Arc::clone(job), boot: self.me.boot.clone() })));
                }
                (Phase::Claiming { earlier, .. }, Some(job)) => {
                    let boot = earlier.clone().unwrap_or_else(|| self.me.boot.clone());
                    records.push(Record::Job(Box::new(StoredJob { job: Arc::clone(job), boot })));
                }
                (Phase::Starting { .. } | Phase::Running, Some(job)) => {
                    records.push(Record::Job(Box::new(StoredJob { job: Arc::clone(job), boot: self.me.boot.clone() })));
                }
                (Phase::Reported | Phase::Deleting, _) => records.push(Record::Reported { run: run.clone() }),
                // In the outbox; or known from its folder alone.
                (Phase::Reporting { .. }, _) | (_, None) => {}
            }
        }
        records.extend(self.outbox.values().map(|report| Record::Report(Box::new(ReportMessage::clone(report)))));
        records
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Job(job) => self.job(*job, &mut actions),
            Input::Stored { run } => {
                if let Some(held) = self.in_phase(&run, |phase| *phase == Phase::Storing) {
                    held.phase = Phase::Claiming { since_boot_ms: now.boot_ms, earlier: None };
                    actions.push(self.claim(&run, now));
                }
            }
            Input::NotStored { run } => {
                if self.in_phase(&run, |phase| *phase == Phase::Storing).is_some() {
                    self.runs.remove(&run);
                    actions.push(Action::Nak { run, after_ms: AGAIN_AFTER_MS });
                }
            }
            Input::ClaimWon { run } => self.claim_won(&run, now, &mut actions),
            Input::ClaimFound { run, ours } => self.claim_found(run, ours, now, &mut actions),
            Input::Kill { run, epoch } => {
                self.epoch = self.epoch.max(epoch);
                self.kill(run, &mut actions);
            }
            Input::KillSent { run } => actions.push(Action::AckKill { run }),
            Input::Started { run } => {
                if let Some(held) = self.in_phase(&run, |phase| matches!(phase, Phase::Starting { .. })) {
                    held.phase = Phase::Running;
                }
            }
            Input::NotStarted { run, reason, again } => {
                if self.in_phase(&run, |phase| matches!(phase, Phase::Starting { .. })).is_some() {
                    self.never_started(&run, RunEnd::NotStarted { reason, again }, now, &mut actions);
                }
            }
            Input::Ended { run, facts } => self.ended(&run, *facts, now, &mut actions),
            Input::Runner { runs } => self.compare(&runs, now, &mut actions),
            Input::ReportAcked { number } => self.report_acked(number, &mut actions),
            Input::OutputStored { run } => {
                if let Some(held) = self.in_phase(&run, |phase| *phase == Phase::Reported) {
                    held.phase = Phase::Deleting;
                    actions.push(Action::Delete { run });
                }
            }
            Input::Deleted { run } => {
                if self.in_phase(&run, |phase| *phase == Phase::Deleting).is_some() {
                    self.runs.remove(&run);
                }
            }
            Input::Ready => {
                let report = Report::Ready { node: self.me.node.clone(), version: self.me.version.clone() };
                actions.push(self.report(report, now));
            }
            Input::Stopping => actions.push(self.report(Report::Stopping, now)),
        }
        actions
    }

    // What it is at the moment.

    /// How many more jobs may be asked for.
    pub fn free_slots(&self) -> u32 {
        let busy = self.runs.values().filter(|held| {
            matches!(held.phase, Phase::Storing | Phase::Claiming { .. } | Phase::Starting { .. } | Phase::Running)
        });
        self.me.slots.saturating_sub(u32::try_from(busy.count()).unwrap_or(u32::MAX))
    }

    /// What its heartbeat says. Runs whose claim is still under way are named too: the controller may know of it sooner
    /// than we do, and must not take the run for lost.
    pub fn heartbeat(&self) -> AgentHeartbeat {
        let named = self.runs.iter().filter(|(_, held)| {
            matches!(
                held.phase,
                Phase::Claiming { .. } | Phase::Starting { .. } | Phase::Running | Phase::Reporting { .. }
            )
        });
        AgentHeartbeat {
            slots: self.me.slots,
            runs: named.map(|(run, _)| run.clone()).collect(),
            outbox: self.outbox.len() as u64,
        }
    }

    /// Reports that are not acknowledged, in order.
    pub fn outbox(&self) -> impl Iterator<Item = &Arc<ReportMessage>> {
        self.outbox.values()
    }

    /// One of them.
    pub fn report_of(&self, number: u64) -> Option<&Arc<ReportMessage>> {
        self.outbox.get(&number)
    }

    /// The message of a run that has not ended.
    pub fn job_of(&self, run: &RunId) -> Option<&Arc<JobMessage>> {
        self.runs.get(run)?.job.as_ref()
    }

    /// Highest epoch seen.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether a run is on its way between its message and its process.
    pub fn is_deciding(&self) -> bool {
        let between = |phase: &Phase| matches!(phase, Phase::Storing | Phase::Claiming { .. } | Phase::Starting { .. });
        self.runs.values().any(|held| between(&held.phase))
    }

    /// Runs whose processes live, as far as is known here.
    pub fn running(&self) -> Vec<RunId> {
        let runs = self.runs.iter().filter(|(_, held)| matches!(held.phase, Phase::Starting { .. } | Phase::Running));
        runs.map(|(run, _)| run.clone()).collect()
    }

    // Steps.

    fn in_phase(&mut self, run: &RunId, is: impl Fn(&Phase) -> bool) -> Option<&mut Held> {
        self.runs.get_mut(run).filter(|held| is(&held.phase))
    }

    fn job(&mut self, job: JobMessage, actions: &mut Vec<Action>) {
        self.epoch = self.epoch.max(job.epoch);
        let run = job.run.clone();
        match self.runs.get(&run).map(|held| &held.phase) {
            // Given out once more while we are at it: acknowledged when it is decided whose it is.
            Some(Phase::Storing | Phase::Claiming { .. }) => {}
            Some(_) => actions.push(Action::Ack { run }),
            None => {
                let job = Arc::new(job);
                self.runs.insert(run, Held { job: Some(Arc::clone(&job)), phase: Phase::Storing, kill: false });
                actions.push(Action::Store(Box::new(StoredJob { job, boot: self.me.boot.clone() })));
            }
        }
    }

    fn claim(&self, run: &RunId, now: Moment) -> Action {
        Action::Claim(Box::new(self.message(0, Report::Accepted { run: run.clone() }, now)))
    }

    fn claim_won(&mut self, run: &RunId, now: Moment, actions: &mut Vec<Action>) {
        let Some(held) = self.in_phase(run, |phase| matches!(phase, Phase::Claiming { .. })) else { return };
        let (Phase::Claiming { since_boot_ms, .. }, Some(job)) = (&held.phase, held.job.clone()) else { return };
        let before_boot_ms = since_boot_ms + SPAWN_WITHIN_MS;
        actions.push(Action::Ack { run: run.clone() });
        if held.kill {
            self.never_started(run, RunEnd::Killed, now, actions);
        } else if now.boot_ms > before_boot_ms {
            let reason = format!("the claim took longer than {} s", SPAWN_WITHIN_MS / 1000);
            self.never_started(run, RunEnd::NotStarted { reason, again: true }, now, actions);
        } else {
            held.phase = Phase::Starting { before_boot_ms };
            actions.push(Action::Start { job, before_boot_ms });
        }
    }

    fn claim_found(&mut self, run: RunId, ours: bool, now: Moment, actions: &mut Vec<Action>) {
        let boot = self.me.boot.clone();
        let Some(held) = self.in_phase(&run, |phase| matches!(phase, Phase::Claiming { .. })) else { return };
        let earlier = match &held.phase {
            Phase::Claiming { earlier, .. } if ours => earlier.clone(),
            _ => None,
        };
        actions.push(Action::Ack { run: run.clone() });
        match earlier {
            Some(earlier) => {
                // Claimed by the process before us. Without a folder nothing was spawned; but a folder made shortly
                // before the machine died may be gone with it.
                let end = if earlier == boot {
                    RunEnd::NotStarted { reason: "the agent stopped between claim and start".to_owned(), again: true }
                } else {
                    RunEnd::Lost { reason: "the machine was started anew between claim and end".to_owned() }
                };
                self.never_started(&run, end, now, actions);
            }
            // Another's; or our own from before our data folder was lost: then the controller misses it in our
            // heartbeat and calls it lost.
            None => {
                self.runs.remove(&run);
                actions.push(Action::Drop { run });
            }
        }
    }

    fn kill(&mut self, run: RunId, actions: &mut Vec<Action>) {
        let Some(held) = self.runs.get_mut(&run) else { return actions.push(Action::AckKill { run }) };
        held.kill = true;
        match held.phase {
            Phase::Starting { .. } | Phase::Running => actions.push(Action::Kill { run }),
            // A kill follows our claim. Should we forget it in a crash, then the run does not start anyway.
            Phase::Storing | Phase::Claiming { .. } | Phase::Reporting { .. } | Phase::Reported | Phase::Deleting => {
                actions.push(Action::AckKill { run });
            }
        }
    }

    fn never_started(&mut self, run: &RunId, end: RunEnd, now: Moment, actions: &mut Vec<Action>) {
        let facts = RunFacts {
            end,
            started_at: None,
            ended_at: now.at,
            usage: ordo_domain::run::report::Usage::default(),
            output: ordo_domain::run::report::OutputSummary::default(),
            results: BTreeMap::new(),
            results_error: None,
        };
        self.ended(run, facts, now, actions);
    }

    /// Also of runs that nothing is known of here: the folder is proof enough, and the controller refuses what it knows
    /// better.
    fn ended(&mut self, run: &RunId, facts: RunFacts, now: Moment, actions: &mut Vec<Action>) {
        if self.in_phase(run, |p| matches!(p, Phase::Reporting { .. } | Phase::Reported | Phase::Deleting)).is_some() {
            return;
        }
        let output = facts.output.chunks > 0;
        let report = self.report(Report::Ended { run: run.clone(), facts }, now);
        let phase = Phase::Reporting { number: self.number, output };
        self.runs.insert(run.clone(), Held { job: None, phase, kill: false });
        actions.push(report);
    }

    /// Compares what we believe with what is there. A look is older than what was said since: a run that it shows
    /// running and that is not held here has ended and was deleted meanwhile.
    fn compare(&mut self, on_disk: &BTreeMap<RunId, OnDisk>, now: Moment, actions: &mut Vec<Action>) {
        for (run, state) in on_disk {
            match state {
                OnDisk::Ended(facts) => self.ended(run, RunFacts::clone(facts), now, actions),
                OnDisk::Running => {
                    let Some(held) = self.runs.get_mut(run) else { continue };
                    if matches!(held.phase, Phase::Starting { .. }) {
                        held.phase = Phase::Running;
                    }
                    if held.kill && held.phase == Phase::Running {
                        actions.push(Action::Kill { run: run.clone() });
                    }
                }
            }
        }
        let missing: Vec<RunId> = self.running().into_iter().filter(|run| !on_disk.contains_key(run)).collect();
        for run in missing {
            let Some(held) = self.runs.get(&run) else { continue };
            match (&held.phase, &held.job) {
                (Phase::Starting { before_boot_ms }, Some(job)) => {
                    actions.push(Action::Start { job: Arc::clone(job), before_boot_ms: *before_boot_ms });
                    if held.kill {
                        actions.push(Action::Kill { run });
                    }
                }
                _ => {
                    let end = RunEnd::Lost { reason: "its folder is gone".to_owned() };
                    self.never_started(&run, end, now, actions);
                }
            }
        }
    }

    fn report_acked(&mut self, number: u64, actions: &mut Vec<Action>) {
        let Some((run, held)) = self.take_report(number) else { return };
        if matches!(held.phase, Phase::Reporting { output: true, .. }) {
            held.phase = Phase::Reported;
            actions.push(Action::AwaitOutput { run });
        } else {
            held.phase = Phase::Deleting;
            actions.push(Action::Delete { run });
        }
    }

    /// Takes a report out of the outbox; the run that it was about, where it is the end of one.
    fn take_report(&mut self, number: u64) -> Option<(RunId, &mut Held)> {
        let report = self.outbox.remove(&number)?;
        let Report::Ended { run, .. } = &report.report else { return None };
        let held = self.in_phase(run, |phase| matches!(phase, Phase::Reporting { number: n, .. } if *n == number))?;
        Some((run.clone(), held))
    }

    fn report(&mut self, report: Report, now: Moment) -> Action {
        self.number += 1;
        let message = self.message(self.number, report, now);
        self.outbox.insert(self.number, Arc::new(message.clone()));
        Action::Report(Box::new(message))
    }

    fn message(&self, number: u64, report: Report, now: Moment) -> ReportMessage {
        ReportMessage {
            v: 1,
            agent: self.me.agent.clone(),
            instance: self.me.instance.clone(),
            number,
            at: now.at,
            epoch: self.epoch,
            report,
        }
    }
}

/// Whether a job was sent so long ago that the claim on it may be gone: a message of JOBS never waits longer.
fn is_too_old(job: &JobMessage, now: Moment) -> bool {
    (now.at - job.dispatched_at).to_std().is_ok_and(|age| age >= JOB_AGE)
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
