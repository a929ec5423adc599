use crate::harness::{LIMIT, Site, gated, job, processes_of};
use ordo_domain::{EnvValue, run::Report, run::RunEnd};
use ordo_testkit::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_of_one_name_run_each_job_once() {
    let site = Site::start().await;
    let agents = [site.agent("a1"), site.agent("a2")];
    for agent in &agents {
        site.ready(agent).await;
    }
    let file = site.folder.join("lines");
    let jobs: Vec<_> = (0..60)
        .map(|number| {
            let mut job = job(&format!("echo {number} >> \"$FILE\""));
            job.spec.env.insert("FILE".into(), EnvValue::Text(file.display().to_string()));
            job
        })
        .collect();
    // Each message twice: the second one often reaches the other instance.
    for job in jobs.iter().chain(&jobs) {
        site.send(job).await;
    }
    for job in &jobs {
        assert_eq!(site.ended(&job.run).await.end, RunEnd::Exited { code: 0 });
    }
    site.no_jobs_waiting().await;
    let mut lines: Vec<u32> =
        std::fs::read_to_string(&file).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, (0..60).collect::<Vec<_>>());
    let reports = site.reports().await;
    let by = |instance: &str| {
        reports
            .iter()
            .filter(|r| r.instance.as_str() == instance && matches!(r.report, Report::Accepted { .. }))
            .count()
    };
    assert_eq!(by("a1") + by("a2"), 60);
    assert!(by("a1") > 0 && by("a2") > 0, "a1 {} a2 {}", by("a1"), by("a2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_again_after_the_end_starts_nothing() {
    let site = Site::start().await;
    let _agent = site.agent("a1");
    let file = site.folder.join("lines");
    let mut job = job("echo ran >> \"$FILE\"");
    job.spec.env.insert("FILE".into(), EnvValue::Text(file.display().to_string()));
    for _ in 0..3 {
        site.send(&job).await;
        site.ended(&job.run).await;
        site.no_jobs_waiting().await;
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "ran\n");
    assert_eq!(site.ends(&job.run).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_the_controller_claimed_as_refused_never_starts() {
    let site = Site::start().await;
    let job = job("sleep 100");
    site.send(&job).await;
    assert!(site.refuse(&job.run).await);
    let agent = site.agent("a1");
    site.no_jobs_waiting().await;
    assert!(!agent.run_folder(&job.run).exists());
    assert_eq!(site.ends(&job.run).await, 0);
    // The other way round: too late to refuse.
    let (job, gate) = gated(&site, "exit 0");
    site.send(&job).await;
    site.claimed(&job.run).await;
    assert!(!site.refuse(&job.run).await);
    std::fs::write(gate, b"").unwrap();
    assert_eq!(site.ended(&job.run).await.end, RunEnd::Exited { code: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_reaches_only_the_instance_that_it_names() {
    let site = Site::start().await;
    let agents = [site.agent("a1"), site.agent("a2")];
    for agent in &agents {
        site.ready(agent).await;
    }
    let job = job("sleep 100");
    site.send(&job).await;
    let owner = site.claimed(&job.run).await.instance;
    wait_until(LIMIT, "the process", async || !processes_of(&job.run).is_empty()).await;
    let other = if owner.as_str() == "a1" { "a2" } else { "a1" };
    site.kill(&job.run, other).await;
    site.no_jobs_waiting().await;
    assert!(!processes_of(&job.run).is_empty());
    site.kill(&job.run, owner.as_str()).await;
    assert_eq!(site.ended(&job.run).await.end, RunEnd::Killed);
}
