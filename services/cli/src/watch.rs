//! An order, live: what it does, how long it takes, what its jobs print, and how it ends.
//!
//! The feed tells the steps as they happen and may miss some; the proxy's `order.await` tells the truth and decides when
//! it is over; the history tells what was printed. Lines are only ever added: what is shown can be kept.

use crate::{
    client::Client,
    command::logs::LogReader,
    error::{CliError, Exit},
    show::{Look, Tone, harmless, line, sign, text, time, write_out},
};
use ordo_contract::request::{AwaitRequest, EventLine, HistoryOrder, OrderRequest, OrderShowReply, history, proxy};
use ordo_domain::{Event, Failure, Instant, OrderId, Outcome, RunId, order::command::NewOrder, run::RunEnd};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What to show of it.
#[derive(Debug, Clone, Default)]
pub struct WatchOptions {
    /// What its jobs print, too.
    pub logs: bool,
    /// Nothing at all.
    pub quiet: bool,
    /// Stop watching after this long; the order goes on.
    pub timeout: Option<Duration>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    pub order: OrderId,
    /// `finished`, `failed`, `cancelled`; the present state where the wait was over first.
    pub state: String,
    /// In words.
    pub text: Option<String>,
    pub timed_out: bool,
    pub took: Option<chrono::TimeDelta>,
}

impl Ended {
    /// Of design part 10.
    pub fn exit(&self) -> Exit {
        match self.state.as_str() {
            _ if self.timed_out => Exit::WaitTimedOut,
            "finished" => Exit::Done,
            "cancelled" => Exit::OrderCancelled,
            _ => Exit::OrderFailed,
        }
    }
}

/// Adds an order and watches it to its end. The feed is opened first, so that no step is missed.
pub async fn add_and_watch(
    client: &Client,
    order: NewOrder,
    options: &WatchOptions,
    look: &Look,
) -> Result<Ended, CliError> {
    let feed = Feed::open(client, options).await;
    let asked = crate::command::order::asked(None, None)?;
    let added = crate::command::order::add_all(client, vec![order], &asked, look).await?;
    let Some(id) = added.orders.into_iter().next() else {
        return Err(CliError::failed("accepted, but no controller is active yet: there is no order to watch so far"));
    };
    if !options.quiet && !look.json {
        line(&format!("order {} added", look.bold(id.as_str())));
    }
    watch_with(client, &id, options, look, feed).await
}

/// Watches an order that is there.
pub async fn watch_order(
    client: &Client,
    order: &OrderId,
    options: &WatchOptions,
    look: &Look,
) -> Result<Ended, CliError> {
    let feed = Feed::open(client, options).await;
    watch_with(client, order, options, look, feed).await
}

/// The live events of orders. None when the feed cannot be had: then only states are shown.
pub(crate) struct Feed(Option<ordo_journal::Listener>);

impl Feed {
    pub(crate) async fn open(client: &Client, options: &WatchOptions) -> Self {
        Self(if options.quiet { None } else { client.listen(&client.names().feed_of_order(None)).await.ok() })
    }

    /// Waits for good where there is none. Cancel safe.
    async fn next(&mut self) -> EventLine {
        loop {
            let Some(listener) = &mut self.0 else { return std::future::pending().await };
            match listener.next().await {
                None => self.0 = None,
                Some(heard) => {
                    if let Ok(event) = serde_json::from_slice(&heard.payload) {
                        return event;
                    }
                }
            }
        }
    }
}

pub(crate) async fn watch_with(
    client: &Client,
    order: &OrderId,
    options: &WatchOptions,
    look: &Look,
    mut feed: Feed,
) -> Result<Ended, CliError> {
    let started = tokio::time::Instant::now();
    let deadline = options.timeout.map(|limit| started + limit);
    let mut screen = Screen::new(order.clone(), options, look);
    let mut logs = (options.logs && !options.quiet).then(|| LogReader::new(order.clone(), None));
    let mut after = None;
    let mut last = None;
    let mut ticks = tokio::time::interval(TICK);
    let mut log_ticks = tokio::time::interval(LOG_PERIOD);
    for ticks in [&mut ticks, &mut log_ticks] {
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    }
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(tokio::time::Instant::now()));
        if left == Some(Duration::ZERO) {
            screen.close();
            let state = last.map_or_else(|| "unknown".to_owned(), |reply: OrderShowReply| reply.line.state);
            return Ok(Ended { order: order.clone(), state, text: None, timed_out: true, took: None });
        }
        let wait = left.unwrap_or(Duration::MAX).min(Duration::from_secs(10));
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(10_000).max(1);
        let request = AwaitRequest { order: order.clone(), wait_ms, after };
        let asked = client.ask_patiently::<_, OrderShowReply>(
            "proxy",
            proxy::ORDER_AWAIT,
            &request,
            wait + Duration::from_secs(10),
            deadline,
        );
        tokio::pin!(asked);
        let reply = loop {
            tokio::select! {
                event = feed.next() => screen.event(&event),
                reply = &mut asked => break reply,
                _ = log_ticks.tick(), if logs.is_some() => drop(screen.logs(client, &mut logs).await),
                _ = ticks.tick(), if look.terminal => screen.tick(),
            }
        };
        match reply {
            Ok(Some(reply)) => {
                after = Some(reply.sequence);
                screen.state(&reply);
                let ended = matches!(reply.line.state.as_str(), "finished" | "cancelled" | "failed");
                if ended {
                    // The feed lies a few milliseconds behind the answer: what still comes belongs above the last line.
                    while let Ok(event) = tokio::time::timeout(LAST_EVENTS, feed.next()).await {
                        screen.event(&event);
                        if screen.ended {
                            break;
                        }
                    }
                    screen.last_logs(client, &mut logs).await;
                    return Ok(screen.end(&reply));
                }
                last = Some(reply);
            }
            // Gone from the state: it has ended, and the history knows how.
            Err(error) if error.is_not_found() => {
                let past = from_history(client, order, deadline).await.map_err(|_| error)?;
                screen.last_logs(client, &mut logs).await;
                return Ok(screen.end_of_history(&past));
            }
            Err(error) => return Err(error),
            // Only the deadline ends the patience.
            Ok(None) => {}
        }
    }
}

const TICK: Duration = Duration::from_millis(250);
const LOG_PERIOD: Duration = Duration::from_millis(400);
const LAST_EVENTS: Duration = Duration::from_millis(300);
/// For the history to say what became of an order that nobody else knows any more.
const HISTORY: Duration = Duration::from_secs(5);
/// For the history to have everything that was printed.
const LAST_LOGS: Duration = Duration::from_secs(10);

async fn from_history(
    client: &Client,
    order: &OrderId,
    deadline: Option<tokio::time::Instant>,
) -> Result<HistoryOrder, CliError> {
    let request = OrderRequest { order: order.clone() };
    let soon = tokio::time::Instant::now() + HISTORY;
    let until = deadline.map_or(soon, |deadline| deadline.min(soon));
    let asked = client.ask_patiently("history", history::ORDER_SHOW, &request, HISTORY, Some(until));
    asked.await?.ok_or_else(|| CliError::failed("the history did not answer in time"))
}

/// What is on the screen: lines, and on a terminal one last line that moves.
struct Screen<'a> {
    order: OrderId,
    look: &'a Look,
    quiet: bool,
    /// What runs now, since when: by run.
    running: BTreeMap<RunId, (OrderId, String, Instant)>,
    /// Events shown already, by place in the journal.
    seen: BTreeSet<(u64, u32)>,
    state: Option<String>,
    moving: bool,
    tick: usize,
    ended: bool,
}

impl<'a> Screen<'a> {
    fn new(order: OrderId, options: &WatchOptions, look: &'a Look) -> Self {
        Self {
            order,
            look,
            quiet: options.quiet,
            running: BTreeMap::new(),
            seen: BTreeSet::new(),
            state: None,
            moving: false,
            tick: 0,
            ended: false,
        }
    }

    fn is_ours(&self, order: &OrderId) -> bool {
        let (ours, other) = (self.order.as_str(), order.as_str());
        other == ours || other.strip_prefix(ours).is_some_and(|rest| rest.starts_with(':'))
    }

    /// `loads:west` of `…-sales:west`; nothing for the order itself.
    fn branch(&self, order: &OrderId) -> String {
        order.as_str().strip_prefix(self.order.as_str()).unwrap_or_default().trim_start_matches(':').to_owned()
    }

    fn say(&mut self, text: &str) {
        if !self.quiet && !self.look.json {
            self.wipe();
            line(text);
        }
    }

    fn wipe(&mut self) {
        if self.moving {
            write_out(b"\r\x1b[2K");
            self.moving = false;
        }
    }

    fn close(&mut self) {
        self.wipe();
    }

    /// One step of the order as a line.
    fn event(&mut self, event: &EventLine) {
        let Ok(what) = serde_json::from_value::<Event>(event.event.clone()) else { return };
        let ours = match &what {
            Event::RunClaimed(e) => self.running.contains_key(&e.run),
            other => other.order().is_some_and(|order| self.is_ours(order)),
        };
        if !ours || !self.seen.insert((event.sequence, event.index)) {
            return;
        }
        if self.look.json {
            if !self.quiet {
                line(&serde_json::to_string(event).unwrap_or_default());
            }
            self.ended |= ends(&what, &self.order);
            return;
        }
        let rows = self.words(&what, event.at);
        self.ended |= ends(&what, &self.order);
        for (word, text) in rows {
            let (glyph, tone) = sign(word);
            let clock = self.look.dim(&time::clock(event.at, self.look.zone));
            let text = format!("  {clock}  {} {text}", self.look.paint(tone, glyph));
            self.say(&text);
        }
    }

    fn place(&self, order: &OrderId, position: &str) -> String {
        let branch = self.branch(order);
        let step = harmless(position);
        if branch.is_empty() || step.contains('/') { step } else { format!("{branch} / {step}") }
    }

    fn words(&mut self, event: &Event, at: Instant) -> Vec<(&'static str, String)> {
        match event {
            Event::OrderAdded(e) if e.due_at.is_some_and(|due| due > at) => {
                vec![("scheduled", format!("scheduled for {}", self.look.time(e.due_at.unwrap_or(at))))]
            }
            Event::RunDispatched(e) => {
                let place = self.place(&e.order, e.position.as_str());
                let again = if e.attempt > 1 { format!(", attempt {}", e.attempt) } else { String::new() };
                self.running.insert(e.run.clone(), (e.order.clone(), place.clone(), at));
                vec![("running", format!("{place}  {}", self.look.dim(&format!("agent {}{again}", e.agent))))]
            }
            Event::RunEnded(e) => {
                let since = self.running.remove(&e.run).map(|(_, _, at)| at);
                let took = took(e.facts.started_at.or(since), e.facts.ended_at);
                let place = self.place(&e.order, e.position.as_str());
                let (word, how) = match (&e.outcome, &e.facts.end) {
                    (Some(Outcome::Succeeded), _) => ("succeeded", String::new()),
                    (Some(Outcome::Warning { return_code }), _) => {
                        ("warning", format!("warning, exit code {return_code}"))
                    }
                    (Some(Outcome::Failed { failure }), _) => ("failed", harmless(&failure.to_string())),
                    (None, RunEnd::Lost { reason }) => {
                        ("lost", format!("run lost, will start again: {}", harmless(reason)))
                    }
                    (None, _) => ("killed", "ended, will start again when resumed".to_owned()),
                };
                let parts: Vec<String> = [how, took].into_iter().filter(|part| !part.is_empty()).collect();
                vec![(word, format!("{place}  {}", parts.join(", ")))]
            }
            Event::OrderQueued(e) => {
                vec![("queued", format!("{}  waits for its turn", self.place(&e.order, e.position.as_str())))]
            }
            Event::OrderForked(e) => {
                let names: Vec<&str> = e.children.iter().map(|child| child.branch.as_str()).collect();
                vec![("forked", format!("{}  {}", self.place(&e.order, e.position.as_str()), names.join(", ")))]
            }
            Event::OrderRetrying(e) => vec![(
                "retrying",
                format!(
                    "{}  attempt {} at {}",
                    self.place(&e.order, e.failed_at.as_str()),
                    e.attempt,
                    time::clock(e.until, self.look.zone)
                ),
            )],
            Event::OrderCaught(e) => vec![(
                "warning",
                format!(
                    "{}  caught, goes on at {}",
                    self.place(&e.order, e.failed_at.as_str()),
                    harmless(e.to.as_str())
                ),
            )],
            Event::OrderSuspended(e) => vec![("suspended", format!("{}suspended", prefix(&self.branch(&e.order))))],
            Event::OrderResumed(e) => vec![("running", format!("{}resumed", prefix(&self.branch(&e.order))))],
            Event::OrderCancelRequested(e) => {
                vec![("cancelled", format!("{}is being cancelled", prefix(&self.branch(&e.order))))]
            }
            Event::OrderFailed(e) if !self.branch(&e.order).is_empty() => {
                vec![(
                    "failed",
                    format!("{}  branch failed: {}", self.branch(&e.order), harmless(&e.failure.to_string())),
                )]
            }
            _ => Vec::new(),
        }
    }

    /// What the proxy says it is: shown where the feed tells nothing of it.
    fn state(&mut self, reply: &OrderShowReply) {
        let why = reply.line.why.clone().unwrap_or_default();
        let now = format!("{} {}", reply.line.state, why);
        let waits = matches!(reply.line.state.as_str(), "scheduled" | "queued") || reply.line.suspended;
        if self.state.as_ref() != Some(&now) && waits && !why.is_empty() {
            let word = if reply.line.suspended { "suspended" } else { "waiting" };
            let why = time::localised(&harmless(&why), self.look.zone);
            let text = format!("  {}  {why}", self.look.state(word));
            self.say(&text);
        }
        self.state = Some(now);
    }

    /// The line that moves.
    fn tick(&mut self) {
        const WHEEL: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
        if self.quiet || self.running.is_empty() {
            return;
        }
        self.tick += 1;
        let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now());
        let what: Vec<String> =
            self.running.values().map(|(_, place, since)| format!("{place} {}", time::age(*since, now))).collect();
        let text = text::shorten(
            &format!("  {} {}", WHEEL[self.tick % WHEEL.len()], what.join("   ")),
            self.look.width.saturating_sub(1),
        );
        write_out(format!("\r\x1b[2K{}", self.look.paint(Tone::Busy, &text)).as_bytes());
        self.moving = true;
    }

    /// What was printed since the last time. Trouble of the history is no reason to stop watching.
    async fn logs(&mut self, client: &Client, logs: &mut Option<LogReader>) -> bool {
        let Some(reader) = logs else { return true };
        let Ok((chunks, ended)) = reader.read(client).await else { return false };
        for chunk in &chunks {
            if self.look.json {
                line(&serde_json::to_string(chunk).unwrap_or_default());
                continue;
            }
            for text in reader.lines(chunk) {
                let text = format!("            {} {}", self.look.dim("│"), text);
                self.say(&text);
            }
        }
        ended
    }

    async fn last_logs(&mut self, client: &Client, logs: &mut Option<LogReader>) {
        let until = tokio::time::Instant::now() + LAST_LOGS;
        while logs.is_some() && !self.logs(client, logs).await && tokio::time::Instant::now() < until {
            tokio::time::sleep(LOG_PERIOD / 2).await;
        }
        if let Some(reader) = logs {
            for text in reader.rest() {
                let text = format!("            {} {}", self.look.dim("│"), text);
                self.say(&text);
            }
        }
    }

    fn end(&mut self, reply: &OrderShowReply) -> Ended {
        let took = reply.line.started_at.map(|started| reply.line.since - started);
        let text = reply.failure.clone();
        self.ending(&reply.line.state, text, took, serde_json::to_value(reply).unwrap_or_default())
    }

    fn end_of_history(&mut self, past: &HistoryOrder) -> Ended {
        let took = past.started_at.zip(past.ended_at).map(|(started, ended)| ended - started);
        self.ending(&past.state, past.text.clone(), took, serde_json::to_value(past).unwrap_or_default())
    }

    fn ending(
        &mut self,
        state: &str,
        text: Option<String>,
        took: Option<chrono::TimeDelta>,
        json: serde_json::Value,
    ) -> Ended {
        if self.look.json && !self.quiet {
            line(&json.to_string());
        }
        let mut words = self.look.state(state);
        if let Some(took) = took {
            words.push_str(&format!(" after {}", time::span(took)));
        }
        if let Some(text) = text.as_deref().filter(|t| !t.is_empty()) {
            words.push_str(&format!(": {}", harmless(text)));
        }
        let order = self.order.clone();
        let text_line = format!("{words}   {}", self.look.dim(order.as_str()));
        self.say(&text_line);
        if state == "failed" {
            let hint = self
                .look
                .dim(&format!("  what it printed: ordo logs {order}    try its step again: ordo order resume {order}"));
            self.say(&hint);
        }
        Ended { order, state: state.to_owned(), text, timed_out: false, took }
    }
}

fn prefix(branch: &str) -> String {
    if branch.is_empty() { String::new() } else { format!("{branch}  ") }
}

fn took(started: Option<Instant>, ended: Instant) -> String {
    started.map(|started| time::span(ended - started)).unwrap_or_default()
}

/// The last event of this order's life, or of its life so far.
fn ends(event: &Event, order: &OrderId) -> bool {
    matches!(event, Event::OrderFinished(_) | Event::OrderCancelled(_) | Event::OrderFailed(_))
        && event.order() == Some(order)
}

/// A failure in words, made harmless.
pub fn failure_text(failure: &Failure) -> String {
    harmless(&failure.to_string())
}
