//! A simulated controller: the real engine and the real append rule, driven step by step, so that a crash fits anywhere.

use crate::{
    bus::SimBus,
    workload::{SimulatedIds, id},
};
use bytes::Bytes;
use ordo_contract::{commit::Source, replica::Replica, report::ReportMessage};
use ordo_controller::engine::{Body, Engine, EngineError, Message, Settings};
use ordo_domain::{Definitions, InstanceId, Instant, Site, effect::Effect, run::Report};
use ordo_journal::{Append, AppendError, Faults, MemoryJournal};
use std::{collections::VecDeque, sync::Arc};

/// Of the site.
pub const ZONE: chrono_tz::Tz = chrono_tz::Asia::Tokyo;

pub enum Phase {
    Down,
    Active(Box<Active>),
}

pub struct Active {
    pub engine: Engine,
    journal: MemoryJournal,
    /// The append in flight, between its steps.
    append: Option<Append>,
    /// Released by an ack, not carried out yet.
    pub effects: VecDeque<Effect>,
    stage: Stage,
}

#[derive(PartialEq, Clone, Copy)]
enum Stage {
    /// The fence is not acknowledged yet.
    Fencing,
    /// Reads the reports up to here, then lets everything follow.
    Draining(u64),
    Serving,
}

pub struct SimController {
    pub instance: InstanceId,
    pub phase: Phase,
    /// Snapshot that it begins with after a crash.
    pub snapshot: Replica,
}

/// Why a controller stopped being active.
#[derive(Debug, PartialEq)]
pub enum Ended {
    Fenced,
    Error(String),
}

impl SimController {
    pub fn new(instance: &str) -> Self {
        Self { instance: id(instance), phase: Phase::Down, snapshot: Replica::default() }
    }

    /// Replays from its snapshot to the end of the journal.
    pub fn recover(&self, bus: &SimBus) -> Replica {
        let mut replica = self.snapshot.clone();
        for (sequence, bytes) in bus.journal.commits_from(replica.sequence + 1) {
            replica.take(sequence, &bytes).expect("the journal can be read");
        }
        replica.sequence = bus.journal.last_sequence();
        replica
    }

    /// It has got the lease, or believes so.
    pub fn activate(
        &mut self,
        bus: &SimBus,
        now: Instant,
        seed: u64,
        definitions: Arc<dyn Definitions + Send + Sync>,
        faults: Faults,
    ) -> Result<(), Ended> {
        let settings = Settings { instance: self.instance.clone(), zone: ZONE, build: "simulation".into() };
        let ids = Box::new(SimulatedIds(std::cell::RefCell::new(crate::workload::rng(seed))));
        let mut engine = Engine::new(settings, self.recover(bus), ids, definitions);
        engine.activate(now, "simulated").map_err(error)?;
        let journal = MemoryJournal::with_faults(&bus.journal, faults);
        let active = Active { engine, journal, append: None, effects: VecDeque::new(), stage: Stage::Fencing };
        self.phase = Phase::Active(Box::new(active));
        Ok(())
    }

    pub fn active(&mut self) -> Option<&mut Active> {
        match &mut self.phase {
            Phase::Active(active) => Some(active),
            _ => None,
        }
    }

    /// Forgets everything that is not in the journal.
    pub fn crash(&mut self) {
        self.phase = Phase::Down;
    }
}

fn error(e: EngineError) -> Ended {
    Ended::Error(format!("{e}: {}", std::error::Error::source(&e).map(ToString::to_string).unwrap_or_default()))
}

impl Active {
    pub fn is_serving(&self) -> bool {
        self.stage == Stage::Serving
    }

    /// Where a crash would meet it, in a word.
    pub fn crash_point(&self) -> &'static str {
        match self.stage {
            Stage::Fencing => "fencing",
            Stage::Draining(_) => "draining reports",
            Stage::Serving if self.append.is_some() => "a commit is in flight",
            Stage::Serving if !self.engine.is_settled() => "decided, not sent",
            Stage::Serving if !self.effects.is_empty() => "effects wait",
            Stage::Serving => "idle",
        }
    }

    pub fn wants_to_append(&self) -> bool {
        self.append.is_some() || !self.engine.is_settled()
    }

    pub fn site(&self) -> &Site {
        &self.engine.replica().site
    }

    /// One step of the append: begin it, publish, read back, or take its outcome.
    pub fn step_append(&mut self, bus: &SimBus, now: Instant) -> Result<(), Ended> {
        let Some(append) = &mut self.append else {
            if let Some(next) = self.engine.seal().map_err(error)? {
                self.append = Some(Append::new(next.expected_last, Bytes::copy_from_slice(&next.bytes)));
            }
            return Ok(());
        };
        match append.outcome() {
            None => self.journal.step(append),
            Some(Ok(appended)) => {
                self.append = None;
                self.effects.extend(self.engine.acknowledged(appended.sequence));
                if self.stage == Stage::Fencing {
                    self.stage = Stage::Draining(bus.reports.len() as u64);
                    self.finish_draining(now)?;
                }
            }
            Some(Err(AppendError::Fenced { .. })) => return Err(Ended::Fenced),
            Some(Err(e)) => return Err(Ended::Error(e.to_string())),
        }
        Ok(())
    }

    /// The next unread message of a source.
    pub fn next_message(&self, bus: &SimBus, source: Source) -> Option<Message> {
        let position = self.engine.replica().causes.get(&source);
        self.message(bus, source, position.map_or(1, |p| p.sequence + u64::from(p.is_complete())))
    }

    /// The one that was read before it.
    pub fn message_before(&self, bus: &SimBus, message: &Message) -> Option<Message> {
        self.message(bus, message.source, message.sequence.checked_sub(1).filter(|s| *s > 0)?)
    }

    fn message(&self, bus: &SimBus, source: Source, sequence: u64) -> Option<Message> {
        let index = usize::try_from(sequence - 1).ok()?;
        let body = match source {
            Source::Commands => Body::Command(Box::new(bus.commands.get(index)?.clone())),
            Source::Reports => {
                let stored = bus.reports.get(index)?;
                Body::Report { agent: stored.agent.clone(), report: Box::new(stored.message.clone()) }
            }
        };
        Some(Message { source, incarnation: "one".into(), sequence, body })
    }

    /// Whether it may read this source now.
    pub fn may_read(&self, source: Source) -> bool {
        match self.stage {
            Stage::Fencing => false,
            Stage::Draining(_) => source == Source::Reports,
            Stage::Serving => true,
        }
    }

    pub fn accept(&mut self, message: &Message, now: Instant) -> Result<(), Ended> {
        self.engine.accept(now, message).map_err(error)?;
        self.engine.advance_unsettled(now).map_err(error)?;
        self.finish_draining(now)
    }

    fn finish_draining(&mut self, now: Instant) -> Result<(), Ended> {
        let Stage::Draining(last) = self.stage else { return Ok(()) };
        if self.engine.replica().causes.get(&Source::Reports).map_or(0, |p| p.sequence) >= last {
            self.stage = Stage::Serving;
            self.engine.advance_everything(now).map_err(error)?;
            let outstanding = self.engine.outstanding(|_| true);
            self.effects.extend(outstanding);
        }
        Ok(())
    }

    pub fn tick(&mut self, now: Instant) -> Result<(), Ended> {
        self.engine.tick(now).map_err(error)?;
        self.engine.advance_unsettled(now).map_err(error)
    }

    /// Carries out one effect.
    pub fn effect(&mut self, bus: &mut SimBus, instance: &InstanceId, now: Instant) {
        let Some(effect) = self.effects.pop_front() else { return };
        let site = self.site();
        match effect {
            Effect::SendJob { run } => {
                if let Some(message) = ordo_controller::job::message(site, &run) {
                    bus.send_job(message);
                }
            }
            Effect::KillRun { run, agent, instance } => {
                bus.kills.push((agent, instance, ordo_controller::job::kill(site, &run)));
            }
            Effect::RefuseRun { run, agent } => {
                let message = ReportMessage {
                    v: 1,
                    agent: agent.clone(),
                    instance: instance.clone(),
                    number: 0,
                    at: now,
                    epoch: site.epoch,
                    report: Report::Refused { run },
                };
                // Losing it means that somebody claimed the run: the kill then follows from that claim.
                let _ = bus.claim(&agent, message);
            }
            Effect::AdmitAgent { .. } | Effect::OrderTerminated { .. } => {}
        }
    }

    /// History has passed what is journalled: ended orders leave the state.
    pub fn forget(&mut self, journalled: &Site, now: Instant) -> Result<(), Ended> {
        let ended = self.site().ended.iter().filter(|order| journalled.ended.contains(order)).cloned().collect();
        self.engine.upkeep(now, &[], ended).map_err(error)
    }

    /// Reconciling: what was sent and lies nowhere is sent again.
    pub fn resend(&mut self, bus: &SimBus) {
        let lying_nowhere = |e: &Effect| match e {
            Effect::SendJob { run } => !bus.has_job(run) && bus.claimed_by(run).is_none(),
            _ => true,
        };
        let outstanding = self.engine.outstanding(lying_nowhere);
        self.effects.extend(outstanding);
    }
}
