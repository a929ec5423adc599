//! `ordo up` from its start to its end, in each of the ways that it can end.

use crate::up_process::{Up, folder, lives, ordo, signal_to, until};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const ALL: [&str; 11] = [
    "nats",
    "postgres",
    "controller/c1",
    "controller/c2",
    "proxy/p1",
    "history/h1",
    "daily-plan/d1",
    "monitor/m1",
    "log-notification/l1",
    "cleanup/x1",
    "agent/local",
];

/// `ordo status` through the environment file, as a shell would.
fn status(up: &Up) -> std::process::Output {
    let data = up.ready["data"].as_str().unwrap();
    ordo(data.as_ref()).args(["status", "--json"]).output().unwrap()
}

#[test]
fn it_is_ready_with_all_roles_and_its_command_line_finds_it() {
    let folder = folder();
    let up = Up::start(folder.path());
    for name in ALL {
        assert!(lives(up.pid_of(name)), "{name}");
    }
    until(LIMIT, "the whole site well", || status(&up).status.success());
    // What a shell gets from the file reaches the database with the read-only role.
    let env = up.ready["env"].as_str().unwrap();
    let script = format!(
        ". {env}; echo $ORDO_SITE; [ -r $NATS_CREDS ] && [ $NATS_URL = $ORDO_NATS_URL ] && echo same; echo $ORDO_DATABASE_URL"
    );
    let shell = Command::new("sh").args(["-c", &script]).output().unwrap();
    let text = String::from_utf8_lossy(&shell.stdout).into_owned();
    assert!(text.starts_with("default\nsame\npostgres://ordo_read:"), "{text}");
}

#[test]
fn a_killed_child_is_started_again_and_that_is_said() {
    let folder = folder();
    let mut up = Up::start(folder.path());
    for name in ["proxy/p1", "controller/c1", "nats", "postgres"] {
        signal_to(up.pid_of(name), "KILL");
        let line = up.says(&format!("{name} was ended by SIGKILL"), LIMIT);
        assert!(line.contains("restarting in"), "{line}");
        up.says(&format!("{name} restarted"), LIMIT);
    }
    until(LIMIT, "the whole site serving again", || status(&up).status.success());
}

#[test]
fn a_second_one_on_the_same_folder_is_refused() {
    let folder = folder();
    let up = Up::start(folder.path());
    let second = ordo(folder.path()).args(["up", "--json-ready", "--data"]).arg(folder.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(text.contains(&format!("another `ordo up` (process {}) runs on", up.pid())), "{text}");
    assert!(second.stdout.is_empty());
    until(LIMIT, "the first one still well", || status(&up).status.success());
}

#[test]
fn ctrl_c_stops_all_in_order_standbys_first_and_keeps_everything() {
    let folder = folder();
    let mut up = Up::start(folder.path());
    let (pids, url) = (ALL.map(|name| up.pid_of(name)), up.ready["nats_url"].clone());
    up.signal("INT");
    assert!(up.ended(LIMIT).success());
    let said = up.all_said();
    let place = |what: &str| said.find(&format!("stopping {what}")).unwrap_or_else(|| panic!("no {what} in:\n{said}"));
    assert!(place("controller") < place("agent/local"));
    for service in ["proxy", "history", "daily-plan", "monitor", "log-notification", "cleanup"] {
        assert!(place("agent/local") < place(service) && place(service) < place("postgres"), "{service} in:\n{said}");
    }
    assert!(place("postgres") < place("nats"));
    assert!(pids.iter().all(|pid| !lives(*pid)), "{said}");
    // The same site again, on the same port.
    let again = Up::start(folder.path());
    assert_eq!(again.ready["nats_url"], url);
}

#[test]
fn what_a_killed_one_left_behind_does_not_hinder_the_next() {
    let folder = folder();
    let up = Up::start(folder.path());
    let (pids, url) = (ALL.map(|name| up.pid_of(name)), up.ready["nats_url"].clone());
    up.signal("KILL");
    until(LIMIT, "the end of all children, by the kernel's hand", || pids.iter().all(|pid| !lives(*pid)));
    let again = Up::start(folder.path());
    assert_eq!(again.ready["nats_url"], url);
    // What instances say of themselves may be two seconds old.
    until(LIMIT, "the whole site well again", || status(&again).status.success());
}
