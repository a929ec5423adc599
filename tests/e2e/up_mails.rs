//! A newcomer sees a mail without a mail server: `ordo up` makes files of them, in the folder that it names.

use ordo_tests::Up;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const DEFINITIONS: &str = "\
workflow: fragile
steps:
  - job: break
    agent: local
    script: echo no space left on the tape >&2; exit 7
---
workflow: brittle
steps:
  - job: break
    agent: local
    script: exit 8
---
rule: failures
on: [failed]
notify: [ops@example.org]
";

/// The whole texts of the mails that are there, as soon as there are so many.
fn mails(up: &Up, wanted: usize) -> Vec<String> {
    let folder = up.data().join("mails");
    let started = Instant::now();
    loop {
        let files =
            fs::read_dir(&folder).map(|files| files.flatten().map(|file| file.path()).collect::<Vec<PathBuf>>());
        let mut files = files.unwrap_or_default();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "eml"));
        files.sort();
        if files.len() >= wanted {
            return files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        }
        assert!(started.elapsed() < Duration::from_secs(20), "only {} of {wanted} mails in {folder:?}", files.len());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn fails(up: &Up, workflow: &str) -> String {
    let added = up.ordo(&["--json", "order", "add", workflow, "--wait", "--timeout", "60s"]);
    assert!(!added.status.success(), "it should fail");
    let listed = up.ordo_ok(&["--json", "order", "list", "--workflow", workflow]);
    let orders: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
    let ids = orders.iter().filter_map(|order| order["order"].as_str().or_else(|| order["id"].as_str()));
    ids.max().unwrap_or_else(|| panic!("no order in {listed}")).to_owned()
}

#[test]
fn a_failed_order_becomes_a_mail_in_the_folder_that_up_names_also_after_the_monitor_was_killed() {
    let up = Up::start("mails");
    let file = up.path("fragile.yaml");
    fs::write(&file, DEFINITIONS).unwrap();
    up.ordo_ok(&["deploy", &file.display().to_string()]);

    let order = fails(&up, "fragile");
    let first = mails(&up, 1);
    assert!(first[0].contains(&order), "the mail names {order}:\n{}", first[0]);
    assert!(first[0].contains("To: ops@example.org") && first[0].contains("Auto-Submitted: auto-generated"));

    up.kill("monitor/m1");
    let other = fails(&up, "brittle");
    let all = mails(&up, 2);
    for order in [&order, &other] {
        assert_eq!(all.iter().filter(|mail| mail.contains(order)).count(), 1, "{order} is told once, killed or not");
    }

    let listed = up.ordo_ok(&["--json", "notification", "list"]);
    assert!(listed.contains(&order) && listed.contains("\"new\""), "{listed}");
}
