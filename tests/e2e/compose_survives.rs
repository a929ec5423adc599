//! The stack of `compose/` on a real engine: up, run, lose a controller, lose NATS, lose nothing.

use super::compose_stack::{Stack, engine_is_there};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Ready within this on images that are there (experience: 30 s).
const UP_WITHIN: Duration = Duration::from_secs(30);
const ORDERS: usize = 60;

/// Each order leaves one line, with its own id, in a file that outlives containers.
const TICK: &str = "
workflow: tick
title: One line an order
defaults: { agent: local, timeout: 1m }
steps:
  - job: tick
    parallel: 4
    env: { ORDER: \"${ order.id }\" }
    script: |
      sleep 0.4
      echo \"$ORDER\" >>\"$HOME/ticks\"
";

#[test]
fn the_stack_comes_up_runs_the_backup_and_survives_the_loss_of_controller_and_nats() {
    if !engine_is_there("compose") {
        return;
    }
    let stack = Stack::new("survives");
    stack.define("tick.yaml", TICK);
    let took = stack.up();
    assert!(took <= UP_WITHIN, "up --wait took {took:?}, {UP_WITHIN:?} are allowed");
    nothing_runs_as_root(&stack);
    credentials_are_apart(&stack);

    stack.ordo_ok(&["deploy", "/definitions"]);
    the_backup_is_good(&stack);

    let active = active_controller(&stack).expect("one controller is active");
    let standby = if active == "controller-1" { "controller-2" } else { "controller-1" };
    add_ticks(&stack);
    stack.ok(&["kill", active]);
    work_was_under_way(&stack, ORDERS);
    until(&stack, "the standby takes over", Duration::from_secs(20), || active_controller(&stack) == Some(standby));
    all_end_well(&stack, ORDERS);
    stack.ok(&["start", active]);

    add_ticks(&stack);
    stack.ok(&["kill", "nats"]);
    work_was_under_way(&stack, 2 * ORDERS);
    stack.ok(&["start", "nats"]);
    all_end_well(&stack, 2 * ORDERS);
    each_ran_exactly_once(&stack, 2 * ORDERS);

    for service in ["proxy", "history", "postgres"] {
        stack.ok(&["kill", service]);
        stack.ok(&["start", service]);
    }
    add_ticks_when_served(&stack);
    // Its jobs end with its container: they are lost, and run again.
    stack.ok(&["kill", "agent"]);
    stack.ok(&["start", "agent"]);
    all_end_well(&stack, 3 * ORDERS);
    let ran = ticks(&stack).lines().collect::<BTreeSet<_>>().len();
    assert_eq!(ran, 3 * ORDERS, "an order is finished and did not run");
    until(&stack, "all is healthy again", Duration::from_secs(60), || unhealthy(&stack).is_empty());

    // Stopped in order it stays stopped, and a second `up` finds everything as it was.
    stack.ok(&["stop", "--timeout", "20"]);
    let codes = exit_codes(&stack);
    for role in [
        "controller-1",
        "controller-2",
        "proxy",
        "history",
        "daily-plan",
        "monitor",
        "cleanup",
        "log-notification",
        "agent",
    ] {
        assert_eq!(codes.get(role), Some(&0), "an orderly stop ends with code 0: {codes:?}");
    }
    stack.up();
    all_end_well(&stack, 3 * ORDERS);
}

fn nothing_runs_as_root(stack: &Stack) {
    for service in [
        "nats",
        "postgres",
        "controller-1",
        "controller-2",
        "proxy",
        "history",
        "daily-plan",
        "monitor",
        "cleanup",
        "log-notification",
        "agent",
    ] {
        let uid =
            stack.exec(service, &["id", "-u"]).unwrap_or_else(|| panic!("{service} runs no id\n{}", stack.logs()));
        assert_ne!(uid.trim(), "0", "{service} runs as root");
        // Even as root: what cannot be written is the file system.
        let touch = |path| {
            stack
                .compose(["exec", "--no-TTY", "--user", "0", service, "touch", path])
                .output()
                .unwrap()
                .status
                .success()
        };
        assert!(touch("/tmp/planted"), "the probe itself does not work in {service}");
        assert!(!touch("/usr/local/bin/planted"), "the root file system of {service} can be written");
    }
}

/// Each service sees its own credentials and no others, and nobody the keys.
fn credentials_are_apart(stack: &Stack) {
    for (service, own) in [
        ("controller-1", vec!["controller.creds"]),
        ("proxy", vec!["proxy.creds"]),
        ("history", vec!["database-ordo_history", "history.creds"]),
        ("agent", vec!["agent-local.creds"]),
    ] {
        let seen = stack.exec(service, &["ls", "/run/ordo"]).expect("its credentials");
        assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), own, "of {service}");
        assert!(
            stack.exec(service, &["ls", "/site/keys"]).is_none_or(|keys| keys.trim().is_empty()),
            "{service} sees the keys"
        );
    }
}

fn the_backup_is_good(stack: &Stack) {
    stack.ordo_ok(&["order", "add", "backup", "--wait", "--timeout", "120s", "--logs"]);
    let orders = until_history(stack, "backup", 1);
    assert_eq!(orders[0]["state"], "finished", "{}", orders[0]);
    let listing = stack.exec("agent", &["sh", "-c", "ls /data/ordo-backups"]).expect("the folder of the backups");
    assert!(listing.lines().any(|file| file.ends_with(".dump.gz")), "no dump: {listing}");
}

fn active_controller(stack: &Stack) -> Option<&'static str> {
    let says = |service: &str| stack.exec(service, &["ordo", "health", "controller"]).unwrap_or_default();
    ["controller-1", "controller-2"].into_iter().find(|service| {
        let said = says(service);
        said.contains("active") && !said.contains("standby")
    })
}

fn add_ticks(stack: &Stack) {
    stack.ordo_ok(&["order", "add", "tick", "--count", &ORDERS.to_string()]);
}

/// Once the proxy is back: until then the command line says that it cannot reach it, and nothing is added.
fn add_ticks_when_served(stack: &Stack) {
    let arguments = ["order", "add", "tick", "--count", &ORDERS.to_string(), "--id", "served-again"];
    until(stack, "the proxy serves again", Duration::from_secs(30), || stack.ordo(&arguments).status.success());
}

/// As history sees it.
fn all_end_well(stack: &Stack, count: usize) {
    let orders = until_history(stack, "tick", count);
    let bad: Vec<&Value> = orders.iter().filter(|order| order["state"] != "finished").collect();
    assert!(bad.is_empty(), "{bad:?}");
}

/// Waits until so many orders have ended.
fn until_history(stack: &Stack, workflow: &str, count: usize) -> Vec<Value> {
    let started = Instant::now();
    loop {
        let listed = stack.ordo(&["--json", "history", "orders", "--workflow", workflow, "--limit", "1000"]);
        let orders: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap_or_default();
        let ended = orders
            .iter()
            .filter(|order| ["finished", "failed", "cancelled"].iter().any(|state| order["state"] == *state));
        let ended: Vec<Value> = ended.cloned().collect();
        if ended.len() >= count {
            assert_eq!(ended.len(), count, "more orders than were added");
            return ended;
        }
        let limit = Duration::from_secs(120);
        assert!(
            started.elapsed() < limit,
            "{} of {count} orders of {workflow} ended within {limit:?}\n{}",
            ended.len(),
            stack.logs()
        );
    }
}

/// What the jobs wrote.
fn ticks(stack: &Stack) -> String {
    stack.exec("agent", &["sh", "-c", "cat /data/ticks || :"]).expect("the agent's container runs")
}

/// A kill after the last job would prove nothing.
fn work_was_under_way(stack: &Stack, count: usize) {
    let done = ticks(stack).lines().count();
    assert!(done < count, "all {count} jobs were done before the kill");
}

fn each_ran_exactly_once(stack: &Stack, count: usize) {
    let ticks = ticks(stack);
    assert_eq!(complaints(&ticks, count), Vec::<String>::new());
    // The checker sees an order that ran twice, and one that did not run.
    let first = ticks.lines().next().unwrap_or_default();
    assert_eq!(complaints(&format!("{ticks}{first}\n"), count).len(), 1);
    assert_eq!(complaints(&ticks.replacen(&format!("{first}\n"), "", 1), count).len(), 1);
}

fn complaints(ticks: &str, count: usize) -> Vec<String> {
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    ticks.lines().for_each(|line| *lines.entry(line).or_default() += 1);
    let twice =
        lines.iter().filter(|(_, times)| **times > 1).map(|(order, times)| format!("{order} ran {times} times"));
    let missing = (lines.len() != count).then(|| format!("{} of {count} orders ran", lines.len()));
    twice.chain(missing).collect()
}

fn services(stack: &Stack) -> Vec<Value> {
    let text = stack.ok(&["ps", "--all", "--format", "json"]);
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Services that should run and are not well.
fn unhealthy(stack: &Stack) -> Vec<String> {
    let once = ["init", "migrate", "admit"];
    let lasting = services(stack).into_iter().filter(|s| !once.iter().any(|one| s["Service"] == *one));
    lasting.filter(|s| s["Health"] != "healthy").map(|s| s["Service"].to_string()).collect()
}

fn exit_codes(stack: &Stack) -> BTreeMap<String, i64> {
    let codes = services(stack)
        .into_iter()
        .map(|s| (s["Service"].as_str().unwrap_or_default().to_owned(), s["ExitCode"].as_i64().unwrap_or(-1)));
    codes.collect()
}

fn until(stack: &Stack, what: &str, limit: Duration, mut state: impl FnMut() -> bool) {
    let started = Instant::now();
    while !state() {
        assert!(started.elapsed() < limit, "{what}: not within {limit:?}\n{}", stack.logs());
        std::thread::sleep(Duration::from_millis(100));
    }
}
