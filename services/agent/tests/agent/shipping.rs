use crate::harness::{LIMIT, Site, connect, gated, job};
use ordo_contract::output::{StoredReply, StoredRequest, StoredRun};
use ordo_domain::RunId;
use ordo_journal::{CallError, Service, ServiceSpec};
use ordo_testkit::{User, wait_until};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

type Stored = Arc<Mutex<BTreeMap<RunId, StoredRun>>>;

/// A history that says what the test wants.
async fn history(site: &Site) -> (Service, Stored) {
    let stored: Stored = Arc::default();
    let known = Arc::clone(&stored);
    let spec = ServiceSpec {
        role: "history".into(),
        instance: "h1".into(),
        node: "n1".into(),
        description: "test".into(),
        version: "0.1.0".into(),
        at_a_time: 1,
        role_endpoints: vec![("output", "stored")],
        instance_endpoints: Vec::new(),
    };
    let bus = connect(&site.nats, &User::History).await;
    let service = bus
        .serve(
            spec,
            Arc::new(move |call| {
                let request: StoredRequest = serde_json::from_slice(&call.body).unwrap();
                let known = known.lock().unwrap();
                let nothing =
                    |run: &RunId| StoredRun { run: run.clone(), through: 0, also: Vec::new(), complete: false };
                let runs =
                    request.runs.iter().map(|run| known.get(run).cloned().unwrap_or_else(|| nothing(run))).collect();
                let reply = serde_json::to_vec(&StoredReply { runs }).map_err(|e| CallError::new(500, e));
                Box::pin(async move { reply.map(Into::into) })
            }),
        )
        .await
        .unwrap();
    // The service lives as long as its bus.
    std::mem::forget(bus);
    (service, stored)
}

#[tokio::test(flavor = "multi_thread")]
async fn output_flows_while_the_job_runs() {
    let site = Site::start().await;
    let _agent = site.agent("a1");
    let (job, gate) = gated(&site, "echo second >&2");
    let mut job = job;
    if let ordo_domain::run::spec::SpecAction::Command { arguments } = &mut job.spec.action {
        arguments[3] = format!("echo first; {}", arguments[3]);
    }
    site.send(&job).await;
    wait_until(LIMIT, "the first chunk", async || site.output(&job.run).await.len() == 1).await;
    assert_eq!(site.ends(&job.run).await, 0);
    std::fs::write(gate, b"").unwrap();
    wait_until(LIMIT, "the second chunk", async || site.output(&job.run).await.len() == 2).await;
    let output = site.output(&job.run).await;
    assert_eq!(output[&1], ("stdout".to_owned(), b"first\n".to_vec()));
    assert_eq!(output[&2], ("stderr".to_owned(), b"second\n".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_stay_until_history_has_all_and_what_it_lacks_is_sent_again() {
    let site = Site::start().await;
    let agent = site.agent("a1");
    let job = job("echo one; sleep 0.3; echo two");
    site.send(&job).await;
    let chunks = site.ended(&job.run).await.output.chunks;
    assert_eq!(chunks, 2);
    wait_until(LIMIT, "both chunks", async || site.output(&job.run).await.len() == 2).await;
    // History says that it has only the first: the second one comes again.
    let (_service, stored) = history(&site).await;
    let lacking = StoredRun { run: job.run.clone(), through: 1, also: Vec::new(), complete: false };
    stored.lock().unwrap().insert(job.run.clone(), lacking);
    let names = site.bus.names().clone();
    let stream = names.stream(ordo_contract::name::StreamKind::Output);
    wait_until(LIMIT, "the second chunk once more", async || {
        site.bus.stream_info(&stream).await.unwrap().messages >= 3
    })
    .await;
    assert!(agent.run_folder(&job.run).exists());
    let whole = StoredRun { run: job.run.clone(), through: 2, also: Vec::new(), complete: true };
    stored.lock().unwrap().insert(job.run.clone(), whole);
    wait_until(LIMIT, "the removal of the folder", async || !agent.run_folder(&job.run).exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_output_leaves_no_folder_behind() {
    let site = Site::start().await;
    let agent = site.agent("a1");
    let job = job("exit 0");
    site.send(&job).await;
    site.ended(&job.run).await;
    wait_until(LIMIT, "the removal of the folder", async || !agent.run_folder(&job.run).exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_restarted_ships_what_is_left() {
    let site = Site::start().await;
    let mut agent = site.agent("a1");
    let job = job("echo kept");
    site.send(&job).await;
    site.ended(&job.run).await;
    agent.kill();
    let (_service, stored) = history(&site).await;
    stored
        .lock()
        .unwrap()
        .insert(job.run.clone(), StoredRun { run: job.run.clone(), through: 1, also: vec![], complete: true });
    assert!(agent.run_folder(&job.run).exists());
    agent.start();
    wait_until(LIMIT, "the removal of the folder", async || !agent.run_folder(&job.run).exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_is_cut_and_the_job_ends() {
    let site = Site::start().await;
    let agent = site.agent("a1");
    let job = job("yes 'a line of thirty-one characters' | head -c 1073741824");
    site.send(&job).await;
    let output = site.ended(&job.run).await.output;
    assert_eq!(output.bytes, 1 << 30);
    assert!(output.kept_bytes <= 64 << 20);
    assert!(agent.run_folder(&job.run).exists());
}
