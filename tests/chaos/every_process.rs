//! 2,000 orders whose jobs each append one line to a file, while every process is killed in turn.

use crate::support::{deploy, history_matches_journal, journal};
use ordo_contract::request::{AddMany, AddOrdersReply, AddOrdersRequest, Asked, proxy};
use ordo_domain::{Event, run::RunEnd};
use ordo_tests::Up;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

const ORDERS: usize = 2_000;
const LIMIT: Duration = Duration::from_secs(420);

#[tokio::test(flavor = "multi_thread")]
async fn every_process_is_killed_in_turn_and_each_line_is_there_exactly_once() {
    let up = Up::start("every-process");
    let lines = up.path("lines");
    let text = format!(
        "workflow: append\ndefaults: {{ agent: local }}\nsteps:\n  - job: line\n    env: {{ FILE: {} }}\n    script: |\n      echo \"$ORDO_RUN\" >> \"$FILE\"\n",
        lines.display()
    );
    deploy(&up, "append.yaml", &text).await;
    let mut wanted = BTreeSet::new();
    // While orders come in and run: everything that can be killed, one after the other, twice over.
    let victims = ["controller/c1", "agent/local", "proxy/p1", "history/h1", "nats", "postgres", "controller/c2"];
    let mut killed = 0;
    for batch in 0..20 {
        wanted.extend(add(&up, ORDERS / 20, batch).await);
        up.kill(victims[batch % victims.len()]);
        killed += 1;
    }
    assert_eq!(wanted.len(), ORDERS, "each batch was added once");
    wait_until_all_ended(&up, &wanted).await;
    let commits = journal(&up).await;
    let (runs, lost) = runs(&commits);
    assert!(lost.is_empty(), "{killed} kills, none of the runner, and the journal calls runs lost: {lost:?}");
    assert_eq!(counted(&lines), runs.into_iter().map(|run| (run, 1)).collect(), "one line for each run");
    history_matches_journal(&up, &commits).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_runner_loses_its_runs_says_so_and_their_orders_go_on() {
    let up = Up::start("runner");
    let lines = up.path("lines");
    let text = format!(
        "workflow: slow\ndefaults: {{ agent: local }}\nsteps:\n  - job: line\n    env: {{ FILE: {} }}\n    script: |\n      sleep 0.3\n      echo \"$ORDO_RUN\" >> \"$FILE\"\n",
        lines.display()
    );
    deploy(&up, "slow.yaml", &text).await;
    let wanted: BTreeSet<String> = add_workflow(&up, "slow", 60, 0).await;
    let begin = Instant::now();
    while counted(&lines).len() < 5 {
        assert!(begin.elapsed() < LIMIT, "jobs run");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let runners = ordo_tests::runners(&up.data());
    assert_eq!(runners.len(), 1, "one runner for the agent");
    ordo_tests::kill_process(runners[0]);
    wait_until_all_ended(&up, &wanted).await;
    let commits = journal(&up).await;
    let (good, lost) = runs(&commits);
    assert!(!lost.is_empty(), "the runner had runs when it died");
    let counted = counted(&lines);
    assert!(counted.values().all(|n| *n == 1), "no run id twice: {counted:?}");
    for run in &good {
        assert!(counted.contains_key(run), "{run} ended well and left no line");
    }
    assert_eq!(good.len(), wanted.len(), "every order has one run that was not lost");
    for run in counted.keys().filter(|run| !good.contains(*run)) {
        assert!(lost.contains(run), "{run} is in the file, not in the journal");
    }
    history_matches_journal(&up, &commits).await;
}

async fn add(up: &Up, count: usize, batch: usize) -> BTreeSet<String> {
    add_workflow(up, "append", count, batch).await
}

/// Adds orders as a person would who does not give up: the same id again until there is an answer.
async fn add_workflow(up: &Up, workflow: &str, count: usize, batch: usize) -> BTreeSet<String> {
    let order = serde_json::json!({ "workflow": workflow });
    let orders = serde_json::from_value(serde_json::Value::Array(vec![order; count])).expect("orders");
    let id = format!("batch-{workflow}-{batch}").parse().expect("an id");
    let question = AddOrdersRequest::Many(AddMany { orders, asked: Asked { id: Some(id), reason: None } });
    let begin = Instant::now();
    loop {
        let mut last = String::new();
        match ordo_cli::Client::connect(&up.common()).await {
            Ok(client) => match client.ask("proxy", proxy::ORDER_ADD, &question).await {
                Ok(AddOrdersReply::Many { orders }) => return orders.iter().map(ToString::to_string).collect(),
                Ok(other) => last = format!("{other:?}"),
                Err(error) => last = error.to_string(),
            },
            Err(error) => last.push_str(&error.to_string()),
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "batch {batch} is not taken: {last}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn wait_until_all_ended(up: &Up, wanted: &BTreeSet<String>) {
    let begin = Instant::now();
    loop {
        let ended = tokio::task::block_in_place(|| {
            let Ok(mut database) = postgres::Client::connect(up.ready["database_url"].as_str()?, postgres::NoTls)
            else {
                return None;
            };
            let rows = database.query("select order_id, state from orders where parent is null", &[]).ok()?;
            Some(rows.iter().map(|r| (r.get::<_, String>(0), r.get::<_, String>(1))).collect::<BTreeMap<_, _>>())
        })
        .unwrap_or_default();
        let left = wanted.iter().filter(|order| ended.get(*order).is_none_or(|state| state != "finished")).count();
        if left == 0 {
            return;
        }
        assert!(begin.elapsed() < LIMIT, "{left} of {} orders have not finished in history", wanted.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Runs that ended by themselves, and those that the journal calls lost.
fn runs(commits: &[ordo_contract::commit::Commit]) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut good, mut lost) = (BTreeSet::new(), BTreeSet::new());
    for event in commits.iter().flat_map(|c| &c.decisions).flat_map(|d| &d.events) {
        if let Event::RunEnded(e) = event {
            match &e.facts.end {
                RunEnd::Lost { .. } => assert!(lost.insert(e.run.to_string()), "{} ends twice", e.run),
                RunEnd::Exited { code: 0 } => assert!(good.insert(e.run.to_string()), "{} ends twice", e.run),
                // Nothing ran, and a run of another id follows: a line of this one would be one too many.
                RunEnd::NotStarted { again: true, .. } => {}
                other => panic!("{}: {other:?}", e.run),
            }
        }
    }
    (good, lost)
}

fn counted(lines: &std::path::Path) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for line in std::fs::read_to_string(lines).unwrap_or_default().lines() {
        *counts.entry(line.to_owned()).or_default() += 1;
    }
    counts
}
