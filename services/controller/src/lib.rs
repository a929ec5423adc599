//! The controller: the only writer of the journal, the only place where an order's next step is decided. Hot standby.
//!
//! It must never start a process, read the database, or let an effect out before the journal has its cause.
//!
//! # Layout
//! - [`command_loop`]: **read this first**: where decide, append and apply meet
//! - [`engine`]: the controller without I/O, [`encode`]: its commits as JSON
//! - [`follower`]: recovery and standby
//! - `cause.rs` what comes in, `effect.rs` and [`job`] what goes out, [`definitions`] what deciding needs at hand
//! - `upkeep.rs`: lost runs, lying jobs, ended orders, snapshots; `purge.rs`: what may be taken away, when asked
//! - `presence.rs`: heartbeat, health, micro service

mod cause;
pub mod command_loop;
pub mod config;
pub mod definitions;
mod effect;
pub mod encode;
pub mod engine;
pub mod follower;
pub mod job;
mod presence;
pub mod purge;
mod upkeep;

pub use config::Config;

use anyhow::{Context, Result};
use command_loop::{CommandLoop, Outcome, Standing, Suspects};
use engine::{Engine, Settings};
use follower::Follower;
use ordo_contract::{heartbeat::Activity, name::SiteNames};
use ordo_domain::{Ids, InstanceId, NodeName, RunId};
use ordo_journal::{Bus, BusConfig, Lease, LeaseConfig, LeaseEvent, Takeover};
use ordo_runtime::{CancellationToken, Clock, Health, HealthState, RoleSettings, SystemClock};
use presence::{Presence, ROLE};
use std::{sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};

/// Runs until `shutdown`: standby, active, and standby again, each time on a new connection.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<()> {
    let health = Health::new(ROLE, &config.role.instance, &config.role.data);
    let health_file = tokio::spawn({
        let (health, shutdown) = (health.clone(), shutdown.clone());
        async move { health.run(shutdown).await }
    });
    config.zone()?;
    let mut suspects = Suspects::new();
    while !shutdown.is_cancelled() {
        if let Err(error) = session(&config, &health, &shutdown, &mut suspects).await {
            if shutdown.is_cancelled() {
                break;
            }
            if is_final(&error) {
                return Err(error);
            }
            health.set(HealthState::Degraded, format!("{error:#}"));
            tracing::warn!(error = format!("{error:#}"), "controller begins again");
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(Duration::from_millis(250)) => {}
        }
    }
    let _ = health_file.await;
    Ok(())
}

/// What waiting does not heal.
fn is_final(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ordo_journal::BusError>().is_some_and(|e| !e.is_passing())
}

/// One connection: from standby to the end of being active.
async fn session(
    config: &Config,
    health: &Health,
    shutdown: &CancellationToken,
    suspects: &mut Suspects,
) -> Result<()> {
    let bus = Bus::connect_when_up(bus_config(config)?, shutdown).await?;
    let outcome = on_bus(&bus, config, health, shutdown, suspects).await;
    // Nothing that is still buffered may arrive later, except after an orderly stop, which has flushed.
    bus.close_now();
    outcome
}

fn bus_config(config: &Config) -> Result<BusConfig> {
    let RoleSettings { site, instance, node, nats, .. } = &config.role;
    Ok(BusConfig {
        url: nats.url.clone(),
        creds: nats.creds.clone(),
        ca: nats.ca.clone(),
        identity: nats.cert.clone().zip(nats.key.clone()),
        name: format!("{ROLE}/{instance} on {node}"),
        site: SiteNames::new(site)?,
        user: ROLE.into(),
    })
}

async fn on_bus(
    bus: &Bus,
    config: &Config,
    health: &Health,
    shutdown: &CancellationToken,
    suspects: &mut Suspects,
) -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let made = ordo_journal::provision(bus, &config.limits()).await?;
    if !made.created.is_empty() {
        tracing::info!(created = made.created.len(), "streams and buckets made");
    }
    let service = presence::serve(bus, config).await?;
    let (presence, presence_seen) = watch::channel(Presence::starting());
    let stop_telling = CancellationToken::new();
    let _stop_telling = stop_telling.clone().drop_guard();
    presence::tell(bus, config, clock.clone(), health.clone(), presence_seen, stop_telling)?;

    let mut follower = Follower::open(bus).await?;
    follower.read_to_end(bus).await?;
    let instance = InstanceId::new(&config.role.instance)?;
    let (lease, events) = Lease::start(bus, LeaseConfig::new(instance.clone(), NodeName::new(&config.role.node)?));
    let mut session = Session { bus, config, clock, presence, lease, events, instance, service };
    let Some(how) = session.stand_by(&mut follower, shutdown).await? else {
        return bus_closed(bus).await;
    };
    session.be_active(follower, &how, shutdown, suspects).await
}

async fn bus_closed(bus: &Bus) -> Result<()> {
    bus.close().await;
    Ok(())
}

struct Session<'a> {
    bus: &'a Bus,
    config: &'a Config,
    clock: Arc<dyn Clock>,
    presence: watch::Sender<Presence>,
    lease: Lease,
    events: mpsc::UnboundedReceiver<LeaseEvent>,
    instance: InstanceId,
    service: ordo_journal::Service,
}

impl Session<'_> {
    /// Follows hot until the lease is ours; none when told to stop.
    async fn stand_by(&mut self, follower: &mut Follower, shutdown: &CancellationToken) -> Result<Option<String>> {
        let mut snapshots = upkeep::Snapshots::new(self.bus, self.config, follower.replica().decisions);
        loop {
            self.presence.send_if_modified(|p| {
                let next = Presence {
                    activity: Activity::Standby,
                    epoch: follower.replica().site.epoch,
                    lag: follower.lag(),
                    note: None,
                };
                let changed = p.activity != next.activity || p.epoch != next.epoch;
                *p = next;
                changed
            });
            tokio::select! {
                () = shutdown.cancelled() => {
                    self.presence.send_modify(|p| p.activity = Activity::Stopping);
                    self.lease.set_candidate(false);
                    return Ok(None);
                }
                event = self.events.recv() => match event.context("the lease's keeper has ended")? {
                    LeaseEvent::Gained { by, .. } => return Ok(Some(word(by).to_owned())),
                    LeaseEvent::Paused | LeaseEvent::Resumed { .. } | LeaseEvent::Lost { .. } => {}
                },
                read = follower.read() => {
                    read?;
                    if snapshots.are_due(follower.replica()) {
                        snapshots.take(follower.replica());
                    }
                }
            }
        }
    }

    async fn be_active(
        mut self,
        mut follower: Follower,
        how: &str,
        shutdown: &CancellationToken,
        suspects: &mut Suspects,
    ) -> Result<()> {
        follower.read_to_end(self.bus).await?;
        let settings = Settings {
            instance: self.instance.clone(),
            zone: self.config.zone()?,
            build: env!("CARGO_PKG_VERSION").into(),
        };
        let definitions = Arc::new(definitions::DefinitionCache::default());
        let engine = Engine::new(settings, follower.into_replica(), Box::new(RandomIds), definitions.clone());
        self.presence.send_modify(|p| {
            p.activity = Activity::Active;
            p.epoch = engine.replica().site.epoch + 1;
        });
        let (standing, standing_seen) = watch::channel(Standing::Holding);
        let (stop, stop_seen) = watch::channel(None);
        let (asks, asks_in) = mpsc::channel(16);
        let purger =
            purge::Purger { bus: self.bus.clone(), config: self.config.clone(), clock: self.clock.clone(), asks };
        let _offered = self.service.offer(&purge::endpoints(), 2, purger.handler()).await?;
        let command_loop = CommandLoop {
            bus: self.bus.clone(),
            config: self.config.clone(),
            engine,
            instance: self.instance.clone(),
            definitions,
            clock: self.clock.clone(),
            standing: standing_seen,
            stop: stop_seen,
            asks: asks_in,
        };
        let mut to = None;
        let outcome = {
            let mut running = std::pin::pin!(command_loop.run(how, suspects));
            loop {
                tokio::select! {
                    outcome = &mut running => break outcome?,
                    event = self.events.recv() => {
                        let _ = standing.send(standing_after(event));
                    }
                    () = shutdown.cancelled(), if stop.borrow().is_none() => {
                        self.presence.send_modify(|p| p.activity = Activity::Stopping);
                        to = presence::coupled_standby(self.bus, self.instance.as_str(), self.clock.now()).await;
                        let _ = stop.send(Some(to.clone()));
                    }
                }
            }
        };
        self.leave(outcome, to, suspects).await
    }

    /// Gives the role away as fits why we stop.
    async fn leave(self, outcome: Outcome, to: Option<InstanceId>, suspects: &Suspects) -> Result<()> {
        match outcome {
            Outcome::Stopped => {
                match &to {
                    Some(to) => self.lease.hand_over(to).await?,
                    None => self.lease.release().await?,
                }
                let to = to.map_or_else(|| "nobody".to_owned(), |t| t.to_string());
                tracing::info!(to, "stopped in order");
                self.bus.close().await;
                Ok(())
            }
            Outcome::Fenced => {
                tracing::warn!("another controller is active, following it");
                Ok(())
            }
            Outcome::LeaseLost => {
                tracing::warn!("the lease is another's, following it");
                Ok(())
            }
            Outcome::Defect { source, sequence, reason } => {
                let times = suspects.get(&(source, sequence)).copied().unwrap_or_default();
                tracing::error!(%source, stream_seq = sequence, reason, times, "a message cannot be decided on");
                // The next to be active is most likely this one: release, so that it need not wait for itself.
                self.lease.release().await.context("releasing the lease after a defect")
            }
            Outcome::Stuck(reason) => {
                tracing::error!(reason, "activation stopped: a person must look");
                self.lease.release().await?;
                anyhow::bail!("activation stopped, a person must look: {reason}")
            }
        }
    }
}

/// How it came to be active, for the journal.
fn word(by: Takeover) -> &'static str {
    match by {
        Takeover::Free => "free",
        Takeover::Marker => "marker",
        Takeover::Silence => "silence",
        Takeover::NoResponders => "no responders",
        Takeover::HandedOver => "handed over",
        Takeover::OwnBefore => "own before",
    }
}

fn standing_after(event: Option<LeaseEvent>) -> Standing {
    match event {
        Some(LeaseEvent::Gained { .. } | LeaseEvent::Resumed { .. }) => Standing::Holding,
        Some(LeaseEvent::Paused) => Standing::Unsure,
        Some(LeaseEvent::Lost { .. }) | None => Standing::Lost,
    }
}

/// 128 random bits from the system.
struct RandomIds;

impl Ids for RandomIds {
    fn run_id(&self) -> RunId {
        RunId::from_bits(rand::random())
    }
}
