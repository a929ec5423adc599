//! The live view for people: every event of the journal on core NATS, not stored, `ordo.<site>.feed.<noun>.<id>.<Event>`.
//! By one instance, the one with the lease, from the durable `proxy`: after a fail-over the next one goes on behind what
//! was acknowledged, so an event may come twice.

use crate::serve::Proxy;
use ordo_contract::commit::Commit;
use ordo_contract::name::{SiteNames, StreamKind};
use ordo_contract::request::EventLine;
use ordo_domain::{Event, InstanceId, NodeName, OrderId, RunId};
use ordo_journal::{BusError, FollowError, Headers, Lease, LeaseConfig, LeaseEvent, Message, OrderedDurable};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const BATCH: usize = 128;
const WAIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(500);
const DURABLE: &str = "proxy";

/// Takes the lease when it can and publishes while it has it, until `shutdown`.
pub async fn run(
    proxy: Arc<Proxy>,
    instance: String,
    node: NodeName,
    publishes: Arc<AtomicBool>,
    shutdown: CancellationToken,
) {
    let Ok(instance) = InstanceId::new(&instance) else { return };
    let (lease, mut events) = Lease::start(&proxy.bus, LeaseConfig::new(instance, node));
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => break,
            event = events.recv() => event,
        };
        match event {
            Some(LeaseEvent::Gained { .. }) => {}
            Some(_) => continue,
            None => {
                shutdown.cancelled().await;
                return;
            }
        }
        publishes.store(true, Ordering::Relaxed);
        tracing::info!("publishes the feed");
        let held = async {
            loop {
                match events.recv().await {
                    Some(LeaseEvent::Lost { why }) => return why,
                    None => return "the lease is not looked after any more".to_owned(),
                    Some(_) => {}
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            why = held => tracing::info!(why, "publishes the feed no more"),
            () = publish_on(&proxy, &lease) => {}
        }
        publishes.store(false, Ordering::Relaxed);
    }
    publishes.store(false, Ordering::Relaxed);
    let _ = tokio::time::timeout(Duration::from_secs(1), lease.release()).await;
}

async fn publish_on(proxy: &Proxy, lease: &Lease) {
    let mut said = None;
    loop {
        let problem = match publish_from_durable(proxy, lease).await {
            Ok(()) => return,
            Err(problem) => problem,
        };
        if said.as_ref() != Some(&problem) {
            tracing::warn!(error = problem, "feed interrupted, trying on");
        }
        said = Some(problem);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn publish_from_durable(proxy: &Proxy, lease: &Lease) -> Result<(), String> {
    let bus = &proxy.bus;
    let stream = bus.names().stream(StreamKind::Journal);
    let text = |error: BusError| error.to_string();
    let info = bus.stream_info(&stream).await.map_err(text)?;
    let Some(consumer) = bus.consumer_info(&stream, DURABLE).await.map_err(text)? else {
        return Err(format!("the durable {DURABLE} is not there yet: the controller makes it"));
    };
    // What was purged unseen is not shown any more.
    let from = (consumer.ack_floor + 1).max(info.first_sequence);
    let mut reader = OrderedDurable::journal(bus, DURABLE, from);
    let mut feed = Feed { names: bus.names().clone(), orders: BTreeMap::new() };
    feed.learn(proxy);
    loop {
        let batch = reader.batch(BATCH, WAIT).await.map_err(|error: FollowError| error.to_string())?;
        if !lease.holds() {
            // Another may be at it; our own events tell when it is over.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for message in &batch {
            for (subject, line) in feed.lines(message) {
                bus.tell(&subject, Headers::new(), line).await.map_err(text)?;
            }
        }
        reader.ack().await.map_err(text)?;
    }
}

/// Subjects and bodies of events.
struct Feed {
    names: SiteNames,
    /// Whose run it is: events of runs name no order.
    orders: BTreeMap<RunId, OrderId>,
}

impl Feed {
    /// The runs of before.
    fn learn(&mut self, proxy: &Proxy) {
        self.orders = proxy
            .mirror
            .read(|replica| replica.site.runs.iter().map(|(run, known)| (run.clone(), known.order.clone())).collect());
    }

    fn lines(&mut self, message: &Message) -> Vec<(String, Vec<u8>)> {
        let Ok(commit) = Commit::decode(message.payload()) else {
            // The mirror stops the process for it; the feed is no place to judge.
            return Vec::new();
        };
        let events = commit.decisions.into_iter().flat_map(|decision| decision.events);
        let mut lines = Vec::new();
        for (index, event) in events.enumerate() {
            match &event {
                Event::RunDispatched(e) => drop(self.orders.insert(e.run.clone(), e.order.clone())),
                Event::RunEnded(e) => drop(self.orders.remove(&e.run)),
                _ => {}
            }
            let (noun, id) = self.subject_of(&event);
            let line = EventLine {
                sequence: message.sequence,
                index: u32::try_from(index).unwrap_or(u32::MAX),
                at: commit.at,
                epoch: commit.epoch,
                event: serde_json::to_value(&event).unwrap_or_default(),
            };
            if let Ok(body) = serde_json::to_vec(&line) {
                lines.push((self.names.feed(noun, &id, event.name()), body));
            }
        }
        lines
    }

    /// Noun and id of what it happened to.
    fn subject_of(&self, event: &Event) -> (&'static str, String) {
        if let Some(order) = event.order() {
            return ("order", order.to_string());
        }
        match event {
            Event::RunClaimed(_) | Event::RunKillRequested(_) => match event.run() {
                Some(run) => {
                    self.orders.get(run).map_or_else(|| ("run", run.to_string()), |order| ("order", order.to_string()))
                }
                None => ("run", "unknown".to_owned()),
            },
            Event::OrdersForgotten(_) => ("site", "retention".to_owned()),
            Event::StateDigest(_) => ("site", "digest".to_owned()),
            Event::ReportRefused(e) => ("agent", e.agent.to_string()),
            Event::WorkflowDeployed(e) => ("workflow", e.workflow.to_string()),
            Event::LockDeployed(e) => ("lock", e.lock.name.to_string()),
            Event::AgentAdded(e) => ("agent", e.agent.to_string()),
            Event::AgentReady(e) => ("agent", e.agent.to_string()),
            Event::AgentStopped(e) => ("agent", e.agent.to_string()),
            Event::ControllerActivated(e) => ("controller", e.instance.to_string()),
            Event::ControllerHandedOver(e) => ("controller", e.from.to_string()),
            Event::RoleHeld(e) => ("controller", e.instance.to_string()),
            Event::CommandAccepted(e) => ("command", e.command.to_string()),
            Event::CommandRefused(e) => {
                ("command", e.command.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string))
            }
            Event::CommandFailed(e) => {
                ("command", e.command.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string))
            }
            _ => ("site", "other".to_owned()),
        }
    }
}
