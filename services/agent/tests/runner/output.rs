use crate::harness::Runner;
use ordo_agent::runner::output::Channel;
use ordo_agent::runner::protocol::Reply;
use ordo_domain::{EnvValue, run::RunEnd};

#[test]
fn a_job_that_prints_1_gb_ends_and_fills_no_disk() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    let gigabyte = 1024 * 1024 * 1024_u64;
    let (run, end) = agent.run(runner.script("yes 'a line of thirty-one characters' | head -c 1073741824"));
    assert_eq!(end.facts.end, RunEnd::Exited { code: 0 });
    let output = end.facts.output;
    assert_eq!(output.bytes, gigabyte);
    assert_eq!(output.lines, gigabyte / 32);
    assert_eq!(output.kept_bytes + end.omitted, gigabyte);
    assert!(output.kept_bytes <= 8 * 1024 * 1024 && output.kept_bytes > 6 * 1024 * 1024, "{output:?}");
    let on_disk: u64 =
        std::fs::read_dir(runner.run(&run).path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(on_disk < 9 * 1024 * 1024, "{on_disk} bytes on disk");
    let frames = runner.output(&run, &end);
    assert_eq!(frames.len(), output.chunks as usize);
    assert!(frames[0].bytes.starts_with(b"a line of thirty-one characters\na line"));
}

#[test]
fn binary_output_is_kept_as_it_is_and_channels_are_told_apart() {
    let runner = Runner::start();
    let (run, end) =
        runner.attach().run(runner.script("printf '\\000\\377\\001'; printf 'bad\\200' >&2; sleep 0.2; printf last"));
    let frames = runner.output(&run, &end);
    let of = |channel: Channel| -> Vec<u8> {
        frames.iter().filter(|frame| frame.header.channel == channel).flat_map(|frame| frame.bytes.clone()).collect()
    };
    assert_eq!(of(Channel::Stdout), b"\x00\xff\x01last");
    assert_eq!(of(Channel::Stderr), b"bad\x80");
    assert_eq!(end.facts.output.bytes, 11);
}

#[test]
fn output_is_told_of_while_the_job_runs() {
    let runner = Runner::start();
    let mut agent = runner.attach();
    let gate = runner.data().join("gate");
    let mut request = runner.script("echo first; while [ ! -e \"$GATE\" ]; do sleep 0.02; done; echo second");
    request.env.insert("GATE".into(), EnvValue::Text(gate.display().to_string()));
    let run = agent.started(request);
    assert_eq!(agent.next(), Reply::Output { run: run.clone(), frames: 1 });
    // A new agent learns of it too.
    let mut agent = runner.attach();
    assert_eq!(agent.runs, std::slice::from_ref(&run));
    assert_eq!(agent.next(), Reply::Output { run: run.clone(), frames: 1 });
    std::fs::write(gate, b"").unwrap();
    let end = agent.ended(&run);
    assert_eq!(runner.text(&run, &end), "first\nsecond\n");
}

#[test]
fn secrets_are_in_the_environment_and_nowhere_else() {
    let runner = Runner::start();
    let secrets = runner.data().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    std::fs::write(secrets.join("db-password"), "pa55word-of-db\n").unwrap();
    let mut request = runner.script(
        "[ ${#DB} = 14 ]; echo \"connecting with $DB\"; echo \"$DB\" >&2; echo \"password=$DB\" >> \"$ORDO_RESULTS\"; echo pa55; sleep 0.2; printf pa55word; sleep 0.2; printf -- '-of-db'",
    );
    request.env.insert("DB".into(), EnvValue::Secret { secret: "db-password".parse().unwrap() });
    let (run, end) = runner.attach().run(request);
    assert_eq!(end.facts.end, RunEnd::Exited { code: 0 });
    let of = |channel: Channel| -> String {
        let frames = runner.output(&run, &end).into_iter().filter(|frame| frame.header.channel == channel);
        String::from_utf8(frames.flat_map(|frame| frame.bytes).collect()).unwrap()
    };
    assert_eq!(of(Channel::Stdout), "connecting with ***\npa55\n***");
    assert_eq!(of(Channel::Stderr), "***\n");
    assert_eq!(end.results.as_deref(), Some("password=***\n"));
    for entry in std::fs::read_dir(runner.run(&run).path()).unwrap() {
        let path = entry.unwrap().path();
        let holds = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains("pa55word-of-db");
        // The job's own file is the job's affair.
        assert!(!holds || path.ends_with("results"), "the secret lies in {}", path.display());
    }
    assert!(!runner.log().contains("pa55word"));
}

#[test]
fn a_secret_that_cannot_be_masked_starts_nothing() {
    let runner = Runner::start();
    let secrets = runner.data().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    std::fs::write(secrets.join("pin"), "123\n").unwrap();
    let mut request = runner.script("true");
    request.env.insert("PIN".into(), EnvValue::Secret { secret: "pin".parse().unwrap() });
    let end = runner.attach().end_of(request);
    assert!(matches!(end, RunEnd::NotStarted { reason, .. } if reason.contains("could not be masked")));
}
