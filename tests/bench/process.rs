//! What the processes cost: memory as PSS, which counts shared pages once, and processor time.

use crate::{
    RUNS, orders,
    report::{Reach, Report},
};
use anyhow::Context;
use ordo_cli::Client;
use ordo_domain::order::command::NewOrder;
use ordo_tests::Up;
use std::time::Duration;

/// Ordo's own, without NATS and PostgreSQL.
fn is_ours(name: &str) -> bool {
    name.contains('/')
}

pub async fn idle(report: &mut Report, up: &Up) -> anyhow::Result<()> {
    let mut samples = Vec::new();
    for _ in 0..RUNS {
        let before = cpu_seconds(up)?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        samples.push((cpu_seconds(up)? - before) / 5.0 * 100.0);
    }
    report.add("idle: processor of all of Ordo's processes", "% of one", samples, None).reach(Reach::AtMost(1.0));
    let pss: f64 =
        up.processes().iter().filter(|(name, _)| is_ours(name)).filter_map(|(_, pid)| pss_mib(*pid).ok()).sum();
    let memory = report.add("idle: memory of all of Ordo's processes (PSS)", "MiB", vec![pss], None);
    memory.reach(Reach::AtMost(100e6 / f64::from(1 << 20)));
    Ok(())
}

pub async fn memory_of_waiting_orders(report: &mut Report, up: &Up, client: &Client) -> anyhow::Result<()> {
    const ORDERS: usize = 100_000;
    orders::deploy(client, orders::ONE).await?;
    let names: Vec<String> = up
        .processes()
        .keys()
        .filter(|n| n.starts_with("controller/") || *n == "nats" || n.starts_with("proxy/"))
        .cloned()
        .collect();
    let due_at = Some(client.now() + chrono::TimeDelta::days(30));
    for _ in 0..ORDERS / 1_000 {
        orders::add(client, vec![NewOrder { due_at, ..orders::order("one") }; 1_000]).await?;
    }
    for name in names {
        let pid = *up.processes().get(&name).context("it runs")?;
        let mut samples = Vec::new();
        for _ in 0..RUNS {
            samples.push(pss_mib(pid)?);
        }
        report.add(format!("memory: 100,000 waiting orders, {name} (PSS)"), "MiB", samples, None);
    }
    Ok(())
}

pub fn pss_mib(pid: i32) -> anyhow::Result<f64> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).with_context(|| format!("memory of {pid}"))?;
    let line = text.lines().find_map(|l| l.strip_prefix("Pss:")).context("a line Pss")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}

fn cpu_seconds(up: &Up) -> anyhow::Result<f64> {
    let mut ticks = 0.0;
    for (_, pid) in up.processes().iter().filter(|(name, _)| is_ours(name)) {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> = stat.rsplit_once(')').context("a stat line")?.1.split_whitespace().collect();
        ticks += fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    }
    // USER_HZ is 100 on every Linux that matters (proc(5)).
    Ok(ticks / 100.0)
}
