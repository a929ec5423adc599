//! A site with proxies, and the controller's part played by the test: decided by the domain, appended by the journal,
//! and only when the test says so.

use crate::bus_site::{SOON, Site, soon};
use bytes::Bytes;
use ordo_cli::{CliError, Client, DeployText, deploy_texts, settings::Settings};
use ordo_contract::command::CommandMessage;
use ordo_contract::commit::{COMMIT_VERSION, Cause, Commit, Decision, MessageCause, Source};
use ordo_contract::name::StreamKind;
use ordo_contract::replica::Replica;
use ordo_contract::request::ErrorBody;
use ordo_controller::definitions::DefinitionCache;
use ordo_domain::{Command, Ctx, Event, Ids, Instant, RunId, advance, controller::*, decide};
use ordo_journal::{Bus, Follow, FollowFrom, Journal, NatsJournal};
use ordo_proxy::{Config, ProxyError};
use ordo_runtime::{CancellationToken, Clock, RoleSettings, SystemClock};
use ordo_testkit::{TestFolder, User, wait_until};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

struct Random;

impl Ids for Random {
    fn run_id(&self) -> RunId {
        RunId::from_bits(rand::random())
    }
}

/// The controller's part.
pub struct Stage {
    pub bus: Bus,
    pub replica: Replica,
    journal: NatsJournal,
    definitions: Arc<DefinitionCache>,
    commands: Follow,
}

impl Stage {
    /// Activates itself: the first commit of the journal.
    pub async fn open(site: &Site) -> Self {
        let bus = site.bus(&User::Controller).await;
        let incarnation = bus.incarnation(StreamKind::Journal).await.unwrap();
        let names = bus.names().clone();
        let from = FollowFrom::contiguous(names.stream(StreamKind::Commands), names.commands(), 1);
        let commands = bus.follow(from).await.unwrap();
        let mut stage = Self {
            journal: NatsJournal::new(&bus),
            replica: Replica { incarnation, ..Replica::default() },
            definitions: Arc::new(DefinitionCache::default()),
            commands,
            bus,
        };
        let activated =
            ControllerActivated { epoch: 1, instance: "c1".parse().unwrap(), how: "test".into(), event_level: 1 };
        stage.commit(Cause::Activation { instance: "c1".parse().unwrap() }, vec![activated.into()]).await;
        stage
    }

    fn now(&self) -> Instant {
        self.replica.site.at.map_or(SystemClock.now(), |at| at.max(SystemClock.now()))
    }

    /// Appends a decision with all that follows from it.
    pub async fn commit(&mut self, cause: Cause, events: Vec<Event>) -> u64 {
        let at = self.now();
        let definitions = self.definitions.clone();
        let ctx = Ctx { now: at, zone: chrono_tz::Tz::UTC, ids: &Random, definitions: &*definitions };
        let events = advance::settle(&mut self.replica.site.clone(), events, ctx).unwrap().events;
        let commit = self.as_commit(at, cause, events);
        let bytes = commit.encode().unwrap();
        let sequence = self.append(bytes.clone()).await;
        self.replica.take(sequence, &bytes).unwrap();
        sequence
    }

    pub fn as_commit(&self, at: Instant, cause: Cause, events: Vec<Event>) -> Commit {
        let decisions = vec![Decision { cause, entity: "test".into(), events }];
        Commit {
            v: COMMIT_VERSION,
            epoch: 1,
            at,
            build: "test".into(),
            prev_hash: self.replica.hash.clone(),
            decisions,
        }
    }

    /// Any bytes, right or wrong.
    pub async fn append(&mut self, bytes: impl Into<Bytes>) -> u64 {
        let last = self.journal.last_sequence().await.unwrap();
        self.journal.append(last, bytes.into()).await.unwrap().sequence
    }

    /// Decides the next command of the stream.
    pub async fn decide(&mut self) {
        let message = self.commands.next().await.unwrap();
        let Ok(asked) = serde_json::from_slice::<CommandMessage>(message.payload()) else {
            panic!("not a command: {:?}", message.payload())
        };
        self.fetch(&asked.command).await;
        let incarnation = self.bus.incarnation(StreamKind::Commands).await.unwrap();
        let definitions = self.definitions.clone();
        let now = self.now();
        let ctx = || Ctx { now, zone: chrono_tz::Tz::UTC, ids: &Random, definitions: &*definitions };
        let parts = decide::parts(&self.replica.site, &asked.command, ctx());
        for part in 1..=parts {
            let cause = |parts| {
                let (source, sequence) = (Source::Commands, message.sequence);
                Cause::Message(MessageCause { source, incarnation: incarnation.clone(), sequence, part, parts })
            };
            let decided = decide::decide(&self.replica.site, &asked.id, &asked.by, &asked.command, part, ctx());
            match decided {
                Ok(events) => drop(self.commit(cause(parts), events).await),
                Err(refusal) => {
                    let refused = CommandRefused { command: Some(asked.id.clone()), refusal };
                    self.commit(cause(part), vec![refused.into()]).await;
                    return;
                }
            }
        }
    }

    async fn fetch(&self, command: &Command) {
        let site = &self.replica.site;
        let mut wanted: Vec<_> = site.workflows.values().map(|w| w.hash.clone()).collect();
        if let Command::Deploy(deploy) = command {
            wanted.extend(deploy.items.iter().map(|item| item.hash().clone()));
        }
        self.definitions.fetch(&self.bus, wanted).await.unwrap();
    }

    /// Decides whatever comes, until stopped; gives the stage back.
    pub fn play(mut self) -> Playing {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stopped.cancelled() => return self,
                    () = self.wait() => {}
                }
                self.decide().await;
            }
        });
        Playing { stop, task }
    }

    /// Until there is a command. Cancel safe: nothing is taken.
    async fn wait(&mut self) {
        let stream = self.bus.names().stream(StreamKind::Commands);
        loop {
            if self.bus.stream_info(&stream).await.unwrap().last_sequence >= self.commands.position() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A snapshot as a standby takes it.
    pub async fn snapshot(&self) {
        let state = serde_json::to_vec(&self.replica).unwrap();
        self.bus.snapshots().put(self.replica.sequence, &self.replica.incarnation, 1, state).await.unwrap();
    }
}

/// A stage on which a controller is active.
pub struct Playing {
    stop: CancellationToken,
    task: JoinHandle<Stage>,
}

impl Playing {
    pub async fn stop(self) -> Stage {
        self.stop.cancel();
        soon("the stage", self.task).await.unwrap()
    }
}

/// One proxy, in this process.
pub struct Proxy {
    pub instance: String,
    stop: CancellationToken,
    pub task: JoinHandle<Result<(), ProxyError>>,
    _data: TestFolder,
}

impl Proxy {
    pub fn start(site: &Site, instance: &str) -> Self {
        let data = TestFolder::new("proxy");
        let role = RoleSettings {
            site: site.nats.site().site().to_owned(),
            instance: instance.to_owned(),
            node: "node-a".to_owned(),
            data: data.path().to_path_buf(),
            nats: site.nats.bus(&User::Proxy),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(ordo_proxy::run(Config { role }, stop.clone()));
        Self { instance: instance.to_owned(), stop, task, _data: data }
    }

    /// A proxy that answers.
    pub async fn ready(site: &Site, instance: &str) -> Self {
        let proxy = Self::start(site, instance);
        let client = person(site, "ops").await;
        wait_until(SOON, "the proxy answers", async || proxy.is_ready(&client).await).await;
        proxy
    }

    /// Whether this instance, and not another, answers.
    pub async fn is_ready(&self, client: &Client) -> bool {
        self.ask(client, "workflow.list").await.is_ok()
    }

    /// Asks this instance.
    pub async fn ask(&self, client: &Client, endpoint: &str) -> Result<serde_json::Value, String> {
        let (noun, verb) = endpoint.split_once('.').unwrap();
        let subject = client.names().instance("ops", "proxy", &self.instance, noun, verb);
        let answer = client.bus().request(&subject, "{}", Duration::from_secs(5)).await.map_err(|e| e.to_string())?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    /// An orderly stop.
    pub async fn stop(self) {
        self.stop.cancel();
        soon("the stop of a proxy", self.task).await.unwrap().unwrap();
    }

    /// As if its process were gone: nothing is said or released.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub async fn person(site: &Site, name: &str) -> Client {
    let settings = Settings {
        site: site.nats.site().clone(),
        url: site.nats.url(),
        creds: Some(site.nats.creds(&User::Person(name.to_owned()))),
        ca: None,
        user: name.to_owned(),
        env_file: None,
    };
    Client::open(settings).await.unwrap()
}

/// What was answered with an error.
pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, CliError>) -> (u16, ErrorBody) {
    match outcome {
        Err(CliError::Answer { code, body }) => (code, body),
        other => panic!("expected an error as answer, not {other:?}"),
    }
}

/// A site with the agent `etl` and these workflows, a controller that decides, and one proxy.
pub async fn play(workflows: &[&str]) -> (Site, Playing, Proxy, Client) {
    let site = Site::start().await;
    let stage = Stage::open(&site).await.play();
    let proxy = Proxy::ready(&site, "p1").await;
    let client = person(&site, "ops").await;
    let agent = ordo_cli::arguments::AddAgentArguments { name: "etl".into(), ..Default::default() };
    assert_eq!(ordo_cli::command::agent::add(&client, &agent).await.unwrap(), None);
    if !workflows.is_empty() {
        deploy(&client, workflows).await.unwrap();
    }
    (site, stage, proxy, client)
}

pub async fn deploy(client: &Client, texts: &[&str]) -> Result<ordo_cli::Deployed, CliError> {
    let texts: Vec<DeployText> = texts
        .iter()
        .enumerate()
        .map(|(n, text)| DeployText { file: format!("{n}.yaml"), text: (*text).to_owned() })
        .collect();
    deploy_texts(client, &texts).await
}

/// A job that nobody runs: its orders stay.
pub const BACKUP: &str = "
workflow: backup
title: 夜間バックアップ
tags: [night]
parameters:
  keep: { type: number, default: 3 }
steps:
  - job: dump
    agent: etl
    command: [./dump]
";

pub const SALES: &str = "
workflow: sales
parameters:
  day:  { type: string }
  rows: { type: number, default: 1 }
steps:
  - job: load
    agent: etl
    command: [./load, \"${ day }\"]
";

/// Ends by itself.
pub const NOTHING: &str = "
workflow: nothing
steps:
  - finish: done
";
