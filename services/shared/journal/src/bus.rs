//! The connection. Each `Bus` lives on a small runtime of its own, on a thread of its own, for one reason: a fenced
//! controller must be able to throw its connection away **with everything that is still buffered in it**. The library
//! flushes buffers on reconnect and cannot be told not to; a runtime that is dropped flushes nothing.

use crate::error::{BusError, BusErrorKind};
use async_nats::{Client, ConnectOptions, Event, jetstream};
use ordo_contract::name::{SiteNames, inbox_prefix};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

/// The oldest server that Ordo works with.
pub const OLDEST_SERVER: (u64, u64) = (2, 12);
/// How long one request to the server may take before it counts as unanswered.
pub(crate) const REQUEST: Duration = Duration::from_secs(5);

/// How to reach the bus and as whom.
#[derive(Clone, Debug)]
pub struct BusConfig {
    /// `nats://host:port`, `tls://host:port`; several separated by commas.
    pub url: String,
    /// The `.creds` file of the user. `None` only where the server asks for none.
    pub creds: Option<PathBuf>,
    /// CA of the server's certificate, PEM. Set = TLS is required.
    pub ca: Option<PathBuf>,
    /// Our own certificate and key, PEM, where the server asks for them.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Shown in the server's list of connections, e.g. `controller/c1 on node-a`.
    pub name: String,
    pub site: SiteNames,
    /// The NATS user name: a role, `agent-<name>` or a person. Decides the inbox.
    pub user: String,
}

/// Whether the connection stands. `times` counts how often it was made, so that a change from up to up is seen too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub up: bool,
    pub times: u64,
}

/// A connection to the bus as one user. Cheap to clone; all clones are closed together.
#[derive(Clone)]
pub struct Bus {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    jetstream: jetstream::Context,
    names: SiteNames,
    user: String,
    closed: CancellationToken,
    link: watch::Receiver<Link>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("user", &self.inner.user).field("link", &*self.inner.link.borrow()).finish()
    }
}

impl Bus {
    /// Connects, once. Errors: [`BusErrorKind::Unreachable`], [`BusErrorKind::Unauthorized`],
    /// [`BusErrorKind::TooOld`], [`BusErrorKind::Configuration`]. Afterwards the connection repairs itself for good.
    pub async fn connect(config: BusConfig) -> Result<Self, BusError> {
        let closed = CancellationToken::new();
        let (link_sender, link) = watch::channel(Link { up: false, times: 0 });
        let (done, connected) = oneshot::channel();
        let (token, for_thread) = (closed.clone(), config.clone());
        std::thread::Builder::new()
            .name(format!("bus-{}", config.user))
            .spawn(move || {
                let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let text = "cannot start the runtime of the bus connection";
                        let _ = done.send(Err(BusError::with(BusErrorKind::Configuration, text, error)));
                        return;
                    }
                };
                runtime.block_on(async move {
                    let outcome = dial(&for_thread, link_sender).await;
                    let is_up = outcome.is_ok();
                    if done.send(outcome).is_ok() && is_up {
                        token.cancelled().await;
                    }
                });
                // Dropping the runtime here drops the socket and every buffer with it.
            })
            .map_err(|e| BusError::with(BusErrorKind::Configuration, "cannot start the bus thread", e))?;
        let broken = || BusError::new(BusErrorKind::Closed, "the bus thread ended while connecting");
        let (client, jetstream) = connected.await.map_err(|_| broken())??;
        let inner = Inner { client, jetstream, names: config.site, user: config.user, closed, link };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Connects as soon as the bus is there, saying every ten seconds what it waits for. Gives up only on what
    /// waiting does not heal, or when cancelled.
    pub async fn connect_when_up(config: BusConfig, cancel: &CancellationToken) -> Result<Self, BusError> {
        let mut waited = 0_u64;
        loop {
            match Self::connect(config.clone()).await {
                Err(error) if error.is_passing() => {
                    if waited.is_multiple_of(20) {
                        tracing::warn!(url = shown(&config.url), %error, "bus not reachable, trying on");
                    }
                    waited += 1;
                }
                outcome => return outcome,
            }
            tokio::select! {
                () = cancel.cancelled() => return Err(BusError::cancelled(format_args!("connecting to {}", shown(&config.url)))),
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
            }
        }
    }

    pub fn names(&self) -> &SiteNames {
        &self.inner.names
    }

    pub fn user(&self) -> &str {
        &self.inner.user
    }

    /// The version of the connected server, e.g. `2.15.1`.
    pub fn server_version(&self) -> String {
        self.inner.client.server_info().version
    }

    pub fn max_payload(&self) -> usize {
        self.inner.client.max_payload()
    }

    /// Follows whether the connection stands.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.inner.link.clone()
    }

    /// Throws the connection away at once, with everything that was not yet sent. For who was fenced: nothing that it
    /// still had in its buffers may arrive later. Every call on this bus and its clones fails from now on.
    pub fn close_now(&self) {
        self.inner.closed.cancel();
    }

    /// Sends what is buffered, then closes. For an orderly stop.
    pub async fn close(&self) {
        let _ = tokio::time::timeout(Duration::from_secs(2), self.inner.client.flush()).await;
        self.close_now();
    }

    pub fn is_closed(&self) -> bool {
        self.inner.closed.is_cancelled()
    }

    /// Waits until somebody closes this bus.
    pub async fn closed(&self) {
        self.inner.closed.cancelled().await;
    }

    /// One round trip to the server: the figure behind "NATS ok".
    pub async fn round_trip(&self) -> Result<Duration, BusError> {
        let started = std::time::Instant::now();
        self.within(REQUEST, "flush to the server", async { self.inner.client.flush().await.map_err(trouble) }).await?;
        Ok(started.elapsed())
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    pub(crate) fn jetstream(&self) -> &jetstream::Context {
        &self.inner.jetstream
    }

    /// Runs `work` until it is done, the time is over, or the bus is closed. The library's own limits do not cover
    /// the hand-over to a connection that is away.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        attempt: &str,
        work: impl Future<Output = Result<T, BusError>>,
    ) -> Result<T, BusError> {
        tokio::select! {
            biased;
            () = self.inner.closed.cancelled() => {
                Err(BusError::new(BusErrorKind::Closed, format_args!("{attempt}: this connection was closed")))
            }
            outcome = tokio::time::timeout(limit, work) => match outcome {
                Ok(outcome) => outcome,
                Err(_) => Err(BusError::new(
                    BusErrorKind::Timeout,
                    format_args!("{attempt}: no answer from the bus within {} ms", limit.as_millis()),
                )),
            },
        }
    }
}

fn trouble(error: impl std::error::Error + Send + Sync + 'static) -> BusError {
    BusError::with(BusErrorKind::Unreachable, "the connection to the bus is away", error)
}

async fn dial(config: &BusConfig, link: watch::Sender<Link>) -> Result<(Client, jetstream::Context), BusError> {
    let mut up = link.subscribe();
    let mut options = ConnectOptions::new()
        .name(&config.name)
        .custom_inbox_prefix(inbox_prefix(&config.user))
        .connection_timeout(Duration::from_secs(5))
        .ping_interval(Duration::from_secs(5))
        .request_timeout(Some(REQUEST))
        .max_reconnects(None)
        .client_capacity(8 * 1024)
        // Fast first tries: what waits for the bus after its restart waits for us.
        .reconnect_delay_callback(|tries| Duration::from_millis((10 << tries.min(6)).min(500)))
        .event_callback(move |event| {
            note(&link, &event);
            async {}
        });
    if let Some(path) = &config.creds {
        options = options.credentials_file(path).await.map_err(|e| {
            let text = format!("cannot read the bus credentials in {}; expected is a .creds file", path.display());
            BusError::with(BusErrorKind::Configuration, text, e)
        })?;
    }
    if let Some(path) = &config.ca {
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    if let Some((certificate, key)) = &config.identity {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    let servers: Vec<&str> = config.url.split(',').map(str::trim).filter(|s| !s.is_empty()).collect();
    let client = options.connect(servers).await.map_err(|error| {
        use async_nats::ConnectErrorKind as Kind;
        let (kind, text) = match error.kind() {
            Kind::Authentication | Kind::AuthorizationViolation => {
                (BusErrorKind::Unauthorized, "the server does not accept the credentials of this user")
            }
            Kind::ServerParse => (BusErrorKind::Configuration, "not an address; expected is nats://host:port"),
            Kind::Tls => (BusErrorKind::Configuration, "no TLS connection; check the CA and the server's certificate"),
            _ => (BusErrorKind::Unreachable, "no NATS server answers there"),
        };
        BusError::with(
            kind,
            format_args!("connect to the bus at {} as {}: {text}", shown(&config.url), config.user),
            error,
        )
    })?;
    let version = client.server_info().version;
    if !is_new_enough(&version) {
        let (major, minor) = OLDEST_SERVER;
        return Err(BusError::new(
            BusErrorKind::TooOld,
            format_args!(
                "the NATS server at {} is version {version}; Ordo needs {major}.{minor} or later",
                shown(&config.url)
            ),
        ));
    }
    // The event of the first connection comes by another task; later ones then mean "again".
    let _ = tokio::time::timeout(Duration::from_secs(1), up.wait_for(|link| link.up)).await;
    let jetstream = jetstream::new(client.clone());
    Ok((client, jetstream))
}

/// The addresses for people: without what stands before an `@`, which is a secret or might be one.
fn shown(url: &str) -> String {
    let without_login = |server: &str| match server.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default()),
        None => server.rsplit('@').next().unwrap_or_default().to_owned(),
    };
    url.split(',').map(without_login).collect::<Vec<_>>().join(",")
}

fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split(['.', '-']).map(|part| part.parse::<u64>().unwrap_or_default());
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()) >= OLDEST_SERVER
}

fn note(link: &watch::Sender<Link>, event: &Event) {
    match event {
        Event::Connected => link.send_modify(|link| {
            *link = Link { up: true, times: link.times + 1 };
            if link.times > 1 {
                tracing::info!("bus connected again");
            }
        }),
        Event::Disconnected => link.send_modify(|link| {
            link.up = false;
            tracing::warn!("bus connection lost, trying on");
        }),
        Event::ServerError(error) => tracing::warn!(%error, "bus server complains"),
        Event::SlowConsumer(id) => tracing::warn!(subscription = id, "messages dropped, this process reads too slowly"),
        Event::ClientError(error) => tracing::debug!(%error, "bus connection attempt failed"),
        Event::LameDuckMode | Event::Draining | Event::Closed => tracing::info!(%event, "bus connection ends"),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_new_enough, shown};

    #[test]
    fn what_stands_before_an_address_is_not_shown() {
        assert_eq!(shown("nats://a:b@h1:4222,c:d@h2, nats://h3"), "nats://h1:4222,h2, nats://h3");
    }

    #[test]
    fn servers_before_2_12_are_too_old() {
        for (version, fits) in [
            ("2.12.0", true),
            ("2.15.1", true),
            ("3.0.0", true),
            ("2.12.0-RC.1", true),
            ("2.11.9", false),
            ("2.9.10", false),
            ("1.4.1", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version), fits, "{version}");
        }
    }
}
