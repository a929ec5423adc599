use crate::harness::{Runner, processes_of, wait_until};
use ordo_agent::runner::protocol::{Reply, Request};
use ordo_domain::{Span, run::RunEnd};
use std::time::{Duration, Instant};

#[test]
fn exit_codes_signals_times_and_usage_are_reported() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    assert_eq!(agent.end_of(runner.script("exit 0")), RunEnd::Exited { code: 0 });
    assert_eq!(agent.end_of(runner.script("exit 75")), RunEnd::Exited { code: 75 });
    assert_eq!(agent.end_of(runner.script("false; echo not reached")), RunEnd::Exited { code: 1 });
    assert_eq!(agent.end_of(runner.script("kill -9 $$")), RunEnd::Signalled { signal: 9 });
    assert_eq!(agent.end_of(runner.script("kill -TERM $$")), RunEnd::Signalled { signal: 15 });
    let (_, end) = agent.run(runner.script("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"));
    assert!(end.facts.usage.cpu_user_ms > 0 && end.facts.usage.memory_peak_bytes > 100_000, "{:?}", end.facts.usage);
    assert!(end.facts.started_at.unwrap() <= end.facts.ended_at);
}

#[test]
fn a_kill_is_heard_and_the_job_may_clean_up() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    let run =
        agent.started(runner.script("trap 'echo cleaned; exit 3' TERM; echo ready; while :; do sleep 0.05; done"));
    wait_until("the trap", || runner.run(&run).output().exists());
    agent.send(&Request::Kill { run: run.clone() });
    let end = agent.ended(&run);
    assert_eq!(end.facts.end, RunEnd::Killed);
    let text = runner.text(&run, &end);
    assert!(text.starts_with("ready\n") && text.ends_with("cleaned\n"), "{text}");
}

#[test]
fn what_ignores_sigterm_is_killed_after_its_grace() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    let mut request = runner.script("trap '' TERM; echo ready; while :; do sleep 0.05; done");
    request.timeout_ms = Some(300);
    request.kill_after_ms = 300;
    let start = Instant::now();
    let (run, end) = agent.run(request);
    assert_eq!(end.facts.end, RunEnd::TimedOut { limit: Span::from_millis(300) });
    assert!(start.elapsed() >= Duration::from_millis(600), "{:?}", start.elapsed());
    assert!(processes_of(&run).is_empty());
}

#[test]
fn a_job_that_was_stopped_hears_the_kill() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    let run = agent.started(runner.script("kill -STOP $$; sleep 100"));
    agent.send(&Request::Kill { run: run.clone() });
    assert_eq!(agent.ended(&run).facts.end, RunEnd::Killed);
}

#[test]
fn a_kill_right_behind_the_start_is_not_lost() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    let run = agent.start(runner.script("sleep 100"));
    agent.send(&Request::Kill { run: run.clone() });
    assert_eq!(agent.ended(&run).facts.end, RunEnd::Killed);
}

#[test]
fn a_kill_of_what_is_not_there_is_answered() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    let run = ordo_domain::RunId::from_bits(99);
    agent.send(&Request::Kill { run: run.clone() });
    assert_eq!(agent.next(), Reply::Killing { run, known: false });
}

#[test]
fn children_in_the_background_are_ended_with_the_run() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    // One holds the pipes, one does not, one ignores signals.
    let (run, end) =
        agent.run(runner.script("sleep 100 & sleep 100 >/dev/null 2>&1 & (trap '' TERM; sleep 100) & echo main done"));
    assert_eq!(end.facts.end, RunEnd::Exited { code: 0 });
    assert_eq!(runner.text(&run, &end), "main done\n");
    assert_eq!(processes_of(&run), [0; 0]);
}

#[test]
fn a_child_that_is_about_to_end_may_finish() {
    let runner = Runner::start();
    let (run, end) = runner.attach().run(runner.script("(sleep 0.2; echo child) & echo main"));
    assert_eq!(runner.text(&run, &end), "main\nchild\n");
}

#[test]
fn a_daemon_that_left_the_session_is_ended_soon_after_the_run() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    let long = agent.started(runner.script("setsid sleep 300 >/dev/null 2>&1 & sleep 300"));
    let (run, end) = agent.run(runner.script("setsid sleep 300 >/dev/null 2>&1 & exit 0"));
    assert_eq!(end.facts.end, RunEnd::Exited { code: 0 });
    wait_until("the end of the daemon", || processes_of(&run).is_empty());
    // That of a job that still runs is left alone.
    assert_eq!(processes_of(&long).len(), 3);
    agent.send(&Request::Kill { run: long.clone() });
    agent.ended(&long);
    wait_until("the end of the other daemon", || processes_of(&long).is_empty());
}

#[test]
fn a_daemon_that_holds_the_pipes_does_not_hold_the_run() {
    let runner = Runner::start();
    let start = Instant::now();
    let (run, end) = runner.attach().run(runner.script("setsid sleep 300 & echo main"));
    assert_eq!(end.facts.end, RunEnd::Exited { code: 0 });
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(processes_of(&run), [0; 0]);
}

#[test]
fn results_come_with_the_end() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    let (_, end) = agent.run(runner.script("echo rows=12 >> \"$ORDO_RESULTS\"; echo 'name=a b' >> \"$ORDO_RESULTS\""));
    assert_eq!(end.results.as_deref(), Some("rows=12\nname=a b\n"));
    let (_, end) = agent.run(runner.script("head -c 20000 /dev/zero | tr '\\0' x > \"$ORDO_RESULTS\""));
    assert_eq!(
        (end.results, end.results_error.as_deref()),
        (None, Some("the results file is longer than 16384 bytes"))
    );
    let (_, end) = agent.run(runner.script("printf 'a=\\377' > \"$ORDO_RESULTS\""));
    assert_eq!(end.results_error.as_deref(), Some("the results file is not UTF-8 text"));
}

#[test]
fn five_hundred_jobs_at_a_time_end_each_with_its_own_code() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    let mut expected = std::collections::BTreeMap::new();
    for number in 0..500 {
        let run = agent.start(runner.script(&format!("echo {number}; exit {}", number % 200)));
        expected.insert(run, number);
    }
    while !expected.is_empty() {
        if let Reply::Ended { run, facts } = agent.next() {
            let number = expected.remove(&run).unwrap();
            assert_eq!(facts.facts.end, RunEnd::Exited { code: number % 200 });
            assert_eq!(runner.text(&run, &facts), format!("{number}\n"));
        }
    }
}
