//! Orders through the whole of it: proxy, controller, agent, history.

use crate::{
    RUNS,
    report::{Report, percentile},
};
use anyhow::{Context, ensure};
use ordo_cli::{Client, DeployText, deploy_texts};
use ordo_contract::request::{AddMany, AddOrdersReply, AddOrdersRequest, Asked, AwaitRequest, OrderShowReply, proxy};
use ordo_domain::{OrderId, order::command::NewOrder};
use ordo_tests::Up;
use std::{
    fmt::Write,
    time::{Duration, Instant},
};

/// One shell job.
pub const ONE: &str =
    "workflow: one\ndefaults: { agent: local }\nsteps:\n  - job: one\n    command: [sh, -c, \"true\"]\n";

pub async fn sequential(report: &mut Report, _up: &Up, client: &Client, jobs: usize) -> anyhow::Result<()> {
    let mut text = format!("workflow: sequential{jobs}\ndefaults: {{ agent: local }}\nsteps:\n");
    for i in 1..=jobs {
        writeln!(text, "  - job: step{i}\n    command: [sh, -c, \"true\"]")?;
    }
    deploy(client, &text).await?;
    let mut samples = Vec::new();
    for _ in 0..=RUNS {
        let begin = Instant::now();
        let order = add(client, vec![order(&format!("sequential{jobs}"))]).await?.remove(0);
        finished(client, &order).await?;
        samples.push(begin.elapsed().as_secs_f64());
    }
    // The first run fetches the definition and starts the runner.
    samples.remove(0);
    let spawn = report
        .value("limit: spawn of sh -c true, one thread")
        .map(|rate| format!("spawning alone: {:.3} s", jobs as f64 / rate));
    report.add(format!("sequential: {jobs} shell jobs"), "s", samples, spawn);
    Ok(())
}

pub async fn parallel(report: &mut Report, up: &Up, client: &Client) -> anyhow::Result<()> {
    const JOBS: usize = 400;
    deploy(client, ONE).await?;
    let (mut rates, mut in_history) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let before = finished_in_history(up)?;
        let begin = Instant::now();
        let orders = add(client, vec![order("one"); JOBS]).await?;
        for order in orders.iter().rev() {
            finished(client, order).await?;
        }
        rates.push(JOBS as f64 / begin.elapsed().as_secs_f64());
        wait_for_history(up, before + JOBS as i64)?;
        in_history.push(JOBS as f64 / begin.elapsed().as_secs_f64());
    }
    let limit = report.value("limit: spawn of sh -c true, four threads");
    report.add("parallel: 400 shell jobs finished", "jobs/s", rates, None);
    let bound =
        limit.map(|limit| format!("{:.0} % of the bare spawn rate", 100.0 * percentile(&in_history, 50.0) / limit));
    report.add("parallel: 400 shell jobs finished and in history", "jobs/s", in_history, bound);
    Ok(())
}

pub async fn without_a_process(report: &mut Report, up: &Up, client: &Client) -> anyhow::Result<()> {
    const ORDERS: usize = 1_000;
    deploy(client, "workflow: empty\nsteps:\n  - finish: nothing to do\n").await?;
    let (mut decided, mut in_history) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let before = finished_in_history(up)?;
        let begin = Instant::now();
        let orders = add(client, vec![order("empty"); ORDERS]).await?;
        finished(client, orders.last().context("orders")?).await?;
        decided.push(ORDERS as f64 / begin.elapsed().as_secs_f64());
        wait_for_history(up, before + ORDERS as i64)?;
        in_history.push(ORDERS as f64 / begin.elapsed().as_secs_f64());
    }
    report.add("empty: orders without a process, decided", "orders/s", decided, None);
    report.add("empty: orders without a process, in history", "orders/s", in_history, None);
    Ok(())
}

/// 100 orders a second, each due at its own time.
pub async fn due_to_started(report: &mut Report, up: &Up, client: &Client) -> anyhow::Result<()> {
    const ORDERS: usize = 200;
    deploy(client, ONE).await?;
    let (mut medians, mut high) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let begin = client.now() + chrono::TimeDelta::seconds(3);
        let due = |i: usize| NewOrder {
            due_at: Some(begin + chrono::TimeDelta::milliseconds(10 * i as i64)),
            ..order("one")
        };
        let before = finished_in_history(up)?;
        let orders = add(client, (0..ORDERS).map(due).collect()).await?;
        ensure!(orders.len() == ORDERS, "all are added");
        wait_for_history(up, before + ORDERS as i64)?;
        let delays = delays(up, &orders)?;
        medians.push(percentile(&delays, 50.0));
        high.push(percentile(&delays, 99.0));
    }
    report.add("due: due time to job started at 100 orders/s, p50", "ms", medians, None);
    report.add("due: due time to job started at 100 orders/s, p99", "ms", high, None);
    Ok(())
}

fn delays(up: &Up, orders: &[OrderId]) -> anyhow::Result<Vec<f64>> {
    let ids: Vec<String> = orders.iter().map(ToString::to_string).collect();
    let query = "select (extract(epoch from s.started_at - o.planned_at) * 1000)::float8 from steps s join orders o using (order_id) where o.order_id = any($1)";
    let rows = tokio::task::block_in_place(|| up.database().query(query, &[&ids]))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

pub fn order(workflow: &str) -> NewOrder {
    serde_json::from_value(serde_json::json!({ "workflow": workflow })).unwrap_or_else(|e| panic!("{workflow}: {e}"))
}

pub async fn deploy(client: &Client, text: &str) -> anyhow::Result<()> {
    let texts = [DeployText { file: "bench.yaml".into(), text: text.into() }];
    deploy_texts(client, &texts).await.map(drop).map_err(|e| anyhow::anyhow!("{e}"))
}

pub async fn add(client: &Client, orders: Vec<NewOrder>) -> anyhow::Result<Vec<OrderId>> {
    let question = AddOrdersRequest::Many(AddMany { orders, asked: Asked::default() });
    match client.ask("proxy", proxy::ORDER_ADD, &question).await.map_err(|e| anyhow::anyhow!("{e}"))? {
        AddOrdersReply::Many { orders } => Ok(orders),
        other => anyhow::bail!("{other:?}"),
    }
}

/// Waits for the end of an order; one that history has already is ended, too.
async fn finished(client: &Client, order: &OrderId) -> anyhow::Result<()> {
    let question = AwaitRequest { order: order.clone(), wait_ms: 20_000, after: None };
    loop {
        let answer =
            client.ask_for::<_, OrderShowReply>("proxy", proxy::ORDER_AWAIT, &question, Duration::from_secs(25)).await;
        match answer {
            Ok(shown) if shown.line.state == "finished" => return Ok(()),
            Ok(shown) if shown.line.state == "failed" => anyhow::bail!("{order} failed: {:?}", shown.failure),
            Ok(_) => {}
            Err(ordo_cli::CliError::Answer { code: 404, .. }) => return Ok(()),
            Err(error) => anyhow::bail!("{error}"),
        }
    }
}

fn finished_in_history(up: &Up) -> anyhow::Result<i64> {
    let query = "select count(*) from orders where state = 'finished'";
    Ok(tokio::task::block_in_place(|| up.database().query_one(query, &[]))?.get(0))
}

fn wait_for_history(up: &Up, wanted: i64) -> anyhow::Result<()> {
    tokio::task::block_in_place(|| {
        let mut database = up.database();
        let begin = Instant::now();
        loop {
            let there: i64 = database.query_one("select count(*) from orders where state = 'finished'", &[])?.get(0);
            if there >= wanted {
                return Ok(());
            }
            ensure!(begin.elapsed() < Duration::from_secs(120), "history has {there} of {wanted} finished orders");
            std::thread::sleep(Duration::from_millis(2));
        }
    })
}
