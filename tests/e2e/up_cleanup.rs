//! The cleanup of a site that runs: by the retention that is deployed, seen and restarted like every service.

use ordo_tests::Up;
use serde_json::Value;
use std::time::{Duration, Instant};

fn json(up: &Up, arguments: &[&str]) -> Value {
    let words: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
    serde_json::from_str(&up.ordo_ok(&words)).unwrap()
}

#[test]
fn the_cleanup_goes_by_the_deployed_retention_counts_without_deleting_and_comes_back_after_a_kill() {
    let up = Up::start("cleanup");
    assert_eq!(json(&up, &["cleanup", "status"])["version"], Value::Null, "the defaults hold");
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/examples/retention.yaml");
    up.ordo_ok(&["deploy", examples]);
    let started = Instant::now();
    let status = loop {
        let status = json(&up, &["cleanup", "status"]);
        if status["version"] == 1 {
            break status;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "the retention does not hold: {status}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status["retention"]["keep"]["orders"], "60d");
    assert!(status["opens_at"].is_string() || status["closes_at"].is_string(), "{status}");

    let dry = json(&up, &["cleanup", "run", "--dry-run"]);
    assert_eq!((&dry["state"], &dry["dry_run"]), (&Value::from("done"), &Value::from(true)), "{dry}");
    let kinds: Vec<&str> = dry["steps"].as_array().unwrap().iter().filter_map(|step| step["kind"].as_str()).collect();
    assert_eq!(kinds.len(), 12, "{kinds:?}");

    up.kill("cleanup/x1");
    // It is started again, and takes up its role when the lease of the killed one is over.
    let killed = Instant::now();
    let run = loop {
        let output = up.ordo(&["--json", "cleanup", "run"]);
        if output.status.success() {
            break serde_json::from_slice::<Value>(&output.stdout).unwrap();
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(killed.elapsed() < Duration::from_secs(30), "it does not come back: {text}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!((&run["state"], &run["asked_by"]), (&Value::from("done"), &Value::from("ops")), "{run}");
    let listed = up.ordo_ok(&["service", "list"]);
    assert!(listed.contains("cleanup/x1"), "{listed}");
    up.ordo_ok(&["service", "run", "cleanup"]);
    up.ordo_ok(&["service", "restart", "cleanup"]);
}
