//! A NATS server of its own for each test, with the rights that a real site has.

use crate::TestFolder;
use ordo_contract::name::SiteNames;
use ordo_contract::right::User;
use ordo_runtime::BusSettings;
use ordo_servers::{Keys, NatsServer, NatsSettings, Tls};
use std::path::PathBuf;

/// A private server. Dropped, panicked or killed: server and files are gone.
#[derive(Debug)]
pub struct TestNats {
    server: NatsServer,
    keys: Keys,
    ca: Option<PathBuf>,
    folder: TestFolder,
}

impl TestNats {
    /// A server for the site `default`, syncing every message as in production.
    pub async fn start() -> Self {
        Self::start_for("default").await
    }

    /// A server for a site of that name.
    pub async fn start_for(site: &str) -> Self {
        Self::start_with(site, None).await
    }

    /// A server that speaks TLS: its certificate and key, and the authority that clients shall trust.
    pub async fn start_with_tls(tls: Tls, ca: PathBuf) -> Self {
        Self::start_with("default", Some((tls, ca))).await
    }

    async fn start_with(site: &str, tls: Option<(Tls, PathBuf)>) -> Self {
        let folder = TestFolder::new("nats");
        let keys = Keys::open(&folder.join("keys"), site).unwrap_or_else(|error| panic!("{error}"));
        let mut settings = NatsSettings::new(folder.join("nats"));
        let (tls, ca) = tls.unzip();
        settings.tls = tls;
        let server = NatsServer::start(settings, &keys).await.unwrap_or_else(|error| panic!("{error}"));
        Self { server, keys, ca, folder }
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The names of its site.
    pub fn site(&self) -> &SiteNames {
        self.keys.site()
    }

    /// The keys, to issue more.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The `.creds` file of a user with the rights that `ordo_contract::right` gives it.
    pub fn creds(&self, user: &User) -> PathBuf {
        self.keys.credentials(&self.folder.join("creds"), user).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The settings with which a role reaches this server as that user.
    pub fn bus(&self, user: &User) -> BusSettings {
        BusSettings { url: self.url(), creds: Some(self.creds(user)), ca: self.ca.clone(), cert: None, key: None }
    }

    /// A plain client of that user, with the user's own inbox prefix. It reconnects by itself after a restart.
    pub async fn connect(&self, user: &User) -> async_nats::Client {
        self.try_connect(user).await.unwrap_or_else(|error| panic!("cannot connect as {}: {error}", user.name()))
    }

    /// [`TestNats::connect`] for tests that expect a refusal.
    ///
    /// # Errors
    /// When the server refuses or is away.
    pub async fn try_connect(&self, user: &User) -> Result<async_nats::Client, async_nats::ConnectError> {
        let options = async_nats::ConnectOptions::with_credentials_file(self.creds(user)).await?;
        let options = options.name(user.name()).custom_inbox_prefix(ordo_contract::name::inbox_prefix(&user.name()));
        let options = match &self.ca {
            Some(ca) => options.add_root_certificates(ca.clone()).require_tls(true),
            None => options,
        };
        options.connect(self.url()).await
    }

    /// Kills the server at once, as a crash would.
    pub async fn kill(&self) {
        self.server.kill().await;
    }

    /// Stops it in order.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Starts it again on the same port with the same streams, and waits until it serves.
    pub async fn start_again(&mut self) {
        self.server.start_again(&self.keys).await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.server.process().pid()
    }
}
