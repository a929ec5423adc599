//! A site with a journal that a test writes, and instances of history that a test stops.

use crate::bus_site::Site;
use crate::history_chronicle::Chronicle;
use bytes::Bytes;
use ordo_contract::name::StreamKind;
use ordo_contract::output;
use ordo_contract::request::{ErrorBody, history};
use ordo_domain::RunId;
use ordo_history::Config;
use ordo_journal::{Bus, Headers, Journal, NatsJournal, Outgoing, RequestError};
use ordo_runtime::{BusSettings, RoleSettings};
use ordo_store::{Connect, Store};
use ordo_testkit::{DatabaseRole, TestFolder, TestPostgres, User, wait_until};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const LIMIT: Duration = Duration::from_secs(60);

pub struct HistorySite {
    pub site: Site,
    pub postgres: TestPostgres,
    pub life: Chronicle,
    pub journal: NatsJournal,
    /// Commits of the life that are in the journal.
    pub appended: usize,
    pub person: Bus,
    folder: TestFolder,
}

pub struct Instance {
    task: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Instance {
    /// As kill -9 would: nothing is finished, nothing is given back.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    pub async fn outcome(self) -> anyhow::Result<()> {
        self.task.await.unwrap()
    }
}

impl HistorySite {
    pub async fn new(seed: u64) -> Self {
        Self::with(seed, TestPostgres::start().await).await
    }

    pub async fn with(seed: u64, postgres: TestPostgres) -> Self {
        let site = Site::start().await;
        let journal = NatsJournal::new(&site.bus(&User::Controller).await);
        let person = site.person("ops").await;
        let folder = TestFolder::new("history");
        Self { site, postgres, life: Chronicle::new(seed), journal, appended: 0, person, folder }
    }

    /// Lives on and writes it into the journal.
    pub async fn live(&mut self, commits: usize) {
        self.life.live(commits);
        for bytes in &self.life.commits[self.appended..] {
            self.journal.append(self.appended as u64, Bytes::from(bytes.clone())).await.unwrap();
            self.appended += 1;
        }
    }

    pub fn config(&self, instance: &str) -> Config {
        let bus = self.site.config(&User::History);
        Config {
            role: RoleSettings {
                site: "default".into(),
                instance: instance.into(),
                node: "node-a".into(),
                data: self.folder.join(instance),
                nats: BusSettings { url: bus.url, creds: bus.creds, ..BusSettings::default() },
            },
            database: self.postgres.settings(DatabaseRole::History),
            ..Config::default()
        }
    }

    pub fn start(&self, instance: &str) -> Instance {
        self.start_with(self.config(instance))
    }

    pub fn start_with(&self, config: Config) -> Instance {
        let shutdown = CancellationToken::new();
        Instance { task: tokio::spawn(ordo_history::run(config, shutdown.clone())), shutdown }
    }

    pub fn store(&self) -> Store {
        Store::open(&Connect::new(self.postgres.url(DatabaseRole::Read), None)).unwrap()
    }

    pub async fn wait_caught_up(&self) {
        let (store, stream) = (self.store(), self.person.names().stream(StreamKind::Journal));
        let goal = self.appended as u64;
        wait_until(
            LIMIT,
            "history caught up",
            async || matches!(store.position("history", &stream).await, Ok(Some(position)) if position.sequence == goal),
        )
        .await;
    }

    pub async fn assert_told(&self) {
        self.wait_caught_up().await;
        self.life.assert_told_by(&self.store()).await;
    }

    /// A chunk as an agent sends it.
    pub async fn print(&self, agent: &Bus, run: &RunId, chunk: u32, text: &[u8]) {
        let headers = Headers::new()
            .set(output::RUN, run)
            .set(output::CHANNEL, "stdout")
            .set(output::CHUNK, chunk)
            .set(output::AT, chrono::Utc::now().to_rfc3339());
        let message = Outgoing::new(agent.names().output("etl", run.as_str()), headers, text.to_vec());
        agent.publish(&message, &CancellationToken::new()).await.unwrap();
    }

    pub async fn ask<T: DeserializeOwned>(&self, what: &str, body: &impl Serialize) -> Result<T, (u16, ErrorBody)> {
        let (noun, verb) = what.split_once('.').unwrap();
        let subject = self.person.names().request("ops", "history", noun, verb);
        match self.person.request(&subject, serde_json::to_vec(body).unwrap(), Duration::from_secs(10)).await {
            Ok(reply) => Ok(serde_json::from_slice(&reply).unwrap()),
            Err(RequestError::Refused(error)) => Err((error.code, serde_json::from_slice(&error.body).unwrap())),
            Err(other) => panic!("{what}: {other}"),
        }
    }

    /// Waits until requests are answered, by whichever instance.
    pub async fn wait_served(&self) {
        let subject = self.person.names().request("ops", "history", "order", "list");
        wait_until(LIMIT, "requests are answered", async || {
            self.person.request(&subject, "{}", Duration::from_secs(2)).await.is_ok()
        })
        .await;
        assert!(history::ORDER_LIST == "order.list");
    }

    pub async fn heartbeat(&self, instance: &str) -> Option<ordo_contract::heartbeat::Heartbeat> {
        let key = self.person.names().instance_key("history", instance);
        let entry = self.person.instances().get(&key).await.ok()??;
        serde_json::from_slice(&entry.value?).ok()
    }
}
