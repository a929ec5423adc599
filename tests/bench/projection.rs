//! How fast history's projection writes, against the bare COPY of as many rows in the same run.

use crate::{
    RUNS,
    report::{Report, median},
};
use anyhow::Context;
use chrono::{DateTime, TimeDelta};
use ordo_contract::commit::{COMMIT_VERSION, Cause, Commit, Decision, MessageCause, Source, chain_hash};
use ordo_domain::Event;
use ordo_store::{Connect, Message, Store};
use ordo_testkit::{DatabaseRole, TestPostgres};
use serde_json::json;
use std::{io::Write, time::Instant};

const ORDERS: u64 = 5_000;
/// Orders that move in one commit.
const TOGETHER: u64 = 50;
/// Commits in one transaction.
const BATCH: usize = 100;

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let commits = journal()?;
    let (mut batches, mut single, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        batches.push(project(&commits, BATCH).await?);
        single.push(project(&commits[..commits.len() / 4], 1).await?);
        let postgres = TestPostgres::start().await;
        let url = postgres.url(DatabaseRole::Owner);
        bare.push(tokio::task::block_in_place(|| bare_copy(&url, ORDERS * 6))?);
    }
    report.add("limit: bare COPY of rows like those of events", "rows/s", bare, None);
    let limit = report.value("limit: bare COPY of rows like those of events");
    let share = |rate: &[f64]| limit.map(|limit| format!("{:.0} % of bare COPY", 100.0 * median(rate) / limit));
    let bound = share(&batches);
    report.add("projection: events into PostgreSQL, 100 commits a transaction", "events/s", batches, bound);
    let bound = share(&single);
    report.add("projection: events into PostgreSQL, one commit a transaction", "events/s", single, bound);
    Ok(())
}

/// Events a second, into an empty database.
async fn project(commits: &[Vec<u8>], batch: usize) -> anyhow::Result<f64> {
    let postgres = TestPostgres::start().await;
    let store = Store::open(&Connect::new(postgres.url(DatabaseRole::History), None))?;
    let messages: Vec<Message<'_>> =
        commits.iter().zip(1..).map(|(bytes, sequence)| Message { sequence, bytes }).collect();
    let mut projection = store.projection("ORDO-default-JOURNAL", "bench").await?;
    let begin = Instant::now();
    let mut events = 0;
    for batch in messages.chunks(batch) {
        events += projection.write(batch).await?.events;
    }
    Ok(events as f64 / begin.elapsed().as_secs_f64())
}

/// Every order from `OrderAdded` to `OrderFinished`, each event in a later commit than the one before.
fn journal() -> anyhow::Result<Vec<Vec<u8>>> {
    let hash = "0".repeat(64);
    let workflow = json!({ "name": "backup", "version": 1, "hash": hash });
    let by = json!({ "user": "ops" });
    let spec = json!({ "action": { "command": { "arguments": ["true"] } }, "kill_after": "15s" });
    let at = DateTime::from_timestamp_millis(1_795_300_000_000).context("a time")?;
    let facts = json!({ "end": { "exited": { "code": 0 } }, "started_at": at, "ended_at": at });
    let event = |n: u64, step: u64| -> serde_json::Result<Event> {
        let (order, run) = (
            format!("20261122-P{n}-backup"),
            format!("{:032x}", u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
        );
        let value = match step {
            0 => {
                json!({ "OrderAdded": { "order": order, "workflow": workflow, "business_day": "2026-11-22", "by": by, "counter": n } })
            }
            1 => json!({ "OrderStarted": { "order": order, "position": "dump" } }),
            2 => {
                json!({ "RunDispatched": { "run": run, "order": order, "position": "dump", "job": "dump", "agent": "local", "attempt": 1, "spec": spec } })
            }
            3 => json!({ "RunClaimed": { "run": run, "instance": "i1" } }),
            4 => {
                json!({ "RunEnded": { "run": run, "order": order, "position": "dump", "facts": facts, "outcome": { "result": "succeeded" } } })
            }
            _ => json!({ "OrderFinished": { "order": order } }),
        };
        serde_json::from_value(value)
    };
    let (mut commits, mut hash) = (Vec::new(), String::new());
    for first in (1..=ORDERS).step_by(TOGETHER as usize) {
        for step in 0..6 {
            let decision = |n: u64| -> serde_json::Result<Decision> {
                let cause = MessageCause {
                    source: Source::Reports,
                    incarnation: "0123456789abcdef".into(),
                    sequence: n * 6 + step,
                    part: 1,
                    parts: 1,
                };
                let entity = format!("20261122-P{n}-backup");
                Ok(Decision { cause: Cause::Message(cause), entity, events: vec![event(n, step)?] })
            };
            let decisions = (first..first + TOGETHER).map(decision).collect::<Result<_, _>>()?;
            let at = at + TimeDelta::milliseconds(commits.len() as i64);
            let commit = Commit { v: COMMIT_VERSION, epoch: 1, at, build: "bench".into(), prev_hash: hash, decisions };
            let bytes = commit.encode()?;
            hash = chain_hash(&bytes);
            commits.push(bytes);
        }
    }
    Ok(commits)
}

/// As many rows of the same size by COPY alone, into a table with two such indexes.
fn bare_copy(url: &str, rows: u64) -> anyhow::Result<f64> {
    let mut client = postgres::Client::connect(url, postgres::NoTls)?;
    client.batch_execute(
            "CREATE TABLE bare (sequence bigint, index int, at timestamptz, epoch bigint, type text, order_id text, run_id text, \
             cause json, event json, PRIMARY KEY (sequence, index, at)); CREATE INDEX ON bare (order_id, sequence)",
        )?;
    let started = Instant::now();
    for chunk in 0..rows / 5_000 {
        let mut tx = client.transaction()?;
        let mut sink = tx.copy_in("COPY bare FROM STDIN")?;
        let mut text = String::new();
        for n in chunk * 5_000..(chunk + 1) * 5_000 {
            text += &format!(
                "{n}\t0\t2026-11-22 02:14:09+00\t1\tOrderStarted\t20261122-P{n}-backup\t{n:032x}\t{{\"message\":{{\"source\":\"reports\",\
                 \"incarnation\":\"0123456789abcdef\",\"sequence\":{n}}}}}\t{{\"OrderStarted\":{{\"order\":\"20261122-P{n}-backup\",\"position\":\"dump\"}}}}\n"
            );
        }
        sink.write_all(text.as_bytes())?;
        sink.finish()?;
        tx.commit()?;
    }
    Ok(rows as f64 / started.elapsed().as_secs_f64())
}
