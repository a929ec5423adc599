//! What the active controller takes away on the bus when the cleanup asks, and what nobody may take: commits that a
//! reader, two snapshots or a restored database need, claims that still guard a job, messages that are not read yet, and
//! bodies that something uses.

use crate::config::Config;
use bytes::Bytes;
use ordo_contract::{
    bus_config::JOB_AGE,
    commit::Source,
    name::StreamKind,
    replica::Replica,
    request::{ErrorBody, controller as request, status},
};
use ordo_domain::{
    ContentHash, Instant, Span,
    run::{RunState, spec::SpecAction},
    workflow::{Action, Instruction, Step, Workflow},
};
use ordo_journal::{Bus, BusError, Call, CallError, Handler};
use ordo_runtime::Clock;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Who may ask.
const ASKER: &str = "cleanup";
/// Readers whose position always counts; the others' only once they are there or have read anything.
const ALWAYS: [&str; 2] = ["history", "proxy"];
/// Bodies swept for one request: the asker has others to serve, too.
const OBJECTS: usize = 500;
const PATIENCE: Duration = Duration::from_secs(5);
const HOUR: Span = Span::from_secs(3_600);
const DAY: Span = Span::from_secs(86_400);

/// What must not be taken away, by the state of this moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// The last message of each source whose decision is journalled.
    pub read: BTreeMap<Source, u64>,
    /// Bodies and scripts.
    pub used: BTreeSet<ContentHash>,
}

impl View {
    pub fn of(replica: &Replica, read: &BTreeMap<Source, u64>) -> Self {
        let site = &replica.site;
        let mut used = crate::definitions::needed_by(site);
        used.extend(site.locks.values().map(|lock| lock.hash.clone()));
        used.extend(site.deployed_definitions().map(|(_, _, definition)| definition.hash.clone()));
        used.extend(site.runs.values().filter_map(|run| script(&run.state)).cloned());
        Self { read: read.clone(), used }
    }
}

/// The last message of each source that is wholly in the journal; to be asked when everything decided is.
pub fn read_so_far(replica: &Replica) -> BTreeMap<Source, u64> {
    let whole = |c: &ordo_contract::replica::CausePosition| c.sequence - u64::from(!c.is_complete());
    replica.causes.iter().map(|(source, cause)| (*source, whole(cause))).collect()
}

/// Asks the loop for a [`View`].
pub type Asks = mpsc::Sender<oneshot::Sender<View>>;

#[derive(Clone)]
pub struct Purger {
    pub bus: Bus,
    pub config: Config,
    pub clock: Arc<dyn Clock>,
    pub asks: Asks,
}

/// Noun and verb of what is answered here.
pub fn endpoints() -> Vec<(&'static str, &'static str)> {
    let all = [request::STREAM_PURGE, request::SNAPSHOT_SWEEP, request::DEFINITION_SWEEP];
    all.iter().filter_map(|subject| subject.split_once('.')).collect()
}

impl Purger {
    pub fn handler(self) -> Handler {
        Arc::new(move |call| {
            let purger = self.clone();
            Box::pin(async move { purger.answer(&call).await })
        })
    }

    async fn answer(&self, call: &Call) -> Result<Bytes, CallError> {
        if call.user != ASKER {
            let text = format!("{} may not take anything away on the bus; ask for `ordo cleanup run`", call.user);
            return Err(error(status::FORBIDDEN, "forbidden", text));
        }
        match format!("{}.{}", call.noun, call.verb).as_str() {
            request::STREAM_PURGE => encode(&self.stream(&body(call)?).await?),
            request::SNAPSHOT_SWEEP => {
                let asked: request::SnapshotSweepRequest = body(call)?;
                let (objects, bytes) = self.bus.snapshots().sweep(asked.before, asked.dry_run).await.map_err(failed)?;
                encode(&request::SweepReply { objects, bytes, more: false })
            }
            request::DEFINITION_SWEEP => encode(&self.definitions(&body(call)?).await?),
            other => Err(error(status::NOT_FOUND, "not_served", format!("{other} is not served by the controller"))),
        }
    }

    async fn view(&self) -> Result<View, CallError> {
        let (sender, view) = oneshot::channel();
        let busy = || error(status::UNAVAILABLE, "unavailable", "the controller is not active, or busy; try again");
        let asked = async {
            self.asks.send(sender).await.ok()?;
            view.await.ok()
        };
        tokio::time::timeout(PATIENCE, asked).await.ok().flatten().ok_or_else(busy)
    }

    async fn stream(&self, asked: &request::StreamPurgeRequest) -> Result<request::StreamPurgeReply, CallError> {
        let now = self.clock.now();
        let least = least_age(asked.stream);
        let mut before = asked.before;
        let mut held_by = None;
        if asked.stream == request::PurgedStream::Journal && before > now - self.config.journal.keep.to_chrono() {
            before = now - self.config.journal.keep.to_chrono();
            held_by = Some(format!("journal.keep, {}", self.config.journal.keep));
        }
        if before > now - least.to_chrono() {
            let text = format!(
                "{} may not be purged of what is younger than {least}: {} is too late",
                self.bus.names().stream(asked.stream.kind()),
                asked.before.to_rfc3339(),
            );
            return Err(error(status::REFUSED, "unsafe", text));
        }
        let view = self.view().await?;
        let point = point(&self.bus, &self.config, asked.stream, before, now, &view).await.map_err(failed)?;
        let messages = point.messages();
        let mut reply =
            request::StreamPurgeReply { messages, bytes: point.bytes(), held_by: point.held_by.clone().or(held_by) };
        if !asked.dry_run && messages > 0 {
            reply.messages = self.bus.purge_stream(asked.stream.kind(), point.up_to).await.map_err(failed)?;
            tracing::info!(stream = ?asked.stream, messages = reply.messages, "stream purged");
        }
        Ok(reply)
    }

    async fn definitions(&self, asked: &request::DefinitionSweepRequest) -> Result<request::SweepReply, CallError> {
        let now = self.clock.now();
        // What was just stored is deployed a moment later. And what the journal still names is read by who replays it.
        let mut before = asked.before.min(now - DAY.to_chrono());
        let journal = self.bus.names().stream(StreamKind::Journal);
        let info = self.bus.stream_info(&journal).await.map_err(failed)?;
        if let Some(first) = self.bus.read(&journal, info.first_sequence).await.map_err(failed)? {
            before = before.min(stored_at(&first) - DAY.to_chrono());
        }
        let used = self.used(self.view().await?.used, &asked.keep).await?;
        let store = self.bus.definitions();
        let objects = store.objects().await.map_err(failed)?;
        let unused = objects.into_iter().filter(|object| {
            let is_used = ContentHash::new(&object.info.name).is_ok_and(|hash| used.contains(&hash));
            !is_used && object.info.modified_at.is_some_and(|at| at < before)
        });
        let mut reply = request::SweepReply::default();
        for object in unused {
            if !asked.dry_run && reply.objects as usize >= OBJECTS {
                reply.more = true;
                break;
            }
            if asked.dry_run || store.delete_unchanged(&object).await.map_err(failed)? {
                reply.objects += 1;
                reply.bytes += object.info.size;
            }
        }
        Ok(reply)
    }

    /// With the scripts that used workflows name.
    async fn used(
        &self,
        live: BTreeSet<ContentHash>,
        keep: &[ContentHash],
    ) -> Result<BTreeSet<ContentHash>, CallError> {
        let mut used = live;
        used.extend(keep.iter().cloned());
        let bodies: Vec<ContentHash> = used.iter().cloned().collect();
        for hash in bodies {
            let Some(body) = self.bus.definitions().get(hash.as_str()).await.map_err(failed)? else { continue };
            if let Ok(workflow) = serde_json::from_slice::<Workflow>(&body) {
                scripts(&workflow.steps, &mut used);
            }
        }
        Ok(used)
    }
}

/// Below this age nothing goes, whatever is asked.
fn least_age(stream: request::PurgedStream) -> Span {
    match stream {
        // And its own setting, which a test may lower.
        request::PurgedStream::Journal => Span::default(),
        // A claim outlives every message that could start its run again.
        request::PurgedStream::Reports => Span::from_millis(u64::try_from(JOB_AGE.as_millis()).unwrap_or(u64::MAX)),
        // Outcomes are known for so long.
        request::PurgedStream::Commands => DAY,
        request::PurgedStream::Output | request::PurgedStream::Logs | request::PurgedStream::Notices => HOUR,
    }
}

/// Up to where a stream may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    first: u64,
    pub up_to: u64,
    stream_messages: u64,
    stream_bytes: u64,
    pub held_by: Option<String>,
}

impl Point {
    pub fn messages(&self) -> u64 {
        (self.up_to + 1).saturating_sub(self.first).min(self.stream_messages)
    }

    fn bytes(&self) -> u64 {
        let share = u128::from(self.stream_bytes) * u128::from(self.messages());
        u64::try_from(share / u128::from(self.stream_messages.max(1))).unwrap_or(u64::MAX)
    }

    fn hold(&mut self, up_to: u64, by: impl FnOnce() -> String) {
        if up_to < self.up_to {
            self.up_to = up_to;
            self.held_by = Some(by());
        }
    }
}

async fn point(
    bus: &Bus,
    config: &Config,
    stream: request::PurgedStream,
    before: Instant,
    now: Instant,
    view: &View,
) -> Result<Point, BusError> {
    let name = bus.names().stream(stream.kind());
    let info = bus.stream_info(&name).await?;
    let old = last_before(bus, &name, info.first_sequence, info.last_sequence, before).await?;
    let mut point = Point {
        first: info.first_sequence,
        up_to: old,
        stream_messages: info.messages,
        stream_bytes: info.bytes,
        held_by: None,
    };
    let source = match stream {
        request::PurgedStream::Commands => Some(Source::Commands),
        request::PurgedStream::Reports => Some(Source::Reports),
        _ => None,
    };
    if let Some(source) = source {
        point.hold(view.read.get(&source).copied().unwrap_or_default(), || "the controller has not read it".into());
    }
    if stream == request::PurgedStream::Journal {
        match second_good_snapshot(bus).await? {
            Some(sequence) => point.hold(sequence, || format!("the second newest snapshot, at {sequence}")),
            None => point.hold(0, || "there are no two good snapshots".into()),
        }
    }
    let present = present(bus).await;
    for (kind, reader) in bus.names().service_consumers() {
        if kind != stream.kind() {
            continue;
        }
        let Some(at) = bus.consumer_info(&name, &reader.name).await? else { continue };
        let always = ALWAYS.contains(&reader.name.as_str());
        // Who reads for the first time has its backlog from the stream itself, so an instance that is there counts, too.
        if at.given_out == 0 && !always && !present.as_ref().is_none_or(|roles| is_of(&reader.name, roles)) {
            continue;
        }
        let mut needs = at.ack_floor;
        // A service that stays away for good must not fill the disk. History alone has no other source.
        if reader.name != "history" && needs < point.up_to {
            let limit = now - config.journal.reader_keep.to_chrono();
            needs = needs.max(last_before(bus, &name, info.first_sequence, point.up_to, limit).await?);
        }
        point.hold(needs, || format!("reader {}, at {}", reader.name, at.ack_floor));
    }
    Ok(point)
}

/// The roles of which an instance is there; none: that is not known.
async fn present(bus: &Bus) -> Option<BTreeSet<String>> {
    let all = bus.instances().all().await.ok()?;
    let there = all.into_iter().filter(|(_, entry)| entry.value.is_some());
    Some(there.filter_map(|(key, _)| Some(key.split_once('.')?.0.to_owned())).collect())
}

/// A durable is named after its role, a second one of it `<role>-<what it reads>`.
fn is_of(reader: &str, roles: &BTreeSet<String>) -> bool {
    roles
        .iter()
        .any(|role| reader.strip_prefix(role.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')))
}

/// The purge point of the journal when nobody asked: what the controller takes away by itself when the disk gets scarce.
pub async fn purge_journal(bus: &Bus, config: &Config, now: Instant) -> Result<u64, BusError> {
    let before = now - config.journal.keep.to_chrono();
    let point = point(bus, config, request::PurgedStream::Journal, before, now, &View::default()).await?;
    if point.messages() == 0 {
        return Ok(0);
    }
    bus.purge_journal(point.up_to).await
}

/// Verified by reading them.
async fn second_good_snapshot(bus: &Bus) -> Result<Option<u64>, BusError> {
    let snapshots = bus.snapshots();
    let mut good = 0;
    for sequence in snapshots.list().await? {
        match snapshots.get(sequence).await {
            Ok(_) => good += 1,
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => tracing::warn!(stream_seq = sequence, %error, "snapshot not usable"),
        }
        if good == 2 {
            return Ok(Some(sequence));
        }
    }
    Ok(None)
}

fn stored_at(message: &ordo_journal::Message) -> Instant {
    let millis = i64::try_from(message.stored_at.as_millis()).unwrap_or(i64::MAX);
    Instant::from_timestamp_millis(millis).unwrap_or(Instant::MAX_UTC)
}

/// The last message of `[first, last]` that was stored before `time`; `first - 1` where none was.
async fn last_before(bus: &Bus, stream: &str, first: u64, last: u64, time: Instant) -> Result<u64, BusError> {
    let (mut low, mut high) = (first, last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let old = match bus.read(stream, middle).await? {
            Some(message) => stored_at(&message) < time,
            // Gone by its age or by another purge; else a hole, of which nothing is known.
            None => middle < bus.stream_info(stream).await?.first_sequence,
        };
        if old { low = middle + 1 } else { high = middle }
    }
    Ok(low.saturating_sub(1))
}

/// Of a run that no agent has fetched yet.
fn script(run: &RunState) -> Option<&ContentHash> {
    match run {
        RunState::Dispatched { spec, .. } => match &spec.action {
            SpecAction::Script { hash } => Some(hash),
            SpecAction::Command { .. } => None,
        },
        RunState::Claimed { .. } => None,
    }
}

/// All that its jobs run.
fn scripts(steps: &[Step], found: &mut BTreeSet<ContentHash>) {
    for step in steps {
        match &step.instruction {
            Instruction::Job(job) => match &job.action {
                Action::Script { hash, .. } => drop(found.insert(hash.clone())),
                Action::Command { .. } => {}
            },
            Instruction::If { then, otherwise, .. } => {
                scripts(then, found);
                scripts(otherwise, found);
            }
            Instruction::Fork { branches, .. } => branches.values().for_each(|steps| scripts(steps, found)),
            Instruction::Try { steps, catch, .. } => {
                scripts(steps, found);
                scripts(catch, found);
            }
            Instruction::Call { .. } | Instruction::Fail { .. } | Instruction::Finish { .. } => {}
        }
    }
}

fn body<T: DeserializeOwned>(call: &Call) -> Result<T, CallError> {
    serde_json::from_slice(&call.body).map_err(|e| {
        let text = format!("the body of {}.{} is not what it should be: {e}", call.noun, call.verb);
        error(status::MALFORMED, "malformed", text)
    })
}

fn encode(value: &impl Serialize) -> Result<Bytes, CallError> {
    let json = serde_json::to_vec(value);
    json.map(Bytes::from).map_err(|e| error(status::INTERNAL, "internal", format!("the answer cannot be written: {e}")))
}

fn failed(cause: BusError) -> CallError {
    error(status::UNAVAILABLE, "unavailable", format!("the bus did not do it: {cause}"))
}

fn error(code: u16, word: &str, message: impl Into<String>) -> CallError {
    let message = message.into();
    let body = ErrorBody { code: word.to_owned(), message: message.clone(), refusal: None };
    CallError::new(code, message).with_body(serde_json::to_vec(&body).unwrap_or_default())
}
