//! A job of a minute outlives its agent and both controllers.

use crate::support::deploy;
use ordo_tests::Up;
use std::time::{Duration, Instant};

const WORKFLOW: &str = "\
workflow: minute
defaults: { agent: local }
steps:
  - job: count
    script: |
      begin=$(date +%s)
      sleep 60
      echo \"seconds=$(( $(date +%s) - begin ))\" >> \"$ORDO_RESULTS\"
      echo done
    results: { seconds: number }
  - if: count.seconds < 60
    then:
      - fail: only ${ count.seconds } s
";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_60_s_survives_kill_and_restart_of_its_agent_and_of_both_controllers() {
    let up = Up::start("long-job");
    deploy(&up, "minute.yaml", WORKFLOW).await;

    let added = up.ordo_ok(&["order", "add", "minute", "--json"]);
    let id = serde_json::from_str::<serde_json::Value>(&added).expect("JSON")["orders"][0]
        .as_str()
        .expect("an id")
        .to_owned();
    wait_for_runner_job(&up).await;
    for victim in ["agent/local", "controller/c1", "controller/c2", "agent/local"] {
        up.kill(victim);
        wait_until_back(&up, victim).await;
    }
    let ended = up.ordo(&["order", "wait", &id, "--timeout", "120s"]);
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stdout));
    let steps = up.ordo_ok(&["history", "steps", &id, "--json"]);
    assert!(steps.contains("\"attempt\":1") && !steps.contains("\"attempt\":2"), "it ran once: {steps}");
    assert!(up.ordo_ok(&["logs", &id]).contains("done"), "its log is there");
}

async fn wait_for_runner_job(up: &Up) {
    let begin = Instant::now();
    while !up.ordo_ok(&["order", "list", "--json"]).contains("\"state\":\"running\"")
        || ordo_tests::runners(&up.data()).is_empty()
    {
        assert!(begin.elapsed() < Duration::from_secs(20), "the job runs");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn wait_until_back(up: &Up, name: &str) {
    let begin = Instant::now();
    while !up.processes().contains_key(name) {
        assert!(begin.elapsed() < Duration::from_secs(30), "{name} is started again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
