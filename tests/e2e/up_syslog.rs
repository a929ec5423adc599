//! Syslog is taken where `ordo up` says, and shown by `ordo log`.

use ordo_tests::Up;
use serde_json::Value;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const DEFINITIONS: &str = "\
log_rule: disk
severity: error
text: disk [0-9]+ full
notice: A disk is full
";

fn send(up: &Up, message: &str) {
    let address: SocketAddr = up.ready["syslog"]["udp"].as_str().unwrap().parse().unwrap();
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(message.as_bytes(), address).unwrap();
}

/// Until what is printed holds all the texts.
fn shows(up: &Up, arguments: &[&str], wanted: &[&str]) -> String {
    let started = Instant::now();
    loop {
        let shown = up.ordo_ok(arguments);
        if wanted.iter().all(|text| shown.contains(text)) {
            return shown;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{arguments:?} does not show {wanted:?}:\n{shown}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_line_of_syslog_is_listed_without_what_a_terminal_would_obey_also_after_a_kill() {
    let up = Up::start("syslog");
    let file = up.path("disk.yaml");
    fs::write(&file, DEFINITIONS).unwrap();
    up.ordo_ok(&["deploy", &file.display().to_string()]);

    send(&up, "<11>1 - db1 kernel - - - disk 7 full \u{1b}[31m");
    let listed = shows(&up, &["--json", "log", "list", "--host", "db1"], &["disk 7 full"]);
    let line: Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!((&line["level"], &line["syslog"]["application"]), (&"error".into(), &"kernel".into()));
    assert!(!listed.contains('\u{1b}') && !listed.contains("\\u001b"), "{listed}");

    up.kill("log-notification/l1");
    let started = Instant::now();
    // The port is bound again when it is back; what is sent before is lost, as syslog by UDP is.
    while !String::from_utf8_lossy(&up.ordo(&["log", "list", "--host", "db2"]).stdout).contains("disk 8 full") {
        assert!(started.elapsed() < Duration::from_secs(20), "it is not back");
        send(&up, "<11>1 - db2 kernel - - - disk 8 full");
        std::thread::sleep(Duration::from_millis(100));
    }
}
