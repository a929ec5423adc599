//! Output on its way to history: chunk by chunk while the job runs, the rest at its end; then history is asked what it
//! has, the rest is sent again, and only when it has all may the files go.

use crate::claim::Input;
use crate::config::OutputConfig;
use crate::runner::folder::RunFolder;
use crate::runner::output::{Frame, OutputReader};
use crate::runner::protocol::{EndFacts, RunMeta};
use crate::runner::system;
use crate::shell::Event;
use ordo_contract::output::{self, StoredReply, StoredRequest, StoredRun};
use ordo_contract::request::history;
use ordo_domain::{AgentName, Instant, RunId};
use ordo_journal::{Bus, Headers, Outgoing};
use ordo_runtime::CancellationToken;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

/// Chunks read and under way at a time, for one run.
const BATCH: usize = 16;
/// The first question to history comes this long after the end was reported; later ones ever more rarely.
const FIRST_QUESTION: Duration = Duration::from_millis(500);
const RAREST_QUESTION: Duration = Duration::from_secs(30);
/// Questions that come within this time go together.
const GATHER: Duration = Duration::from_millis(50);
const RUNS_A_QUESTION: usize = 500;
/// After an error that passes, ever more rarely.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AT_LEAST: Duration = Duration::from_secs(60);
/// How often the limits of what waits are looked at.
const JANITOR: Duration = Duration::from_secs(30);

/// What the shell tells.
#[derive(Debug)]
pub enum Shipment {
    /// So many frames lie in the first part.
    Frames {
        run: RunId,
        frames: u32,
    },
    Ended {
        run: RunId,
        end: Box<EndFacts>,
    },
    /// Its end was reported: from now on history can have everything.
    Reported {
        run: RunId,
    },
}

impl Shipment {
    fn run(&self) -> &RunId {
        match self {
            Shipment::Frames { run, .. } | Shipment::Ended { run, .. } | Shipment::Reported { run } => run,
        }
    }
}

/// How far one run may be shipped.
#[derive(Debug, Clone, Default)]
struct Goal {
    frames: u32,
    ended: Option<Box<EndFacts>>,
    reported: bool,
}

struct Shipping {
    goal: watch::Sender<Goal>,
    stop: CancellationToken,
    /// When the run ended that waits for history, and how much it is.
    waits: Option<(Instant, u64)>,
}

#[derive(Clone)]
struct Context {
    bus: Bus,
    agent: AgentName,
    data: PathBuf,
    events: UnboundedSender<Event>,
    questions: UnboundedSender<(RunId, oneshot::Sender<Option<StoredRun>>)>,
    cancel: CancellationToken,
}

/// Starts shipping; ends with `cancel`.
pub fn start(
    bus: &Bus,
    agent: AgentName,
    data: PathBuf,
    limits: OutputConfig,
    events: UnboundedSender<Event>,
    cancel: CancellationToken,
) -> UnboundedSender<Shipment> {
    let (sender, shipments) = unbounded_channel();
    let (questions, asked) = unbounded_channel();
    let context = Context { bus: bus.clone(), agent, data, events, questions, cancel: cancel.clone() };
    tokio::spawn(answer_questions(bus.clone(), asked, cancel.clone()));
    tokio::spawn(async move {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = manage(context, limits, shipments) => {}
        }
    });
    sender
}

async fn manage(context: Context, limits: OutputConfig, mut shipments: UnboundedReceiver<Shipment>) {
    let mut runs: BTreeMap<RunId, Shipping> = BTreeMap::new();
    let mut janitor = tokio::time::interval(JANITOR);
    loop {
        let shipment = tokio::select! {
            shipment = shipments.recv() => shipment,
            _ = janitor.tick() => {
                runs.retain(|_, shipping| !shipping.goal.is_closed());
                keep_within(&context, &limits, &mut runs);
                continue;
            }
        };
        let Some(shipment) = shipment else { return };
        let run = shipment.run().clone();
        let shipping = runs.entry(run.clone()).or_insert_with(|| begin(&context, &run));
        shipping.goal.send_modify(|goal| match shipment {
            Shipment::Frames { frames, .. } => goal.frames = frames.max(goal.frames),
            Shipment::Ended { end, .. } => goal.ended = Some(end),
            Shipment::Reported { .. } => goal.reported = true,
        });
        if shipping.goal.borrow().reported && shipping.waits.is_none() {
            if shipping.goal.is_closed() {
                // Given up before; now it may be deleted.
                let _ = context.events.send(Event::Input(Input::OutputStored { run }));
                continue;
            }
            // After a restart the end is known from the folder alone.
            let folder = RunFolder::new(&context.data, &run);
            if shipping.goal.borrow().ended.is_none() {
                match folder.end() {
                    Some(end) => shipping.goal.send_modify(|goal| goal.ended = Some(Box::new(end))),
                    None => {
                        let _ = context.events.send(Event::Input(Input::OutputStored { run }));
                        continue;
                    }
                }
            }
            // By the end itself: agents that are restarted again and again would keep it for good else.
            let of_end = |end: &EndFacts| (end.facts.ended_at, end.facts.output.kept_bytes);
            shipping.waits = shipping.goal.borrow().ended.as_deref().map(of_end);
        }
    }
}

fn begin(context: &Context, run: &RunId) -> Shipping {
    let (goal, seen) = watch::channel(Goal::default());
    let stop = context.cancel.child_token();
    let (context, run, stopped) = (context.clone(), run.clone(), stop.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = stopped.cancelled() => {}
            () = ship_patiently(&context, &run, seen, &stopped) => {
                if context.bus.is_closed() {
                    return;
                }
                let _ = context.events.send(Event::Input(Input::OutputStored { run }));
            }
        }
    });
    Shipping { goal, stop, waits: None }
}

/// Until history has all of it, or what is left can never be read. Everything else passes: descriptors that are all in
/// use, a disk that stumbles.
async fn ship_patiently(context: &Context, run: &RunId, goal: watch::Receiver<Goal>, cancel: &CancellationToken) {
    let mut pause = AGAIN;
    loop {
        let Err(error) = ship(context, run, goal.clone(), cancel).await else { return };
        if context.bus.is_closed() {
            return;
        }
        if goal.borrow().ended.is_some() && is_for_good(&error) {
            return tracing::warn!(run_id = %run, %error, "output of a run cannot be shipped and is given up");
        }
        if pause == AGAIN {
            tracing::warn!(run_id = %run, %error, "output of a run cannot be shipped now, trying on");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN_AT_LEAST);
    }
}

/// Whether an ended run's files can never be read to their end: they are gone, cut, or not what they should be.
fn is_for_good(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}

/// What waits for history may neither grow old nor large without end.
fn keep_within(context: &Context, limits: &OutputConfig, runs: &mut BTreeMap<RunId, Shipping>) {
    let waiting =
        runs.iter().filter_map(|(run, shipping)| shipping.waits.map(|(since, bytes)| (since, bytes, run.clone())));
    for (bytes, run) in too_much(waiting.collect(), limits, system::now()) {
        tracing::warn!(run_id = %run, bytes, keep_days = limits.keep_days, keep_bytes = limits.keep_bytes, "output removed before history had it, its limit is reached");
        if let Some(shipping) = runs.remove(&run) {
            shipping.stop.cancel();
        }
        let _ = context.events.send(Event::Input(Input::OutputStored { run }));
    }
}

/// What is to go: the oldest first, until the rest is within the limits.
fn too_much(mut waiting: Vec<(Instant, u64, RunId)>, limits: &OutputConfig, now: Instant) -> Vec<(u64, RunId)> {
    waiting.sort();
    let mut total: u64 = waiting.iter().map(|(_, bytes, _)| bytes).sum();
    let oldest = Duration::from_secs(u64::from(limits.keep_days) * 86_400);
    let mut gone = Vec::new();
    for (since, bytes, run) in waiting {
        let is_young = (now - since).to_std().is_ok_and(|age| age < oldest) || since > now;
        if is_young && total <= limits.keep_bytes {
            break;
        }
        total -= bytes;
        gone.push((bytes, run));
    }
    gone
}

/// Ships one run; returns when history has all of it.
async fn ship(
    context: &Context,
    run: &RunId,
    mut goal: watch::Receiver<Goal>,
    cancel: &CancellationToken,
) -> io::Result<()> {
    let folder = RunFolder::new(&context.data, run);
    let meta = folder.read_meta()?;
    let mut reader = OutputReader::new(folder.clone());
    loop {
        let now = goal.borrow_and_update().clone();
        let sent;
        (reader, sent) = send_some(context, &meta, reader, &now, |_| true, cancel).await?;
        if sent == BATCH {
            continue;
        }
        if now.ended.is_some() && now.reported {
            break;
        }
        if goal.changed().await.is_err() {
            return Ok(());
        }
    }
    let Some(end) = goal.borrow().ended.clone() else { return Ok(()) };
    let mut pause = FIRST_QUESTION;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RAREST_QUESTION);
        let (answer, answered) = oneshot::channel();
        if context.questions.send((run.clone(), answer)).is_err() {
            return Ok(());
        }
        // No answer: history is away; it is asked again.
        let Ok(Some(stored)) = answered.await else { continue };
        let has = |chunk: u32| chunk <= stored.through || stored.also.contains(&chunk);
        let all_chunks = (1..=end.facts.output.chunks).all(has);
        if all_chunks && stored.complete {
            return Ok(());
        }
        // What is merely on its way need not be sent again at once.
        if !all_chunks && pause > FIRST_QUESTION * 4 {
            let again = Goal { frames: 0, ended: Some(end.clone()), reported: true };
            let mut reader = OutputReader::new(folder.clone());
            loop {
                let sent;
                (reader, sent) = send_some(context, &meta, reader, &again, |chunk| !has(chunk), cancel).await?;
                if sent < BATCH {
                    break;
                }
            }
        }
    }
}

/// Reads up to a batch of frames and publishes those that are wanted; returns how many were read.
async fn send_some(
    context: &Context,
    meta: &RunMeta,
    mut reader: OutputReader,
    goal: &Goal,
    wanted: impl Fn(u32) -> bool,
    cancel: &CancellationToken,
) -> io::Result<(OutputReader, usize)> {
    if goal.ended.is_none() && reader.next_chunk() > goal.frames {
        return Ok((reader, 0));
    }
    let goal = goal.clone();
    let (reader, frames) = tokio::task::spawn_blocking(move || {
        let mut frames = Vec::new();
        while frames.len() < BATCH {
            let frame = match &goal.ended {
                Some(end) => reader.next_of_all(end.head_frames, end.omitted),
                None => reader.next_head(goal.frames),
            };
            match frame? {
                Some(frame) => frames.push(frame),
                None => break,
            }
        }
        Ok::<_, io::Error>((reader, frames))
    })
    .await
    .map_err(io::Error::other)??;
    let count = frames.len();
    let messages =
        frames.into_iter().filter(|frame| wanted(frame.chunk)).map(|frame| message(context, meta, frame)).collect();
    context.bus.publish_all(messages, cancel).await.map_err(io::Error::other)?;
    Ok((reader, count))
}

fn message(context: &Context, meta: &RunMeta, frame: Frame) -> Outgoing {
    let at = Instant::from_timestamp_millis(frame.header.at_ms).unwrap_or_default();
    let mut headers = Headers::new()
        .set(output::RUN, &meta.run)
        .set(output::ORDER, &meta.order)
        .set(output::JOB, &meta.job)
        .set(output::CHANNEL, frame.header.channel.word())
        .set(output::CHUNK, frame.chunk)
        .set(output::AT, at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
    if frame.header.omitted > 0 {
        headers = headers.set(output::OMITTED, frame.header.omitted);
    }
    Outgoing::new(context.bus.names().output(context.agent.as_str(), meta.run.as_str()), headers, frame.bytes)
}

/// Many runs in one question.
async fn answer_questions(
    bus: Bus,
    mut asked: UnboundedReceiver<(RunId, oneshot::Sender<Option<StoredRun>>)>,
    cancel: CancellationToken,
) {
    let (noun, verb) = history::OUTPUT_STORED.split_once('.').unwrap_or_default();
    let subject = bus.names().request(bus.user(), "history", noun, verb);
    loop {
        let first = tokio::select! {
            () = cancel.cancelled() => return,
            first = asked.recv() => first,
        };
        let Some(first) = first else { return };
        tokio::time::sleep(GATHER).await;
        let mut questions = BTreeMap::from([first]);
        while questions.len() < RUNS_A_QUESTION {
            let Ok((run, answer)) = asked.try_recv() else { break };
            questions.insert(run, answer);
        }
        let request = StoredRequest { runs: questions.keys().cloned().collect() };
        let Ok(body) = serde_json::to_vec(&request) else { continue };
        let reply = match bus.request(&subject, body, Duration::from_secs(5)).await {
            Ok(reply) => serde_json::from_slice::<StoredReply>(&reply).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match reply {
            Ok(reply) => {
                for stored in reply.runs {
                    if let Some(answer) = questions.remove(&stored.run) {
                        let _ = answer.send(Some(stored));
                    }
                }
            }
            Err(error) => tracing::debug!(error, "history does not say what output it has"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_never_be_read_is_given_up() {
        for (number, for_good) in
            [(libc::EMFILE, false), (libc::EIO, false), (libc::ENOMEM, false), (libc::ENOENT, true)]
        {
            assert_eq!(is_for_good(&io::Error::from_raw_os_error(number)), for_good, "{number}");
        }
        assert!(is_for_good(&io::ErrorKind::UnexpectedEof.into()) && is_for_good(&io::ErrorKind::InvalidData.into()));
        assert!(!is_for_good(&io::Error::other("the bus is away")));
    }

    #[test]
    fn what_waits_is_as_old_as_its_run_whenever_the_agent_was_started() {
        let now = system::now();
        let ago = |days: i64| now - chrono::Duration::days(days);
        let run = RunId::from_bits;
        let limits = OutputConfig { run_bytes: 0, keep_days: 14, keep_bytes: 100 };
        let waiting = vec![(ago(1), 60, run(1)), (ago(15), 10, run(2)), (ago(2), 30, run(3))];
        assert_eq!(too_much(waiting, &limits, now), [(10, run(2))]);
        let large = vec![(ago(1), 60, run(1)), (ago(2), 50, run(3))];
        assert_eq!(too_much(large, &limits, now), [(50, run(3))]);
        // A clock that was set back makes nothing old.
        assert_eq!(too_much(vec![(ago(-1), 60, run(1))], &limits, now), []);
    }
}
