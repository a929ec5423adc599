//! The only place where decide, append and apply meet. Read this first.
//!
//! Causes come in (commands, reports, time, findings of the upkeep), the engine decides on its live state, one commit is
//! in flight, and only its ack lets effects out. Whatever ends the loop, the state is thrown away: the journal has it.

use crate::{
    cause,
    config::Config,
    definitions::{self, DefinitionCache},
    effect,
    engine::{Append, Body, Engine, EngineError, Message},
    purge::{self, View},
    upkeep::{Ended, Findings, Question, Snapshots, Watcher},
};
use anyhow::{Context, Result};
use chrono::SubsecRound;
use futures::FutureExt;
use ordo_contract::{commit::Source, name::StreamKind};
use ordo_domain::{InstanceId, Instant, OrderId, effect::Effect};
use ordo_journal::{AppendError, Appended, Bus, BusError, Follow, FollowFrom, Journal, NatsJournal};
use ordo_runtime::Clock;
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Messages taken between two looks at other things.
const BATCH: usize = 128;
const UPKEEP: Duration = Duration::from_secs(1);
/// Of the upkeep.
const LOOKS_PER_PURGE: u32 = 60;
/// From this use of its room on the journal is purged without anybody asking.
const PURGE_PERCENT: u64 = 50;

/// Why a controller stopped being active. The state is worthless in every case.
#[derive(Debug)]
pub enum Outcome {
    /// It was told to stop, or to hand over; everything decided is journalled.
    Stopped,
    /// Another controller has appended.
    Fenced,
    /// The lease is another's.
    LeaseLost,
    /// A cause made the engine panic or contradict itself: begin again from the journal, remembering the culprit.
    Defect { source: Source, sequence: u64, reason: String },
    /// A person must look: what was read does not fit the journal.
    Stuck(String),
}

/// What the lease says, as far as the loop must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Holding,
    /// Not renewed in time: start nothing until it is.
    Unsure,
    Lost,
}

/// Causes that made an engine of this process panic, and how often: passed over the second time.
pub type Suspects = BTreeMap<(Source, u64), u32>;

pub struct CommandLoop {
    pub bus: Bus,
    pub config: Config,
    pub engine: Engine,
    pub instance: InstanceId,
    pub definitions: Arc<DefinitionCache>,
    pub clock: Arc<dyn Clock>,
    pub standing: watch::Receiver<Standing>,
    /// Ask for the end: hand over to an instance, or to whoever comes.
    pub stop: watch::Receiver<Option<Option<InstanceId>>>,
    /// Who wants to know what may not be taken away.
    pub asks: mpsc::Receiver<oneshot::Sender<View>>,
}

struct Inputs {
    commands: Follow,
    commands_incarnation: String,
    reports: Follow,
    reports_incarnation: String,
}

struct Links {
    appends: mpsc::Sender<Append>,
    appended: mpsc::Receiver<Result<Appended, AppendError>>,
    trouble: watch::Receiver<Option<String>>,
    tasks: effect::Tasks,
    findings: mpsc::Receiver<Result<Findings, BusError>>,
    questions: mpsc::Sender<Question>,
    snapshots: Snapshots,
    /// Of each source, what the journal has.
    read: BTreeMap<Source, u64>,
}

impl CommandLoop {
    /// From the fence to the end of being active.
    pub async fn run(mut self, how: &str, suspects: &mut Suspects) -> Result<Outcome> {
        let cancel = CancellationToken::new();
        let _stop_tasks = cancel.clone().drop_guard();
        let mut links = self.links(&cancel);
        if let Some(outcome) = self.fence(how, &mut links).await? {
            return Ok(outcome);
        }
        let mut ended = Ended::from_state(self.engine.replica());
        self.definitions.fetch(&self.bus, definitions::needed_by(&self.engine.replica().site)).await?;
        let mut inputs = self.inputs().await?;
        if let Some(outcome) = self.drain_reports(&mut inputs, &mut links, &mut ended, suspects).await? {
            return Ok(outcome);
        }
        let now = self.now();
        self.engine.advance_everything(now)?;
        let outstanding = self.engine.outstanding(|_| true);
        self.release(outstanding, &links, &mut ended);
        tracing::info!(epoch = self.engine.replica().site.epoch, how, "active");
        self.serve(&mut inputs, &mut links, &mut ended, suspects).await
    }

    fn now(&self) -> Instant {
        self.clock.now().trunc_subsecs(3)
    }

    fn links(&self, cancel: &CancellationToken) -> Links {
        let (appends, appends_in) = mpsc::channel(1);
        let (appended_out, appended) = mpsc::channel(1);
        let journal = NatsJournal::new(&self.bus);
        let trouble = journal.trouble();
        tokio::spawn(append_all(journal, appends_in, appended_out));
        let tasks = effect::Tasks::perform(self.bus.clone(), cancel.clone());
        let (questions, questions_in) = mpsc::channel(1);
        let (findings_out, findings) = mpsc::channel(1);
        tokio::spawn(look(self.bus.clone(), self.config.clone(), self.clock.clone(), questions_in, findings_out));
        let snapshots = Snapshots::new(&self.bus, &self.config, self.engine.replica().decisions);
        let read = purge::read_so_far(self.engine.replica());
        Links { appends, appended, trouble, tasks, findings, questions, snapshots, read }
    }

    /// Appends the activation: from then on every other controller's next append fails.
    async fn fence(&mut self, how: &str, links: &mut Links) -> Result<Option<Outcome>> {
        let now = self.now();
        self.engine.activate(now, how)?;
        while !self.engine.is_settled() {
            self.send_next(links).await?;
            tokio::select! {
                appended = links.appended.recv() => match appended {
                    Some(Ok(appended)) => drop(self.engine.acknowledged(appended.sequence)),
                    Some(Err(error)) => return append_failed(error).map(Some),
                    None => anyhow::bail!("the appender has ended"),
                },
                Ok(()) = self.standing.changed() => {
                    if *self.standing.borrow_and_update() == Standing::Lost {
                        return Ok(Some(Outcome::LeaseLost));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn inputs(&self) -> Result<Inputs> {
        let (commands, commands_incarnation) = self.input(Source::Commands, StreamKind::Commands).await?;
        let (reports, reports_incarnation) = self.input(Source::Reports, StreamKind::Reports).await?;
        Ok(Inputs { commands, commands_incarnation, reports, reports_incarnation })
    }

    async fn input(&self, source: Source, kind: StreamKind) -> Result<(Follow, String)> {
        let names = self.bus.names();
        let incarnation = self.bus.incarnation(kind).await?;
        let known = self.engine.replica().causes.get(&source);
        if let Some(known) = known.filter(|k| k.incarnation != incarnation) {
            let (known, found) = (known.incarnation.clone(), incarnation);
            return Err(EngineError::Incarnation { of: source, known, found }.into());
        }
        let next = known.map_or(1, |k| k.sequence + u64::from(k.is_complete()));
        let filter = match source {
            Source::Commands => names.commands(),
            Source::Reports => names.reports(),
        };
        let from = match known {
            Some(_) => next,
            // Never read before: whatever age has left of it.
            None => self.bus.stream_info(&names.stream(kind)).await?.first_sequence.max(1),
        };
        let follow = self.bus.follow(FollowFrom::contiguous(names.stream(kind), filter, from)).await;
        Ok((follow.with_context(|| format!("{source} cannot be read on from {from}"))?, incarnation))
    }

    /// What agents have said while nobody was active comes before anything is started.
    async fn drain_reports(
        &mut self,
        inputs: &mut Inputs,
        links: &mut Links,
        ended: &mut Ended,
        suspects: &mut Suspects,
    ) -> Result<Option<Outcome>> {
        let last = self.bus.last_sequence(StreamKind::Reports).await?;
        while inputs.reports.position() <= last || !self.engine.is_settled() {
            self.send_next(links).await?;
            let may_read = inputs.reports.position() <= last && self.engine.has_room();
            tokio::select! {
                biased;
                appended = links.appended.recv() => {
                    if let Some(outcome) = self.acknowledge(appended, links, ended)? {
                        return Ok(Some(outcome));
                    }
                }
                batch = inputs.reports.batch(BATCH), if may_read => {
                    let incarnation = inputs.reports_incarnation.clone();
                    if let Some(outcome) = self.accept_all(Source::Reports, &incarnation, &batch?, suspects).await? {
                        return Ok(Some(outcome));
                    }
                }
                Ok(()) = self.standing.changed() => {
                    if *self.standing.borrow_and_update() == Standing::Lost {
                        return Ok(Some(Outcome::LeaseLost));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn serve(
        &mut self,
        inputs: &mut Inputs,
        links: &mut Links,
        ended: &mut Ended,
        suspects: &mut Suspects,
    ) -> Result<Outcome> {
        let mut upkeep = tokio::time::interval(UPKEEP);
        upkeep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let stopping = self.stop.borrow().clone();
            if stopping.is_some() && self.engine.is_settled() {
                return Ok(Outcome::Stopped);
            }
            self.send_next(links).await?;
            // A snapshot holds no decision that is not journalled: nothing is decided until all are.
            let snapshot = links.snapshots.are_due(self.engine.replica());
            if snapshot && self.engine.is_settled() {
                links.snapshots.take(self.engine.replica());
                continue;
            }
            let calm = links.trouble.borrow().is_none() && *self.standing.borrow() == Standing::Holding;
            let may_decide = calm && self.engine.has_room() && stopping.is_none() && !snapshot;
            let timer = self.engine.next_timer().map(|at| (at - self.now()).to_std().unwrap_or_default());
            tokio::select! {
                biased;
                appended = links.appended.recv() => {
                    if let Some(outcome) = self.acknowledge(appended, links, ended)? {
                        return Ok(outcome);
                    }
                }
                changed = self.standing.changed() => {
                    changed.context("the lease's keeper has ended")?;
                    if *self.standing.borrow_and_update() == Standing::Lost {
                        return Ok(Outcome::LeaseLost);
                    }
                }
                Ok(()) = self.stop.changed(), if stopping.is_none() => self.begin_to_stop()?,
                Ok(()) = links.trouble.changed() => {}
                () = std::future::ready(()), if may_decide && self.engine.has_unsettled() => {
                    let now = self.now();
                    self.engine.advance_unsettled(now)?;
                }
                () = sleep(timer), if may_decide && timer.is_some() => {
                    let now = self.now();
                    self.engine.tick(now)?;
                }
                Some(ask) = self.asks.recv() => {
                    let _ = ask.send(View::of(self.engine.replica(), &links.read));
                }
                findings = links.findings.recv(), if may_decide => match findings {
                    Some(Ok(findings)) => self.reconcile(&findings, links, ended)?,
                    Some(Err(error)) => tracing::debug!(%error, "upkeep could not look"),
                    None => anyhow::bail!("the upkeep has ended"),
                },
                _ = upkeep.tick(), if may_decide => {
                    let _ = links.questions.try_send(Question::of(self.engine.replica(), self.now()));
                }
                batch = inputs.reports.batch(BATCH), if may_decide => {
                    let incarnation = inputs.reports_incarnation.clone();
                    if let Some(outcome) = self.accept_all(Source::Reports, &incarnation, &batch?, suspects).await? {
                        return Ok(outcome);
                    }
                    // A flood of reports must not keep people waiting.
                    let Some(batch) = inputs.commands.batch(BATCH).now_or_never() else { continue };
                    let incarnation = inputs.commands_incarnation.clone();
                    if let Some(outcome) = self.accept_all(Source::Commands, &incarnation, &batch?, suspects).await? {
                        return Ok(outcome);
                    }
                }
                batch = inputs.commands.batch(BATCH), if may_decide => {
                    let incarnation = inputs.commands_incarnation.clone();
                    if let Some(outcome) = self.accept_all(Source::Commands, &incarnation, &batch?, suspects).await? {
                        return Ok(outcome);
                    }
                }
            }
        }
    }

    /// Gives the next commit to the appender, when none is with it.
    async fn send_next(&mut self, links: &Links) -> Result<()> {
        if let Some(append) = self.engine.seal()? {
            links.appends.send(append).await.context("the appender has ended")?;
        }
        Ok(())
    }

    fn acknowledge(
        &mut self,
        appended: Option<Result<Appended, AppendError>>,
        links: &mut Links,
        ended: &mut Ended,
    ) -> Result<Option<Outcome>> {
        match appended.context("the appender has ended")? {
            Ok(appended) => {
                let effects = self.engine.acknowledged(appended.sequence);
                if self.engine.is_settled() {
                    links.read = purge::read_so_far(self.engine.replica());
                }
                self.release(effects, links, ended);
                Ok(None)
            }
            Err(error) => append_failed(error).map(Some),
        }
    }

    fn release(&self, effects: Vec<Effect>, links: &Links, ended: &mut Ended) {
        let replica = self.engine.replica();
        for effect in effects {
            if let Effect::OrderTerminated { order } = &effect
                && replica.site.orders.get(order).is_some_and(|o| o.state.is_terminated())
            {
                ended.note(replica.sequence, order.clone());
            }
            if let Some(task) = effect::task(self.bus.names(), &replica.site, &self.instance, self.now(), &effect) {
                links.tasks.give(task);
            }
        }
    }

    async fn accept_all(
        &mut self,
        source: Source,
        incarnation: &str,
        batch: &[ordo_journal::Message],
        suspects: &mut Suspects,
    ) -> Result<Option<Outcome>> {
        for stored in batch {
            let message = cause::read(self.bus.names(), source, incarnation, stored);
            if let Body::Command(command) = &message.body {
                self.definitions.fetch(&self.bus, definitions::named_by(&command.command)).await?;
            }
            if let Some(outcome) = self.accept(&message, suspects)? {
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    /// A defect in the core must not stop the site: what makes it panic twice is passed over.
    fn accept(&mut self, message: &Message, suspects: &mut Suspects) -> Result<Option<Outcome>> {
        let now = self.now();
        let suspicion = suspects.get(&(message.source, message.sequence)).copied().unwrap_or_default();
        let engine = &mut self.engine;
        let done = catch_unwind(AssertUnwindSafe(|| match suspicion {
            0 | 1 => engine.accept(now, message),
            _ => engine.pass_over(now, message, "deciding on it failed twice; see the controller's log"),
        }));
        let reason = match done {
            Ok(Ok(_)) => return Ok(None),
            Ok(Err(error)) if error.needs_person() => return Ok(Some(Outcome::Stuck(error.to_string()))),
            Ok(Err(error)) => format!("{:#}", anyhow::Error::from(error)),
            Err(panic) => panic_text(&*panic),
        };
        let (source, sequence) = (message.source, message.sequence);
        *suspects.entry((source, sequence)).or_default() += 1;
        Ok(Some(Outcome::Defect { source, sequence, reason }))
    }

    fn reconcile(&mut self, findings: &Findings, links: &mut Links, ended: &mut Ended) -> Result<()> {
        let now = self.now();
        self.engine.set_journal_use(findings.headroom_percent);
        if findings.has_standby {
            links.snapshots.put_off(self.engine.replica());
        }
        let forget: Vec<OrderId> = ended.passed(findings.history);
        let lost = if findings.hold_for(self.engine.replica()) { &findings.lost[..] } else { &[] };
        for (run, reason) in lost {
            tracing::warn!(run_id = %run, reason, "run lost");
        }
        self.engine.upkeep(now, lost, forget)?;
        if !findings.unsent.is_empty() && links.tasks.are_done() {
            let unsent = |e: &Effect| matches!(e, Effect::SendJob { run } if findings.unsent.contains(run));
            let again = self.engine.outstanding(unsent);
            self.release(again, links, ended);
        }
        Ok(())
    }

    fn begin_to_stop(&mut self) -> Result<()> {
        let to = self.stop.borrow_and_update().clone();
        if let Some(to) = to {
            let now = self.now();
            self.engine.hand_over(now, to)?;
        }
        Ok(())
    }
}

fn append_failed(error: AppendError) -> Result<Outcome> {
    match error {
        AppendError::Fenced { sequence, .. } => {
            tracing::warn!(stream_seq = sequence, "fenced by another controller");
            Ok(Outcome::Fenced)
        }
        AppendError::Rewound { .. } => Ok(Outcome::Stuck(error.to_string())),
        other => Err(other).context("appending to the journal"),
    }
}

/// Appends one commit after the other. The channel holds one: one in flight, ever.
async fn append_all(
    mut journal: NatsJournal,
    mut appends: mpsc::Receiver<Append>,
    appended: mpsc::Sender<Result<Appended, AppendError>>,
) {
    while let Some(append) = appends.recv().await {
        let payload = bytes::Bytes::from_owner(append.bytes);
        if appended.send(journal.append(append.expected_last, payload).await).await.is_err() {
            return;
        }
    }
}

async fn look(
    bus: Bus,
    config: Config,
    clock: Arc<dyn Clock>,
    mut questions: mpsc::Receiver<Question>,
    findings: mpsc::Sender<Result<Findings, BusError>>,
) {
    let mut watcher = Watcher::default();
    let mut looks = 0_u32;
    while let Some(question) = questions.recv().await {
        let found = watcher.look(&bus, &config, question).await;
        let percent = found.as_ref().map_or(0, |found| found.headroom_percent);
        if findings.send(found).await.is_err() {
            return;
        }
        looks += 1;
        if looks.is_multiple_of(LOOKS_PER_PURGE) && percent >= PURGE_PERCENT {
            match purge::purge_journal(&bus, &config, clock.now()).await {
                Ok(0) => {}
                Ok(messages) => tracing::info!(messages, "journal purged"),
                Err(error) => tracing::warn!(%error, "journal not purged"),
            }
        }
    }
}

async fn sleep(duration: Option<Duration>) {
    tokio::time::sleep(duration.unwrap_or_default()).await;
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panicked".to_owned())
}
