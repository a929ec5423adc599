//! The shell around [`AgentCore`]: one task that feeds it and carries out what it wants. Everything that waits (claims,
//! scripts, acknowledgements, files) does so in tasks of its own and comes back as an [`Event`].

use crate::claim::{AGAIN_AFTER_MS, Action, AgentCore, Input, Me, Moment, OnDisk, Record, StoredJob};
use crate::config::Config;
use crate::disk_log::{DiskLog, Logged};
use crate::results;
use crate::runner::folder::RunFolder;
use crate::runner::protocol::{EndFacts, Reply, RunMeta, StartRefusal, StartRequest};
use crate::runner::system;
use crate::runner_link::{Order, Seen};
use crate::scripts::{NoScript, Scripts};
use crate::ship::Shipment;
use ordo_contract::heartbeat::AgentHeartbeat;
use ordo_contract::job::{JobMessage, KillMessage};
use ordo_contract::report::ReportMessage;
use ordo_domain::run::{Report, RunFacts, spec::SpecAction};
use ordo_domain::{InstanceId, RunId};
use ordo_journal::{Ack, Bus, Claim, Message, Outgoing};
use ordo_runtime::CancellationToken;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

/// What comes back to the shell.
pub enum Event {
    Input(Input),
    Logged(Logged),
    Runner(Reply),
    /// Whether there is one that takes new runs.
    RunnerIsThere(bool),
    /// What the runners and the run folders say, at the start and when a runner came or went.
    Seen(BTreeMap<RunId, Seen>),
    /// A start is ready for the runner, or will never be.
    Prepared {
        run: RunId,
        request: Result<Box<StartRequest>, NoScript>,
    },
    Look(oneshot::Sender<Snapshot>),
}

/// What the heartbeat says.
pub struct Snapshot {
    pub agent: AgentHeartbeat,
    pub epoch: u64,
    pub free: u32,
    pub stopping: bool,
    pub runner_is_there: bool,
    pub note: Option<String>,
}

pub struct Shell {
    pub core: AgentCore,
    pub bus: Bus,
    pub log: DiskLog,
    pub scripts: Scripts,
    pub events: UnboundedSender<Event>,
    pub runner: UnboundedSender<Order>,
    pub reports: UnboundedSender<Arc<ReportMessage>>,
    pub shipper: UnboundedSender<Shipment>,
    pub cancel: CancellationToken,
    data: PathBuf,
    secrets: PathBuf,
    run_bytes: u64,
    base_env: BTreeMap<String, String>,
    instance: InstanceId,
    /// Messages of JOBS that wait for their decision.
    jobs: BTreeMap<RunId, Vec<Message>>,
    kills: BTreeMap<RunId, Vec<Message>>,
    /// Starts that are being prepared; true: a kill came meanwhile.
    preparing: BTreeMap<RunId, bool>,
    pub stopping: bool,
    /// Without one no job is taken.
    pub runner_is_there: bool,
}

/// Now, on both clocks.
pub fn now() -> Moment {
    Moment { at: system::now(), boot_ms: system::boottime_ms() }
}

impl Shell {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        config: &Config,
        core: AgentCore,
        bus: Bus,
        log: DiskLog,
        scripts: Scripts,
        events: UnboundedSender<Event>,
        runner: UnboundedSender<Order>,
        reports: UnboundedSender<Arc<ReportMessage>>,
        shipper: UnboundedSender<Shipment>,
        instance: InstanceId,
        cancel: CancellationToken,
    ) -> Self {
        let base_env =
            ["PATH", "HOME", "LANG"].into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
        let mut base_env: BTreeMap<String, String> = base_env.collect();
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        for (name, value) in [("PATH", path), ("HOME", "/"), ("LANG", "C.UTF-8")] {
            base_env.entry(name.into()).or_insert(value.into());
        }
        Self {
            core,
            bus,
            log,
            scripts,
            events,
            runner,
            reports,
            shipper,
            cancel,
            data: config.role.data.clone(),
            secrets: config.secrets(),
            run_bytes: config.output.run_bytes,
            base_env,
            instance,
            jobs: BTreeMap::new(),
            kills: BTreeMap::new(),
            preparing: BTreeMap::new(),
            stopping: false,
            runner_is_there: true,
        }
    }

    /// Feeds the core and carries out what it wants.
    pub fn handle(&mut self, input: Input) {
        let forgotten = match &input {
            Input::Deleted { run } => Some(Record::Deleted { run: run.clone() }),
            Input::ReportAcked { number } => Some(Record::Acked { number: *number }),
            _ => None,
        };
        let actions = self.core.handle(input, now());
        forgotten.into_iter().for_each(|record| self.log.append(record));
        self.carry_out(actions);
    }

    pub fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.carry_out_one(action);
        }
        if self.log.is_long() {
            self.log.replace(self.core.records());
        }
    }

    fn carry_out_one(&mut self, action: Action) {
        match action {
            Action::Store(stored) => self.log.append(Record::Job(stored)),
            Action::Claim(claim) => self.claim(*claim),
            Action::Ack { run } => self.acknowledge(run, false, Ack::Done),
            Action::Nak { run, after_ms } => self.acknowledge(run, false, Ack::Again(Duration::from_millis(after_ms))),
            Action::AckKill { run } => self.acknowledge(run, true, Ack::Done),
            Action::Start { job, before_boot_ms } => self.start(&job, before_boot_ms),
            Action::Kill { run } => match self.preparing.get_mut(&run) {
                Some(kill) => *kill = true,
                None => drop(self.runner.send(Order::Kill(run))),
            },
            Action::Report(report) => self.log.append(Record::Report(report)),
            Action::Drop { run } => self.log.append(Record::Dropped { run }),
            Action::AwaitOutput { run } => drop(self.shipper.send(Shipment::Reported { run })),
            Action::Delete { run } => self.delete(run),
        }
    }

    // Messages.

    /// A message of JOBS to start something.
    pub fn job_given(&mut self, message: Message) {
        if !self.runner_is_there {
            // Asked for before it went; another instance may have one.
            self.send_acks(vec![message], Ack::Again(Duration::from_millis(AGAIN_AFTER_MS)));
            return;
        }
        match serde_json::from_slice::<JobMessage>(message.payload()) {
            Ok(job) => {
                self.jobs.entry(job.run.clone()).or_default().push(message);
                self.handle(Input::Job(Box::new(job)));
            }
            Err(error) => {
                tracing::error!(subject = message.subject(), %error, "job message is not understood and is refused");
                self.send_acks(vec![message], Ack::Never);
            }
        }
    }

    pub fn kill_given(&mut self, message: Message) {
        match serde_json::from_slice::<KillMessage>(message.payload()) {
            Ok(kill) => {
                self.kills.entry(kill.run.clone()).or_default().push(message);
                self.handle(Input::Kill { run: kill.run, epoch: kill.epoch });
            }
            Err(error) => {
                tracing::error!(subject = message.subject(), %error, "kill message is not understood and is refused");
                self.send_acks(vec![message], Ack::Never);
            }
        }
    }

    fn acknowledge(&mut self, run: RunId, kill: bool, ack: Ack) {
        let waiting = if kill { &mut self.kills } else { &mut self.jobs };
        if let Some(messages) = waiting.remove(&run) {
            self.send_acks(messages, ack);
        }
    }

    fn send_acks(&self, messages: Vec<Message>, ack: Ack) {
        let bus = self.bus.clone();
        tokio::spawn(async move {
            for message in messages {
                if let Err(error) = bus.ack(&message, ack).await {
                    tracing::debug!(%error, "ack not sent, the message comes again");
                }
            }
        });
    }

    fn claim(&self, claim: ReportMessage) {
        let Report::Accepted { run } = claim.report.clone() else { return };
        let (bus, events, cancel, instance) =
            (self.bus.clone(), self.events.clone(), self.cancel.clone(), self.instance.clone());
        tokio::spawn(async move {
            let subject = bus.names().report_accepted(claim.agent.as_str(), run.as_str());
            let Ok(payload) = serde_json::to_vec(&claim) else { return };
            let message = Outgoing::new(subject, ordo_journal::Headers::new(), payload);
            let input = match bus.publish_first(&message, &cancel).await {
                Ok(Claim::Won(_)) => Input::ClaimWon { run },
                Ok(Claim::Lost(found)) => {
                    let found = serde_json::from_slice::<ReportMessage>(found.payload()).ok();
                    let ours = found.is_some_and(|found| {
                        found.instance == instance && matches!(found.report, Report::Accepted { .. })
                    });
                    Input::ClaimFound { run, ours }
                }
                // We are being stopped; the next process finds the job on disk and claims again.
                Err(error) => return tracing::debug!(run_id = %run, %error, "claim not made"),
            };
            let _ = events.send(Event::Input(input));
        });
    }

    // The runner.

    fn start(&mut self, job: &Arc<JobMessage>, before_boot_ms: u64) {
        let run = job.run.clone();
        match &job.spec.action {
            SpecAction::Command { arguments } => {
                let request = self.request(job, arguments.clone(), before_boot_ms);
                let _ = self.runner.send(Order::Start(request));
            }
            SpecAction::Script { hash } => {
                if let Some(command) = self.scripts.known(hash) {
                    let request = self.request(job, command, before_boot_ms);
                    let _ = self.runner.send(Order::Start(request));
                    return;
                }
                let mut request = self.request(job, Vec::new(), before_boot_ms);
                let (scripts, hash, events) = (self.scripts.clone(), hash.clone(), self.events.clone());
                self.preparing.insert(run.clone(), false);
                tokio::spawn(async move {
                    let within = Duration::from_millis(before_boot_ms.saturating_sub(system::boottime_ms()));
                    let request = scripts.command(&hash, within).await.map(|command| {
                        request.arguments = command;
                        request
                    });
                    let _ = events.send(Event::Prepared { run, request });
                });
            }
        }
    }

    pub fn prepared(&mut self, run: RunId, request: Result<Box<StartRequest>, NoScript>) {
        let kill = self.preparing.remove(&run).unwrap_or_default();
        match request {
            Ok(request) => {
                let _ = self.runner.send(Order::Start(request));
                if kill {
                    let _ = self.runner.send(Order::Kill(run));
                }
            }
            Err(NoScript { reason, again }) => {
                self.handle(Input::NotStarted { run: run.clone(), reason, again });
                if kill {
                    self.acknowledge(run, true, Ack::Done);
                }
            }
        }
    }

    fn request(&self, job: &JobMessage, arguments: Vec<String>, before_boot_ms: u64) -> Box<StartRequest> {
        Box::new(StartRequest {
            meta: RunMeta {
                run: job.run.clone(),
                order: job.order.clone(),
                workflow: job.workflow.clone(),
                position: job.position.clone(),
                job: job.job.clone(),
                attempt: job.attempt,
                runner: String::new(),
                boot: String::new(),
            },
            arguments,
            base_env: self.base_env.clone(),
            env: job.spec.env.clone(),
            directory: job.spec.directory.clone(),
            timeout_ms: job.spec.timeout.map(ordo_domain::Span::as_millis),
            kill_after_ms: job.spec.kill_after.as_millis(),
            spawn_before_ms: before_boot_ms,
            output_bytes: self.run_bytes,
            secrets: self.secrets.clone(),
        })
    }

    pub fn runner_said(&mut self, reply: Reply) {
        match reply {
            Reply::Started { run, .. } => self.handle(Input::Started { run }),
            Reply::Refused { run, refusal: refusal @ (StartRefusal::TooLate | StartRefusal::NotPossible(_)) } => {
                let again = refusal == StartRefusal::TooLate;
                self.handle(Input::NotStarted { run, reason: refusal.to_string(), again });
            }
            // It runs already, or the runner is being replaced: what is there now decides.
            Reply::Refused { run, refusal } => {
                tracing::info!(run_id = %run, %refusal, "runner refuses a start");
                let _ = self.runner.send(Order::Look);
            }
            Reply::Output { run, frames } => drop(self.shipper.send(Shipment::Frames { run, frames })),
            Reply::Ended { run, facts } => self.ended(run, *facts),
            Reply::Killing { run, .. } => self.handle(Input::KillSent { run }),
            Reply::Swept { lost } => {
                if !lost.is_empty() {
                    let _ = self.runner.send(Order::Look);
                }
            }
            Reply::Misunderstood { reason } => tracing::error!(reason, "runner does not understand"),
            Reply::Attached { .. } | Reply::Running { .. } | Reply::Draining | Reply::Stopping { .. } => {}
        }
    }

    fn ended(&mut self, run: RunId, end: EndFacts) {
        let facts = facts_of(&end, self.core.job_of(&run));
        if end.facts.output.chunks > 0 {
            let _ = self.shipper.send(Shipment::Ended { run: run.clone(), end: Box::new(end) });
        }
        self.handle(Input::Ended { run, facts: Box::new(facts) });
    }

    /// A runner came or went.
    pub fn seen(&mut self, seen: BTreeMap<RunId, Seen>) {
        let runs = on_disk(&seen, |run| self.core.job_of(run).cloned());
        for (run, seen) in seen {
            if let Seen::Ended(end) = seen
                && end.facts.output.chunks > 0
                && self.core.job_of(&run).is_some()
            {
                let _ = self.shipper.send(Shipment::Ended { run, end });
            }
        }
        self.handle(Input::Runner { runs });
    }

    // The disk.

    pub fn logged(&mut self, logged: Logged) {
        match logged {
            Logged::Job { run, stored: true } => self.handle(Input::Stored { run }),
            Logged::Job { run, stored: false } => self.handle(Input::NotStored { run }),
            Logged::Report { number } => {
                if let Some(report) = self.core.report_of(number) {
                    let _ = self.reports.send(Arc::clone(report));
                }
            }
        }
    }

    fn delete(&self, run: RunId) {
        let (data, events) = (self.data.clone(), self.events.clone());
        tokio::task::spawn_blocking(move || {
            match RunFolder::new(&data, &run).recycle(&data) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(run_id = %run, %error, "run folder cannot be removed");
                }
                _ => {}
            }
            let _ = events.send(Event::Input(Input::Deleted { run }));
        });
    }

    pub fn snapshot(&self) -> Snapshot {
        let note = if self.log.is_failing() {
            Some("the disk takes nothing: no job is taken, reports wait".to_owned())
        } else if !self.runner_is_there {
            Some("its runner cannot be started: no job is taken, its log says why".to_owned())
        } else {
            None
        };
        Snapshot {
            agent: self.core.heartbeat(),
            epoch: self.core.epoch(),
            free: self.core.free_slots(),
            stopping: self.stopping,
            runner_is_there: self.runner_is_there,
            note,
        }
    }
}

/// The facts of an end with its results, by the kinds that the job declared.
fn facts_of(end: &EndFacts, job: Option<&Arc<JobMessage>>) -> RunFacts {
    let mut facts = end.facts.clone();
    if let (Some(text), Some(job)) = (&end.results, job) {
        (facts.results, facts.results_error) = results::read(text, &job.spec.results);
    }
    if let Some(reason) = &end.results_error {
        facts.results_error = Some(("ORDO_RESULTS".to_owned(), reason.clone()));
    }
    facts
}

/// What was seen, for the core.
pub fn on_disk(
    seen: &BTreeMap<RunId, Seen>,
    job_of: impl Fn(&RunId) -> Option<Arc<JobMessage>>,
) -> BTreeMap<RunId, OnDisk> {
    let runs = seen.iter().map(|(run, seen)| {
        let state = match seen {
            Seen::Running => OnDisk::Running,
            Seen::Ended(end) => OnDisk::Ended(Box::new(facts_of(end, job_of(run).as_ref()))),
        };
        (run.clone(), state)
    });
    runs.collect()
}

/// A core that goes on where the last process stopped, and what it wants first.
pub fn recover(me: Me, records: Vec<Record>, seen: &BTreeMap<RunId, Seen>) -> (AgentCore, Vec<Action>) {
    let mut jobs: BTreeMap<RunId, Arc<JobMessage>> = BTreeMap::new();
    for record in &records {
        if let Record::Job(stored) = record {
            let StoredJob { job, .. } = &**stored;
            jobs.insert(job.run.clone(), Arc::clone(job));
        }
    }
    let on_disk = on_disk(seen, |run| jobs.get(run).cloned());
    AgentCore::recover(me, records, on_disk, now())
}

/// Runs that were seen running or ended with output, and are not reported: they are shipped again.
pub fn to_ship(seen: BTreeMap<RunId, Seen>, reported: &BTreeSet<RunId>) -> Vec<Shipment> {
    let ended = seen.into_iter().filter(|(run, _)| !reported.contains(run));
    ended
        .filter_map(|(run, seen)| match seen {
            Seen::Ended(end) if end.facts.output.chunks > 0 => Some(Shipment::Ended { run, end }),
            _ => None,
        })
        .collect()
}
