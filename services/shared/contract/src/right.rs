//! Who may publish and subscribe what: the least that each kind of user needs, computed from `name.rs`.
//!
//! The server checks the subjects of what a client publishes and subscribes, never the subject that it names for the
//! reply. A client can thus have an answer of the server, or of a service, published to a subject that it may not publish
//! itself, an administrative one too (seen on 2.15.1: the empty "nothing found" of a read, sent to the subject that
//! deletes a stream, deletes it). Hence three rules:
//! - agents live in an account of their own ([`Account`]): what is answered to them stays there;
//! - who lives in the site's account and is not trusted with it, people, has no right whose answer is empty or of its own
//!   making (no direct get, no pull, no consumer); other answers are refused by the API, which takes no unknown fields;
//! - a message counts only when it carries the subject that it was meant for ([`ADDRESS_HEADER`]).

use crate::name::{SiteNames, StreamKind, agent_user, inbox_prefix, kv_stream, kv_subject, object_stream, token};
use std::time::Duration;

/// The subject that the sender of a message meant. What lies in a stream without it, or with another, is an answer that
/// somebody had sent there, and no fact, command, job or report.
pub const ADDRESS_HEADER: &str = "Ordo-To";

/// Whom a credential is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum User {
    Controller,
    Proxy,
    History,
    DailyPlan,
    Monitor,
    LogNotification,
    Cleanup,
    /// By the agent's name, not by instance: twins share it.
    Agent(String),
    Person(String),
}

/// In which account of the NATS server a user lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// Services and people. Holds the streams.
    Site,
    /// Agents. No streams; reaches only what [`offered_to_agents`] lists.
    Agents,
}

/// What one account offers to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// What the other may publish to us. `many` = one request may have several answers.
    Service { subject: String, many: bool },
    /// What the other may hear of us.
    Stream { subject: String },
}

impl Offer {
    pub fn subject(&self) -> &str {
        match self {
            Offer::Service { subject, .. } | Offer::Stream { subject } => subject,
        }
    }
}

/// What the site's account offers to the agents' account: all that any agent needs. Which agent may use which subject
/// is a matter of each agent's own rights.
pub fn offered_to_agents(names: &SiteNames) -> Vec<Offer> {
    let (site, jobs, reports) = (names.site(), names.stream(StreamKind::Jobs), names.stream(StreamKind::Reports));
    let definitions = object_stream(&names.definition_store());
    let one = |subject: String| Offer::Service { subject, many: false };
    let many = |subject: String| Offer::Service { subject, many: true };
    vec![
        one(format!("ordo.{site}.report.>")),
        one(format!("ordo.{site}.output.>")),
        one(format!("ordo.{site}.log.>")),
        one(format!("ordo.{site}.request.>")),
        one(kv_subject(&names.instance_bucket(), ">")),
        many(format!("$JS.API.CONSUMER.MSG.NEXT.{jobs}.*")),
        one(format!("$JS.ACK.{jobs}.>")),
        one(format!("$JS.ACK.*.*.{jobs}.>")),
        one(format!("$JS.API.DIRECT.GET.{reports}.ordo.{site}.report.>")),
        one(format!("$JS.API.DIRECT.GET.{definitions}")),
        one(format!("$JS.API.DIRECT.GET.{definitions}.>")),
        Offer::Stream { subject: format!("ordo.{site}.deliver.>") },
    ]
}

/// What the agents' account offers to the site's: to be asked, and to be found by `nats micro`.
pub fn offered_by_agents(names: &SiteNames) -> Vec<Offer> {
    let asked = format!("ordo.{}.instance.>", names.site());
    vec![Offer::Service { subject: asked, many: false }, Offer::Service { subject: "$SRV.>".to_owned(), many: true }]
}

/// Allowed and denied subjects. Deny wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subjects {
    pub allow: Vec<String>,
    pub deny: Vec<String>,
}

/// Leave to answer the reply subjects of received requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Responses {
    pub max: u32,
    pub within: Duration,
}

/// The rights of one user, as they go into its JWT or into a server's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    pub publish: Subjects,
    pub subscribe: Subjects,
    pub responses: Option<Responses>,
}

impl User {
    /// The NATS user name. It is the role token of services in requests, logs, leases and heartbeats, too.
    pub fn name(&self) -> String {
        match self {
            User::Controller => "controller".to_owned(),
            User::Proxy => "proxy".to_owned(),
            User::History => "history".to_owned(),
            User::DailyPlan => "daily-plan".to_owned(),
            User::Monitor => "monitor".to_owned(),
            User::LogNotification => "log-notification".to_owned(),
            User::Cleanup => "cleanup".to_owned(),
            User::Agent(name) => agent_user(name),
            User::Person(name) => token(name),
        }
    }

    pub fn account(&self) -> Account {
        match self {
            User::Agent(_) => Account::Agents,
            _ => Account::Site,
        }
    }

    /// Every service; agents and people come by name.
    pub const SERVICES: [User; 7] = [
        User::Controller,
        User::Proxy,
        User::History,
        User::DailyPlan,
        User::Monitor,
        User::LogNotification,
        User::Cleanup,
    ];

    /// Names that no person may have, because a service or an agent has or will have them.
    pub fn is_reserved(name: &str) -> bool {
        const ROLES: [&str; 10] = [
            "controller",
            "proxy",
            "history",
            "daily-plan",
            "cleanup",
            "monitor",
            "log-notification",
            "cockpit",
            "agent",
            "ordo",
        ];
        ROLES.contains(&name) || name.starts_with("agent-")
    }

    /// The rights of this user on the bus of a site.
    pub fn permissions(&self, names: &SiteNames) -> Permissions {
        let mut rights = Rights::new(names, self.name());
        match self {
            User::Controller => controller(&mut rights),
            User::Proxy => proxy(&mut rights),
            User::History => history(&mut rights),
            User::DailyPlan => daily_plan(&mut rights),
            User::Monitor => monitor(&mut rights),
            User::LogNotification => log_notification(&mut rights),
            User::Cleanup => acts_by_definitions(&mut rights),
            User::Agent(name) => agent(&mut rights, name),
            User::Person(_) => person(&mut rights),
        }
        rights.permissions
    }
}

/// Collects rights; each function is one thing that a role does.
struct Rights<'a> {
    names: &'a SiteNames,
    user: String,
    permissions: Permissions,
}

impl<'a> Rights<'a> {
    fn new(names: &'a SiteNames, user: String) -> Self {
        let mut rights = Self { names, user, permissions: Permissions::default() };
        let inbox = format!("{}.>", inbox_prefix(&rights.user));
        rights.subscribe(inbox);
        rights
    }

    fn publish(&mut self, subject: impl Into<String>) {
        self.permissions.publish.allow.push(subject.into());
    }

    fn deny_publish(&mut self, subject: impl Into<String>) {
        self.permissions.publish.deny.push(subject.into());
    }

    fn subscribe(&mut self, subject: impl Into<String>) {
        self.permissions.subscribe.allow.push(subject.into());
    }

    fn api(&mut self, rest: impl std::fmt::Display) {
        self.publish(format!("$JS.API.{rest}"));
    }

    /// Asks others under its own name.
    fn ask(&mut self) {
        let (site, user) = (self.names.site(), token(&self.user));
        let (request, instance) = (format!("ordo.{site}.request.{user}.>"), format!("ordo.{site}.instance.{user}.>"));
        self.publish(request);
        self.publish(instance);
    }

    /// Answers requests to its role and to its instances, and the discovery of `nats micro`.
    fn answer(&mut self) {
        let (site, role) = (self.names.site(), token(&self.user));
        let subjects = [format!("ordo.{site}.request.*.{role}.>"), format!("ordo.{site}.instance.*.{role}.>")];
        subjects.into_iter().for_each(|subject| self.subscribe(subject));
        for verb in ["PING", "INFO", "STATS"] {
            self.subscribe(format!("$SRV.{verb}"));
            self.subscribe(format!("$SRV.{verb}.>"));
        }
        self.permissions.responses = Some(Responses { max: 16, within: Duration::from_secs(300) });
    }

    /// Writes its warnings and its heartbeats.
    fn tell_of_itself(&mut self) {
        let role = token(&self.user);
        self.publish(format!("ordo.{}.log.{role}.>", self.names.site()));
        self.publish(kv_subject(&self.names.instance_bucket(), &format!("{role}.*")));
    }

    /// Takes and follows the lease of its role.
    fn lease(&mut self) {
        let key = kv_subject(&self.names.lease_bucket(), &token(&self.user));
        self.publish(key);
        self.watch_bucket(&self.names.lease_bucket());
    }

    /// Reads single messages and figures of a stream, from its leader.
    fn look_into(&mut self, stream: &str) {
        self.api(format_args!("STREAM.INFO.{stream}"));
        self.api(format_args!("STREAM.MSG.GET.{stream}"));
        self.api(format_args!("CONSUMER.INFO.{stream}.*"));
    }

    /// Reads a stream by a consumer of its own, which others cannot disturb and with which it cannot disturb others'.
    fn follow(&mut self, stream: &str) {
        self.look_into(stream);
        self.api(format_args!("CONSUMER.CREATE.{stream}.*.>"));
        self.api(format_args!("CONSUMER.MSG.NEXT.{stream}.*"));
        for (_, durable) in self.names.service_consumers() {
            for verb in ["CONSUMER.CREATE", "CONSUMER.MSG.NEXT"] {
                let denied = format!("$JS.API.{verb}.{stream}.{}", durable.name);
                self.deny_publish(format!("{denied}.>"));
                if !self.permissions.publish.allow.contains(&denied) {
                    self.deny_publish(denied);
                }
            }
        }
    }

    fn watch_bucket(&mut self, bucket: &str) {
        self.follow(&kv_stream(bucket));
    }

    /// Pulls from a durable that somebody else created. Before `follow` on the same stream.
    fn pull(&mut self, stream: &str, durable: &str) {
        self.api(format_args!("CONSUMER.MSG.NEXT.{stream}.{durable}"));
        self.api(format_args!("CONSUMER.INFO.{stream}.{durable}"));
        self.ack(stream, durable);
    }

    /// Acknowledges; both forms of the subject, because servers from 2.15 may switch to the second.
    fn ack(&mut self, stream: &str, durable: &str) {
        self.publish(format!("$JS.ACK.{stream}.{durable}.>"));
        self.publish(format!("$JS.ACK.*.*.{stream}.{durable}.>"));
    }

    fn read_store(&mut self, store: &str) {
        let stream = object_stream(store);
        self.api(format_args!("DIRECT.GET.{stream}"));
        self.api(format_args!("DIRECT.GET.{stream}.>"));
    }

    /// From the leader, which shows whether they are genuine.
    fn read_snapshots(&mut self) {
        let store = self.names.snapshot_store();
        self.read_store(&store);
        self.api(format_args!("STREAM.MSG.GET.{}", object_stream(&store)));
    }

    fn write_store(&mut self, store: &str) {
        let stream = object_stream(store);
        self.read_store(store);
        self.api(format_args!("STREAM.INFO.{stream}"));
        self.api(format_args!("STREAM.MSG.GET.{stream}"));
        self.api(format_args!("STREAM.PURGE.{stream}"));
        self.publish(format!("$O.{store}.C.>"));
        self.publish(format!("$O.{store}.M.>"));
    }
}

/// The only writer of the journal and of jobs, and the only administrator of the site's streams.
fn controller(rights: &mut Rights<'_>) {
    let names = rights.names;
    let site = names.site();
    rights.publish(names.journal());
    rights.publish(format!("ordo.{site}.job.*.start.*"));
    rights.publish(format!("ordo.{site}.job.*.kill.*"));
    // A run that nobody claimed yet is killed by claiming it as refused.
    rights.publish(format!("ordo.{site}.report.*.accepted.*"));
    rights.api(format_args!("DIRECT.GET.{}.ordo.{site}.report.*.accepted.*", names.stream(StreamKind::Reports)));
    rights.publish(format!("$KV.{}.>", names.desired_bucket()));
    rights.ask();
    rights.answer();
    rights.tell_of_itself();
    let lease = kv_subject(&names.lease_bucket(), "controller");
    rights.publish(lease);
    rights.write_store(&names.snapshot_store());
    rights.read_store(&names.definition_store());
    // Bodies that nothing uses any more.
    rights.publish(format!("$O.{}.M.>", names.definition_store()));
    rights.api("INFO");
    rights.api("STREAM.NAMES");
    rights.api("STREAM.LIST");
    let streams = StreamKind::ALL.into_iter().map(|kind| names.stream(kind));
    let buckets = names.buckets();
    let kv = [&buckets.lease, &buckets.instance, &buckets.desired].map(|bucket| kv_stream(bucket));
    let stores = [&buckets.snapshot, &buckets.definition].map(|store| object_stream(store));
    for stream in streams.chain(kv).chain(stores) {
        for verb in ["CREATE", "UPDATE", "INFO", "PURGE", "MSG.GET"] {
            rights.api(format_args!("STREAM.{verb}.{stream}"));
        }
        for verb in ["CREATE", "INFO", "DELETE", "NAMES", "LIST", "MSG.NEXT"] {
            rights.api(format_args!("CONSUMER.{verb}.{stream}"));
            rights.api(format_args!("CONSUMER.{verb}.{stream}.>"));
        }
    }
}

fn proxy(rights: &mut Rights<'_>) {
    let names = rights.names;
    rights.publish(names.commands());
    rights.publish(names.feeds());
    rights.ask();
    rights.answer();
    rights.tell_of_itself();
    rights.lease();
    rights.pull(&names.stream(StreamKind::Journal), "proxy");
    rights.follow(&names.stream(StreamKind::Journal));
    rights.follow(&names.stream(StreamKind::Output));
    rights.watch_bucket(&names.instance_bucket());
    rights.read_snapshots();
    rights.write_store(&names.definition_store());
}

fn history(rights: &mut Rights<'_>) {
    let names = rights.names;
    rights.ask();
    rights.answer();
    rights.tell_of_itself();
    rights.lease();
    rights.pull(&names.stream(StreamKind::Journal), "history");
    rights.pull(&names.stream(StreamKind::Output), "history-output");
    // Its position may lie before what its durable acknowledged: a restored database reads the journal again.
    rights.follow(&names.stream(StreamKind::Journal));
    rights.follow(&names.stream(StreamKind::Output));
    rights.watch_bucket(&names.instance_bucket());
    rights.read_snapshots();
    rights.read_store(&names.definition_store());
}

/// What every service has that acts by definitions: it reads the journal by its durable, is active by lease, asks and
/// answers.
fn acts_by_definitions(rights: &mut Rights<'_>) {
    let names = rights.names;
    rights.ask();
    rights.answer();
    rights.tell_of_itself();
    rights.lease();
    let durable = rights.user.clone();
    rights.pull(&names.stream(StreamKind::Journal), &durable);
    rights.follow(&names.stream(StreamKind::Journal));
    rights.watch_bucket(&names.instance_bucket());
    rights.read_store(&names.definition_store());
}

fn daily_plan(rights: &mut Rights<'_>) {
    acts_by_definitions(rights);
    for (noun, verb) in DAILY_PLAN_COMMANDS {
        rights.publish(rights.names.command(noun, verb));
    }
}

/// What the daily plan may ask the controller without the proxy; the controller refuses under these subjects what is
/// another command.
pub const DAILY_PLAN_COMMANDS: [(&str, &str); 3] = [("order", "add"), ("order", "cancel"), ("schedule", "note")];

fn monitor(rights: &mut Rights<'_>) {
    let names = rights.names;
    rights.pull(&names.stream(StreamKind::Notices), "monitor-notices");
    rights.follow(&names.stream(StreamKind::Notices));
    acts_by_definitions(rights);
    rights.publish(format!("ordo.{}.notice.>", names.site()));
}

fn log_notification(rights: &mut Rights<'_>) {
    let names = rights.names;
    rights.pull(&names.stream(StreamKind::Logs), "log-notification-logs");
    rights.follow(&names.stream(StreamKind::Logs));
    acts_by_definitions(rights);
    rights.publish(format!("ordo.{}.notice.log.>", names.site()));
    // What its listener brings from outside.
    rights.publish(format!("ordo.{}.log.{}.>", names.site(), crate::log::SYSLOG));
}

fn agent(rights: &mut Rights<'_>, agent: &str) {
    let names = rights.names;
    let (site, name) = (names.site(), token(agent));
    let jobs = names.stream(StreamKind::Jobs);
    rights.publish(format!("ordo.{site}.report.{name}.>"));
    rights.publish(format!("ordo.{site}.output.{name}.*"));
    rights.ask();
    rights.answer();
    rights.tell_of_itself();
    rights.api(format_args!("CONSUMER.MSG.NEXT.{jobs}.{}", names.starts_consumer(agent)));
    rights.ack(&jobs, &names.starts_consumer(agent));
    rights.ack(&jobs, &names.kills_consumer(agent));
    rights.subscribe(names.kill_delivery(agent));
    // Its own claims, see `bus_config.rs`.
    let reports = names.stream(StreamKind::Reports);
    rights.api(format_args!("DIRECT.GET.{reports}.ordo.{site}.report.{name}.accepted.*"));
    rights.read_store(&names.definition_store());
}

/// Requests under the own name, the feed, and what the lines of the `nats` CLI read. Nothing that writes a stream.
fn person(rights: &mut Rights<'_>) {
    let names = rights.names;
    rights.ask();
    // The `nats` CLI cannot be told another inbox by its environment. Services and agents receive elsewhere.
    rights.subscribe("_INBOX.>");
    rights.subscribe(names.feeds());
    for verb in ["PING", "INFO", "STATS"] {
        rights.publish(format!("$SRV.{verb}"));
        rights.publish(format!("$SRV.{verb}.>"));
    }
    rights.api("INFO");
    rights.api("STREAM.NAMES");
    rights.api("STREAM.LIST");
    let buckets = names.buckets();
    let kv = [&buckets.lease, &buckets.instance, &buckets.desired].map(|bucket| kv_stream(bucket));
    let stores = [&buckets.snapshot, &buckets.definition].map(|store| object_stream(store));
    for bucket in &kv {
        rights.api(format_args!("STREAM.MSG.GET.{bucket}"));
    }
    for stream in StreamKind::ALL.into_iter().map(|kind| names.stream(kind)).chain(kv).chain(stores) {
        rights.api(format_args!("STREAM.INFO.{stream}"));
        rights.api(format_args!("CONSUMER.NAMES.{stream}"));
        rights.api(format_args!("CONSUMER.LIST.{stream}"));
        rights.api(format_args!("CONSUMER.INFO.{stream}.*"));
    }
}

#[cfg(test)]
#[path = "right_tests.rs"]
mod tests;
