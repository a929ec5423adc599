//! Each file of `schemas/examples/`, deployed and run to a good end under `ordo up`, and its results looked at.

use super::compose_stack::repository;
use ordo_tests::Up;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn every_shipped_example_runs_to_a_good_end() {
    let folder = repository().join("schemas/examples");
    let mut files: Vec<String> =
        std::fs::read_dir(&folder).unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    files.sort();
    let known = [
        "backup.yaml",
        "failures.yaml",
        "flaky.yaml",
        "logs.yaml",
        "machines.yaml",
        "nightly.yaml",
        "retention.yaml",
        "trouble.yaml",
    ];
    assert_eq!(files, known, "an example that this test does not know");
    let up = Up::start("example");
    up.ordo_ok(&["deploy", &folder.display().to_string()]);
    backup_keeps_the_last_that_were_restored(&up);
    logs_are_compressed_and_checksums_are_right(&up);
    logs_with_nothing_to_do_say_so(&up);
}

/// Adds an order, waits for its end, and gives what history has of it.
fn run(up: &Up, workflow: &str, parameters: &[String]) -> Value {
    let given = parameters.iter().flat_map(|p| ["-p", p.as_str()]);
    let words = ["order", "add", workflow, "--wait", "--logs", "--timeout", "120s"].into_iter().chain(given);
    up.ordo_ok(&words.collect::<Vec<_>>());
    let started = Instant::now();
    loop {
        let listed = up.ordo_ok(&["--json", "history", "orders", "--workflow", workflow, "--limit", "20"]);
        let orders: Vec<Value> = serde_json::from_str(&listed).unwrap();
        // The newest that no schedule has planned.
        let newest = orders.into_iter().find(|order| order["added_by"] != "daily-plan");
        if let Some(order) = newest.filter(|order| order["state"] == "finished") {
            return order;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "history does not show the end of {workflow}: {listed}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The value of a step's result, wherever the step's other facts stand beside it.
fn result<'a>(order: &'a Value, step: &str, name: &str) -> &'a Value {
    let step_results = &order["results"][step];
    let value = if step_results["values"].is_object() { &step_results["values"][name] } else { &step_results[name] };
    assert!(!value.is_null(), "no result {step}.{name} in {order}");
    value
}

fn backup_keeps_the_last_that_were_restored(up: &Up) {
    let target = up.path("backups");
    let parameters = [format!("target={}", target.display()), "keep=2".to_owned()];
    let mut order = Value::Null;
    for _ in 0..3 {
        order = run(up, "backup", &parameters);
    }
    let dumps = files(&target, ".dump.gz");
    assert_eq!(dumps.len(), 2, "keep=2: {dumps:?}");
    assert!(
        files(&target, "").iter().all(|file| name(file).ends_with(".dump.gz") || name(file).ends_with(".counts")),
        "leftovers in {}",
        target.display()
    );
    assert!(result(&order, "verify", "tables").as_f64().is_some_and(|tables| tables >= 5.0), "{order}");
    assert_eq!(result(&order, "prune", "kept").as_f64(), Some(2.0));

    // What the job compared is in its file: the counts of the tables as they were in the snapshot.
    let newest = dumps.last().unwrap();
    let counts = std::fs::read_to_string(newest.to_string_lossy().replace(".dump.gz", ".counts")).unwrap();
    let rows: u64 = counts.lines().filter_map(|line| line.split('\t').nth(1)?.parse::<u64>().ok()).sum();
    assert_eq!(result(&order, "verify", "rows").as_f64(), Some(rows as f64));
    assert!(counts.contains("public.orders\t"), "{counts}");
    assert!(Command::new("gzip").arg("-t").arg(newest).status().unwrap().success());
    // And of the scratch databases none is left.
    let scratch =
        up.database().query_one("SELECT count(*) FROM pg_database WHERE datname LIKE 'ordo_verify%'", &[]).unwrap();
    assert_eq!(scratch.get::<_, i64>(0), 0);
}

fn logs_are_compressed_and_checksums_are_right(up: &Up) {
    let folder = up.path("logs");
    let mut expected = Vec::new();
    for (subfolder, count) in [("app", 3), ("web", 2), ("db", 1)] {
        std::fs::create_dir_all(folder.join(subfolder)).unwrap();
        for n in 0..count {
            // Names may hold anything.
            let file = folder.join(subfolder).join(format!("day {n}'s ${{x}}.log"));
            let text = format!("{subfolder} {n} said something\n").repeat(2_000 + n);
            old(&file, &text);
            expected.push((file, text));
        }
    }
    let fresh = folder.join("app/fresh.log");
    std::fs::write(&fresh, "just written\n").unwrap();
    let order = run(up, "logs", &[format!("folder={}", folder.display())]);

    assert!(fresh.is_file(), "a file in use was touched");
    let mut saved = 0;
    for (file, text) in &expected {
        assert!(!file.exists(), "{} is still there", file.display());
        let packed = packed(file);
        let output = Command::new("gzip").arg("-dc").arg(&packed).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), *text, "{}", packed.display());
        saved += text.len() as u64 - std::fs::metadata(&packed).unwrap().len();
    }
    assert_eq!(result(&order, "summary", "saved").as_f64(), Some(saved as f64));
    for (subfolder, count) in [("app", 3), ("web", 2), ("db", 1)] {
        let sums = std::fs::read_to_string(folder.join(subfolder).join("SHA256SUMS")).unwrap();
        assert_eq!(sums.lines().count(), count, "{sums}");
        let check = Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
            .current_dir(folder.join(subfolder))
            .status();
        assert!(check.unwrap().success(), "checksums of {subfolder} are wrong");
    }
}

fn logs_with_nothing_to_do_say_so(up: &Up) {
    let order = run(up, "logs", &[format!("folder={}", up.path("nothing-there").display())]);
    assert!(order["text"].as_str().is_some_and(|text| text.contains("nothing to compress")), "{order}");
}

/// The one archive of a file: its name, the time it was last written, `.gz`.
fn packed(file: &Path) -> PathBuf {
    let begin = format!("{}.", name(file));
    let mut found = files(file.parent().unwrap(), ".gz");
    found.retain(|archive| name(archive).starts_with(&begin));
    assert_eq!(found.len(), 1, "archives of {}: {found:?}", file.display());
    found.remove(0)
}

/// A file that was not written to for two hours.
fn old(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
    let then = std::time::SystemTime::now() - Duration::from_secs(2 * 3600);
    std::fs::File::options().write(true).open(file).unwrap().set_modified(then).unwrap();
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(|path| name(path).ends_with(ending)).collect();
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
