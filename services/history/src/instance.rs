//! One process of the role: connects, serves, waits for the lease, and is active while it holds it.

use crate::active::{Active, passes};
use crate::answer;
use crate::collect::collect;
use crate::config::Config;
use crate::error::{Stop, chain};
use crate::project::project;
use crate::status::Status;
use anyhow::Context;
use ordo_contract::heartbeat::{Activity, PERIOD};
use ordo_contract::name::{SiteNames, StreamKind};
use ordo_domain::{InstanceId, NodeName};
use ordo_journal::{Bus, BusConfig, Lease, LeaseConfig, LeaseEvent, ServiceSpec};
use ordo_runtime::{Health, RoleSettings};
use ordo_store::{Connect, Store, StoreError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

/// After trouble that waiting does not heal: others get their chance, and a person may have repaired it.
const TRY_AGAIN: Duration = Duration::from_secs(5);
const PROBE: Duration = Duration::from_secs(1);

/// Runs the service until `shutdown`.
///
/// # Errors
/// What no waiting heals: unusable settings or credentials, a server that is too old, a database of another site.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let settings = config.role.clone().resolve("history").context("settings of the history service")?;
    let (instance, node) = (InstanceId::new(&settings.instance)?, NodeName::new(&settings.node)?);
    let health = Health::new("history", &settings.instance, &settings.data);
    let status = Status::new(&settings.instance, node.clone(), health.clone());
    let store = open_store(&config, &settings)?;
    let background = CancellationToken::new();
    let _stop_background = background.clone().drop_guard();
    tokio::spawn({
        let (health, background) = (health.clone(), background.clone());
        async move { health.run(background).await }
    });
    let Some(bus) = connect(&settings, &shutdown).await? else { return Ok(()) };
    let service = serve(&bus, &store, &settings, &shutdown).await?;
    tokio::spawn(probe(bus.clone(), store.clone(), status.clone(), background.clone()));
    tokio::spawn(beat(bus.clone(), settings.instance.clone(), status.clone(), background.clone()));
    if !wait_for_database(&store, &settings.site, &status, &shutdown).await? {
        return Ok(());
    }
    let active = Active { bus: bus.clone(), store, status: status.clone(), config, stop: background.clone() };
    tracing::info!(instance = settings.instance, site = settings.site, "history serves");
    let outcome = be_of_use(&active, &LeaseConfig::new(instance, node), &shutdown).await;
    status.activity(Activity::Stopping);
    let heartbeat = serde_json::to_vec(&status.heartbeat()).unwrap_or_default();
    let _ = tokio::time::timeout(Duration::from_secs(1), bus.put_heartbeat(&settings.instance, heartbeat)).await;
    drop(service);
    bus.close().await;
    outcome
}

fn open_store(config: &Config, settings: &RoleSettings) -> anyhow::Result<Store> {
    let url = config.database.url_with_password().context("address of the database")?;
    let mut connect = Connect::new(url, config.database.ca.clone());
    connect.application = format!("ordo history/{} site {}", settings.instance, settings.site);
    Store::open(&connect).context("settings of the database")
}

/// `None`: told to stop meanwhile.
async fn connect(settings: &RoleSettings, shutdown: &CancellationToken) -> anyhow::Result<Option<Bus>> {
    let bus = BusConfig {
        url: settings.nats.url.clone(),
        creds: settings.nats.creds.clone(),
        ca: settings.nats.ca.clone(),
        identity: settings.nats.cert.clone().zip(settings.nats.key.clone()),
        name: format!("history/{} on {}", settings.instance, settings.node),
        site: SiteNames::new(&settings.site)?,
        user: "history".to_owned(),
    };
    match Bus::connect_when_up(bus, shutdown).await {
        Ok(bus) => Ok(Some(bus)),
        Err(_) if shutdown.is_cancelled() => Ok(None),
        Err(error) => Err(error).context("connection to the bus"),
    }
}

async fn admitted(store: &Store, site: &str) -> Result<(), StoreError> {
    store.ready().await?;
    store.bind_site(site).await
}

/// False: told to stop meanwhile.
async fn wait_for_database(
    store: &Store,
    site: &str,
    status: &Status,
    shutdown: &CancellationToken,
) -> anyhow::Result<bool> {
    loop {
        match admitted(store, site).await {
            Ok(()) => {
                status.trouble(None);
                return Ok(true);
            }
            Err(error) if passes(&error) => {
                status.trouble(Some(format!("waiting for the database: {}", chain(&error))))
            }
            Err(error) => return Err(error).context("database of the history service"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(false),
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
        }
    }
}

async fn serve(
    bus: &Bus,
    store: &Store,
    settings: &RoleSettings,
    shutdown: &CancellationToken,
) -> anyhow::Result<ordo_journal::Service> {
    loop {
        let spec = ServiceSpec {
            role: "history".into(),
            instance: settings.instance.clone(),
            node: settings.node.clone(),
            description: format!("Past and present orders, steps, logs and events of site {}", settings.site),
            version: env!("CARGO_PKG_VERSION").into(),
            at_a_time: 64,
            role_endpoints: answer::endpoints(),
            instance_endpoints: Vec::new(),
        };
        match bus.serve(spec, answer::handler(store.clone(), bus.max_payload())).await {
            Err(error) if error.is_passing() && !shutdown.is_cancelled() => {
                tracing::warn!(%error, "requests not served yet, trying on");
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            outcome => return outcome.context("serving requests"),
        }
    }
}

/// Waits for the lease and works while it is ours, again and again.
async fn be_of_use(active: &Active, lease_config: &LeaseConfig, shutdown: &CancellationToken) -> anyhow::Result<()> {
    while !shutdown.is_cancelled() {
        active.status.activity(Activity::Standby);
        let (lease, mut events) = Lease::start(&active.bus, lease_config.clone());
        let stopped = hold(active, &lease, &mut events, shutdown).await;
        let _ = tokio::time::timeout(Duration::from_secs(1), lease.release()).await;
        drop(lease);
        let why = match stopped {
            Stop::Told => continue,
            Stop::Fenced(error) => {
                tracing::warn!(error = chain(&error), "another instance wrote, not active any more");
                continue;
            }
            Stop::Trouble(why) => why,
        };
        active.status.trouble(Some(why));
        active.status.activity(Activity::Standby);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(TRY_AGAIN) => {}
        }
    }
    Ok(())
}

/// Until told to stop, or being active ended with more than the loss of the lease.
async fn hold(
    active: &Active,
    lease: &Lease,
    events: &mut UnboundedReceiver<LeaseEvent>,
    shutdown: &CancellationToken,
) -> Stop {
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return Stop::Told,
            event = events.recv() => event,
        };
        match event {
            None => return Stop::Told,
            Some(LeaseEvent::Gained { by, .. }) => tracing::info!(?by, "active"),
            Some(LeaseEvent::Resumed { .. }) => tracing::info!("active again"),
            Some(LeaseEvent::Paused | LeaseEvent::Lost { .. }) => continue,
        }
        if !lease.holds() {
            continue;
        }
        match work(active, events, shutdown).await {
            Stop::Told if !shutdown.is_cancelled() => active.status.activity(Activity::Standby),
            other => return other,
        }
    }
}

/// Both readers, until the lease is not ours any more. What they are doing then is left half-done: a transaction that is
/// not committed did not happen.
async fn work(active: &Active, events: &mut UnboundedReceiver<LeaseEvent>, shutdown: &CancellationToken) -> Stop {
    let stop = shutdown.child_token();
    let now = Active { stop: stop.clone(), ..active.clone() };
    now.status.activity(Activity::Active);
    let readers = async { tokio::try_join!(project(&now), collect(&now)) };
    tokio::pin!(readers);
    loop {
        tokio::select! {
            ended = &mut readers => return ended.err().unwrap_or(Stop::Told),
            event = events.recv(), if !stop.is_cancelled() => match event {
                Some(LeaseEvent::Gained { .. } | LeaseEvent::Resumed { .. }) => {}
                Some(LeaseEvent::Paused) => {
                    tracing::warn!("lease not renewed in time, pausing");
                    stop.cancel();
                }
                Some(LeaseEvent::Lost { why }) => {
                    tracing::warn!(why, "not active any more");
                    stop.cancel();
                }
                None => stop.cancel(),
            },
        }
    }
}

/// Keeps what is said of the links fresh.
async fn probe(bus: Bus, store: Store, status: Status, stop: CancellationToken) {
    loop {
        let limit = Duration::from_secs(3);
        let (nats, database, last) = tokio::join!(
            tokio::time::timeout(limit, bus.round_trip()),
            tokio::time::timeout(limit, store.ping()),
            tokio::time::timeout(limit, bus.last_sequence(StreamKind::Journal)),
        );
        let silent = |_| "no answer within 3 s".to_owned();
        status.probed(false, nats.map_err(silent).and_then(|r| r.map_err(|e| chain(&e))));
        status.probed(true, database.map_err(silent).and_then(|r| r.map_err(|e| chain(&e))));
        status.lag_behind(last.ok().and_then(Result::ok));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PROBE) => {}
        }
    }
}

/// The instance's key: every two seconds, and at once when there is something to say.
async fn beat(bus: Bus, instance: String, status: Status, stop: CancellationToken) {
    let mut failing = false;
    loop {
        let heartbeat = serde_json::to_vec(&status.heartbeat()).unwrap_or_default();
        let outcome = tokio::time::timeout(PERIOD * 2, bus.put_heartbeat(&instance, heartbeat)).await;
        let failed = !matches!(outcome, Ok(Ok(_)));
        if failed != failing {
            failing = failed;
            if failed {
                tracing::warn!("heartbeat not written, trying on");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
            () = status.changed() => {}
        }
    }
}
