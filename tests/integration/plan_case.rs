//! The daily plan in the cases that every service has to bear: under a real controller, each second of each schedule has one
//! order in the end, and the plan knows what became of it.

use crate::plan_site::{QUICK, journal, missing_seconds, orders_of, ticking};
use crate::service_case as case;
use crate::service_site::{Candidate, LIMIT, ServiceSite};
use chrono::{TimeDelta, Utc};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ordo_contract::commit::Commit;
use ordo_domain::{Event, Instant};
use ordo_runtime::{CancellationToken, DatabaseSettings, RoleSettings};
use ordo_testkit::{DatabaseRole, TestPostgres, User, wait_until};
use std::path::PathBuf;
use std::time::Duration;

pub struct Plan;

/// The second one changes all the time.
const SCHEDULES: [&str; 2] = ["steady", "changing"];
/// How long a commit is waited for: ticks are not made faster than they are.
const TICK: Duration = Duration::from_millis(40);

impl Candidate for Plan {
    const ROLE: &'static str = "daily-plan";
    const DATABASE: DatabaseRole = DatabaseRole::DailyPlan;
    const RULED: bool = true;

    fn user() -> User {
        User::DailyPlan
    }

    async fn run(
        role: RoleSettings,
        database: DatabaseSettings,
        _: PathBuf,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let config = ordo_daily_plan::Config { role, database, ..Default::default() };
        ordo_daily_plan::run(config, shutdown).await
    }

    async fn lives(site: &mut ServiceSite<Self>, commits: usize) {
        let ruled = site.ruled.as_ref().unwrap();
        if site.appended == 0 {
            ruled.deploy("site.yaml", &format!("{QUICK}---\n{}", ticking("steady", ""))).await;
        }
        if site.appended == 0 || commits >= 10 {
            let keep = site.appended % 97;
            let orders = format!("orders: [{{ name: default, arguments: {{ keep: {keep} }} }}]");
            ruled.deploy("changing.yaml", &ticking("changing", &orders)).await;
        }
        tokio::time::sleep(TICK * u32::try_from(commits).unwrap()).await;
    }

    async fn missing(site: &ServiceSite<Self>) -> Vec<String> {
        let now = Utc::now() - TimeDelta::seconds(2);
        let commits = journal(&site.site).await;
        let mut missing = Vec::new();
        for schedule in SCHEDULES {
            let Some(begin) = deployed_at(&commits, schedule) else { continue };
            let orders = orders_of(&commits, schedule);
            let seconds = missing_seconds(&orders, begin, now);
            if !seconds.is_empty() {
                missing.push(format!("{schedule}: no order at {seconds:?}"));
            }
            let (store, today) = (site.store(), now.date_naive());
            let mut starts = Vec::new();
            for day in [today.pred_opt().unwrap(), today] {
                starts.extend(store.plan_of_day(day, None, true, 100_000, 0).await.unwrap_or_default());
            }
            for (start, of) in orders.iter().filter(|(start, _)| start.instant <= now) {
                let row = starts.iter().find(|l| l.schedule.as_str() == schedule && l.at == start.instant);
                if row.is_none_or(|line| line.order.as_ref() != of.first() || line.state != "finished") {
                    missing.push(format!("{schedule} at {}: {of:?}, in the plan {row:?}", start.instant));
                }
            }
        }
        missing
    }
}

fn deployed_at(commits: &[Commit], schedule: &str) -> Option<Instant> {
    let deployed = |c: &&Commit| {
        let mut events = c.decisions.iter().flat_map(|d| &d.events);
        events.any(|e| matches!(e, Event::DefinitionDeployed(e) if e.name.as_str() == schedule))
    };
    commits.iter().find(deployed).map(|c| c.at)
}

/// What was handed over ahead of its time comes due, and nothing of it was lost.
async fn in_the_end(site: &ServiceSite<Plan>) {
    let instance = site.start("s1");
    tokio::time::sleep(Duration::from_secs(6)).await;
    site.wait_done().await;
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daily_plan_killed_at_any_time_makes_each_start_once() {
    let mut site = ServiceSite::<Plan>::new(71).await;
    for _ in 0..4 {
        case::killed_everywhere(&mut site).await;
    }
    in_the_end(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daily_plans_at_once_make_each_start_once() {
    let mut site = ServiceSite::<Plan>::new(72).await;
    case::two_at_once(&mut site).await;
    in_the_end(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daily_plan_without_its_bus_makes_up_for_it() {
    let mut site = ServiceSite::<Plan>::new(73).await;
    case::bus_away(&mut site).await;
    in_the_end(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daily_plan_without_its_database_makes_up_for_it() {
    let mut site = ServiceSite::<Plan>::with(74, TestPostgres::start_own().await).await;
    case::database_away(&mut site).await;
    in_the_end(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daily_plan_on_an_older_backup_makes_nothing_twice() {
    let mut site = ServiceSite::<Plan>::new(75).await;
    case::restored(&mut site).await;
    in_the_end(&site).await;
}

/// Whether something was asked of the controller, as the rows say, and is in one of these states, if any are given.
async fn asked_since(site: &ServiceSite<Plan>, at: Instant, states: &'static [&'static str]) -> bool {
    let url = site.postgres.url(DatabaseRole::Owner);
    let count = move || {
        let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
        let sql = "SELECT count(*) FROM plan_starts WHERE tried_at > $1 AND ($2 = '{}'::text[] OR state = ANY($2))";
        client.query_one(sql, &[&at, &states]).unwrap().get::<_, i64>(0)
    };
    tokio::task::spawn_blocking(count).await.unwrap() > 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daily_plan_killed_between_its_rows_and_the_bus_asks_again_and_for_nothing_twice() {
    let mut site = ServiceSite::<Plan>::new(76).await;
    // Killed, the bus has lost what it was sent; frozen, it has it and says so to nobody.
    for signal in [Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGKILL, Signal::SIGSTOP] {
        let process = site.spawn("s1", None);
        site.live(10).await;
        site.wait_caught_up().await;
        // It is in its stride: what it does next is to hand over the next second.
        let there = Utc::now() + TimeDelta::milliseconds(500);
        wait_until(LIMIT, "starts are asked for", async || asked_since(&site, there, &[]).await).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        kill(Pid::from_raw(site.site.nats.pid()), signal).unwrap();
        let away = Utc::now();
        wait_until(LIMIT, "starts are asked for", async || asked_since(&site, away, &["sent"]).await).await;
        process.kill();
        match signal {
            Signal::SIGSTOP => kill(Pid::from_raw(site.site.nats.pid()), Signal::SIGCONT).unwrap(),
            _ => site.site.nats.start_again().await,
        }
    }
    in_the_end(&site).await;
}
