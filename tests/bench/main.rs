//! `make bench`: what Ordo reaches, beside what this machine can do, into `target/bench/report.json`.
//!
//! Each figure is the median of at least [`RUNS`] runs of one invocation; the raw limits are taken in the same one, so that
//! ratios mean something on a shared machine. `ordo-bench NAME…` measures only what begins with one of the names.
//!
//! Where an issue states what is to be reached, the figure says so: `report.add(…).reach(Reach::AtMost(20.0))`.

#[path = "../integration/bus_site.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod bus_site;
mod limits;
mod mails;
#[path = "../integration/monitor_site.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod monitor_site;
mod orders;
mod plan;
mod process;
mod projection;
mod recovery;
mod report;
mod syslog;

use ordo_tests::Up;
use report::Report;

/// Of each figure.
pub const RUNS: usize = 5;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.starts_with(w.as_str()));
    let mut report = Report::new();
    if wants("limit") {
        limits::measure(&mut report)?;
    }
    if ["idle", "sequential", "parallel", "empty", "due", "plan", "memory"].into_iter().any(wants) {
        let up = Up::start("bench");
        let client = up.client().await;
        limits::bus(&mut report, &up).await?;
        if wants("idle") {
            process::idle(&mut report, &up).await?;
        }
        if wants("sequential") {
            orders::sequential(&mut report, &up, &client, 40).await?;
            orders::sequential(&mut report, &up, &client, 400).await?;
        }
        if wants("parallel") {
            orders::parallel(&mut report, &up, &client).await?;
        }
        if wants("empty") {
            orders::without_a_process(&mut report, &up, &client).await?;
        }
        if wants("due") {
            orders::due_to_started(&mut report, &up, &client).await?;
        }
        if wants("plan") {
            plan::planned(&mut report, &up, &client).await?;
            plan::due_to_started(&mut report, &up, &client).await?;
        }
        if wants("memory") {
            process::memory_of_waiting_orders(&mut report, &up, &client).await?;
        }
    }
    if wants("mail") {
        mails::measure(&mut report).await?;
    }
    if wants("projection") {
        projection::measure(&mut report).await?;
    }
    if wants("syslog") {
        syslog::measure(&mut report, &Up::start("bench-syslog")).await?;
    }
    if wants("recovery") {
        recovery::measure(&mut report).await?;
    }
    report.write()
}
