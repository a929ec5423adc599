//! The controller without I/O: causes and time go in, commits and effects come out.
//!
//! It decides on its live state, applies at once, and hands out one commit at a time; while that one is in flight the next
//! is being decided. Nothing outside may see an effect before [`Engine::acknowledged`] hands it out. Whoever drives it
//! (`command_loop.rs` over NATS, the simulation over memory) appends, waits and carries out effects, and throws the engine
//! away when it is fenced.

use crate::encode::{self, EncodedDecision};
use chrono_tz::Tz;
use ordo_contract::{
    command::CommandMessage,
    commit::{Cause, EVENT_LEVEL, MessageCause, Source},
    replica::Replica,
    report::ReportMessage,
};
use ordo_domain::{
    AgentName, Command, Ctx, Definitions, Event, Ids, InstanceId, Instant, OrderId, Refusal, RunId,
    advance::{self, Settled},
    controller::{CommandFailed, CommandRefused, ControllerActivated, ControllerHandedOver, StateDigest},
    decide,
    effect::{self, Effect},
    failure::Failure,
    limit,
    run::event::{ReportRefusal, ReportRefused},
};
use std::{collections::VecDeque, sync::Arc};

/// A digest of the state is journalled every so many decisions.
const DIGEST_EVERY: u64 = 10_000;
/// Decided and not yet journalled: beyond it the engine takes nothing more.
const QUEUE_BYTES: usize = 1024 * 1024;
/// From here on the rest of the journal's room is kept for the orders that are there.
const JOURNAL_FULL_PERCENT: u64 = 80;

/// What does not change while an engine lives.
#[derive(Clone)]
pub struct Settings {
    pub instance: InstanceId,
    /// Of the site.
    pub zone: Tz,
    /// Of this program, for the journal.
    pub build: String,
}

/// A consumed message, as it stands in its stream.
#[derive(Debug, Clone)]
pub struct Message {
    pub source: Source,
    pub incarnation: String,
    pub sequence: u64,
    pub body: Body,
}

/// What could be read of it.
#[derive(Debug, Clone)]
pub enum Body {
    Command(Box<CommandMessage>),
    /// The agent is that of the subject, which rights bind; the message may claim another.
    Report {
        agent: AgentName,
        report: Box<ReportMessage>,
    },
    /// Why it could not be read; the agent where it is a report.
    Malformed {
        agent: Option<AgentName>,
        reason: String,
    },
}

/// To append: with this sequence expected as the last of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    pub expected_last: u64,
    pub bytes: Arc<[u8]>,
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A decision that does not fit the state it was made on: a defect; the state is to be thrown away.
    #[error("a decision does not fit its own state")]
    NotApplicable(#[from] ordo_domain::apply::NotApplicable),
    #[error("a decision cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    /// Activation must stop and a person be asked.
    #[error("{of} is incarnation {found:?} now; the journal knows {known:?}: restored or created anew")]
    Incarnation { of: Source, known: String, found: String },
    #[error("{of} goes on with sequence {found}; the journal expects {expected}: messages are missing")]
    Gap { of: Source, expected: u64, found: u64 },
}

impl EngineError {
    /// Whether a person must decide; everything else is a defect of a single cause.
    pub fn needs_person(&self) -> bool {
        matches!(self, EngineError::Incarnation { .. } | EngineError::Gap { .. })
    }
}

pub struct Engine {
    settings: Settings,
    replica: Replica,
    ids: Box<dyn Ids + Send>,
    definitions: Arc<dyn Definitions + Send + Sync>,
    /// Time of everything in the queue; never goes back.
    at: Instant,
    queue: VecDeque<EncodedDecision>,
    queue_bytes: usize,
    in_flight: Option<InFlight>,
    /// Orders whose consequences were cut off, to be gone on with.
    unsettled: Vec<OrderId>,
    next_digest: u64,
    /// How full the journal is.
    journal_percent: u64,
}

struct InFlight {
    append: Append,
    effects: Vec<Effect>,
}

impl Engine {
    /// Begins on the state at the end of the journal.
    pub fn new(
        settings: Settings,
        replica: Replica,
        ids: Box<dyn Ids + Send>,
        definitions: Arc<dyn Definitions + Send + Sync>,
    ) -> Self {
        let at = replica.site.at.unwrap_or(Instant::UNIX_EPOCH);
        let next_digest = (replica.decisions / DIGEST_EVERY + 1) * DIGEST_EVERY;
        Self {
            settings,
            replica,
            ids,
            definitions,
            at,
            queue: VecDeque::new(),
            queue_bytes: 0,
            in_flight: None,
            unsettled: Vec::new(),
            next_digest,
            journal_percent: 0,
        }
    }

    /// The state with everything decided so far, journalled or not.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Above [`JOURNAL_FULL_PERCENT`] new orders are refused.
    pub fn set_journal_use(&mut self, percent: u64) {
        self.journal_percent = percent;
    }

    /// Everything decided is journalled: the state may be shown and kept.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_none()
    }

    pub fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// May it be given another cause?
    pub fn has_room(&self) -> bool {
        self.queue_bytes < QUEUE_BYTES
    }

    /// The first decision of a new epoch; its append is the fence. To be sealed alone, before anything else is decided.
    pub fn activate(&mut self, now: Instant, how: &str) -> Result<(), EngineError> {
        self.turn(now);
        let event = ControllerActivated {
            epoch: self.replica.site.epoch + 1,
            instance: self.settings.instance.clone(),
            how: how.to_owned(),
            event_level: EVENT_LEVEL,
        };
        let cause = Cause::Activation { instance: self.settings.instance.clone() };
        let entity = format!("controller/{}", self.settings.instance);
        self.decide(cause, entity, vec![event.into()])
    }

    /// The last decision of this epoch.
    pub fn hand_over(&mut self, now: Instant, to: Option<InstanceId>) -> Result<(), EngineError> {
        self.turn(now);
        let from = self.settings.instance.clone();
        let entity = format!("controller/{from}");
        let event = ControllerHandedOver { epoch: self.replica.site.epoch, from: from.clone(), to };
        self.decide(Cause::Activation { instance: from }, entity, vec![event.into()])
    }

    /// What follows from the whole state: after an activation, when the reports have been read.
    pub fn advance_everything(&mut self, now: Instant) -> Result<(), EngineError> {
        let everything = advance::everything(&self.replica.site);
        self.advance(now, everything)
    }

    /// Goes on where consequences were cut off. Called by the driver in every turn.
    pub fn advance_unsettled(&mut self, now: Instant) -> Result<(), EngineError> {
        match std::mem::take(&mut self.unsettled) {
            rest if rest.is_empty() => Ok(()),
            rest => self.advance(now, rest),
        }
    }

    pub fn has_unsettled(&self) -> bool {
        !self.unsettled.is_empty()
    }

    fn advance(&mut self, now: Instant, touched: Vec<OrderId>) -> Result<(), EngineError> {
        self.turn(now);
        let ctx = Ctx { now: self.at, zone: self.settings.zone, ids: &*self.ids, definitions: &*self.definitions };
        let settled = advance::settle_touched(&mut self.replica.site, touched, ctx)?;
        self.push(Cause::Advance, "site".to_owned(), 0, settled)
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Option<Instant> {
        advance::next_timer(&self.replica.site)
    }

    /// Starts what is due and wakes what has waited.
    pub fn tick(&mut self, now: Instant) -> Result<(), EngineError> {
        self.turn(now);
        let due = advance::due(&self.replica.site, self.at);
        if due.is_empty() {
            return Ok(());
        }
        let ctx = Ctx { now: self.at, zone: self.settings.zone, ids: &*self.ids, definitions: &*self.definitions };
        let settled = advance::settle_touched(&mut self.replica.site, due, ctx)?;
        self.push(Cause::Timer, "site".to_owned(), 0, settled)
    }

    /// Takes the next message of a source. Messages at or below the position are passed over; `false` says so.
    pub fn accept(&mut self, now: Instant, message: &Message) -> Result<bool, EngineError> {
        let Some(first_part) = self.next_part(message)? else { return Ok(false) };
        self.turn(now);
        match &message.body {
            Body::Command(command) => self.command(message, command, first_part)?,
            Body::Report { agent, report } => self.report(message, agent, report)?,
            Body::Malformed { agent, reason } => self.malformed(message, agent.as_ref(), reason)?,
        }
        Ok(true)
    }

    /// Passes over a message that made the engine panic twice, or whose decision cannot be encoded.
    pub fn pass_over(&mut self, now: Instant, message: &Message, reason: &str) -> Result<bool, EngineError> {
        if self.next_part(message)?.is_none() {
            return Ok(false);
        }
        self.turn(now);
        let command = match &message.body {
            Body::Command(c) => Some(c.id.clone()),
            _ => None,
        };
        let failure = Failure::Internal { reason: reason.to_owned() };
        let event = CommandFailed { command, order: None, failure };
        self.decide(cause(message, 1, 1), entity(message), vec![event.into()])?;
        Ok(true)
    }

    /// Which part of the message comes next: none where all are journalled.
    fn next_part(&self, message: &Message) -> Result<Option<u32>, EngineError> {
        let Some(known) = self.replica.causes.get(&message.source) else { return Ok(Some(1)) };
        if known.incarnation != message.incarnation {
            let (known, found) = (known.incarnation.clone(), message.incarnation.clone());
            return Err(EngineError::Incarnation { of: message.source, known, found });
        }
        let expected = known.sequence + u64::from(known.is_complete());
        match message.sequence {
            s if s < expected => Ok(None),
            s if s > expected => Err(EngineError::Gap { of: message.source, expected, found: s }),
            _ if known.is_complete() => Ok(Some(1)),
            _ => Ok(Some(known.part + 1)),
        }
    }

    fn command(&mut self, message: &Message, c: &CommandMessage, first_part: u32) -> Result<(), EngineError> {
        if self.journal_percent >= JOURNAL_FULL_PERCENT && matches!(c.command, Command::AddOrders(_)) && first_part == 1
        {
            let refusal = Refusal::JournalFull { percent: self.journal_percent };
            let event = CommandRefused { command: Some(c.id.clone()), refusal };
            return self.decide(cause(message, 1, 1), entity(message), vec![event.into()]);
        }
        let ctx = Ctx { now: self.at, zone: self.settings.zone, ids: &*self.ids, definitions: &*self.definitions };
        let parts = decide::parts(&self.replica.site, &c.command, ctx).max(first_part);
        for part in first_part..=parts {
            let ctx = Ctx { now: self.at, zone: self.settings.zone, ids: &*self.ids, definitions: &*self.definitions };
            match decide::decide(&self.replica.site, &c.id, &c.by, &c.command, part, ctx) {
                Ok(events) => self.decide(cause(message, part, parts), entity(message), events)?,
                Err(refusal) => {
                    let event = CommandRefused { command: Some(c.id.clone()), refusal };
                    // A refusal ends the command, whatever parts were to come.
                    return self.decide(cause(message, parts, parts), entity(message), vec![event.into()]);
                }
            }
        }
        Ok(())
    }

    fn report(&mut self, message: &Message, agent: &AgentName, r: &ReportMessage) -> Result<(), EngineError> {
        let ctx = Ctx { now: self.at, zone: self.settings.zone, ids: &*self.ids, definitions: &*self.definitions };
        let events = decide::report(&self.replica.site, agent, &r.instance, &r.report, ctx);
        self.decide(cause(message, 1, 1), entity(message), events)
    }

    fn malformed(&mut self, message: &Message, agent: Option<&AgentName>, reason: &str) -> Result<(), EngineError> {
        let reason: String = reason.chars().take(300).collect();
        let event: Event = match agent {
            Some(agent) => ReportRefused {
                agent: agent.clone(),
                instance: self.settings.instance.clone(),
                run: None,
                reason: ReportRefusal::Malformed { reason },
            }
            .into(),
            None => CommandRefused { command: None, refusal: Refusal::Failed { reason } }.into(),
        };
        self.decide(cause(message, 1, 1), entity(message), vec![event])
    }

    /// Runs that their agents do not know any more become lost; ended orders that history has passed are forgotten.
    pub fn upkeep(&mut self, now: Instant, lost: &[(RunId, String)], forget: Vec<OrderId>) -> Result<(), EngineError> {
        self.turn(now);
        for (run, reason) in lost {
            let ctx = Ctx { now: self.at, zone: self.settings.zone, ids: &*self.ids, definitions: &*self.definitions };
            let events = decide::lost(&self.replica.site, run, reason, ctx);
            if !events.is_empty() {
                self.decide(Cause::Upkeep, format!("run/{run}"), events)?;
            }
        }
        // A failed order ends a wait, too, but stays to be resumed.
        let site = &self.replica.site;
        let is_over = |id: &OrderId| site.orders.get(id).is_some_and(|o| o.state.is_terminated() && o.parent.is_none());
        let forget: Vec<OrderId> = forget.into_iter().filter(is_over).collect();
        for orders in forget.chunks(500) {
            let event = ordo_domain::order::event::OrdersForgotten { orders: orders.to_vec() };
            self.decide(Cause::Upkeep, "site".to_owned(), vec![event.into()])?;
        }
        Ok(())
    }

    /// The next commit, when nothing is in flight and something is decided.
    pub fn seal(&mut self) -> Result<Option<Append>, EngineError> {
        if self.in_flight.is_some() || self.queue.is_empty() {
            return Ok(None);
        }
        // The envelope itself and the time it costs to be wrong about its size.
        let mut room = limit::COMMIT_BYTES - 1024;
        let (mut decisions, mut effects, at) = (Vec::new(), Vec::new(), self.queue[0].at);
        while let Some(next) = self.queue.front() {
            if next.at != at || (next.bytes() > room && !decisions.is_empty()) {
                break;
            }
            room = room.saturating_sub(next.bytes());
            self.queue_bytes -= next.bytes();
            let Some(taken) = self.queue.pop_front() else { break };
            decisions.push(taken.json);
            effects.extend(taken.effects);
        }
        let bytes: Arc<[u8]> =
            encode::commit(self.replica.site.epoch, at, &self.settings.build, &self.replica.hash, &decisions)?.into();
        let append = Append { expected_last: self.replica.sequence, bytes };
        self.replica.hash = ordo_contract::commit::chain_hash(&append.bytes);
        self.in_flight = Some(InFlight { append: append.clone(), effects });
        Ok(Some(append))
    }

    /// The commit in flight, to be appended again after trouble: the same bytes, the same expectation.
    pub fn in_flight(&self) -> Option<&Append> {
        self.in_flight.as_ref().map(|f| &f.append)
    }

    /// The journal has it, at this sequence. Now, and only now, may the world see its effects.
    pub fn acknowledged(&mut self, sequence: u64) -> Vec<Effect> {
        self.replica.sequence = sequence;
        self.in_flight.take().map(|f| f.effects).unwrap_or_default()
    }

    /// The wanted ones of all effects that are still to come true: after an activation, and to reconcile. What follows from decisions that
    /// are not journalled yet comes with their acknowledgement instead.
    pub fn outstanding(&mut self, wanted: impl Fn(&Effect) -> bool) -> Vec<Effect> {
        let mut effects = effect::outstanding(&self.replica.site);
        effects.retain(wanted);
        match (self.queue.back_mut(), &mut self.in_flight) {
            (Some(last), _) => last.effects.extend(effects),
            (None, Some(in_flight)) => in_flight.effects.extend(effects),
            (None, None) => return effects,
        }
        Vec::new()
    }

    /// Everything in one queue has one time: that of the first decision after it was empty.
    fn turn(&mut self, now: Instant) {
        if self.queue.is_empty() {
            self.at = self.at.max(now);
        }
    }

    fn decide(&mut self, cause: Cause, entity: String, events: Vec<Event>) -> Result<(), EngineError> {
        let own = events.len();
        let ctx = Ctx { now: self.at, zone: self.settings.zone, ids: &*self.ids, definitions: &*self.definitions };
        let settled = advance::settle(&mut self.replica.site, events, ctx)?;
        self.push(cause, entity, own, settled)
    }

    /// Queues what was decided; the first `own` events are what the cause itself makes and stay together.
    fn push(&mut self, cause: Cause, entity: String, own: usize, settled: Settled) -> Result<(), EngineError> {
        self.unsettled.extend(settled.rest);
        if settled.events.is_empty() {
            return Ok(());
        }
        for decision in encode::decisions(cause, &entity, own, &settled.events, self.at)? {
            self.replica.note(&decision.cause);
            let mut encoded = decision;
            encoded.effects = effect::effects(&self.replica.site, encoded.events(&settled.events));
            self.queue_bytes += encoded.bytes();
            self.queue.push_back(encoded);
        }
        self.replica.site.at = Some(self.at);
        if self.replica.decisions >= self.next_digest {
            self.next_digest = (self.replica.decisions / DIGEST_EVERY + 1) * DIGEST_EVERY;
            let event = StateDigest { decisions: self.replica.decisions, hash: self.replica.digest() };
            self.decide(Cause::Upkeep, "site".to_owned(), vec![event.into()])?;
        }
        Ok(())
    }
}

fn cause(message: &Message, part: u32, parts: u32) -> Cause {
    Cause::Message(MessageCause {
        source: message.source,
        incarnation: message.incarnation.clone(),
        sequence: message.sequence,
        part,
        parts,
    })
}

/// What a decision is about, for people who read the journal.
fn entity(message: &Message) -> String {
    match &message.body {
        Body::Command(c) => format!("command/{}", c.id),
        Body::Report { agent, report } => match report_run(report) {
            Some(run) => format!("run/{run}"),
            None => format!("agent/{agent}"),
        },
        Body::Malformed { .. } => format!("message/{}/{}", message.source, message.sequence),
    }
}

fn report_run(r: &ReportMessage) -> Option<&RunId> {
    use ordo_domain::run::Report;
    match &r.report {
        Report::Accepted { run } | Report::Refused { run } | Report::Ended { run, .. } => Some(run),
        Report::Ready { .. } | Report::Stopping => None,
    }
}
