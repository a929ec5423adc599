use crate::harness::{LIMIT, Site, command, gated, job, processes_of, script};
use ordo_domain::{EnvValue, Kind, Span, Value, run::RunEnd};
use ordo_testkit::{User, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_claimed_run_acknowledged_and_reported() {
    let site = Site::start().await;
    let agent = site.agent("a1");
    let mut job = job("echo hello; echo oops >&2; echo rows=12 >> $ORDO_RESULTS; exit 7");
    job.spec.results.insert("rows".parse().unwrap(), Kind::Number);
    site.send(&job).await;
    let facts = site.ended(&job.run).await;
    assert_eq!(facts.end, RunEnd::Exited { code: 7 });
    assert_eq!(facts.results["rows"], Value::from(12));
    assert_eq!((facts.output.bytes, facts.output.lines), (11, 2));
    let claim = site.claimed(&job.run).await;
    assert_eq!((claim.instance.as_str(), claim.number, claim.epoch), ("a1", 0, 3));
    site.no_jobs_waiting().await;
    wait_until(LIMIT, "the output", async || site.output(&job.run).await.len() == facts.output.chunks as usize).await;
    let text: Vec<u8> = site.output(&job.run).await.into_values().flat_map(|(_, bytes)| bytes).collect();
    assert_eq!(String::from_utf8(text).unwrap(), "hello\noops\n");
    wait_until(LIMIT, "a heartbeat", async || site.heartbeat("a1").await.is_some_and(|h| h.epoch == 3)).await;
    let heartbeat = site.heartbeat("a1").await.unwrap();
    assert_eq!((heartbeat.role.as_str(), heartbeat.agent.unwrap().slots), ("agent-etl", 4));
    let numbers: Vec<u64> =
        site.reports().await.iter().map(|report| report.number).filter(|number| *number > 0).collect();
    assert_eq!(numbers, [1, 2]);
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_come_by_their_hash_and_a_missing_one_says_so() {
    let site = Site::start().await;
    let _agent = site.agent("a1");
    let proxy = crate::harness::connect(&site.nats, &User::Proxy).await;
    let plain = proxy.definitions().put_by_hash("a script", b"echo $ORDO_JOB; false; echo not reached").await.unwrap();
    let own = proxy.definitions().put_by_hash("a script", b"#!/bin/cat\nshown by cat\n").await.unwrap();
    for (hash, code, text) in [(plain, 1, "step\n"), (own, 0, "#!/bin/cat\nshown by cat\n")] {
        let job = script(hash.parse().unwrap());
        site.send(&job).await;
        assert_eq!(site.ended(&job.run).await.end, RunEnd::Exited { code });
        wait_until(LIMIT, "its output", async || {
            site.output(&job.run).await.get(&1).is_some_and(|(_, b)| b == text.as_bytes())
        })
        .await;
    }
    let missing = script(ordo_domain::ContentHash::of(b"nobody stored this"));
    site.send(&missing).await;
    let end = site.ended(&missing.run).await.end;
    assert!(
        matches!(&end, RunEnd::NotStarted { reason, .. } if reason.contains("is not in the definition store")),
        "{end:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_is_reported_with_its_reason() {
    let site = Site::start().await;
    let _agent = site.agent("a1");
    let mut no_folder = job("true");
    no_folder.spec.directory = Some("/no/such".into());
    let mut no_secret = job("true");
    no_secret.spec.env.insert("P".into(), EnvValue::Secret { secret: "absent".parse().unwrap() });
    let no_program = command(&["no-such-program"]);
    for (job, words) in [(no_folder, "/no/such"), (no_secret, "secret absent"), (no_program, "no folder of PATH")] {
        site.send(&job).await;
        let facts = site.ended(&job.run).await;
        assert!(matches!(&facts.end, RunEnd::NotStarted { reason, .. } if reason.contains(words)), "{:?}", facts.end);
        assert_eq!(facts.started_at, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_as_many_jobs_run_as_there_are_slots() {
    let site = Site::start().await;
    let agent = site.agent("a1");
    let jobs: Vec<_> = (0..6).map(|_| gated(&site, "exit 0")).collect();
    for (job, _) in &jobs {
        site.send(job).await;
    }
    let running = async || {
        let mut count = 0;
        for (job, _) in &jobs {
            count += usize::from(!processes_of(&job.run).is_empty());
        }
        count
    };
    wait_until(LIMIT, "four running jobs", async || running().await == 4).await;
    wait_until(LIMIT, "a heartbeat with four", async || {
        site.heartbeat("a1").await.and_then(|h| h.agent).is_some_and(|a| a.runs.len() == 4)
    })
    .await;
    assert_eq!((running().await, site.jobs_waiting().await), (4, 2));
    for (_, gate) in &jobs {
        std::fs::write(gate, b"").unwrap();
    }
    for (job, _) in &jobs {
        assert_eq!(site.ended(&job.run).await.end, RunEnd::Exited { code: 0 });
    }
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_limits_and_kills_end_a_job() {
    let site = Site::start().await;
    let _agent = site.agent("a1");
    let mut long = job("sleep 100");
    long.spec.timeout = Some(Span::from_millis(200));
    site.send(&long).await;
    assert_eq!(site.ended(&long.run).await.end, RunEnd::TimedOut { limit: Span::from_millis(200) });
    let killed = job("sleep 100");
    site.send(&killed).await;
    site.claimed(&killed.run).await;
    site.kill(&killed.run, "a1").await;
    assert_eq!(site.ended(&killed.run).await.end, RunEnd::Killed);
    site.no_jobs_waiting().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_no_job_and_says_so() {
    let site = Site::start().await;
    let data = site.folder.join("small");
    std::fs::create_dir(&data).unwrap();
    let mounted =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "none"]).arg(&data).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: a small tmpfs cannot be mounted here (needs root)");
        return;
    }
    let mount = Mount(data.clone());
    let agent = site.agent_with("a1", 4, &data);
    site.ready(&agent).await;
    // A block stays for what a running system writes elsewhere.
    let ballast = data.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    while std::io::Write::write_all(&mut file, &[0; 1]).is_ok() {}
    let job = job(&format!("true {}", "x".repeat(8000)));
    site.send(&job).await;
    wait_until(LIMIT, "the note in the heartbeat", async || {
        site.heartbeat("a1").await.and_then(|h| h.note).is_some_and(|note| note.contains("the disk takes nothing"))
    })
    .await;
    assert!(agent.log().contains("nothing can be stored"));
    assert!(!site.reports().await.iter().any(|report| report.number == 0), "a job that is not stored was claimed");
    // Its bytes stay as long as it is open.
    drop(file);
    std::fs::remove_file(ballast).unwrap();
    assert_eq!(site.ended(&job.run).await.end, RunEnd::Exited { code: 0 });
    wait_until(LIMIT, "the note to go", async || site.heartbeat("a1").await.is_some_and(|h| h.note.is_none())).await;
    drop(agent);
    drop(mount);
}

struct Mount(std::path::PathBuf);
impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
