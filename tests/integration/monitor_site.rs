//! A site with a journal that a test writes event by event, monitors that it starts and kills, and a mail server.

use crate::bus_site::Site;
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use ordo_contract::commit::{COMMIT_VERSION, Cause, Commit, Decision, chain_hash};
use ordo_contract::name::StreamKind;
use ordo_contract::notice::{LogNotice, Notice};
use ordo_contract::request::monitor::{
    NOTIFICATION_LIST, NotificationLine, NotificationListReply, NotificationListRequest,
};
use ordo_domain::catalog::{DefinitionDeployed, DefinitionRemoved};
use ordo_domain::command::{By, DeployItem};
use ordo_domain::log_rule::Severity;
use ordo_domain::order::event::*;
use ordo_domain::run::event::{RunClaimed, RunDispatched, RunEnded};
use ordo_domain::run::report::{OutputSummary, Usage};
use ordo_domain::run::spec::SpecAction;
use ordo_domain::run::{JobSpec, RunEnd, RunFacts};
use ordo_domain::{ContentHash, Event, Failure, InstanceId, OrderId, Outcome, RunId, Span, UserName, definition};
use ordo_journal::{Bus, Headers, Journal, NatsJournal, Outgoing, RequestError};
use ordo_monitor::{Config, SmtpSettings};
use ordo_runtime::{BusSettings, RoleSettings};
use ordo_store::{Connect, Store};
use ordo_testkit::smtp::{ReceivedMail, Script};
use ordo_testkit::{DatabaseRole, SmtpServer, TestFolder, TestPostgres, User, wait_for, wait_until};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const LIMIT: Duration = Duration::from_secs(40);

pub struct MonitorSite {
    pub site: Site,
    pub postgres: TestPostgres,
    pub smtp: SmtpServer,
    pub person: Bus,
    pub folder: TestFolder,
    journal: NatsJournal,
    proxy: Bus,
    hash: String,
    pub appended: u64,
    runs: u128,
    /// Of events; now, unless a test sets it back.
    pub clock: Option<DateTime<Utc>>,
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

pub fn id<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

fn by() -> By {
    By { user: UserName::new("ops").unwrap(), reason: None }
}

impl MonitorSite {
    pub async fn new() -> Self {
        Self::with(TestPostgres::start().await).await
    }

    pub async fn with(postgres: TestPostgres) -> Self {
        let site = Site::start().await;
        let folder = TestFolder::new("monitor");
        let smtp = SmtpServer::start(&folder.join("received"), Script::default(), None).await;
        let journal = NatsJournal::new(&site.bus(&User::Controller).await);
        let (person, proxy) = (site.person("ops").await, site.bus(&User::Proxy).await);
        let (hash, clock) = (String::new(), None);
        Self { site, postgres, smtp, person, folder, journal, proxy, hash, appended: 0, runs: 0, clock }
    }

    pub fn config(&self, instance: &str) -> Config {
        let bus = self.site.config(&User::Monitor);
        let mut config = Config {
            role: RoleSettings {
                site: "default".into(),
                instance: instance.into(),
                node: "node-a".into(),
                data: self.folder.join(instance),
                nats: BusSettings { url: bus.url, creds: bus.creds, ..BusSettings::default() },
            },
            database: self.postgres.settings(DatabaseRole::Monitor),
            ..Config::default()
        };
        config.mail.from = "ordo@example.org".into();
        config.mail.smtp = SmtpSettings {
            host: "127.0.0.1".into(),
            port: self.smtp.port(),
            tls: ordo_monitor::post::Security::None,
            command_seconds: 3,
            message_seconds: 3,
            connect_seconds: 3,
            ..SmtpSettings::default()
        };
        config
    }

    pub fn start(&self, instance: &str) -> Instance {
        self.start_with(self.config(instance))
    }

    pub fn start_with(&self, config: Config) -> Instance {
        let shutdown = CancellationToken::new();
        Instance { task: tokio::spawn(ordo_monitor::run(config, shutdown.clone())), shutdown }
    }

    // ---- the journal --------------------------------------------------------------------------------------------------

    pub async fn commit(&mut self, events: Vec<Event>) {
        let entity = events[0].order().map_or_else(|| "site".to_owned(), ToString::to_string);
        let commit = Commit {
            v: COMMIT_VERSION,
            epoch: 1,
            at: self.clock.unwrap_or_else(Utc::now),
            build: "test".into(),
            prev_hash: self.hash.clone(),
            decisions: vec![Decision { cause: Cause::Advance, entity, events }],
        };
        let bytes = commit.encode().unwrap();
        self.hash = chain_hash(&bytes);
        self.journal.append(self.appended, Bytes::from(bytes)).await.unwrap();
        self.appended += 1;
    }

    /// Deploys a rule or a maintenance.
    pub async fn deploy(&mut self, yaml: &str) {
        let compiled = definition::read("test.yaml", yaml).unwrap_or_else(|problems| panic!("{problems:?}"));
        let item = &compiled.items[0];
        self.proxy.definitions().put_by_hash("test", &item.body).await.unwrap();
        let DeployItem::Definition { kind, name, hash } = item.deploy_item() else { panic!("no rule") };
        let references = Default::default();
        self.commit(vec![DefinitionDeployed { kind, name, version: 1, hash, references, by: by() }.into()]).await;
    }

    pub async fn remove(&mut self, yaml: &str) {
        let compiled = definition::read("test.yaml", yaml).unwrap();
        let DeployItem::Definition { kind, name, .. } = compiled.items[0].deploy_item() else { panic!("no rule") };
        self.commit(vec![DefinitionRemoved { kind, name, by: by() }.into()]).await;
    }

    pub fn added(&self, order: &str, workflow: &str) -> OrderAdded {
        OrderAdded {
            order: id(order),
            workflow: WorkflowRef { name: id(workflow), version: 3, hash: ContentHash::of(workflow.as_bytes()) },
            title: Some(format!("{workflow} <title>")),
            folder: Some("finance/sales".into()),
            tags: ["finance".to_owned()].into(),
            business_day: NaiveDate::from_ymd_opt(2026, 11, 22).unwrap(),
            priority: 0,
            due_at: None,
            held: false,
            late: Default::default(),
            arguments: Default::default(),
            start: None,
            overlap: Default::default(),
            by: by(),
            counter: 1,
            command: None,
        }
    }

    pub async fn add(&mut self, order: &str, workflow: &str) {
        let added = self.added(order, workflow);
        self.commit(vec![added.into()]).await;
    }

    pub async fn start_order(&mut self, order: &str) {
        let event = OrderStarted { order: id(order), position: id("work"), late_by: None };
        self.commit(vec![event.into()]).await;
    }

    /// Its job `work` ends with that code, on agent etl.
    pub fn run_events(&mut self, order: &str, code: i32) -> Vec<Event> {
        self.runs += 1;
        let run = RunId::from_bits(self.runs);
        let spec = JobSpec {
            action: SpecAction::Command { arguments: vec!["work".into()] },
            env: Default::default(),
            directory: None,
            timeout: None,
            kill_after: Span::from_secs(15),
            results: Default::default(),
        };
        let dispatched = RunDispatched {
            run: run.clone(),
            order: id(order),
            position: id("work"),
            job: id("work"),
            agent: id("etl"),
            attempt: 1,
            resources: Vec::new(),
            spec,
        };
        let facts = RunFacts {
            end: RunEnd::Exited { code },
            started_at: Some(Utc::now()),
            ended_at: Utc::now(),
            usage: Usage::default(),
            output: OutputSummary::default(),
            results: Default::default(),
            results_error: None,
        };
        let outcome = if code == 0 { Outcome::Succeeded } else { Failure::ExitCode { return_code: code }.into() };
        vec![
            dispatched.into(),
            RunClaimed { run: run.clone(), instance: InstanceId::new("e1").unwrap() }.into(),
            RunEnded { run, order: id(order), position: id("work"), facts, outcome: Some(outcome) }.into(),
        ]
    }

    pub async fn fail(&mut self, order: &str) {
        let mut events = self.run_events(order, 75);
        events.push(failed(order));
        self.commit(events).await;
    }

    /// Adds, starts and fails it.
    pub async fn add_failing(&mut self, order: &str, workflow: &str) {
        self.add(order, workflow).await;
        self.start_order(order).await;
        self.fail(order).await;
    }

    pub async fn resume(&mut self, order: &str) {
        self.commit(vec![OrderResumed { order: id(order), to: None, left: Vec::new() }.into()]).await;
    }

    pub async fn finish(&mut self, order: &str) {
        self.commit(vec![OrderFinished { order: id(order), message: None }.into()]).await;
    }

    // ---- what comes of it ---------------------------------------------------------------------------------------------

    pub fn store(&self) -> Store {
        Store::open(&Connect::new(self.postgres.url(DatabaseRole::Read), None)).unwrap()
    }

    pub async fn wait_caught_up(&self) {
        let (store, stream) = (self.store(), self.person.names().stream(StreamKind::Journal));
        let goal = self.appended;
        wait_until(
            LIMIT,
            "the monitor caught up",
            async || matches!(store.position("monitor", &stream).await, Ok(Some(position)) if position.sequence == goal),
        )
        .await;
    }

    /// What log-notification says of a line.
    pub async fn notice(&self, id: &str, rule: &str, text: &str, count: u64) {
        let at = Utc::now();
        let notice = Notice::Log(LogNotice {
            id: id.into(),
            rule: rule.parse().unwrap(),
            title: rule.into(),
            severity: Severity::Error,
            host: "tape-1".into(),
            application: "robot".into(),
            text: text.into(),
            first_at: at,
            last_at: at,
            count,
        });
        self.notice_text(&serde_json::to_string(&notice).unwrap()).await;
    }

    pub async fn notice_text(&self, text: &str) {
        let bus = self.site.bus(&User::LogNotification).await;
        let message = Outgoing::new(bus.names().notice("log", "any"), Headers::default(), text.to_owned());
        bus.try_publish(&message, LIMIT).await.unwrap();
    }

    /// The received mails, as soon as there are so many.
    pub async fn wait_mails(&self, count: usize) -> Vec<ReceivedMail> {
        wait_for(LIMIT, &format!("{count} mails"), async || {
            let mails = self.smtp.mails();
            (mails.len() >= count).then_some(mails)
        })
        .await
    }

    pub async fn ask<T: DeserializeOwned>(&self, what: &str, body: &impl Serialize) -> Result<T, (u16, String)> {
        let (noun, verb) = what.split_once('.').unwrap();
        let subject = self.person.names().request("ops", "monitor", noun, verb);
        match self.person.request(&subject, serde_json::to_vec(body).unwrap(), Duration::from_secs(20)).await {
            Ok(reply) => Ok(serde_json::from_slice(&reply).unwrap()),
            Err(RequestError::Refused(error)) => Err((error.code, error.text)),
            Err(other) => panic!("{what}: {other}"),
        }
    }

    /// All, oldest first.
    pub async fn notifications(&self) -> Vec<NotificationLine> {
        let request = NotificationListRequest { all: true, limit: Some(1_000), ..Default::default() };
        let reply: NotificationListReply = self.ask(NOTIFICATION_LIST, &request).await.unwrap();
        reply.notifications.into_iter().rev().collect()
    }

    pub async fn wait_served(&self) {
        let subject = self.person.names().request("ops", "monitor", "notification", "list");
        wait_until(LIMIT, "requests are answered", async || {
            self.person.request(&subject, "{}", Duration::from_secs(2)).await.is_ok()
        })
        .await;
    }
}

pub fn failed(order: &str) -> Event {
    OrderFailed {
        order: id::<OrderId>(order),
        position: Some(id("work")),
        failure: Failure::ExitCode { return_code: 75 },
    }
    .into()
}
