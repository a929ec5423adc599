//! The cleanup put through what every service has to bear, with a run under way: all that is old goes, nothing is counted
//! twice, and the retention that holds is the last one of the journal.

use crate::cleanup_store::{old_orders, rows, sql};
use crate::service_case as case;
use crate::service_site::{Candidate, LIMIT, ServiceSite};
use chrono::{TimeDelta, Utc};
use ordo_domain::catalog::DefinitionKind;
use ordo_domain::{ContentHash, definition};
use ordo_runtime::{CancellationToken, DatabaseSettings, RoleSettings};
use ordo_testkit::{DatabaseRole, TestPostgres, User, wait_until};
use std::path::PathBuf;

/// The window is always open, batches are as small as can be, and nobody is there to take away what lies on the bus.
const RETENTION: &str = "retention: default
window: { from: 00:00, to: 00:00 }
batch: 10
keep: { orders: 20d, events: forever, commands: forever, plan: forever, notifications: forever, logs: forever,
        snapshots: forever, journal: forever, definitions: forever }
";
/// With a branch each.
const OLD: u32 = 900;

pub struct Cleanup;

impl Candidate for Cleanup {
    const ROLE: &'static str = "cleanup";
    const DATABASE: DatabaseRole = DatabaseRole::Cleanup;

    fn user() -> User {
        User::Cleanup
    }

    async fn run(
        role: RoleSettings,
        database: DatabaseSettings,
        _: PathBuf,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        ordo_cleanup::run(ordo_cleanup::Config { role, database }, shutdown).await
    }

    async fn missing(site: &ServiceSite<Self>) -> Vec<String> {
        let owner = |text: &'static str| sql(&site.postgres, DatabaseRole::Owner, text);
        let mut missing = Vec::new();
        let left = owner("SELECT count(*) FROM orders WHERE order_id LIKE '20200101-%-old%'").await.unwrap();
        if left != "0" {
            missing.push(format!("{left} old orders are there"));
        }
        let deployed = site.life.deployed().map_or_else(String::new, |version| version.to_string());
        let known = owner("SELECT version FROM cleanup_retention").await.unwrap();
        if known != deployed {
            missing.push(format!("version {known:?} of the retention, not {deployed:?}"));
        }
        missing
    }
}

async fn site(seed: u64, postgres: TestPostgres) -> ServiceSite<Cleanup> {
    let mut site = ServiceSite::<Cleanup>::with(seed, postgres).await;
    let body = &definition::read("retention.yaml", RETENTION).unwrap().items[0].body;
    site.site.bus(&User::Proxy).await.definitions().put_by_hash("retention", body).await.unwrap();
    site.life.definition = Some((DefinitionKind::Retention, "default".parse().unwrap(), ContentHash::of(body)));
    old_orders(&site.postgres, "old", OLD, Utc::now() - TimeDelta::days(30)).await;
    old_orders(&site.postgres, "young", 10, Utc::now() - TimeDelta::days(10)).await;
    site
}

/// Orders that all runs together say they deleted, without those of dry runs.
async fn counted(postgres: &TestPostgres) -> u64 {
    let text = "SELECT coalesce(sum((s.counts->>'orders')::bigint), 0) FROM cleanup_steps s JOIN cleanup_runs r USING (run) \
        WHERE NOT r.dry_run";
    sql(postgres, DatabaseRole::Owner, text).await.unwrap().parse().unwrap()
}

/// After all: what was there and young is there, and what went was counted once.
async fn nothing_too_much(site: &ServiceSite<Cleanup>) {
    assert_eq!(rows(&site.postgres, "orders").await, 20);
    assert_eq!(counted(&site.postgres).await, 2 * u64::from(OLD));
}

#[tokio::test]
async fn killed_at_any_time_the_cleanup_goes_on_and_counts_nothing_twice() {
    let mut site = site(81, TestPostgres::start().await).await;
    case::killed_everywhere(&mut site).await;
    nothing_too_much(&site).await;
}

#[tokio::test]
async fn of_two_at_once_one_cleans_up() {
    let mut site = site(82, TestPostgres::start().await).await;
    case::two_at_once(&mut site).await;
    nothing_too_much(&site).await;
}

#[tokio::test]
async fn the_bus_is_waited_for_by_the_cleanup() {
    let mut site = site(83, TestPostgres::start().await).await;
    case::bus_away(&mut site).await;
    nothing_too_much(&site).await;
}

#[tokio::test]
async fn postgresql_is_waited_for_by_the_cleanup() {
    let mut site = site(84, TestPostgres::start_own().await).await;
    case::database_away(&mut site).await;
    nothing_too_much(&site).await;
}

#[tokio::test]
async fn an_older_copy_of_the_database_is_cleaned_up_from_where_it_was() {
    let mut site = site(85, TestPostgres::start().await).await;
    let instance = site.start("s1");
    site.live(20).await;
    wait_until(LIMIT, "some batches", async || counted(&site.postgres).await > 100).await;
    let copy = site.postgres.dump();
    site.wait_done().await;
    instance.stop().await;
    site.postgres = TestPostgres::start().await;
    site.postgres.restore(&copy);
    assert!(counted(&site.postgres).await < 2 * u64::from(OLD), "the copy was made in the middle of a run");
    let instance = site.start("s1");
    site.wait_done().await;
    instance.stop().await;
    nothing_too_much(&site).await;
    case::restored(&mut site).await;
}
