//! The lines for the `nats` command line that README.md shows, with the real tool against `ordo up`.

use super::compose_stack::{repository, skipped};
use ordo_tests::Up;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What each line must say; every line of the README has a row here, and the other way round.
const LINES: &[(&str, &[&str])] = &[
    (
        "nats stream ls",
        &[
            "ORDO-default-JOURNAL",
            "ORDO-default-COMMANDS",
            "ORDO-default-JOBS",
            "ORDO-default-REPORTS",
            "ORDO-default-OUTPUT",
            "ORDO-default-LOGS",
            "ORDO-default-NOTICES",
        ],
    ),
    ("nats consumer report ORDO-default-JOURNAL", &["history", "proxy"]),
    ("nats kv get ordo-default-lease controller", &["controller", "\"active\":\"c"]),
    ("nats sub 'ordo.default.feed.order.>'", &[]),
    (
        "nats micro ls",
        &["ordo-default-controller", "ordo-default-proxy", "ordo-default-history", "ordo-default-agent-local"],
    ),
    ("nats req ordo.default.request.ops.proxy.order.add '{\"workflow\":\"backup\"}'", &["\"order\""]),
];

/// The lines of the README that begin with the tool's name, without what follows `#`.
fn lines_of_the_readme() -> Vec<String> {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let lines = readme.lines().map(str::trim).filter(|line| line.starts_with("nats "));
    lines.map(|line| line.split("  #").next().unwrap_or(line).trim().to_owned()).collect()
}

fn shell(up: &Up, line: &str) -> Command {
    let mut command = Command::new("sh");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NATS_")) {
        command.env_remove(name);
    }
    // No context of whoever runs the test.
    command
        .args(["-c", &format!(". {}/ordo.env && {line}", up.data().display())])
        .env("HOME", up.data())
        .env_remove("XDG_CONFIG_HOME");
    command
}

fn run(up: &Up, line: &str) -> String {
    let output = shell(up, line).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{line}: {}\n{text}", output.status);
    text
}

#[test]
fn the_readme_shows_the_lines_that_are_tried() {
    let tried: Vec<String> = LINES.iter().map(|(line, _)| (*line).to_owned()).collect();
    assert_eq!(lines_of_the_readme(), tried);
}

#[test]
fn every_line_for_the_nats_command_line_works_with_the_real_tool() {
    if !Command::new("nats").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return skipped("nats_cli", "the `nats` command line is not on the PATH");
    }
    let up = Up::start("nats-cli");
    up.ordo_ok(&["deploy", &repository().join("schemas/examples").display().to_string()]);
    let mut feed = Feed::listen(&up, LINES[3].0);
    let mut order = None;
    for (line, words) in LINES.iter().filter(|(line, _)| !line.starts_with("nats sub ")) {
        let said = run(&up, line);
        for word in *words {
            assert!(said.contains(word), "{line} does not say {word}:\n{said}");
        }
        if line.starts_with("nats req ") {
            order = Some(order_in(&said));
        }
    }
    let order = order.expect("the request names the order");
    feed.shows(&[&order, "OrderAdded", "OrderFinished"], Duration::from_secs(60));
    streams_say_what_they_are_for(&up);
}

/// The answer stands on a line of its own between what the tool says itself.
fn order_in(said: &str) -> String {
    let mut answers = said.lines().filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok());
    let answer = answers.next_back().unwrap_or_else(|| panic!("no JSON in {said}"));
    assert!(answer["state"].is_string(), "{answer} names no state");
    answer["order"].as_str().unwrap_or_else(|| panic!("{answer} names no order")).to_owned()
}

fn streams_say_what_they_are_for(up: &Up) {
    let text = run(up, "nats stream ls --names");
    let names: Vec<&str> = text.lines().map(str::trim).filter(|line| line.starts_with("ORDO-")).collect();
    assert_eq!(names.len(), 7, "{text}");
    for name in names {
        let info: Value = serde_json::from_str(&run(up, &format!("nats stream info {name} --json"))).unwrap();
        assert!(
            info["config"]["description"].as_str().is_some_and(|words| words.len() > 10),
            "{name} does not say what it is for"
        );
    }
}

/// `nats sub` in the background.
struct Feed {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: String,
}

impl Feed {
    fn listen(up: &Up, line: &str) -> Self {
        // `exec`, so that killing the shell kills the tool.
        let mut child =
            shell(up, &format!("exec {line}")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        for stream in [
            Box::new(child.stdout.take().unwrap()) as Box<dyn std::io::Read + Send>,
            Box::new(child.stderr.take().unwrap()),
        ] {
            let sender = sender.clone();
            std::thread::spawn(move || {
                BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
            });
        }
        let mut feed = Self { child, lines, seen: String::new() };
        feed.shows(&["Subscribing on"], Duration::from_secs(10));
        feed
    }

    fn shows(&mut self, words: &[&str], limit: Duration) {
        let started = Instant::now();
        while !words.iter().all(|word| self.seen.contains(word)) {
            assert!(started.elapsed() < limit, "the feed did not show {words:?} within {limit:?}:\n{}", self.seen);
            if let Ok(line) = self.lines.recv_timeout(Duration::from_millis(50)) {
                self.seen.push_str(&line);
                self.seen.push('\n');
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
