//! Everybody's one door to the controllers: mirrors the state, answers what is asked about it, takes commands, and
//! republishes every event for people to see.
//!
//! Owns nothing: what it says is the journal's, with the sequence at which it is true. Must never: write the journal or
//! jobs, decide (the controller's word counts, also where this one looked first), or answer from a mirror that is not
//! complete.
//!
//! # Layout
//! - `mirror.rs`: **the state**: newest good snapshot and the journal behind it, for good; `interest.rs`: who waits for what
//! - `serve.rs`: the endpoints; `answer.rs`: errors as answers; `authorise.rs`: who may ask what
//! - `command.rs`: from a request to COMMANDS, and back with the outcome; `precheck.rs`: what is refused before
//! - `order_query.rs`, `definition.rs`, `site_query.rs`: what is asked
//! - `catalog.rs`: definitions that services act by
//! - `body.rs`: definitions by hash; `instances.rs`: heartbeats; `feed.rs`: the live view, by the leased instance

pub mod config;
pub mod error;

mod answer;
mod authorise;
mod body;
mod catalog;
mod command;
mod definition;
mod feed;
mod instances;
mod interest;
mod mirror;
mod order_query;
mod precheck;
mod serve;
mod site_query;

pub use config::Config;
pub use error::ProxyError;

use ordo_contract::heartbeat::{self, Activity, Heartbeat, Link};
use ordo_contract::name::SiteNames;
use ordo_domain::NodeName;
use ordo_journal::{Bus, BusConfig};
use ordo_runtime::{Clock, Health, HealthState, SystemClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::sync::CancellationToken;

/// For the endpoints to take back their subscriptions.
const UNSUBSCRIBE: std::time::Duration = std::time::Duration::from_millis(50);

/// Its role, and its user on the bus.
pub const ROLE: &str = "proxy";

/// Runs until `shutdown`.
///
/// # Errors
/// A configuration that cannot be used, a bus that waiting does not heal (too old, credentials refused), or a journal
/// that this build cannot read. Everything else is waited out.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), ProxyError> {
    let role = config.role.resolve(ROLE)?;
    let site = SiteNames::new(&role.site).map_err(|e| ProxyError::Configuration(e.to_string()))?;
    let node = NodeName::new(&role.node).map_err(|e| ProxyError::Configuration(e.to_string()))?;
    let health = Health::new(ROLE, &role.instance, &role.data);
    let writing = tokio::spawn({
        let (health, shutdown) = (health.clone(), shutdown.clone());
        async move { health.run(shutdown).await }
    });
    let bus_config = BusConfig {
        url: role.nats.url.clone(),
        creds: role.nats.creds.clone(),
        ca: role.nats.ca.clone(),
        identity: role.nats.cert.clone().zip(role.nats.key.clone()),
        name: format!("{ROLE}/{} on {node}", role.instance),
        site,
        user: ROLE.to_owned(),
    };
    let bus = match Bus::connect_when_up(bus_config, &shutdown).await {
        Ok(bus) => bus,
        Err(_) if shutdown.is_cancelled() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    health.link("nats", "ok");
    let outcome = serve_until(&bus, &role.instance, node, &health, shutdown.clone()).await;
    health.set(HealthState::Stopping, "stopping");
    shutdown.cancel();
    bus.close().await;
    let _ = writing.await;
    outcome
}

async fn serve_until(
    bus: &Bus,
    instance: &str,
    node: NodeName,
    health: &Health,
    shutdown: CancellationToken,
) -> Result<(), ProxyError> {
    let proxy = Arc::new(serve::Proxy::new(bus.clone(), shutdown.clone()));
    // Before the lease, which the others judge by whether this instance answers.
    let service = serve::register(&proxy, instance, &node).await?;
    let publishes = Arc::new(AtomicBool::new(false));
    let tasks = [
        tokio::spawn(instances::follow(proxy.clone(), shutdown.clone())),
        tokio::spawn(feed::run(proxy.clone(), instance.to_owned(), node.clone(), publishes.clone(), shutdown.clone())),
        tokio::spawn(tell_of_itself(proxy.clone(), instance.to_owned(), node, shutdown.clone())),
        tokio::spawn(show_health(proxy.clone(), health.clone(), publishes, shutdown.clone())),
    ];
    let outcome = proxy.mirror.run(bus, &shutdown).await;
    // First of all no more questions: the server must know it before this connection goes, else what it still sends
    // here is lost, and its sender waits in vain.
    drop(service);
    tokio::time::sleep(UNSUBSCRIBE).await;
    let _ = tokio::time::timeout(UNSUBSCRIBE * 20, bus.round_trip()).await;
    shutdown.cancel();
    for task in tasks {
        let _ = task.await;
    }
    outcome
}

/// The status file follows the mirror: ready means that answers are given.
async fn show_health(
    proxy: Arc<serve::Proxy>,
    health: Health,
    publishes: Arc<AtomicBool>,
    shutdown: CancellationToken,
) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(500));
    let mut changes = proxy.mirror.readiness_changes();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
            _ = changes.changed() => {}
        }
        let link = proxy.bus.link();
        let up = link.borrow().up;
        health.link("nats", if up { "ok" } else { "away" });
        let sequence = proxy.mirror.sequence();
        let feed = if publishes.load(Ordering::Relaxed) { ", publishes the feed" } else { "" };
        match (proxy.mirror.readiness(), up) {
            (Ok(()), true) => health.set(HealthState::Ready, format!("answers{feed}")),
            (Ok(()), false) => health.set(HealthState::Degraded, format!("bus away, stands at journal {sequence}")),
            (Err(why), _) => health.set(HealthState::Starting, why),
        }
    }
}

/// The heartbeat: this instance's key in the instance bucket.
async fn tell_of_itself(proxy: Arc<serve::Proxy>, instance: String, node: NodeName, shutdown: CancellationToken) {
    let started_at = SystemClock.now();
    let beat = |activity: Activity, rtt: Option<std::time::Duration>, error: Option<String>| {
        let link = Link {
            to: "nats".to_owned(),
            ok: rtt.is_some(),
            rtt_ms: rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            probed_at: SystemClock.now(),
            error,
        };
        Heartbeat {
            role: ROLE.to_owned(),
            instance: instance.clone(),
            node: node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            event_level: ordo_contract::commit::EVENT_LEVEL,
            activity,
            started_at,
            at: SystemClock.now(),
            epoch: proxy.mirror.read(|replica| replica.site.epoch),
            links: vec![link],
            lag: Some(proxy.mirror.lag()),
            agent: None,
            note: proxy.mirror.readiness().err(),
        }
    };
    let mut ticks = tokio::time::interval(heartbeat::PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    let mut changes = proxy.mirror.readiness_changes();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = ticks.tick() => {}
            _ = changes.changed() => {}
        }
        let (rtt, error) = match proxy.bus.round_trip().await {
            Ok(rtt) => (Some(rtt), None),
            Err(error) => (None, Some(error.to_string())),
        };
        // All instances answer; that one of them publishes the feed, too, is a matter of the lease.
        let activity = if proxy.mirror.readiness().is_ok() { Activity::Active } else { Activity::Starting };
        let body = serde_json::to_vec(&beat(activity, rtt, error)).unwrap_or_default();
        match (proxy.bus.put_heartbeat(&instance, body).await, failing) {
            (Err(error), false) => {
                failing = true;
                tracing::warn!(%error, "heartbeat not written, trying on");
            }
            (Ok(_), true) => {
                failing = false;
                tracing::info!("heartbeat written again");
            }
            _ => {}
        }
    }
    // The last word, so that nobody takes an orderly stop for a loss.
    if let Ok(body) = serde_json::to_vec(&beat(Activity::Stopping, Some(std::time::Duration::ZERO), None)) {
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), proxy.bus.put_heartbeat(&instance, body)).await;
    }
}
