//! The monitor put through what every service has to bear: whatever happened on the way, what it noted is what a monitor notes
//! that reads the same journal once and undisturbed, and of each mail there is one.

use crate::cleanup_store::sql;
use crate::service_case as case;
use crate::service_site::{Candidate, ServiceSite};
use chrono::{TimeDelta, Utc};
use ordo_domain::catalog::DefinitionKind;
use ordo_domain::{ContentHash, definition};
use ordo_runtime::{CancellationToken, DatabaseSettings, RoleSettings};
use ordo_testkit::{DatabaseRole, TestPostgres, User};
use std::path::PathBuf;

const RULE: &str = "rule: nights\non: [failed, recovered]\nnotify: [ops@example.org]\nfold: 1s\n";

/// Each notification but for what people and the wall clock do.
const NOTED: &str =
    "SELECT string_agg(concat_ws(' ', id, kind, object, state, rules::text), E'\\n' ORDER BY id) FROM notifications";
/// Mails that were made and not handed over yet.
const WAITING: &str = "SELECT count(*) FROM deliveries WHERE state = 'waiting'";

pub struct Monitor;

impl Candidate for Monitor {
    const ROLE: &'static str = "monitor";
    const DATABASE: DatabaseRole = DatabaseRole::Monitor;

    fn user() -> User {
        User::Monitor
    }

    async fn run(
        role: RoleSettings,
        database: DatabaseSettings,
        folder: PathBuf,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut config = ordo_monitor::Config { role, database, ..ordo_monitor::Config::default() };
        config.mail.folder = folder.join("mails");
        config.mail.facts_within_ms = 10;
        ordo_monitor::run(config, shutdown).await
    }

    async fn missing(site: &ServiceSite<Self>) -> Vec<String> {
        let waiting = sql(&site.postgres, DatabaseRole::Owner, WAITING).await.unwrap();
        if waiting == "0" { Vec::new() } else { vec![format!("{waiting} mails are not handed over")] }
    }
}

async fn site(seed: u64, postgres: TestPostgres) -> ServiceSite<Monitor> {
    let mut site = ServiceSite::<Monitor>::with(seed, postgres).await;
    let body = &definition::read("rule.yaml", RULE).unwrap().items[0].body;
    site.site.bus(&User::Proxy).await.definitions().put_by_hash("rule", body).await.unwrap();
    site.life.definition = Some((DefinitionKind::Rule, "nights".parse().unwrap(), ContentHash::of(body)));
    // Of this night: what is older wakes nobody.
    site.life.at = Utc::now() - TimeDelta::hours(3);
    site
}

/// What is noted is right, and each mail is one file.
async fn noted_as_if_undisturbed(mut site: ServiceSite<Monitor>) {
    let noted = sql(&site.postgres, DatabaseRole::Owner, NOTED).await.unwrap();
    assert!(noted.lines().filter(|line| line.contains(" failed ")).count() > 0, "nothing failed:\n{noted}");
    let ids = message_ids(&site);
    assert!(!ids.is_empty(), "nobody was told");
    let mut once = ids.clone();
    once.dedup();
    assert_eq!(once, ids, "a mail was made twice");

    site.postgres = TestPostgres::start().await;
    let instance = site.start("s9");
    site.wait_caught_up().await;
    instance.stop().await;
    let undisturbed = sql(&site.postgres, DatabaseRole::Owner, NOTED).await.unwrap();
    assert_eq!(noted, undisturbed);
}

/// Sorted.
fn message_ids(site: &ServiceSite<Monitor>) -> Vec<String> {
    let files = std::fs::read_dir(site.folder.join("mails")).unwrap().flatten();
    let mut ids: Vec<String> = files
        .filter_map(|file| {
            let text = std::fs::read_to_string(file.path()).unwrap();
            let id = text.lines().find_map(|line| line.strip_prefix("Message-ID: "))?;
            let to = text.lines().find_map(|line| line.strip_prefix("To: "))?;
            Some(format!("{id} {to}"))
        })
        .collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn killed_at_any_time_the_monitor_notes_each_failure_once() {
    let mut site = site(91, TestPostgres::start().await).await;
    case::killed_everywhere(&mut site).await;
    noted_as_if_undisturbed(site).await;
}

#[tokio::test]
async fn of_two_monitors_at_once_one_notes() {
    let mut site = site(92, TestPostgres::start().await).await;
    case::two_at_once(&mut site).await;
    noted_as_if_undisturbed(site).await;
}

#[tokio::test]
async fn the_bus_is_waited_for_by_the_monitor() {
    let mut site = site(93, TestPostgres::start().await).await;
    case::bus_away(&mut site).await;
    noted_as_if_undisturbed(site).await;
}

#[tokio::test]
async fn postgresql_is_waited_for_by_the_monitor() {
    let mut site = site(94, TestPostgres::start_own().await).await;
    case::database_away(&mut site).await;
    noted_as_if_undisturbed(site).await;
}

#[tokio::test]
async fn an_older_copy_of_the_database_is_noted_up_from_where_it_was() {
    let mut site = site(95, TestPostgres::start().await).await;
    case::restored(&mut site).await;
    noted_as_if_undisturbed(site).await;
}
