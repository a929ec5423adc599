//! How fast the projection is, against the bare COPY of as many rows in the same run. Ignored: it measures, it asserts
//! nothing. `cargo test --release -p ordo-tests --test integration store_speed -- --ignored --nocapture`

use crate::store_projection::{STREAM, store};
use chrono::{DateTime, TimeDelta};
use ordo_contract::commit::{COMMIT_VERSION, Cause, Commit, Decision, MessageCause, Source, chain_hash};
use ordo_domain::Event;
use ordo_store::Message;
use ordo_testkit::{DatabaseRole, TestPostgres};
use serde_json::json;
use std::io::Write;
use std::time::Instant;

const ORDERS: u64 = 10_000;
/// Orders that move in one commit.
const TOGETHER: u64 = 50;

/// Every order from `OrderAdded` to `OrderFinished`, each event in a later commit than the one before.
fn journal() -> Vec<Vec<u8>> {
    let hash = "0".repeat(64);
    let workflow = json!({ "name": "backup", "version": 1, "hash": hash });
    let by = json!({ "user": "ops" });
    let spec = json!({ "action": { "command": { "arguments": ["true"] } }, "kill_after": "15s" });
    let at = DateTime::from_timestamp_millis(1_795_300_000_000).unwrap();
    let facts = json!({ "end": { "exited": { "code": 0 } }, "started_at": at, "ended_at": at });
    let event = |n: u64, step: u64| -> Event {
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
        serde_json::from_value(value).unwrap()
    };
    let (mut commits, mut hash) = (Vec::new(), String::new());
    for first in (1..=ORDERS).step_by(TOGETHER as usize) {
        for step in 0..6 {
            let decisions = (first..first + TOGETHER)
                .map(|n| Decision {
                    cause: Cause::Message(MessageCause {
                        source: Source::Reports,
                        incarnation: "0123456789abcdef".into(),
                        sequence: n * 6 + step,
                        part: 1,
                        parts: 1,
                    }),
                    entity: format!("20261122-P{n}-backup"),
                    events: vec![event(n, step)],
                })
                .collect();
            let at = at + TimeDelta::milliseconds(commits.len() as i64);
            let commit = Commit { v: COMMIT_VERSION, epoch: 1, at, build: "bench".into(), prev_hash: hash, decisions };
            let bytes = commit.encode().unwrap();
            hash = chain_hash(&bytes);
            commits.push(bytes);
        }
    }
    commits
}

/// As many rows of the same size by COPY alone, into a table with two such indexes.
fn bare_copy(url: &str, rows: u64) -> f64 {
    let mut client = postgres::Client::connect(url, postgres::NoTls).unwrap();
    client
        .batch_execute(
            "CREATE TABLE bare (sequence bigint, index int, at timestamptz, epoch bigint, type text, order_id text, run_id text, \
             cause json, event json, PRIMARY KEY (sequence, index, at)); CREATE INDEX ON bare (order_id, sequence)",
        )
        .unwrap();
    let started = Instant::now();
    for chunk in 0..rows / 5_000 {
        let mut tx = client.transaction().unwrap();
        let mut sink = tx.copy_in("COPY bare FROM STDIN").unwrap();
        let mut text = String::new();
        for n in chunk * 5_000..(chunk + 1) * 5_000 {
            text += &format!(
                "{n}\t0\t2026-11-22 02:14:09+00\t1\tOrderStarted\t20261122-P{n}-backup\t{n:032x}\t{{\"message\":{{\"source\":\"reports\",\
                 \"incarnation\":\"0123456789abcdef\",\"sequence\":{n}}}}}\t{{\"OrderStarted\":{{\"order\":\"20261122-P{n}-backup\",\"position\":\"dump\"}}}}\n"
            );
        }
        sink.write_all(text.as_bytes()).unwrap();
        sink.finish().unwrap();
        tx.commit().unwrap();
    }
    rows as f64 / started.elapsed().as_secs_f64()
}

#[tokio::test]
#[ignore = "measures"]
async fn events_per_second() {
    let postgres = TestPostgres::start_own().await;
    let store = store(&postgres);
    let commits = journal();
    let bytes: usize = commits.iter().map(Vec::len).sum();
    let messages: Vec<Message<'_>> =
        commits.iter().enumerate().map(|(i, bytes)| Message { sequence: i as u64 + 1, bytes }).collect();
    let mut projection = store.projection(STREAM, "i1").await.unwrap();
    let started = Instant::now();
    let (mut events, mut slowest) = (0, 0.0_f64);
    for batch in messages.chunks(100) {
        let before = Instant::now();
        events += projection.write(batch).await.unwrap().events;
        slowest = slowest.max(before.elapsed().as_secs_f64());
    }
    let seconds = started.elapsed().as_secs_f64();
    let alone = {
        let postgres = TestPostgres::start_own().await;
        let mut projection = crate::store_projection::store(&postgres).projection(STREAM, "i1").await.unwrap();
        let (started, few) = (Instant::now(), &messages[..messages.len() / 4]);
        let mut events = 0;
        for message in few {
            events += projection.write(std::slice::from_ref(message)).await.unwrap().events;
        }
        println!(
            "one commit of {TOGETHER} events a transaction: {:.1} ms each",
            started.elapsed().as_secs_f64() * 1000.0 / few.len() as f64
        );
        events as f64 / started.elapsed().as_secs_f64()
    };
    let url = postgres.url(DatabaseRole::Owner);
    let bare = tokio::task::spawn_blocking(move || bare_copy(&url, ORDERS * 6)).await.unwrap();
    println!(
        "projection: {:.0} events/s, {alone:.0} where each commit is a transaction ({events} events, {} commits, {} MB, slowest of 5,000 {:.0} ms); bare COPY: {bare:.0} rows/s",
        events as f64 / seconds,
        commits.len(),
        bytes / 1_000_000,
        slowest * 1000.0,
    );
}
