use crate::harness::{LIMIT, Site, gated, job, processes_of};
use ordo_domain::run::{Report, RunEnd};
use ordo_testkit::{wait_for, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_survives_the_crash_of_its_agent_and_its_result_is_right() {
    let site = Site::start().await;
    let mut agent = site.agent("a1");
    let (running, gate) = gated(&site, "echo done; exit 5");
    let (ends_meanwhile, other_gate) = gated(&site, "exit 6");
    site.send(&running).await;
    site.send(&ends_meanwhile).await;
    for job in [&running, &ends_meanwhile] {
        wait_until(LIMIT, "the process", async || !processes_of(&job.run).is_empty()).await;
    }
    agent.kill();
    std::fs::write(other_gate, b"").unwrap();
    wait_until(LIMIT, "the end without an agent", async || {
        agent.run_folder(&ends_meanwhile.run).join("end.json").exists()
    })
    .await;
    assert!(!processes_of(&running.run).is_empty());
    agent.start();
    assert_eq!(site.ended(&ends_meanwhile.run).await.end, RunEnd::Exited { code: 6 });
    std::fs::write(gate, b"").unwrap();
    assert_eq!(site.ended(&running.run).await.end, RunEnd::Exited { code: 5 });
    site.no_jobs_waiting().await;
    assert_eq!((site.ends(&running.run).await, site.ends(&ends_meanwhile.run).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_crashes_all_the_time_runs_each_job_once_and_reports_it_once() {
    let site = Site::start().await;
    let mut agent = site.agent("a1");
    let file = site.folder.join("lines");
    let jobs: Vec<_> = (0..30)
        .map(|number| {
            let mut job = job(&format!("echo {number} >> \"$FILE\"; sleep 0.05"));
            job.spec.env.insert("FILE".into(), ordo_domain::EnvValue::Text(file.display().to_string()));
            job
        })
        .collect();
    for job in &jobs {
        site.send(job).await;
    }
    // Killed at whatever it is just doing: a spread of moments, not a wait for a state.
    for pause in [150, 40, 220, 90, 300, 10, 180] {
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        agent.kill();
        agent.start();
    }
    let mut not_started = 0;
    for job in &jobs {
        match site.ended(&job.run).await.end {
            RunEnd::Exited { code: 0 } => {}
            RunEnd::NotStarted { reason, again: true } if reason.contains("between claim and start") => {
                not_started += 1
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(site.ends(&job.run).await, 1);
    }
    site.no_jobs_waiting().await;
    let lines: Vec<String> = std::fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
    let once: std::collections::BTreeSet<&String> = lines.iter().collect();
    assert_eq!((lines.len(), once.len()), (30 - not_started, 30 - not_started));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_stop_leaves_the_jobs_running_and_says_so() {
    let site = Site::start().await;
    let mut agent = site.agent("a1");
    let (job, gate) = gated(&site, "exit 4");
    site.send(&job).await;
    wait_until(LIMIT, "the process", async || !processes_of(&job.run).is_empty()).await;
    assert!(agent.stop().await);
    site.report("Stopping", |report| report.report == Report::Stopping).await;
    let heartbeat = site.heartbeat("a1").await.unwrap();
    assert_eq!(heartbeat.activity, ordo_contract::heartbeat::Activity::Stopping);
    assert_eq!(heartbeat.agent.unwrap().runs, std::slice::from_ref(&job.run));
    let jobs = ordo_agent::runner_jobs(&agent.data);
    assert_eq!(jobs.len(), 1);
    assert!(jobs[0].to_string().starts_with("20261122-T1-test at step, since "), "{}", jobs[0]);
    std::fs::write(gate, b"").unwrap();
    wait_until(LIMIT, "the end of the job", async || processes_of(&job.run).is_empty()).await;
    agent.start();
    assert_eq!(site.ended(&job.run).await.end, RunEnd::Exited { code: 4 });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runs_of_a_killed_runner_are_lost_and_the_agent_goes_on() {
    let site = Site::start().await;
    let agent = site.agent("a1");
    let lost = job("sleep 100");
    site.send(&lost).await;
    wait_until(LIMIT, "the process", async || !processes_of(&lost.run).is_empty()).await;
    let runner = nix::unistd::Pid::from_raw(agent.runner().unwrap());
    nix::sys::signal::kill(runner, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(site.ended(&lost.run).await.end, RunEnd::Lost { reason: "its runner died".into() });
    assert_eq!(processes_of(&lost.run), [0; 0]);
    let next = job("exit 0");
    site.send(&next).await;
    assert_eq!(site.ended(&next.run).await.end, RunEnd::Exited { code: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_a_runner_says_so_and_takes_no_job_until_there_is_one() {
    let site = Site::start().await;
    let data = site.folder.join("a1");
    let (program, away) = (data.join("program"), data.join("away"));
    std::fs::create_dir_all(&data).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ordo-agent"), &program).unwrap();
    let agent = site.agent("a1");
    site.ready(&agent).await;
    let runner_is_there = async || {
        let beat = site.heartbeat("a1").await?;
        Some((beat.links.iter().find(|link| link.to == "runner")?.ok, beat.at))
    };
    std::fs::rename(&program, &away).unwrap();
    let runner = nix::unistd::Pid::from_raw(agent.runner().unwrap());
    nix::sys::signal::kill(runner, nix::sys::signal::Signal::SIGKILL).unwrap();
    let without = async || runner_is_there().await.filter(|(there, _)| !there).map(|(_, at)| at);
    let said = wait_for(LIMIT, "a heartbeat that says so", &without).await;
    assert!(site.heartbeat("a1").await.unwrap().note.unwrap().contains("runner"));
    let job = job("exit 0");
    site.send(&job).await;
    wait_until(LIMIT, "two heartbeats more", async || {
        without().await.is_some_and(|at| at > said + ordo_contract::heartbeat::PERIOD.mul_f32(1.5))
    })
    .await;
    let claimed = Report::Accepted { run: job.run.clone() };
    assert!(site.reports().await.iter().all(|report| report.report != claimed));
    std::fs::rename(&away, &program).unwrap();
    assert_eq!(site.ended(&job.run).await.end, RunEnd::Exited { code: 0 });
    wait_until(LIMIT, "a heartbeat with a runner", async || runner_is_there().await.is_some_and(|(there, _)| there))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_cut_off_loses_nothing_and_kills_nothing() {
    let mut site = Site::start().await;
    let agent = site.agent("a1");
    let (during, gate) = gated(&site, "echo printed while cut off; exit 3");
    let (after, other_gate) = gated(&site, "exit 2");
    site.send(&during).await;
    site.send(&after).await;
    for job in [&during, &after] {
        wait_until(LIMIT, "the process", async || !processes_of(&job.run).is_empty()).await;
    }
    site.no_jobs_waiting().await;
    site.nats.kill().await;
    std::fs::write(gate, b"").unwrap();
    wait_until(LIMIT, "the end while cut off", async || agent.run_folder(&during.run).join("end.json").exists()).await;
    assert!(!processes_of(&after.run).is_empty());
    site.nats.start_again().await;
    assert_eq!(site.ended(&during.run).await.end, RunEnd::Exited { code: 3 });
    wait_until(LIMIT, "its output", async || site.output(&during.run).await.len() == 1).await;
    std::fs::write(other_gate, b"").unwrap();
    assert_eq!(site.ended(&after.run).await.end, RunEnd::Exited { code: 2 });
    // It says that it is back, and takes jobs again.
    wait_until(LIMIT, "a second Ready", async || {
        site.reports().await.iter().filter(|report| matches!(report.report, Report::Ready { .. })).count() == 2
    })
    .await;
    let next = job("exit 0");
    site.send(&next).await;
    assert_eq!(site.ended(&next.run).await.end, RunEnd::Exited { code: 0 });
    let numbers: Vec<u64> =
        site.reports().await.iter().map(|report| report.number).filter(|number| *number > 0).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_outlive_the_agent_while_the_bus_is_away() {
    let mut site = Site::start().await;
    let mut agent = site.agent("a1");
    let (job, gate) = gated(&site, "exit 9");
    site.send(&job).await;
    site.claimed(&job.run).await;
    wait_until(LIMIT, "the process", async || !processes_of(&job.run).is_empty()).await;
    site.nats.kill().await;
    std::fs::write(gate, b"").unwrap();
    wait_until(LIMIT, "the report on disk", async || {
        std::fs::read_to_string(agent.data.join("records.jsonl")).is_ok_and(|text| text.contains("\"code\":9"))
    })
    .await;
    agent.kill();
    agent.start();
    wait_until(LIMIT, "the recovery", async || agent.log().matches("recovered").count() == 2).await;
    site.nats.start_again().await;
    assert_eq!(site.ended(&job.run).await.end, RunEnd::Exited { code: 9 });
    assert_eq!(site.ends(&job.run).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_on_one_data_folder_are_refused() {
    let site = Site::start().await;
    let first = site.agent("a1");
    site.ready(&first).await;
    let second = site.agent_with("a1", 4, &first.data);
    wait_until(LIMIT, "the refusal", async || second.log().contains("another agent uses this data folder")).await;
    let job = job("exit 0");
    site.send(&job).await;
    assert_eq!(site.ended(&job.run).await.end, RunEnd::Exited { code: 0 });
    // Its drop must not end the runner of the first.
    std::mem::forget(second);
}
