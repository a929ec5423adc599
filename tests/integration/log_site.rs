//! A site with log notifications that listen for syslog, a journal with log rules, and eyes for what comes of it.

use crate::bus_site::Site;
use bytes::Bytes;
use ordo_contract::bus_config::Limits;
use ordo_contract::commit::{COMMIT_VERSION, Cause, Commit, Decision, chain_hash};
use ordo_contract::heartbeat::Heartbeat;
use ordo_contract::log::LogRecord;
use ordo_contract::name::StreamKind;
use ordo_contract::notice::{LogNotice, Notice};
use ordo_contract::request::log_notification::{
    LOG_LIST, LogListLine, LogListReply, LogListRequest, SYSLOG_SHOW, SyslogReply,
};
use ordo_domain::catalog::{CatalogDefinition, DefinitionDeployed, DefinitionKind, DefinitionRemoved};
use ordo_domain::command::By;
use ordo_domain::definition::{self, Definition};
use ordo_domain::log_rule::Severity;
use ordo_domain::{ContentHash, DefinitionName, Event, UserName};
use ordo_journal::{Bus, FollowFrom, Headers, Journal, NatsJournal, Outgoing, provision};
use ordo_log_notification::{Config, SyslogConfig};
use ordo_runtime::{BusSettings, RoleSettings};
use ordo_testkit::{DatabaseRole, TestFolder, TestPostgres, User, wait_for, wait_until};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const LIMIT: Duration = Duration::from_secs(60);

pub struct LogSite {
    pub site: Site,
    pub postgres: TestPostgres,
    pub person: Bus,
    monitor: Bus,
    proxy: Bus,
    journal: NatsJournal,
    commits: u64,
    hash: String,
    versions: BTreeMap<DefinitionName, u32>,
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
}

fn by() -> By {
    By { user: UserName::new("ops").unwrap(), reason: None }
}

impl LogSite {
    pub async fn new() -> Self {
        Self::with(TestPostgres::start().await).await
    }

    pub async fn with(postgres: TestPostgres) -> Self {
        let site = Site::start().await;
        // Room for a flood: what is waited for must not be pushed out by it before anybody looks.
        let limits = Limits { logs: 64 << 20, ..Limits::scaled_down(64) };
        provision(&site.bus(&User::Controller).await, &limits).await.unwrap();
        let journal = NatsJournal::new(&site.bus(&User::Controller).await);
        let (person, monitor) = (site.person("ops").await, site.bus(&User::Monitor).await);
        let proxy = site.bus(&User::Proxy).await;
        let folder = TestFolder::new("log-notification");
        let (hash, versions) = (String::new(), BTreeMap::new());
        Self { site, postgres, person, monitor, proxy, journal, commits: 0, hash, versions, folder }
    }

    pub fn config(&self, instance: &str) -> Config {
        let bus = self.site.config(&User::LogNotification);
        Config {
            role: RoleSettings {
                site: "default".into(),
                instance: instance.into(),
                node: "node-a".into(),
                data: self.folder.join(instance),
                nats: BusSettings { url: bus.url, creds: bus.creds, ..BusSettings::default() },
            },
            database: self.postgres.settings(DatabaseRole::LogNotification),
            syslog: SyslogConfig {
                udp: vec!["127.0.0.1:0".into()],
                tcp: vec!["127.0.0.1:0".into()],
                say_every: ordo_domain::Span::from_millis(500),
                ..SyslogConfig::default()
            },
        }
    }

    pub fn start(&self, instance: &str) -> Instance {
        self.start_with(self.config(instance))
    }

    pub fn start_with(&self, config: Config) -> Instance {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(ordo_log_notification::run(config, shutdown.clone()));
        Instance { task, shutdown }
    }

    async fn commit(&mut self, event: Event) {
        let commit = Commit {
            v: COMMIT_VERSION,
            epoch: 1,
            at: chrono::Utc::now(),
            build: "test".into(),
            prev_hash: self.hash.clone(),
            decisions: vec![Decision { cause: Cause::Timer, entity: "test".into(), events: vec![event] }],
        };
        let bytes = commit.encode().unwrap();
        self.hash = chain_hash(&bytes);
        self.journal.append(self.commits, Bytes::from(bytes)).await.unwrap();
        self.commits += 1;
    }

    /// As a controller would journal it: the body is in the store.
    pub async fn deploy(&mut self, text: &str) {
        let compiled = definition::read("rules.yaml", text).unwrap_or_else(|p| panic!("{p:?}"));
        for item in compiled.items {
            let Definition::Catalog(CatalogDefinition::LogRule(rule)) = &item.definition else { panic!("{text}") };
            self.proxy.definitions().put_by_hash("log rule", &item.body).await.unwrap();
            let version = self.versions.entry(rule.name.clone()).or_default();
            *version += 1;
            let event = DefinitionDeployed {
                kind: DefinitionKind::LogRule,
                name: rule.name.clone(),
                version: *version,
                hash: ContentHash::of(&item.body),
                references: Default::default(),
                by: by(),
            };
            self.commit(event.into()).await;
        }
    }

    pub async fn remove(&mut self, name: &str) {
        let name = DefinitionName::new(name).unwrap();
        self.commit(DefinitionRemoved { kind: DefinitionKind::LogRule, name, by: by() }.into()).await;
    }

    pub async fn ask<T: DeserializeOwned>(&self, subject: &str, body: &impl Serialize) -> Option<T> {
        let reply = self.person.request(subject, serde_json::to_vec(body).unwrap(), Duration::from_secs(5)).await;
        reply.ok().map(|reply| serde_json::from_slice(&reply).unwrap())
    }

    /// What an instance says of its listener.
    pub async fn syslog(&self, instance: &str) -> Option<SyslogReply> {
        let (noun, verb) = SYSLOG_SHOW.split_once('.').unwrap();
        let subject = self.person.names().instance("ops", "log-notification", instance, noun, verb);
        self.ask(&subject, &serde_json::json!({})).await
    }

    /// Waits until it listens and the rules with these names (and its own) are in force; where it listens.
    pub async fn listening(&self, instance: &str, rules: &[&str]) -> (SocketAddr, SocketAddr) {
        let what = format!("{instance} listens with the rules {rules:?}");
        wait_for(LIMIT, &what, async || {
            let said = self.syslog(instance).await?;
            let in_force: Vec<&str> = said.rules.iter().map(DefinitionName::as_str).filter(|n| *n != "ordo").collect();
            let of = |protocol: &str| {
                said.listening.iter().find_map(|l| l.strip_prefix(protocol)?.trim().parse::<SocketAddr>().ok())
            };
            let found = of("udp").zip(of("tcp"))?;
            (in_force == rules).then_some(found)
        })
        .await
    }

    pub async fn logs(&self, request: &LogListRequest) -> Vec<LogListLine> {
        let (noun, verb) = LOG_LIST.split_once('.').unwrap();
        let subject = self.person.names().request("ops", "log-notification", noun, verb);
        let reply: LogListReply = wait_for(LIMIT, "logs are listed", async || self.ask(&subject, request).await).await;
        reply.lines
    }

    /// Waits for a line that fits, among those that an answer has room for.
    pub async fn line(&self, what: &str, fits: impl Fn(&LogListLine) -> bool) -> LogListLine {
        self.line_of("*", what, fits).await
    }

    pub async fn line_of(&self, role: &str, what: &str, fits: impl Fn(&LogListLine) -> bool) -> LogListLine {
        let request = LogListRequest { role: Some(role.into()), limit: Some(1_000), ..Default::default() };
        wait_for(LIMIT, what, async || self.logs(&request).await.into_iter().find(&fits)).await
    }

    /// All messages of NOTICES so far, in order.
    pub async fn notices(&self) -> Vec<LogNotice> {
        let stream = self.monitor.names().stream(StreamKind::Notices);
        let last = self.monitor.stream_info(&stream).await.unwrap().last_sequence;
        let mut all = Vec::new();
        if last == 0 {
            return all;
        }
        let from = FollowFrom::filtered(stream, self.monitor.names().notices(), 1);
        let mut follow = self.monitor.follow(from).await.unwrap();
        while follow.position() <= last {
            for message in follow.batch(1_000).await.unwrap() {
                let Notice::Log(notice) = serde_json::from_slice(message.payload()).unwrap();
                let subject = self.monitor.names().notice("log", notice.rule.as_str());
                assert_eq!(message.subject(), subject);
                all.push(notice);
            }
        }
        all
    }

    pub async fn wait_notices(&self, what: &str, fits: impl Fn(&[LogNotice]) -> bool) -> Vec<LogNotice> {
        wait_for(LIMIT, what, async || Some(self.notices().await).filter(|all| fits(all))).await
    }

    /// A line as an instance of Ordo writes it.
    pub async fn own_line(&self, user: &User, level: Severity, message: &str) {
        let bus = self.site.bus(user).await;
        let record = LogRecord {
            at: chrono::Utc::now(),
            level,
            target: "ordo".into(),
            message: message.into(),
            fields: serde_json::Map::from_iter([("order_id".to_owned(), "20261125-A1-x".into())]),
            host: "node-b".into(),
            syslog: None,
        };
        let subject = bus.names().log(&user.name(), "x1", level.token());
        let line = Outgoing::new(subject, Headers::new(), serde_json::to_vec(&record).unwrap());
        bus.publish(&line, &CancellationToken::new()).await.unwrap();
    }

    pub async fn heartbeat(&self, instance: &str) -> Option<Heartbeat> {
        let key = self.person.names().instance_key("log-notification", instance);
        let entry = self.person.instances().get(&key).await.ok()??;
        serde_json::from_slice(&entry.value?).ok()
    }

    /// How far the durable on LOGS is, as `nats consumer report` shows it.
    pub async fn wait_acknowledged(&self) {
        let stream = self.monitor.names().stream(StreamKind::Logs);
        wait_until(LIMIT, "everything is acknowledged", async || {
            let info = self.person.consumer_info(&stream, "log-notification-logs").await;
            matches!(info, Ok(Some(info)) if info.pending == 0 && info.unacknowledged == 0)
        })
        .await;
    }
}
