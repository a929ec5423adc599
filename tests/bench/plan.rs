//! The daily plan: how fast starts are planned and stored, and how exactly 100 schedules a second start their jobs.

use crate::{
    RUNS,
    orders::deploy,
    report::{Reach, Report, percentile},
};
use anyhow::{Context, ensure};
use ordo_cli::Client;
use ordo_tests::Up;
use std::time::{Duration, Instant};

/// Starts of one schedule: a tick each second for more than a day.
const STARTS: i64 = 100_000;
const SCHEDULES: usize = 100;
/// Seconds of ticks that are measured.
const TICKS: i64 = 6;

fn bulk(run: usize) -> String {
    format!(
        "workflow: idle\nsteps: [{{ finish: done }}]\n---\nschedule: bulk-{run}\nworkflow: idle\ntimes: [{{ cron: \"* * * * * *\" }}]\n\
         valid: {{ from: 2090-01-01 }}\nplan_ahead: 400d\nmax_starts: {STARTS}\n"
    )
}

/// From the deployment to the last row: 100,000 starts of one schedule, computed and stored.
pub async fn planned(report: &mut Report, up: &Up, client: &Client) -> anyhow::Result<()> {
    let mut rates = Vec::new();
    for run in 0..RUNS {
        let name = format!("bulk-{run}");
        // Far enough ahead that nothing of it is handed over; the day after tomorrow.
        let from = (chrono::Utc::now() + chrono::TimeDelta::days(2)).date_naive();
        deploy(client, &bulk(run).replace("2090-01-01", &from.to_string())).await?;
        let begin = Instant::now();
        loop {
            let there = count(up, &name)?;
            if there >= STARTS {
                break;
            }
            ensure!(begin.elapsed() < Duration::from_secs(120), "{there} of {STARTS} starts are planned");
            std::thread::sleep(Duration::from_millis(2));
        }
        rates.push(STARTS as f64 / begin.elapsed().as_secs_f64());
        up.ordo_ok(&["schedule", "remove", &name]);
    }
    report
        .add("plan: orders calculated and stored as planned", "orders/s", rates, None)
        .reach(Reach::AtLeast(20_000.0));
    Ok(())
}

fn count(up: &Up, schedule: &str) -> anyhow::Result<i64> {
    let query = "select count(*) from plan_starts where schedule = $1";
    Ok(tokio::task::block_in_place(|| up.database().query_one(query, &[&schedule]))?.get(0))
}

fn ticking() -> String {
    let schedule = |n: usize| {
        format!(
            "---\nschedule: due-{n:03}\nworkflow: one\ntimes: [{{ cron: \"* * * * * *\" }}]\nplan_ahead: 60s\nsubmit_ahead: 10s\n"
        )
    };
    let workflow = "workflow: one\ndefaults: { agent: local }\nsteps: [{ job: one, command: [\"true\"] }]\n";
    format!("{workflow}{}", (0..SCHEDULES).map(schedule).collect::<String>())
}

/// 100 schedules with a start each second: all of one second are due at the same instant.
pub async fn due_to_started(report: &mut Report, up: &Up, client: &Client) -> anyhow::Result<()> {
    deploy(client, &ticking()).await?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (mut medians, mut high, mut decided) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let from = chrono::Utc::now() + chrono::TimeDelta::seconds(1);
        let to = from + chrono::TimeDelta::seconds(TICKS);
        tokio::time::sleep(Duration::from_secs(TICKS as u64 + 2)).await;
        let begin = Instant::now();
        let (jobs, orders) = loop {
            let (jobs, orders) = delays(up, from, to)?;
            if jobs.len() == SCHEDULES * TICKS as usize {
                break (jobs, orders);
            }
            ensure!(begin.elapsed() < Duration::from_secs(60), "{} jobs started", jobs.len());
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let earliest = jobs.iter().copied().fold(f64::MAX, f64::min);
        ensure!(earliest >= 0.0, "a job started {earliest} ms too early");
        medians.push(percentile(&jobs, 50.0));
        high.push(percentile(&jobs, 99.0));
        decided.push(percentile(&orders, 99.0));
    }
    let names: Vec<String> = (0..SCHEDULES).map(|n| format!("due-{n:03}")).collect();
    let words = ["schedule", "remove"].into_iter().chain(names.iter().map(String::as_str));
    up.ordo_ok(&words.collect::<Vec<_>>());
    report.add("plan: due to job started, 100 schedules each second, p50", "ms", medians, None);
    report.add("plan: due to job started, 100 schedules each second, p99", "ms", high, None).reach(Reach::AtMost(20.0));
    report.add("plan: due to order started, 100 schedules each second, p99", "ms", decided, None);
    Ok(())
}

type Delays = Vec<f64>;

/// Of jobs and of orders that were due in this time, in milliseconds.
fn delays(
    up: &Up,
    from: chrono::DateTime<chrono::Utc>,
    to: chrono::DateTime<chrono::Utc>,
) -> anyhow::Result<(Delays, Delays)> {
    let query = "select (extract(epoch from s.started_at - p.instant) * 1000)::float8, (extract(epoch from p.started_at - p.instant) * 1000)::float8 \
        from plan_starts p join steps s using (order_id) where p.schedule like 'due-%' and p.instant > $1 and p.instant <= $2 and s.started_at is not null";
    let rows = tokio::task::block_in_place(|| up.database().query(query, &[&from, &to])).context("delays")?;
    Ok(rows.iter().map(|row| (row.get::<_, f64>(0), row.get::<_, f64>(1))).unzip())
}
