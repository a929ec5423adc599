//! The daily plan in the cases that every service has to bear: under a real controller, each second of each schedule has one
//! order in the end, and the plan knows what became of it.

use crate::plan_site::{QUICK, journal, missing_seconds, orders_of, ticking};
use crate::service_case as case;
use crate::service_site::{Candidate, ServiceSite};
use chrono::{TimeDelta, Utc};
use ordo_contract::commit::Commit;
use ordo_domain::{Event, Instant};
use ordo_runtime::{CancellationToken, DatabaseSettings, RoleSettings};
use ordo_testkit::{DatabaseRole, TestPostgres, User};
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

#[tokio::test(flavor = "multi_thread")]
async fn the_daily_plan_killed_at_any_time_makes_each_start_once() {
    let mut site = ServiceSite::<Plan>::new(71).await;
    for _ in 0..4 {
        case::killed_everywhere(&mut site).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daily_plans_at_once_make_each_start_once() {
    let mut site = ServiceSite::<Plan>::new(72).await;
    case::two_at_once(&mut site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daily_plan_without_its_bus_makes_up_for_it() {
    let mut site = ServiceSite::<Plan>::new(73).await;
    case::bus_away(&mut site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daily_plan_without_its_database_makes_up_for_it() {
    let mut site = ServiceSite::<Plan>::with(74, TestPostgres::start_own().await).await;
    case::database_away(&mut site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daily_plan_on_an_older_backup_makes_nothing_twice() {
    let mut site = ServiceSite::<Plan>::new(75).await;
    case::restored(&mut site).await;
}
