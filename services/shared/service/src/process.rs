//! One process of a role: connects, serves, waits for its database, and is of use until it is told to stop.

use crate::LeasedService;
use crate::active::Instance;
use crate::lease::be_of_use;
use crate::retry::Passing;
use crate::route::{Ending, handler, spec};
use crate::status::{Status, To};
use crate::stop::chain;
use anyhow::Context;
use ordo_contract::heartbeat::{Activity, PERIOD};
use ordo_contract::name::{SiteNames, StreamKind};
use ordo_domain::{InstanceId, NodeName};
use ordo_journal::{Bus, BusConfig, LeaseConfig, Service};
use ordo_runtime::exit::RestartWanted;
use ordo_runtime::{DatabaseSettings, Health, RoleSettings};
use ordo_store::{Connect, Store, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the ways are tried: as often as a heartbeat tells of them.
const PROBE: Duration = PERIOD;
/// For the endpoints to take back their subscriptions.
const UNSUBSCRIBE: Duration = Duration::from_millis(50);
/// For what is done beside to end.
const BESIDE: Duration = Duration::from_secs(2);

/// Runs a service until `shutdown`, or until it is asked to restart.
///
/// # Errors
/// What no waiting heals: unusable settings or credentials, a server that is too old, a database of another site. And
/// [`RestartWanted`] after an orderly stop for `service.restart`.
pub async fn run<S: LeasedService>(
    service: S,
    role: RoleSettings,
    database: Option<DatabaseSettings>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let settings = role.resolve(S::ROLE).with_context(|| format!("settings of {}", S::ROLE))?;
    let (instance, node) = (InstanceId::new(&settings.instance)?, NodeName::new(&settings.node)?);
    let health = Health::new(S::ROLE, &settings.instance, &settings.data);
    let store = database.map(|database| open_store(S::ROLE, &database, &settings)).transpose()?;
    let status = Status::new(S::ROLE, &settings.instance, node.clone(), health.clone(), store.is_some());
    let ending = Ending::below(&shutdown);
    let background = CancellationToken::new();
    let _stop_background = background.clone().drop_guard();
    let writing = tokio::spawn({
        let background = background.clone();
        async move { health.run(background).await }
    });
    let Some(bus) = connect(S::ROLE, &settings, &shutdown).await? else { return Ok(()) };
    let service = Arc::new(service);
    let here = Instance::new(S::ROLE, settings, bus, status, store);
    let serving = serve(&service, &here, &ending).await?;
    tokio::spawn(probe(here.clone(), background.clone()));
    tokio::spawn(beat(here.clone(), background.clone()));
    let stop_beside = ending.token.child_token();
    let _stop_beside = stop_beside.clone().drop_guard();
    let beside = tokio::spawn({
        let (service, here) = (service.clone(), here.clone());
        async move { service.beside(&here, &stop_beside).await }
    });
    let outcome = match wait_for_database(&here, &ending.token).await {
        Ok(true) => {
            tracing::info!(role = S::ROLE, instance = here.settings.instance, site = here.settings.site, "serves");
            be_of_use(&*service, &here, &LeaseConfig::new(instance, node), &ending.token).await;
            Ok(())
        }
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    here.status.activity(Activity::Stopping);
    let dropping = beside.abort_handle();
    if tokio::time::timeout(BESIDE, beside).await.is_err() {
        dropping.abort();
    }
    leave(&here, serving).await;
    background.cancel();
    let _ = writing.await;
    outcome?;
    match ending.restart_wanted() {
        Some(reason) if !shutdown.is_cancelled() => Err(RestartWanted { reason }.into()),
        _ => Ok(()),
    }
}

fn open_store(role: &str, database: &DatabaseSettings, settings: &RoleSettings) -> anyhow::Result<Store> {
    let url = database.url_with_password().context("address of the database")?;
    let mut connect = Connect::new(url, database.ca.clone());
    connect.application = format!("ordo {role}/{} site {}", settings.instance, settings.site);
    Store::open(&connect).context("settings of the database")
}

/// `None`: told to stop meanwhile.
async fn connect(role: &str, settings: &RoleSettings, shutdown: &CancellationToken) -> anyhow::Result<Option<Bus>> {
    let bus = BusConfig {
        url: settings.nats.url.clone(),
        creds: settings.nats.creds.clone(),
        ca: settings.nats.ca.clone(),
        identity: settings.nats.cert.clone().zip(settings.nats.key.clone()),
        name: format!("{role}/{} on {}", settings.instance, settings.node),
        site: SiteNames::new(&settings.site)?,
        user: role.to_owned(),
    };
    match Bus::connect_when_up(bus, shutdown).await {
        Ok(bus) => Ok(Some(bus)),
        Err(_) if shutdown.is_cancelled() => Ok(None),
        Err(error) => Err(error).context("connection to the bus"),
    }
}

/// Before the lease, which the others judge by whether this instance answers.
async fn serve<S: LeasedService>(service: &Arc<S>, here: &Instance, ending: &Ending) -> anyhow::Result<Service> {
    loop {
        let handler = handler(service.clone(), here.clone(), ending.clone());
        match here.bus.serve(spec(&**service, here), handler).await {
            Err(error) if error.is_passing() && !ending.token.is_cancelled() => {
                tracing::warn!(%error, "requests not served yet, trying on");
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            outcome => return outcome.context("serving requests"),
        }
    }
}

async fn admitted(store: &Store, site: &str) -> Result<(), StoreError> {
    store.ready().await?;
    store.bind_site(site).await
}

/// False: told to stop meanwhile.
async fn wait_for_database(here: &Instance, ending: &CancellationToken) -> anyhow::Result<bool> {
    let Some(store) = &here.store else { return Ok(true) };
    loop {
        match admitted(store, &here.settings.site).await {
            Ok(()) => {
                here.status.trouble(None);
                return Ok(true);
            }
            Err(error) if error.passes() => {
                here.status.trouble(Some(format!("waiting for the database: {}", chain(&error))));
            }
            Err(error) => return Err(error).with_context(|| format!("database of {}", here.role)),
        }
        tokio::select! {
            () = ending.cancelled() => return Ok(false),
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
        }
    }
}

/// First of all no more questions: the server must know it before this connection goes, else what it still sends here is
/// lost. Then the last word, so that nobody takes an orderly stop for a loss.
async fn leave(here: &Instance, serving: Service) {
    drop(serving);
    tokio::time::sleep(UNSUBSCRIBE).await;
    let heartbeat = serde_json::to_vec(&here.status.heartbeat()).unwrap_or_default();
    let telling = here.bus.put_heartbeat(&here.settings.instance, heartbeat);
    let _ = tokio::time::timeout(Duration::from_secs(1), telling).await;
    here.bus.close().await;
}

/// Keeps what is said of the links fresh.
async fn probe(here: Instance, stop: CancellationToken) {
    let limit = Duration::from_secs(3);
    let within = async |way: &mut (dyn Future<Output = Result<Duration, String>> + Send + Unpin)| {
        tokio::time::timeout(limit, way).await.unwrap_or_else(|_| Err("no answer within 3 s".to_owned()))
    };
    loop {
        let mut nats = Box::pin(async { here.bus.round_trip().await.map_err(|e| chain(&e)) });
        let mut database = Box::pin(async {
            match &here.store {
                Some(store) => store.ping().await.map_err(|e| chain(&e)),
                None => Ok(Duration::ZERO),
            }
        });
        let last = tokio::time::timeout(limit, here.bus.last_sequence(StreamKind::Journal));
        let (nats, database, last) = tokio::join!(within(&mut nats), within(&mut database), last);
        here.status.probed(To::Bus, nats);
        here.status.probed(To::Database, database);
        here.status.lag_behind(last.ok().and_then(Result::ok));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PROBE) => {}
        }
    }
}

/// The instance's key: every two seconds, and at once when there is something to say.
async fn beat(here: Instance, stop: CancellationToken) {
    let mut failing = false;
    loop {
        let heartbeat = serde_json::to_vec(&here.status.heartbeat()).unwrap_or_default();
        let writing = here.bus.put_heartbeat(&here.settings.instance, heartbeat);
        let outcome = tokio::time::timeout(PERIOD * 2, writing).await;
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
            () = here.status.changed() => {}
        }
    }
}
