//! Claims and publishing.

use crate::bus_site::{Site, never, soon};
use ordo_contract::name::StreamKind;
use ordo_journal::{BusErrorKind, Claim, Headers, Outgoing};
use ordo_testkit::User;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_claim_a_run_one_wins_and_all_others_learn_who() {
    let site = Site::start().await;
    let subject = site.nats.site().report_accepted("etl", "r1");
    let mut claims = Vec::new();
    for instance in 0..8 {
        // The controller claims as well: a kill that refuses the run.
        let bus = if instance == 7 { site.bus(&User::Controller).await } else { site.agent("etl").await };
        let subject = subject.clone();
        claims.push(tokio::spawn(async move {
            let claim = Outgoing::new(subject, Headers::new(), format!("{{\"instance\":{instance}}}"));
            (instance, bus.publish_first(&claim, &never()).await.unwrap())
        }));
    }
    let (mut winner, mut seen) = (None, Vec::new());
    for claim in claims {
        match soon("a claim", claim).await.unwrap() {
            (instance, Claim::Won(1)) => assert_eq!(winner.replace(instance), None, "two winners"),
            (_, Claim::Won(sequence)) => panic!("won at {sequence}"),
            (_, Claim::Lost(found)) => seen.push(found.payload().clone()),
        }
    }
    let winner = winner.expect("nobody won");
    assert_eq!(seen, vec![format!("{{\"instance\":{winner}}}"); 7]);
    let bus = site.bus(&User::Controller).await;
    assert_eq!(bus.last_sequence(StreamKind::Reports).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_repeated_after_its_answer_was_lost_is_still_won() {
    let site = Site::start().await;
    let bus = site.agent("etl").await;
    let claim = Outgoing::new(site.nats.site().report_accepted("etl", "r1"), Headers::new(), "mine");
    assert!(matches!(bus.publish_first(&claim, &never()).await.unwrap(), Claim::Won(1)));
    assert!(matches!(bus.publish_first(&claim, &never()).await.unwrap(), Claim::Won(1)));
    let other = Outgoing { payload: "other".into(), ..claim };
    match bus.publish_first(&other, &never()).await.unwrap() {
        Claim::Lost(found) => assert_eq!(found.payload(), "mine"),
        Claim::Won(sequence) => panic!("two winners, the second at {sequence}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_over_kill_9_of_the_server_have_one_winner_each() {
    let mut site = Site::start().await;
    let mut claimers = Vec::new();
    for instance in 0..2 {
        let bus = site.agent("etl").await;
        claimers.push(tokio::spawn(async move {
            let mut won = Vec::new();
            for run in 0..800 {
                let subject = bus.names().report_accepted("etl", &format!("r{run}"));
                let claim = Outgoing::new(subject, Headers::new(), format!("{instance}"));
                if let Claim::Won(sequence) = bus.publish_first(&claim, &never()).await.unwrap() {
                    won.push((run, sequence));
                }
            }
            won
        }));
    }
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        site.nats.kill().await;
        site.nats.start_again().await;
    }
    let mut won = Vec::new();
    for claimer in claimers {
        won.extend(soon("the claims", claimer).await.unwrap());
    }
    won.sort_unstable();
    assert_eq!(won.iter().map(|(run, _)| *run).collect::<Vec<_>>(), (0..800).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_waits_for_the_bus_and_can_be_cancelled() {
    let mut site = Site::start().await;
    let bus = site.agent("etl").await;
    site.nats.kill().await;
    let report = Outgoing::new(site.nats.site().report("etl", "ended"), Headers::new(), "{}");
    let cancel = CancellationToken::new();
    let waiting = tokio::spawn({
        let (bus, report, cancel) = (bus.clone(), report.clone(), cancel.clone());
        async move { bus.publish(&report, &cancel).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    cancel.cancel();
    let error = soon("the cancellation", waiting).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), BusErrorKind::Cancelled);
    let waiting = tokio::spawn({
        let (bus, report) = (bus.clone(), report.clone());
        async move { bus.publish(&report, &never()).await }
    });
    site.nats.start_again().await;
    assert!(soon("the publish", waiting).await.unwrap().unwrap() >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_makes_the_sender_wait_and_drops_nothing() {
    let site = Site::start().await;
    let (controller, proxy) = (site.bus(&User::Controller).await, site.bus(&User::Proxy).await);
    let command = Outgoing::new(site.nats.site().command("order", "add"), Headers::new(), vec![b'x'; 200 * 1024]);
    let commands = site.nats.site().stream(StreamKind::Commands);
    let mut stored = 0;
    let error = loop {
        match proxy.try_publish(&command, Duration::from_secs(5)).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("maximum bytes"), "{error}");
    let info = controller.stream_info(&commands).await.unwrap();
    assert_eq!((info.messages, info.first_sequence), (stored, 1));
    let waiting = tokio::spawn({
        let (proxy, command) = (proxy.clone(), command.clone());
        async move { proxy.publish(&command, &never()).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    waiting.abort();
    let large = Outgoing { payload: vec![b'x'; 400 * 1024].into(), ..command };
    let error = soon("the refusal", proxy.publish(&large, &never())).await.unwrap_err();
    assert_eq!(error.kind(), BusErrorKind::TooLarge, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_published_together() {
    let site = Site::start().await;
    let bus = site.bus(&User::Controller).await;
    let jobs = (0..1000)
        .map(|run| Outgoing::new(site.nats.site().job_start("etl", &format!("r{run}")), Headers::new(), "{}"))
        .collect();
    soon("the jobs", bus.publish_all(jobs, &never())).await.unwrap();
    let stream = site.nats.site().stream(StreamKind::Jobs);
    assert_eq!(bus.stream_info(&stream).await.unwrap().messages, 1000);
    let first = bus.last_on(&stream, &site.nats.site().job_start("etl", "r0")).await.unwrap().unwrap();
    assert_eq!(first.sequence, 1);
    assert!(bus.last_on(&stream, &site.nats.site().job_start("etl", "none")).await.unwrap().is_none());
}
