//! Finished orders by the thousand are cleaned up while others are added, run, wait and fail: none of those is lost, and
//! what was cleaned up is gone. 3,000 here; `ORDO_OLD_ORDERS=100000` for the whole of it.

use crate::support::deploy;
use ordo_contract::request::{AddOrdersReply, proxy};
use ordo_testkit::DatabaseRole;
use ordo_tests::Up;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WORKFLOWS: &str = "workflow: quick
steps:
  - fork:
      east:
        - job: east
          agent: local
          command: [\"/bin/true\"]
      west:
        - job: west
          agent: local
          command: [\"/bin/true\"]
---
workflow: long
steps:
  - job: wait
    agent: local
    command: [\"/bin/sleep\", \"600\"]
---
workflow: failing
steps:
  - job: fail
    agent: local
    command: [\"/bin/false\"]
";

/// The owner's address, made of the readers' and of its password file.
fn owner_url(up: &Up) -> String {
    let file = DatabaseRole::Owner.password_file(&up.data().join("secrets"));
    let password = std::fs::read_to_string(file).expect("the owner's password");
    let read = up.ready["database_url"].as_str().expect("an address");
    let (_, rest) = read.split_once('@').expect("credentials in it");
    format!("postgres://{}:{}@{rest}", DatabaseRole::Owner.name(), password.trim())
}

/// Top orders that ended 200 days ago, each with a branch, two steps and their logs.
fn old_orders(up: &Up, count: u64) {
    let url = owner_url(up);
    let sql = format!(
        "WITH o AS (SELECT '20260101-A' || n || '-old' AS id FROM generate_series(1, {count}) n), \
         pairs AS (SELECT id, NULL AS parent FROM o UNION ALL SELECT id || ':east', id FROM o), \
         made AS (INSERT INTO orders (order_id, number, parent, workflow, version, workflow_hash, business_day, priority, added_by, \
            added_at, started_at, ended_at, state) SELECT id, -row_number() OVER (), parent, 'quick', 1, 'none', '2026-01-01', 0, 'ops', \
            now() - interval '200 days', now() - interval '200 days', now() - interval '200 days', 'finished' FROM pairs), \
         runs AS (INSERT INTO steps (run_id, number, order_id, position, job, attempt, agent, state, sent_at, ended_at) \
            SELECT md5(id), -row_number() OVER (), id, 'load', 'load', 1, 'local', 'succeeded', now() - interval '200 days', \
            now() - interval '200 days' FROM pairs RETURNING run_id), \
         logs AS (INSERT INTO logs (run_id, stored_chunks, stored_bytes) SELECT run_id, 1, 10 FROM runs) \
         INSERT INTO log_chunks (run_id, chunk, at, size, lines, channel, compressed, body) \
            SELECT run_id, 1, now(), 10, 1, 'stdout', false, '0123456789' FROM runs"
    );
    postgres::Client::connect(&url, postgres::NoTls).expect("the owner").batch_execute(&sql).expect("old orders");
}

async fn add(up: &Up, workflow: &str, count: usize) -> Vec<String> {
    let orders: Vec<Value> = (0..count).map(|_| json!({ "workflow": workflow })).collect();
    let client = up.client().await;
    match client.ask("proxy", proxy::ORDER_ADD, &json!({ "orders": orders })).await.expect("orders are added") {
        AddOrdersReply::Many { orders } => orders.into_iter().map(|o| o.to_string()).collect(),
        other => panic!("{other:?}"),
    }
}

/// The step of a kind in the answer of `ordo cleanup run --json`.
fn counts(run: &Value, kind: &str) -> Value {
    let steps = run["steps"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["kind"] == kind).unwrap_or_else(|| panic!("no {kind} in {run}"));
    assert_eq!(step["state"], "done", "{step}");
    step["counts"].clone()
}

fn cleanup(up: &Up, arguments: &[&str]) -> Value {
    let words: Vec<&str> = ["cleanup", "run", "--json"].iter().chain(arguments).copied().collect();
    serde_json::from_str(&up.ordo_ok(&words)).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn cleanup_of_finished_orders_under_load_loses_no_running_one() {
    let old: u64 = std::env::var("ORDO_OLD_ORDERS").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000);
    let up = Arc::new(Up::start("cleanup"));
    deploy(&up, "load.yaml", WORKFLOWS).await;
    tokio::task::block_in_place(|| old_orders(&up, old));
    let mut living = add(&up, "long", 3).await;
    living.extend(add(&up, "failing", 3).await);
    let (stop, adding) = (Arc::new(AtomicBool::new(false)), up.clone());
    let load = tokio::spawn({
        let stop = stop.clone();
        async move {
            let mut added = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                added.extend(add(&adding, "quick", 5).await);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            added
        }
    });
    let dry = tokio::task::block_in_place(|| cleanup(&up, &["--dry-run"]));
    assert_eq!(counts(&dry, "orders")["orders"], 2 * old, "{dry}");
    let begun = Instant::now();
    let run = tokio::task::block_in_place(|| cleanup(&up, &[]));
    let took = begun.elapsed();
    assert_eq!(counts(&run, "orders"), counts(&dry, "orders"));
    let again = tokio::task::block_in_place(|| cleanup(&up, &["--dry-run"]));
    assert_eq!(counts(&again, "orders"), json!({}), "a repeated dry run counts zero");
    stop.store(true, Ordering::Relaxed);
    let added = load.await.expect("the load");
    println!("{old} old orders with a branch each gone in {took:?} while {} were added", added.len());
    assert!(!added.is_empty());
    // Each of them ends well and is in the history with its branches and steps; what runs, runs.
    let goal: BTreeSet<String> = added.iter().cloned().collect();
    let limit = Instant::now() + Duration::from_secs(120);
    loop {
        let (finished, steps) = tokio::task::block_in_place(|| {
            let mut database = up.database();
            let ids: Vec<&String> = goal.iter().collect();
            let sql = "SELECT count(*) FROM orders WHERE order_id = ANY($1) AND state = 'finished'";
            let finished: i64 = database.query_one(sql, &[&ids]).unwrap().get(0);
            let sql = "SELECT count(*) FROM steps WHERE split_part(order_id, ':', 1) = ANY($1) AND state = 'succeeded'";
            (finished, database.query_one(sql, &[&ids]).unwrap().get::<_, i64>(0))
        });
        if finished.unsigned_abs() as usize == goal.len() && steps.unsigned_abs() as usize == 2 * goal.len() {
            break;
        }
        assert!(Instant::now() < limit, "{finished} of {} orders, {steps} steps", goal.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for order in &living {
        let shown: Value = serde_json::from_str(&up.ordo_ok(&["order", "show", order, "--json"])).expect("JSON");
        let state = shown["state"].as_str().unwrap_or_default();
        assert!(matches!(state, "processed" | "running" | "failed" | "started"), "{order} is {state}");
    }
    let left: i64 = tokio::task::block_in_place(|| {
        up.database().query_one("SELECT count(*) FROM orders WHERE order_id LIKE '20260101-%'", &[]).unwrap().get(0)
    });
    assert_eq!(left, 0);
}
