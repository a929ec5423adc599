//! Jobs under `ordo up`: they outlive it, unless a person insists; and newcomers are admitted while it runs.

use crate::up_process::{Up, binary, folder, lives, ordo, until};
use ordo_testkit::TestFolder;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// A workflow with one job that says its process id, then waits for a file.
fn deploy_waiting(folder: &TestFolder, agent: &str) {
    let (file, pid, go) = (folder.join("waiting.yaml"), folder.join("pid"), folder.join("go"));
    let text = format!(
        "workflow: waiting\nsteps:\n  - job: wait\n    agent: {agent}\n    script: |\n      echo $$ > {0}.new && mv {0}.new {0}\n      while [ ! -e {1} ]; do sleep 0.1; done\n      echo done\n",
        pid.display(),
        go.display()
    );
    std::fs::write(&file, text).unwrap();
    ok(ordo(folder.path()).arg("deploy").arg(&file));
}

fn ok(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn add(folder: &Path) -> String {
    let output = ok(ordo(folder).args(["order", "add", "waiting", "--json"]));
    let reply: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = serde_json::to_string(&reply).unwrap();
    let id =
        found.split('"').find(|word| word.ends_with("-waiting")).unwrap_or_else(|| panic!("no order id in {found}"));
    id.to_owned()
}

fn running_pid(folder: &TestFolder) -> i32 {
    let file = folder.join("pid");
    until(LIMIT, "the job's start", || file.exists());
    std::fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

#[test]
fn a_running_job_goes_on_under_its_runner_and_the_next_start_takes_it_back() {
    let folder = folder();
    let mut up = Up::start(folder.path());
    deploy_waiting(&folder, "local");
    let order = add(folder.path());
    let job = running_pid(&folder);
    up.signal("TERM");
    assert!(up.ended(LIMIT).success());
    assert!(up.all_said().contains("1 job goes on under the runner"), "{}", up.all_said());
    assert!(up.all_said().contains(&order));
    assert!(lives(job));
    let again = Up::start(folder.path());
    std::fs::write(folder.join("go"), "").unwrap();
    let wait = ok(ordo(folder.path()).args(["order", "wait", &order, "--timeout", "30s"]));
    assert_eq!(wait.status.code(), Some(0));
    drop(again);
}

#[test]
fn a_second_ctrl_c_ends_the_jobs_too() {
    let folder = folder();
    let mut up = Up::start(folder.path());
    deploy_waiting(&folder, "local");
    add(folder.path());
    let job = running_pid(&folder);
    up.signal("INT");
    up.says("Ctrl-C again ends", LIMIT);
    until(LIMIT, "the job's end", || {
        up.signal("INT");
        std::thread::sleep(Duration::from_millis(200));
        !lives(job)
    });
    assert!(up.ended(LIMIT).success());
}

#[test]
fn a_new_agent_and_a_new_person_are_admitted_while_everything_runs() {
    let folder = folder();
    let up = Up::start(folder.path());
    let output = ok(ordo(folder.path()).args(["user", "add", "alice", "--json"]));
    let alice: Value = serde_json::from_slice(&output.stdout).unwrap();
    ok(ordo(folder.path()).args(["status", "--creds"]).arg(alice["creds"].as_str().unwrap()));
    // Names of services are not for people.
    assert!(!ordo(folder.path()).args(["user", "add", "controller"]).output().unwrap().status.success());

    let add = |_: u32| ok(ordo(folder.path()).args(["agent", "add", "etl", "--json"]));
    let etl: Value = serde_json::from_slice(&add(1).stdout).unwrap();
    add(2);
    let mut agent = Command::new(binary())
        .args(["run", "agent", "--instance", "e1", "--creds", etl["creds"].as_str().unwrap(), "--nats-url"])
        .arg(up.ready["nats_url"].as_str().unwrap())
        .arg("--data")
        .arg(folder.join("etl"))
        .env("ORDO_AGENT", "etl")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::fs::write(folder.join("go"), "").unwrap();
    deploy_waiting(&folder, "etl");
    let done = ordo(folder.path()).args(["order", "add", "waiting", "--wait", "--timeout", "30s"]).output().unwrap();
    let _ = agent.kill();
    let _ = agent.wait();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn an_empty_site_shows_the_examples() {
    let folder = folder();
    let mut command = ordo(folder.path());
    command.args(["up", "--scale-down", "64", "--data"]).arg(folder.path()).env("HOME", folder.path());
    let mut up = Up::start_plain(command);
    up.says("Ordo is ready after", LIMIT);
    up.says("workflow backup version 1", LIMIT);
    up.says("Try next", LIMIT * 2);
    let said = up.all_said();
    for part in ["dump", "verify", "finished"] {
        assert!(said.contains(part), "no {part} in:\n{said}");
    }
    assert!(std::fs::read_dir(folder.join("ordo-backups")).unwrap().count() > 0);
    up.signal("INT");
    assert!(up.ended(LIMIT).success());
}
