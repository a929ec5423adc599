//! What others see of this instance: its heartbeat, its micro service.

use crate::shell::{Event, Snapshot};
use ordo_contract::commit::EVENT_LEVEL;
use ordo_contract::heartbeat::{Activity, Heartbeat, Link, PERIOD};
use ordo_domain::{Instant, NodeName};
use ordo_journal::{Bus, BusError, Service, ServiceSpec, no_calls};
use ordo_runtime::{Clock, Health, HealthState, RoleSettings, SystemClock};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

/// Writes the heartbeat every [`PERIOD`] until the shell is gone.
pub async fn run(bus: Bus, role: RoleSettings, health: Health, events: UnboundedSender<Event>) {
    let Ok(node) = NodeName::new(&role.node) else { return };
    let started_at = SystemClock.now();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let round_trip = bus.round_trip().await;
        health.link("nats", if round_trip.is_ok() { "ok" } else { "lost" });
        let (sender, snapshot) = oneshot::channel();
        if events.send(Event::Look(sender)).is_err() {
            return;
        }
        let Ok(snapshot) = snapshot.await else { return };
        health.link("runner", if snapshot.runner_is_there { "ok" } else { "lost" });
        say(&health, &snapshot, round_trip.is_ok());
        if let Err(error) = put(&bus, &role, &node, started_at, snapshot, Some(&round_trip)).await {
            tracing::debug!(%error, "heartbeat not written");
        }
    }
}

/// Writes one heartbeat.
pub async fn put(
    bus: &Bus,
    role: &RoleSettings,
    node: &NodeName,
    started_at: Instant,
    snapshot: Snapshot,
    round_trip: Option<&Result<std::time::Duration, BusError>>,
) -> Result<(), BusError> {
    let at = SystemClock.now();
    let link = round_trip.map(|round_trip| Link {
        to: "nats".into(),
        ok: round_trip.is_ok(),
        rtt_ms: round_trip.as_ref().ok().map(|span| span.as_secs_f64() * 1e3),
        probed_at: at,
        error: round_trip.as_ref().err().map(ToString::to_string),
    });
    let runner = Link {
        to: "runner".into(),
        ok: snapshot.runner_is_there,
        rtt_ms: None,
        probed_at: at,
        error: (!snapshot.runner_is_there).then(|| "there is none that takes new runs".to_owned()),
    };
    let heartbeat = Heartbeat {
        role: bus.user().to_owned(),
        instance: role.instance.clone(),
        node: node.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        event_level: EVENT_LEVEL,
        activity: if snapshot.stopping { Activity::Stopping } else { Activity::Active },
        started_at,
        at,
        epoch: snapshot.epoch,
        links: link.into_iter().chain([runner]).collect(),
        lag: None,
        agent: Some(snapshot.agent),
        note: snapshot.note,
    };
    let body = serde_json::to_vec(&heartbeat).unwrap_or_default();
    bus.put_heartbeat(&role.instance, body).await.map(drop)
}

fn say(health: &Health, snapshot: &Snapshot, bus_is_there: bool) {
    let detail =
        format!("{} of {} slots free, {} reports wait", snapshot.free, snapshot.agent.slots, snapshot.agent.outbox);
    match (&snapshot.note, bus_is_there) {
        _ if snapshot.stopping => health.set(HealthState::Stopping, detail),
        (Some(note), _) => health.set(HealthState::Degraded, format!("{detail}: {note}")),
        (None, false) => health.set(HealthState::Degraded, format!("{detail}: cut off from NATS, jobs go on")),
        (None, true) => health.set(HealthState::Ready, detail),
    }
}

/// Makes it a micro service, so that `nats micro ls` finds it and others can ask whether its process lives.
pub async fn serve(bus: &Bus, role: &RoleSettings) -> Result<Service, BusError> {
    let spec = ServiceSpec {
        role: bus.user().to_owned(),
        instance: role.instance.clone(),
        node: role.node.clone(),
        description: "Ordo agent: runs jobs".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        at_a_time: 4,
        role_endpoints: Vec::new(),
        instance_endpoints: Vec::new(),
    };
    bus.serve(spec, no_calls()).await
}
