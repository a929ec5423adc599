//! What others see of this controller: its heartbeat, its health file, its micro service.

use crate::config::Config;
use ordo_contract::{
    commit::EVENT_LEVEL,
    heartbeat::{Activity, Heartbeat, Link, PERIOD},
};
use ordo_domain::Instant;
use ordo_journal::{Bus, BusError, Service, ServiceSpec, no_calls};
use ordo_runtime::{Clock, Health, HealthState};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub const ROLE: &str = "controller";

/// What changes over a controller's life.
#[derive(Debug, Clone, PartialEq)]
pub struct Presence {
    pub activity: Activity,
    pub epoch: u64,
    pub lag: u64,
    /// Why it is not what it should be.
    pub note: Option<String>,
}

impl Presence {
    pub fn starting() -> Self {
        Self { activity: Activity::Starting, epoch: 0, lag: 0, note: None }
    }
}

/// Tells everybody, at every change and every [`PERIOD`], until cancelled.
pub fn tell(
    bus: &Bus,
    config: &Config,
    clock: Arc<dyn Clock>,
    health: Health,
    mut presence: watch::Receiver<Presence>,
    cancel: CancellationToken,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let started_at = clock.now();
    let node = ordo_domain::NodeName::new(&config.role.node)?;
    let instance = config.role.instance.clone();
    let bus = bus.clone();
    Ok(tokio::spawn(async move {
        loop {
            let now = presence.borrow_and_update().clone();
            say(&health, &now);
            let round_trip = bus.round_trip().await;
            health.link("nats", if round_trip.is_ok() { "ok" } else { "lost" });
            let heartbeat = Heartbeat {
                role: ROLE.into(),
                instance: instance.clone(),
                node: node.clone(),
                version: env!("CARGO_PKG_VERSION").into(),
                event_level: EVENT_LEVEL,
                activity: now.activity,
                started_at,
                at: clock.now(),
                epoch: now.epoch,
                links: vec![link(&round_trip, clock.now())],
                lag: Some(now.lag),
                agent: None,
                note: now.note,
            };
            if let Ok(json) = serde_json::to_vec(&heartbeat)
                && let Err(error) = bus.put_heartbeat(&instance, json).await
            {
                tracing::debug!(%error, "heartbeat not written");
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
                changed = presence.changed() => if changed.is_err() { return },
            }
        }
    }))
}

fn say(health: &Health, presence: &Presence) {
    let state = match (presence.activity, &presence.note) {
        (Activity::Starting, _) => HealthState::Starting,
        (Activity::Stopping, _) => HealthState::Stopping,
        (_, Some(_)) => HealthState::Degraded,
        (_, None) => HealthState::Ready,
    };
    let word = match presence.activity {
        Activity::Starting => "starting",
        Activity::Active => "active",
        Activity::Standby => "standby",
        Activity::Stopping => "stopping",
    };
    let note = presence.note.as_ref().map(|n| format!(": {n}")).unwrap_or_default();
    health.set(state, format!("{word}, epoch {}{note}", presence.epoch));
}

fn link(round_trip: &Result<std::time::Duration, BusError>, probed_at: Instant) -> Link {
    Link {
        to: "nats".into(),
        ok: round_trip.is_ok(),
        rtt_ms: round_trip.as_ref().ok().map(|d| d.as_secs_f64() * 1e3),
        probed_at,
        error: round_trip.as_ref().err().map(ToString::to_string),
    }
}

/// Makes it a micro service: others ask `instance.ping` whether its process is there.
pub async fn serve(bus: &Bus, config: &Config) -> Result<Service, BusError> {
    let spec = ServiceSpec {
        role: ROLE.into(),
        instance: config.role.instance.clone(),
        node: config.role.node.clone(),
        description: "Decides every order's next step and writes the journal; one instance is active".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        role_endpoints: Vec::new(),
        instance_endpoints: Vec::new(),
        at_a_time: 16,
    };
    bus.serve(spec, no_calls()).await
}

/// Another controller that follows the journal and could take over now.
pub async fn coupled_standby(bus: &Bus, own: &str, now: Instant) -> Option<ordo_domain::InstanceId> {
    let all = bus.instances().all().await.ok()?;
    let heartbeats = all.values().filter_map(|e| serde_json::from_slice::<Heartbeat>(e.value.as_ref()?).ok());
    // Its clock may be ahead of ours.
    let fresh = |h: &Heartbeat| (now - h.at).abs().to_std().is_ok_and(|age| age < PERIOD * 3);
    let mut standbys =
        heartbeats.filter(|h| h.role == ROLE && h.instance != own && h.activity == Activity::Standby && fresh(h));
    ordo_domain::InstanceId::new(standbys.next()?.instance).ok()
}
