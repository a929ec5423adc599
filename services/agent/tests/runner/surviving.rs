use crate::harness::{LIMIT, Runner, processes_of, sockets, start_runner, wait_until};
use ordo_agent::runner::protocol::{Reply, Request, StartRefusal};
use ordo_domain::{EnvValue, run::RunEnd};

fn gated(runner: &Runner, script: &str) -> (ordo_agent::runner::protocol::StartRequest, std::path::PathBuf) {
    let gate = runner.data().join("gate");
    let mut request = runner.script(&format!("while [ ! -e \"$GATE\" ]; do sleep 0.02; done; {script}"));
    request.env.insert("GATE".into(), EnvValue::Text(gate.display().to_string()));
    (request, gate)
}

#[test]
fn a_run_outlives_its_agent_and_its_end_is_on_disk() {
    let runner = Runner::start();
    let (request, gate) = gated(&runner, "echo done; exit 5");
    let mut agent = runner.attach();
    let run = agent.started(request);
    drop(agent);
    std::fs::write(gate, b"").unwrap();
    wait_until("the end on disk", || runner.run(&run).end().is_some());
    let end = runner.run(&run).end().unwrap();
    assert_eq!(end.facts.end, RunEnd::Exited { code: 5 });
    assert_eq!(runner.text(&run, &end), "done\n");
    assert!(runner.attach().runs.is_empty());
}

#[test]
fn what_the_agent_before_had_sent_is_carried_out_before_the_next_one_is_answered() {
    let runner = Runner::start();
    for _ in 0..20 {
        let mut dying = runner.attach();
        let run = dying.start(runner.script("sleep 100"));
        drop(dying);
        let mut agent = runner.attach();
        assert!(agent.runs.contains(&run), "{run} may still start after the answer");
        agent.send(&Request::Kill { run: run.clone() });
        agent.ended(&run);
    }
}

#[test]
fn the_runs_of_a_killed_runner_are_lost_and_what_is_left_of_them_is_ended() {
    let mut runner = Runner::start();
    let mut agent = runner.attach();
    let run = agent.started(runner.script(
        "trap '' PIPE TERM HUP; echo begun; sleep 300 & setsid sleep 300 >/dev/null & env -i sleep 300 & sleep 300",
    ));
    let finished = agent.run(runner.script("exit 4")).0;
    wait_until("all its processes", || processes_of(&run).len() == 4);
    wait_until("its output", || std::fs::metadata(runner.run(&run).output()).is_ok_and(|file| file.len() > 0));
    runner.kill();
    assert!(!processes_of(&run).is_empty());
    runner.start_another();
    let agent = runner.attach();
    assert!(agent.runs.is_empty());
    assert_eq!(processes_of(&run), [0; 0]);
    let end = runner.run(&run).end().unwrap();
    assert_eq!(end.facts.end, RunEnd::Lost { reason: "its runner died".into() });
    assert_eq!(runner.text(&run, &end), "begun\n");
    assert_eq!((end.facts.output.bytes, end.facts.output.chunks), (6, 1));
    // An end that was known stays what it was.
    assert_eq!(runner.run(&finished).end().unwrap().facts.end, RunEnd::Exited { code: 4 });
}

#[test]
fn a_second_runner_on_the_same_folder_leaves_the_first_one_alone() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    let run = agent.started(runner.script("sleep 100"));
    let mut second = start_runner(runner.data(), 60_000);
    assert!(second.wait().unwrap().success());
    assert_eq!(sockets(runner.data()).len(), 1);
    agent.send(&Request::List);
    assert_eq!(agent.next(), Reply::Running { runs: vec![run] });
}

#[test]
fn a_runner_that_drains_keeps_its_runs_while_another_takes_new_ones() {
    let mut old = Runner::start();
    let mut agent = old.attach();
    let (request, gate) = gated(&old, "exit 6");
    let run = agent.started(request);
    agent.send(&Request::Drain);
    assert_eq!(agent.next(), Reply::Draining);
    let refused = agent.start(old.script("true"));
    assert_eq!(agent.refused(&refused), StartRefusal::Draining);
    let mut new = start_runner(old.data(), 300);
    wait_until("the socket of the new runner", || sockets(old.data()).len() == 2);
    // The new one has swept and left the old one's run alone.
    assert!(old.run(&run).end().is_none());
    std::fs::write(gate, b"").unwrap();
    assert_eq!(agent.ended(&run).facts.end, RunEnd::Exited { code: 6 });
    assert!(old.wait().success());
    assert!(new.wait().unwrap().success());
}

#[test]
fn a_runner_without_runs_and_without_an_agent_ends_itself() {
    let runner = Runner::start();
    let folder = ordo_testkit::TestFolder::new("idle");
    let mut child = start_runner(folder.path(), 200);
    let start = std::time::Instant::now();
    assert!(child.wait().unwrap().success());
    assert!(start.elapsed() < LIMIT && sockets(folder.path()).is_empty());
    drop(runner);
}

#[test]
fn told_to_stop_it_ends_its_runs_and_says_so() {
    let mut runner = Runner::start();
    let mut agent = runner.attach();
    let run = agent.started(runner.script("sleep 100"));
    agent.send(&Request::Stop { kill: false });
    assert_eq!(agent.next(), Reply::Stopping { runs: vec![run.clone()] });
    agent.send(&Request::Stop { kill: true });
    assert!(matches!(agent.ended(&run).facts.end, RunEnd::Lost { .. }));
    assert!(runner.wait().success());
}

#[test]
fn the_socket_belongs_to_its_owner_alone_also_deep_in_the_tree() {
    use std::os::unix::fs::PermissionsExt;
    let folder = ordo_testkit::TestFolder::new("deep");
    let data = folder.join("a-folder-with-a-long-name-".repeat(6));
    std::fs::create_dir(&data).unwrap();
    let mut child = start_runner(&data, 500);
    wait_until("the socket", || !sockets(&data).is_empty());
    let socket = sockets(&data).remove(0);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    drop(ordo_agent::runner::connect(&socket).unwrap());
    assert!(child.wait().unwrap().success());
}
