//! The log notification in the cases that every service has to bear. Each line of the stream is told: by a rule without a
//! fold as a notice of its own, by one with a fold as one more in a count. No line is told as two.

use crate::service_case as case;
use crate::service_site::{Candidate, ServiceSite, note};
use ordo_contract::log::LogRecord;
use ordo_contract::name::StreamKind;
use ordo_contract::notice::{LogNotice, Notice};
use ordo_domain::catalog::{CatalogDefinition, DefinitionDeployed, DefinitionKind, DefinitionRemoved};
use ordo_domain::command::By;
use ordo_domain::definition::{self, Definition};
use ordo_domain::log_rule::Severity;
use ordo_domain::{ContentHash, DefinitionName, Event, UserName};
use ordo_journal::{Bus, FollowFrom, Headers, Outgoing};
use ordo_log_notification::{Config, SyslogConfig};
use ordo_runtime::{CancellationToken, DatabaseSettings, RoleSettings};
use ordo_testkit::{DatabaseRole, TestPostgres, User};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub struct LogNotification;

type Site = ServiceSite<LogNotification>;

/// Rules that are there from the beginning.
const RULES: [&str; 2] = [
    "log_rule: each\ntext: ^each \nfold: 0s\n",
    // Short: its end, where the count is told, lies between any two harms.
    "log_rule: counted\ntext: ^counted \nfold: 1500ms\n",
];
/// Lines of each kind, each time.
const LINES: usize = 6;

fn by() -> By {
    By { user: UserName::new("ops").unwrap(), reason: None }
}

/// A number in letters: digits are all alike to a fold.
fn letters(mut number: usize) -> String {
    let mut text = String::new();
    loop {
        text.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
        if number == 0 {
            return text;
        }
    }
}

async fn deploy(site: &mut Site, proxy: &Bus, text: &str) {
    let compiled = definition::read("rules.yaml", text).unwrap_or_else(|p| panic!("{p:?}"));
    for item in compiled.items {
        let Definition::Catalog(CatalogDefinition::LogRule(rule)) = &item.definition else { panic!("{text}") };
        proxy.definitions().put_by_hash("log rule", &item.body).await.unwrap();
        let of_kind = site.life.site.definitions.get(&DefinitionKind::LogRule);
        let version = of_kind.and_then(|rules| rules.get(&rule.name)).map_or(0, |rule| rule.version) + 1;
        let hash = ContentHash::of(&item.body);
        let (kind, name) = (DefinitionKind::LogRule, rule.name.clone());
        let deployed = DefinitionDeployed { kind, name, version, hash, references: Default::default(), by: by() };
        site.life.happens(Event::from(deployed));
    }
}

fn lines_file(site: &Site) -> PathBuf {
    site.folder.join("lines")
}

fn sent(site: &Site) -> Vec<String> {
    let text = std::fs::read_to_string(lines_file(site)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn say(site: &Site, bus: &Bus, message: String) {
    let record = LogRecord {
        at: chrono::Utc::now(),
        level: Severity::Info,
        target: "ordo".into(),
        message: message.clone(),
        fields: serde_json::Map::new(),
        host: "node-a".into(),
        syslog: None,
    };
    let subject = bus.names().log(bus.user(), "c1", record.level.token());
    let headers = Headers::new().message_id(&format!("{}-{}", sent(site).len(), message));
    let line = Outgoing::new(subject, headers, serde_json::to_vec(&record).unwrap());
    bus.publish(&line, &CancellationToken::new()).await.unwrap();
    note(&lines_file(site), &message);
}

async fn all(bus: &Bus, kind: StreamKind, filter: String) -> Vec<ordo_journal::Message> {
    let stream = bus.names().stream(kind);
    let last = bus.stream_info(&stream).await.unwrap().last_sequence;
    let mut all = Vec::new();
    if last > 0 {
        let mut follow = bus.follow(FollowFrom::filtered(stream, filter, 1)).await.unwrap();
        while follow.position() <= last {
            all.extend(follow.batch(1_000).await.unwrap());
        }
    }
    all
}

/// Lines that the stream still has, by text: a server that was killed may have lost the last.
async fn kept(bus: &Bus) -> BTreeMap<String, u64> {
    let mut kept = BTreeMap::new();
    for message in all(bus, StreamKind::Logs, bus.names().logs()).await {
        let record: LogRecord = serde_json::from_slice(message.payload()).unwrap();
        if record.level == Severity::Info {
            *kept.entry(record.message).or_default() += 1;
        }
    }
    kept
}

/// What was told by these rules: by text and id the highest count.
async fn told(bus: &Bus) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut told: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for message in all(bus, StreamKind::Notices, bus.names().notices()).await {
        let Notice::Log(LogNotice { id, rule, text, count, .. }) = serde_json::from_slice(message.payload()).unwrap();
        if rule.as_str() == "each" || rule.as_str() == "counted" {
            let highest = told.entry(text).or_default().entry(id).or_default();
            *highest = count.max(*highest);
        }
    }
    told
}

impl Candidate for LogNotification {
    const ROLE: &'static str = "log-notification";
    const DATABASE: DatabaseRole = DatabaseRole::LogNotification;

    fn user() -> User {
        User::LogNotification
    }

    async fn run(
        role: RoleSettings,
        database: DatabaseSettings,
        _: PathBuf,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let address = vec!["127.0.0.1:0".to_owned()];
        let syslog = SyslogConfig { udp: address.clone(), tcp: address, ..SyslogConfig::default() };
        ordo_log_notification::run(Config { role, database, syslog }, shutdown).await
    }

    /// Rules come and go, and lines come.
    async fn beside(site: &mut Site) {
        let proxy = site.site.bus(&User::Proxy).await;
        let before = sent(site).len();
        if before == 0 {
            for rule in RULES {
                deploy(site, &proxy, rule).await;
            }
        }
        let name = format!("r{}", before / 7 % 5);
        let is_there = site.life.site.deployed_definitions().any(|(_, deployed, _)| deployed.as_str() == name);
        if is_there && before.is_multiple_of(2) {
            let name = DefinitionName::new(&name).unwrap();
            site.life.happens(DefinitionRemoved { kind: DefinitionKind::LogRule, name, by: by() }.into());
        } else {
            deploy(site, &proxy, &format!("log_rule: {name}\nhosts: none\ntext: a{before}\n")).await;
        }
        if before == 0 {
            // Nobody reads yet: they are in force for the lines that follow when they are in the journal before.
            return note(&lines_file(site), "begun");
        }
        let controller = site.site.bus(&User::Controller).await;
        for n in 0..LINES {
            say(site, &controller, format!("each {}", letters(before + n))).await;
            say(site, &controller, format!("counted {}", letters(n % 3))).await;
        }
    }

    async fn missing(site: &Site) -> Vec<String> {
        let mut missing = Vec::new();
        let wanted: BTreeSet<(String, String)> = site
            .life
            .site
            .deployed_definitions()
            .map(|(_, name, deployed)| (name.to_string(), deployed.hash.to_string()))
            .collect();
        let rows = site.store().log_rules().await.unwrap_or_default();
        let found: BTreeSet<_> = rows.into_iter().map(|rule| (rule.name.to_string(), rule.hash.to_string())).collect();
        if found != wanted {
            missing.push(format!("rules {wanted:?}, there are {found:?}"));
        }
        let bus = site.site.bus(&User::LogNotification).await;
        let monitor = site.site.bus(&User::Monitor).await;
        let mut ever: BTreeMap<String, u64> = BTreeMap::new();
        for line in sent(site).into_iter().skip(1) {
            *ever.entry(line).or_default() += 1;
        }
        let (kept, told) = (kept(&bus).await, told(&monitor).await);
        for (text, times) in &ever {
            let told = told.get(text).map_or(0, |ids| ids.values().sum::<u64>());
            assert!(told <= *times, "{text}: said {times} times, told as {told}");
            let least = kept.get(text).copied().unwrap_or_default();
            if told < least {
                missing.push(format!("{text}: {least} in the stream, {told} told"));
            }
        }
        match site.store().outbox_figures(<Self as Candidate>::ROLE).await {
            Ok(figures) if figures.waiting + figures.given_up == 0 => {}
            other => missing.push(format!("{other:?}")),
        }
        missing
    }
}

#[tokio::test]
async fn killed_at_any_time_it_tells_every_line_and_none_as_two() {
    let mut site = Site::new(71).await;
    for _ in 0..3 {
        case::killed_everywhere(&mut site).await;
    }
}

#[tokio::test]
async fn of_two_log_notifications_one_tells_and_the_other_takes_over() {
    case::two_at_once(&mut Site::new(72).await).await;
}

#[tokio::test]
async fn the_log_notification_waits_for_the_bus() {
    case::bus_away(&mut Site::new(73).await).await;
}

#[tokio::test]
async fn the_log_notification_waits_for_postgresql() {
    case::database_away(&mut Site::with(74, TestPostgres::start_own().await).await).await;
}

#[tokio::test]
async fn with_an_older_copy_of_its_rows_it_tells_the_same_notices_again_and_no_others() {
    case::restored(&mut Site::new(75).await).await;
}
