//! What the active controller takes away on the bus when the cleanup asks, and what it keeps.

use crate::bus_site::{Site, never};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use ordo_contract::commit::Source;
use ordo_contract::name::StreamKind;
use ordo_contract::request::controller::{
    DEFINITION_SWEEP, SNAPSHOT_SWEEP, STREAM_PURGE, StreamPurgeReply, SweepReply,
};
use ordo_controller::Config;
use ordo_controller::purge::{Purger, View};
use ordo_domain::{ContentHash, definition};
use ordo_journal::{Bus, Call, CallError, Durable, Headers, Journal, NatsJournal, Outgoing};
use ordo_runtime::{Clock, SystemClock};
use ordo_testkit::User;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// So that what a test writes is old.
struct Ahead(TimeDelta);

impl Clock for Ahead {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now() + self.0
    }

    fn boottime(&self) -> Duration {
        SystemClock.boottime()
    }
}

struct Controller {
    site: Site,
    bus: Bus,
    purger: Purger,
    view: Arc<Mutex<View>>,
}

const AHEAD: TimeDelta = TimeDelta::days(20);

impl Controller {
    async fn start() -> Self {
        let site = Site::start().await;
        let bus = site.bus(&User::Controller).await;
        let (asks, mut asked) = mpsc::channel::<oneshot::Sender<View>>(4);
        let view = Arc::new(Mutex::new(View::default()));
        tokio::spawn({
            let view = view.clone();
            async move {
                while let Some(ask) = asked.recv().await {
                    let _ = ask.send(view.lock().unwrap().clone());
                }
            }
        });
        let purger = Purger { bus: bus.clone(), config: Config::default(), clock: Arc::new(Ahead(AHEAD)), asks };
        Self { site, bus, purger, view }
    }

    async fn ask_as<T: DeserializeOwned>(&self, user: &str, what: &str, body: Value) -> Result<T, CallError> {
        let (noun, verb) = what.split_once('.').unwrap();
        let call = Call {
            user: user.into(),
            role: "controller".into(),
            instance: None,
            noun: noun.into(),
            verb: verb.into(),
            body: Bytes::from(body.to_string()),
        };
        Ok(serde_json::from_slice(&self.purger.clone().handler()(call).await?).unwrap())
    }

    async fn ask<T: DeserializeOwned>(&self, what: &str, body: Value) -> Result<T, CallError> {
        self.ask_as("cleanup", what, body).await
    }

    async fn purge(&self, stream: &str, before: DateTime<Utc>, dry_run: bool) -> Result<StreamPurgeReply, CallError> {
        self.ask(STREAM_PURGE, json!({ "stream": stream, "before": before, "dry_run": dry_run })).await
    }

    async fn publish(&self, user: &User, subject: String, count: usize) {
        let bus = self.site.bus(user).await;
        for n in 0..count {
            let message = Outgoing::new(subject.clone(), Headers::new(), format!("message {n}"));
            bus.publish(&message, &never()).await.unwrap();
        }
    }

    /// Reads the journal as a service would, from its first commit up to this one, and acknowledges that.
    async fn read(&self, user: &User, up_to: u64) {
        let bus = self.site.bus(user).await;
        let journal = bus.names().stream(StreamKind::Journal);
        let reader = user.name();
        let acknowledged = async || self.bus.consumer_info(&journal, &reader).await.unwrap().unwrap().ack_floor;
        let mut durable = Durable::open(&bus, &journal, &reader);
        let mut at = acknowledged().await;
        while at < up_to {
            for message in durable.batch(1, Duration::from_secs(5)).await.unwrap() {
                at = message.sequence;
                bus.ack(&message, ordo_journal::Ack::Done).await.unwrap();
            }
        }
        ordo_testkit::wait_until(crate::bus_site::SOON, "the acks", async || acknowledged().await == up_to).await;
        bus.close().await;
    }

    async fn left(&self, kind: StreamKind) -> u64 {
        self.bus.stream_info(&self.bus.names().stream(kind)).await.unwrap().messages
    }
}

fn soon() -> DateTime<Utc> {
    Utc::now() + TimeDelta::minutes(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_cleanup_may_ask() {
    let controller = Controller::start().await;
    for user in ["ops", "agent-etl", "proxy", "history"] {
        let body = json!({ "stream": "logs", "before": soon() });
        let error = controller.ask_as::<StreamPurgeReply>(user, STREAM_PURGE, body).await.unwrap_err();
        assert_eq!(error.code, 403, "{user}");
        assert!(error.text.contains("ordo cleanup run"), "{error}");
    }
    let error = controller.purge("jobs", soon(), false).await.unwrap_err();
    assert!(error.code == 400 && error.text.contains("reports"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_outlive_every_job_and_what_the_controller_has_not_read_stays() {
    let controller = Controller::start().await;
    let names = controller.bus.names().clone();
    controller.publish(&User::Agent("etl".into()), names.report("etl", "ready"), 5).await;
    let now = Utc::now() + AHEAD;
    let error = controller.purge("reports", now - TimeDelta::hours(71), true).await.unwrap_err();
    assert!(error.code == 409 && error.text.contains("3d"), "{error}");
    // Nothing is read: nothing goes.
    let reply = controller.purge("reports", soon(), false).await.unwrap();
    assert_eq!((reply.messages, reply.held_by.as_deref()), (0, Some("the controller has not read it")));
    controller.view.lock().unwrap().read.insert(Source::Reports, 3);
    let dry = controller.purge("reports", soon(), true).await.unwrap();
    assert_eq!((dry.messages, controller.left(StreamKind::Reports).await), (3, 5));
    assert!(dry.bytes > 0);
    assert_eq!(controller.purge("reports", soon(), false).await.unwrap().messages, 3);
    assert_eq!(controller.left(StreamKind::Reports).await, 2);
    assert_eq!(controller.purge("reports", soon(), true).await.unwrap().messages, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_older_goes() {
    let controller = Controller::start().await;
    let subject = controller.bus.names().log("controller", "c1", "WARN");
    controller.publish(&User::Controller, subject.clone(), 7).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let between = Utc::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    controller.publish(&User::Controller, subject, 4).await;
    assert_eq!(controller.purge("logs", between, false).await.unwrap().messages, 7);
    assert_eq!(controller.left(StreamKind::Logs).await, 4);
    assert_eq!(controller.purge("logs", between - TimeDelta::days(1), false).await.unwrap().messages, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_begun_holds_what_it_has_not_read_for_a_month() {
    let mut controller = Controller::start().await;
    let subject = controller.bus.names().notice("log", "etl");
    controller.publish(&User::Monitor, subject, 6).await;
    let monitor = controller.site.bus(&User::Monitor).await;
    let stream = monitor.names().stream(StreamKind::Notices);
    let mut durable = Durable::open(&monitor, &stream, "monitor-notices");
    let batch = durable.batch(2, Duration::from_secs(5)).await.unwrap();
    for message in &batch {
        monitor.ack(message, ordo_journal::Ack::Done).await.unwrap();
    }
    ordo_testkit::wait_until(crate::bus_site::SOON, "the acks", async || {
        controller.bus.consumer_info(&stream, "monitor-notices").await.unwrap().unwrap().ack_floor == batch.len() as u64
    })
    .await;
    let reply = controller.purge("notices", soon(), false).await.unwrap();
    assert_eq!(reply.messages, batch.len() as u64);
    assert!(reply.held_by.unwrap().contains("monitor-notices"));
    controller.purger.clock = Arc::new(Ahead(TimeDelta::days(31)));
    assert_eq!(controller.purge("notices", soon(), false).await.unwrap().messages, 6 - batch.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_goes_by_its_purge_point_alone() {
    let mut controller = Controller::start().await;
    let mut journal = NatsJournal::new(&controller.bus);
    for n in 0..10 {
        journal.append(n, Bytes::from(format!("commit {n}"))).await.unwrap();
    }
    let reply = controller.purge("journal", soon(), true).await.unwrap();
    assert_eq!((reply.messages, reply.held_by.as_deref()), (0, Some("there are no two good snapshots")));
    let incarnation = controller.bus.incarnation(StreamKind::Journal).await.unwrap();
    for sequence in [6, 9] {
        controller.bus.snapshots().put(sequence, &incarnation, 1, vec![0; 10]).await.unwrap();
    }
    // The history has acknowledged nothing.
    let reply = controller.purge("journal", soon(), true).await.unwrap();
    assert_eq!(reply.messages, 0);
    assert!(reply.held_by.unwrap().contains("reader history, at 0"));
    // However long it stays away: nobody else has what it would lose.
    controller.purger.clock = Arc::new(Ahead(TimeDelta::days(100)));
    let reply = controller.purge("journal", soon(), true).await.unwrap();
    assert_eq!((reply.messages, reply.held_by.as_deref()), (0, Some("reader history, at 0")));
    controller.purger.clock = Arc::new(Ahead(AHEAD));
    controller.read(&User::Proxy, 10).await;
    controller.read(&User::History, 4).await;
    let reply = controller.purge("journal", soon(), false).await.unwrap();
    assert_eq!((reply.messages, reply.held_by.as_deref()), (4, Some("reader history, at 4")));
    assert_eq!(controller.left(StreamKind::Journal).await, 6);
    // A service that has begun holds what it has still to read; one that never came does not.
    controller.read(&User::Monitor, 5).await;
    controller.read(&User::History, 10).await;
    let reply = controller.purge("journal", soon(), false).await.unwrap();
    assert_eq!((reply.messages, reply.held_by.as_deref()), (1, Some("reader monitor, at 5")));
    controller.read(&User::Monitor, 10).await;
    let plan = controller.site.bus(&User::DailyPlan).await;
    plan.put_heartbeat("d1", "{}").await.unwrap();
    let reply = controller.purge("journal", soon(), true).await.unwrap();
    assert_eq!((reply.messages, reply.held_by.as_deref()), (0, Some("reader daily-plan, at 5")), "it is there");
    plan.instances().delete(&controller.bus.names().instance_key("daily-plan", "d1")).await.unwrap();
    let reply = controller.purge("journal", soon(), false).await.unwrap();
    assert_eq!((reply.messages, reply.held_by.as_deref()), (1, Some("the second newest snapshot, at 6")));
    assert_eq!(controller.left(StreamKind::Journal).await, 4);
    // Younger than `journal.keep`, whatever is asked.
    controller.purger.clock = Arc::new(Ahead(TimeDelta::zero()));
    let reply = controller.purge("journal", soon(), false).await.unwrap();
    assert_eq!((reply.messages, reply.held_by.as_deref()), (0, Some("journal.keep, 7d")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_two_newest_good_snapshots_stay() {
    let controller = Controller::start().await;
    for sequence in [10, 20, 30, 40] {
        controller.bus.snapshots().put(sequence, "inc", 1, vec![1; 1000]).await.unwrap();
    }
    // The newest is broken: it does not count.
    let store = controller.bus.names().snapshot_store();
    let raw = controller.site.nats.connect(&User::Controller).await;
    let meta = format!("$O.{store}.M.MDAwMDAwMDAwMDAwMDAwMDAwNDA=");
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Rollup", "sub");
    headers.insert(ordo_contract::right::ADDRESS_HEADER, meta.as_str());
    let broken = json!({ "name": format!("{:020}", 40), "bucket": store, "nuid": "x", "size": 9, "chunks": 1 });
    raw.request_with_headers(meta, headers, broken.to_string().into()).await.unwrap();
    let sweep = async |dry_run| -> SweepReply {
        controller.ask(SNAPSHOT_SWEEP, json!({ "before": soon(), "dry_run": dry_run })).await.unwrap()
    };
    assert_eq!(sweep(true).await.objects, 1);
    assert_eq!(sweep(false).await.objects, 1);
    assert_eq!(controller.bus.snapshots().list().await.unwrap(), [40, 30, 20]);
    assert_eq!(sweep(false).await.objects, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stay_while_anything_uses_them() {
    let controller = Controller::start().await;
    let proxy = controller.site.bus(&User::Proxy).await;
    let text = |name: &str| {
        format!("workflow: {name}\nsteps:\n  - job: load\n    agent: etl\n    script: |\n      echo {name}\n")
    };
    let mut bodies = Vec::new();
    for name in ["live", "kept", "gone"] {
        let compiled = definition::read("w.yaml", &text(name)).unwrap();
        let item = &compiled.items[0];
        proxy.definitions().put_by_hash("body", &item.body).await.unwrap();
        for script in item.scripts.values() {
            proxy.definitions().put_by_hash("script", script.as_bytes()).await.unwrap();
        }
        bodies.push((item.hash.clone(), item.scripts.keys().next().unwrap().clone()));
    }
    controller.view.lock().unwrap().used.insert(bodies[0].0.clone());
    let sweep = async |dry_run: bool| -> SweepReply {
        let body = json!({ "before": soon(), "keep": [bodies[1].0], "dry_run": dry_run });
        controller.ask(DEFINITION_SWEEP, body).await.unwrap()
    };
    assert_eq!(sweep(true).await.objects, 2);
    assert_eq!(sweep(false).await.objects, 2);
    let there = async |hash: &ContentHash| proxy.definition(hash.as_str()).await.unwrap().is_some();
    for (body, script) in &bodies[..2] {
        assert!(there(body).await && there(script).await, "a body that is used, or its script, went");
    }
    assert!(!there(&bodies[2].0).await && !there(&bodies[2].1).await);
    assert_eq!(sweep(true).await.objects, 0);
    // Who stores it again has it again.
    let again = definition::read("w.yaml", &text("gone")).unwrap();
    proxy.definitions().put_by_hash("body", &again.items[0].body).await.unwrap();
    assert!(there(&bodies[2].0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_was_just_stored_or_that_the_journal_may_name_stays() {
    let mut controller = Controller::start().await;
    let proxy = controller.site.bus(&User::Proxy).await;
    let hash = proxy.definitions().put_by_hash("body", b"unused").await.unwrap();
    let sweep = async |controller: &Controller| -> SweepReply {
        controller.ask(DEFINITION_SWEEP, json!({ "before": soon() })).await.unwrap()
    };
    controller.purger.clock = Arc::new(Ahead(TimeDelta::hours(23)));
    assert_eq!(sweep(&controller).await.objects, 0, "younger than a day");
    controller.purger.clock = Arc::new(Ahead(AHEAD));
    NatsJournal::new(&controller.bus).append(0, Bytes::from_static(b"commit")).await.unwrap();
    assert_eq!(sweep(&controller).await.objects, 0, "a commit is there that may name it");
    assert!(proxy.definition(&hash).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_stored_again_since_it_was_listed_is_not_deleted() {
    let controller = Controller::start().await;
    let proxy = controller.site.bus(&User::Proxy).await;
    proxy.definitions().put("name", "first", b"first").await.unwrap();
    let listed = controller.bus.definitions().objects().await.unwrap();
    proxy.definitions().put("name", "second", b"second").await.unwrap();
    assert!(!controller.bus.definitions().delete_unchanged(&listed[0]).await.unwrap());
    assert_eq!(proxy.definitions().get("name").await.unwrap().unwrap(), "second");
    let listed = controller.bus.definitions().objects().await.unwrap();
    assert!(controller.bus.definitions().delete_unchanged(&listed[0]).await.unwrap());
    let stream = ordo_contract::name::object_stream(&controller.bus.names().definition_store());
    assert_eq!(controller.bus.stream_info(&stream).await.unwrap().messages, 0, "nothing is left of it");
}
