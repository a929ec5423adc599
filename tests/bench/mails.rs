//! From the failure of an order in the journal to its mail in the mail server's folder, with history beside the monitor.

use crate::monitor_site::MonitorSite;
use crate::report::{Reach, Report, percentile};
use anyhow::Context;
use ordo_contract::request::history;
use ordo_runtime::{BusSettings, CancellationToken, RoleSettings};
use ordo_testkit::smtp::ReceivedMail;
use ordo_testkit::{DatabaseRole, User, wait_until};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// In each run, one after the other; each is told by a rule of its own, because one rule mails twenty a minute.
const ORDERS: usize = 60;
const APART: Duration = Duration::from_millis(50);

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let mut it = MonitorSite::new().await;
    for n in 0..ORDERS {
        it.deploy(&format!("rule: r{n}\nworkflows: [w{n}]\non: [failed]\nnotify: [ops@example.org]\nfold: 0s\n")).await;
    }
    let stop = CancellationToken::new();
    let bus = it.site.config(&User::History);
    let history = ordo_history::Config {
        role: RoleSettings {
            site: "default".into(),
            instance: "h1".into(),
            node: "node-a".into(),
            data: it.folder.join("h1"),
            nats: BusSettings { url: bus.url, creds: bus.creds, ..BusSettings::default() },
        },
        database: it.postgres.settings(DatabaseRole::History),
        ..ordo_history::Config::default()
    };
    let history = tokio::spawn(ordo_history::run(history, stop.clone()));
    let monitor = it.start("m1");
    it.wait_served().await;
    let (noun, verb) = history::ORDER_LIST.split_once('.').context("noun.verb")?;
    let subject = it.person.names().request("ops", "history", noun, verb);
    wait_until(Duration::from_secs(30), "history answers", async || {
        it.person.request(&subject, "{}", Duration::from_secs(2)).await.is_ok()
    })
    .await;
    it.wait_caught_up().await;
    let (mut medians, mut high) = (Vec::new(), Vec::new());
    for run in 0..=crate::RUNS {
        let mut failed_at = BTreeMap::new();
        for n in 0..ORDERS {
            let order = format!("20261122-D{}-w{n}", run * ORDERS + n + 1);
            it.add(&order, &format!("w{n}")).await;
            it.start_order(&order).await;
            failed_at.insert(order.clone(), now_ms());
            it.fail(&order).await;
            tokio::time::sleep(APART).await;
        }
        let mails = it.wait_mails((run + 1) * ORDERS).await;
        let late = |(order, at): (&String, &u64)| {
            let told = mails.iter().find(|mail: &&ReceivedMail| mail.names(order)).map(|mail| mail.at_ms);
            told.map(|told| told.saturating_sub(*at) as f64)
        };
        let delays: Vec<f64> = failed_at.iter().filter_map(late).collect();
        anyhow::ensure!(delays.len() == ORDERS, "{} of {ORDERS} are told", delays.len());
        // The first run opens connections and prepares statements.
        if run > 0 {
            medians.push(percentile(&delays, 50.0));
            high.push(percentile(&delays, 99.0));
        }
    }
    report.add("mail: order failed to mail accepted, p50", "ms", medians, None).reach(Reach::AtMost(1_000.0));
    report.add("mail: order failed to mail accepted, p99", "ms", high, None).reach(Reach::AtMost(3_000.0));
    stop.cancel();
    monitor.stop().await;
    history.await??;
    Ok(())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}
