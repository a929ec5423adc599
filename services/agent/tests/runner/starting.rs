use crate::harness::Runner;
use ordo_agent::runner::protocol::{Reply, Request, StartRefusal};
use ordo_agent::runner::system;
use ordo_domain::{EnvValue, run::RunEnd};

fn reason(end: RunEnd) -> String {
    match end {
        RunEnd::NotStarted { reason, .. } => reason,
        other => panic!("not NotStarted: {other:?}"),
    }
}

#[test]
fn a_job_sees_its_own_environment_and_nothing_else() {
    let runner = Runner::start();
    let mut request = runner.command(&["env"]);
    request.env.insert("DAY".into(), EnvValue::Text("2026-11-22".into()));
    request.env.insert("ORDO_JOB".into(), EnvValue::Text("forged".into()));
    let (run, end) = runner.attach().run(request);
    let mut names: Vec<String> = runner.text(&run, &end).lines().map(str::to_owned).collect();
    names.sort();
    let results = format!(
        "ORDO_RESULTS={}",
        runner.run(&run).results().canonicalize().unwrap_or(runner.run(&run).results()).display()
    );
    let id = format!("ORDO_RUN={run}");
    let expected = [
        "DAY=2026-11-22",
        "HOME=/",
        "LANG=C.UTF-8",
        "ORDO_ATTEMPT=1",
        "ORDO_JOB=job",
        "ORDO_ORDER=20261122-T1-test",
        &results,
        &id,
        "ORDO_WORKFLOW=test",
        "PATH=/usr/local/bin:/usr/bin:/bin",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_job_leads_a_session_of_its_own_with_nothing_to_read_and_free_signals() {
    let runner = Runner::start();
    // By the shell itself: while it waits for a command, dash blocks all signals for a moment.
    let (run, end) = runner.attach().run(runner.script(
        "cat; read -r _ _ _ _ _ s _ </proc/$$/stat; [ \"$s\" = $$ ] && echo leader
         while read -r line; do case $line in Sig*) echo \"$line\";; esac; done </proc/$$/status; pwd",
    ));
    assert_eq!(end.facts.end, RunEnd::Exited { code: 0 });
    let text = runner.text(&run, &end);
    assert!(text.starts_with("leader\n"), "{text}");
    // Bits 31 and 32 are the C library's own.
    let bits = |name: &str| text.lines().find_map(|line| u64::from_str_radix(line.strip_prefix(name)?.trim(), 16).ok());
    assert_eq!((bits("SigBlk:"), bits("SigIgn:").map(|bits| bits & 0x7fff_ffff)), (Some(0), Some(0)), "{text}");
    assert!(text.ends_with("\n/\n"), "{text}");
}

#[test]
fn what_cannot_be_started_says_why_and_leaves_no_process() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    let mut no_folder = runner.script("true");
    no_folder.directory = Some("/no/such/folder".into());
    assert!(reason(agent.end_of(no_folder)).contains("working directory /no/such/folder cannot be used"));
    assert!(
        reason(agent.end_of(runner.command(&["no-such-program"]))).contains("no-such-program is in no folder of PATH")
    );
    assert!(reason(agent.end_of(runner.command(&["/no/such"]))).contains("/no/such, or the interpreter"));
    assert!(reason(agent.end_of(runner.command(&["/etc/passwd"]))).contains("permission denied"));
    assert_eq!(reason(agent.end_of(runner.command(&[]))), "the command is empty");
    assert!(reason(agent.end_of(runner.command(&["echo", "a\0b"]))).contains("zero byte"));
    let mut odd = runner.script("true");
    odd.env.insert("A=B".into(), EnvValue::Text("x".into()));
    assert!(reason(agent.end_of(odd)).contains("no name of an environment variable"));
    let mut secret = runner.script("true");
    secret.env.insert("P".into(), EnvValue::Secret { secret: "missing".parse().unwrap() });
    assert!(reason(agent.end_of(secret)).contains("the secret missing cannot be used"));
}

#[test]
fn a_run_is_started_once() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    let request = runner.script("echo ran >> \"$HOME_OF_TEST/ran\"");
    let mut request = request;
    request.env.insert("HOME_OF_TEST".into(), EnvValue::Text(runner.data().display().to_string()));
    let (run, _) = agent.run(request.clone());
    agent.start(request.clone());
    assert_eq!(agent.refused(&run), StartRefusal::Taken);
    // Twice at once, too.
    request.meta.run = ordo_domain::RunId::from_bits(u128::MAX - 5);
    agent.start(request.clone());
    let run = agent.start(request);
    // The end of the one may be told before the refusal of the other.
    let (mut ended, mut refused) = (false, false);
    while !(ended && refused) {
        match agent.next() {
            Reply::Ended { run: of, .. } if of == run => ended = true,
            Reply::Refused { run: of, refusal } if of == run => {
                assert_eq!(refusal, StartRefusal::Taken);
                refused = true;
            }
            _ => {}
        }
    }
    assert_eq!(std::fs::read_to_string(runner.data().join("ran")).unwrap(), "ran\nran\n");
}

#[test]
fn a_start_that_comes_too_late_is_refused() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    let mut request = runner.script("true");
    request.spawn_before_ms = system::boottime_ms() - 1;
    let run = agent.start(request);
    assert!(matches!(agent.refused(&run), StartRefusal::TooLate));
    assert!(!runner.run(&run).exists());
}

#[test]
fn nonsense_is_answered_and_does_no_harm() {
    use std::io::Write;
    let runner = Runner::start();
    let mut agent = runner.attach();
    agent.stream.write_all(b"{\"what\":1}\n").unwrap();
    assert!(matches!(agent.next(), ordo_agent::runner::protocol::Reply::Misunderstood { .. }));
    agent.send(&Request::List);
    assert!(matches!(agent.next(), ordo_agent::runner::protocol::Reply::Running { runs } if runs.is_empty()));
}

#[test]
fn a_full_disk_starts_nothing_and_an_end_is_written_when_there_is_room_again() {
    let folder = ordo_testkit::TestFolder::new("full");
    let mount = |arguments: &[&str]| std::process::Command::new("mount").args(arguments).arg(folder.path()).status();
    if !mount(&["-t", "tmpfs", "-o", "size=256k,nr_inodes=30", "none"]).is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: a small tmpfs cannot be mounted here (needs root)");
        return;
    }
    let path = folder.path().to_owned();
    let unmount = scopeguard(|| drop(std::process::Command::new("umount").args(["-l"]).arg(&path).status()));
    let outside = ordo_testkit::TestFolder::new("gate");
    let runner = Runner::start_on(folder);
    let mut agent = runner.attach();
    let gate = outside.join("gate");
    let mut request = runner.script("while [ ! -e \"$GATE\" ]; do sleep 0.02; done; exit 7");
    request.env.insert("GATE".into(), EnvValue::Text(gate.display().to_string()));
    let run = agent.started(request);
    // Take every inode that is left.
    for number in 0..40 {
        let _ = std::fs::write(runner.data().join(format!("fill{number}")), b"");
    }
    let other = agent.start(runner.script("true"));
    assert!(matches!(agent.refused(&other), StartRefusal::NotPossible(reason) if reason.contains("No space left")));
    std::fs::write(&gate, b"").unwrap();
    crate::harness::wait_until("the complaint about the end", || {
        runner.log().contains("end of a run cannot be written")
    });
    for number in 0..40 {
        let _ = std::fs::remove_file(runner.data().join(format!("fill{number}")));
    }
    assert_eq!(agent.ended(&run).facts.end, RunEnd::Exited { code: 7 });
    assert_eq!(runner.run(&run).end().unwrap().facts.end, RunEnd::Exited { code: 7 });
    drop((runner, unmount));
}

#[test]
fn a_folder_that_is_used_again_holds_nothing_of_the_run_before() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    let (first, end) = agent.run(runner.script("echo of the first; echo a=1 >> \"$ORDO_RESULTS\"; exit 3"));
    assert_eq!(end.results.as_deref(), Some("a=1\n"));
    runner.run(&first).recycle(runner.data()).unwrap();
    assert!(!runner.run(&first).exists());
    let second = agent.started(runner.script("sleep 100"));
    assert_eq!(runner.run(&second).meta().unwrap().run, second);
    assert!(runner.run(&second).end().is_none(), "the end of the run before is taken for its own");
    assert_eq!(std::fs::read_dir(runner.data().join("spare")).unwrap().count(), 0);
    agent.send(&Request::Kill { run: second.clone() });
    let end = agent.ended(&second);
    assert_eq!((end.facts.end.clone(), end.results.clone()), (RunEnd::Killed, None));
    assert_eq!(runner.text(&second, &end), "");
    assert_eq!((end.facts.output.bytes, end.facts.output.chunks), (0, 0));
}

struct Guard<F: FnMut()>(F);
impl<F: FnMut()> Drop for Guard<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
fn scopeguard<F: FnMut()>(work: F) -> Guard<F> {
    Guard(work)
}
