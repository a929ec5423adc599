//! The fence: one append in flight, resolved to the end.

use crate::bus_site::{Site, chain, soon};
use bytes::Bytes;
use ordo_contract::name::StreamKind;
use ordo_contract::right::ADDRESS_HEADER;
use ordo_journal::{AppendError, Bus, BusErrorKind, FollowError, FollowFrom, Journal, NatsJournal};
use ordo_testkit::User;
use std::time::Duration;

fn text(number: u64) -> Bytes {
    Bytes::from(format!("{{\"commit\":{number}}}"))
}

/// Every commit of the journal, in order.
async fn commits(bus: &Bus) -> Vec<Bytes> {
    let last = bus.last_sequence(StreamKind::Journal).await.unwrap();
    let mut follow = bus.follow(FollowFrom::journal(bus, 1)).await.unwrap();
    let mut all = Vec::new();
    while follow.position() <= last {
        let next = tokio::time::timeout(Duration::from_secs(2), follow.batch(1000)).await;
        // What lies at the end may be noise: then nothing more comes.
        let Ok(batch) = next else { break };
        all.extend(batch.unwrap().into_iter().map(|m| m.payload().clone()));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_appended_is_read_in_order() {
    let site = Site::start().await;
    let bus = site.bus(&User::Controller).await;
    let mut journal = NatsJournal::new(&bus);
    let mut took = Vec::new();
    for number in 0..300 {
        let started = std::time::Instant::now();
        assert_eq!(journal.append(number, text(number)).await.unwrap().sequence, number + 1);
        took.push(started.elapsed());
    }
    took.sort_unstable();
    eprintln!("an append: median {:?}, slowest {:?}", took[150], took[299]);
    assert_eq!(journal.last_sequence().await.unwrap(), 300);
    assert_eq!(commits(&bus).await, (0..300).map(text).collect::<Vec<_>>());
    // A proxy reads it too, and reads it in the middle.
    let proxy = site.bus(&User::Proxy).await;
    let mut follow = proxy.follow(FollowFrom::journal(&proxy, 299)).await.unwrap();
    assert_eq!(follow.next().await.unwrap().sequence, 299);
    assert_eq!(follow.next().await.unwrap().payload(), &text(299));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_writer_is_fenced_by_the_commit_of_its_successor() {
    let site = Site::start().await;
    let (old_bus, new_bus) = (site.bus(&User::Controller).await, site.bus(&User::Controller).await);
    let (mut old, mut new) = (NatsJournal::new(&old_bus), NatsJournal::new(&new_bus));
    old.append(0, text(1)).await.unwrap();
    new.append(1, text(2)).await.unwrap();
    match old.append(1, text(3)).await {
        Err(AppendError::Fenced { sequence: 2, found }) => assert_eq!(found, text(2)),
        outcome => panic!("{outcome:?}"),
    }
    assert_eq!(commits(&new_bus).await, [text(1), text(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_already_there_are_ours() {
    let site = Site::start().await;
    let bus = site.bus(&User::Controller).await;
    NatsJournal::new(&bus).append(0, text(1)).await.unwrap();
    // As after an ack that was lost: the same bytes with the same expectation.
    assert_eq!(NatsJournal::new(&bus).append(0, text(1)).await.unwrap().sequence, 1);
    assert_eq!(commits(&bus).await, [text(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_go_on_over_kill_9_of_the_server_and_none_is_lost_or_doubled() {
    let mut site = Site::start().await;
    let bus = site.bus(&User::Controller).await;
    let writer = tokio::spawn({
        let bus = bus.clone();
        async move {
            let mut journal = NatsJournal::new(&bus);
            let (mut last, mut longest) = (0, Duration::ZERO);
            for number in 0..6000 {
                let started = std::time::Instant::now();
                last = journal.append(last, text(number)).await.unwrap().sequence;
                longest = longest.max(started.elapsed());
            }
            (last, longest)
        }
    });
    let mut killed = 0;
    while !writer.is_finished() && killed < 3 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        site.nats.kill().await;
        site.nats.start_again().await;
        killed += 1;
    }
    let (last, longest) = soon("the last append", writer).await.unwrap();
    assert_eq!(last, 6000);
    assert!(longest > Duration::from_millis(50), "no append met a killed server: {longest:?}");
    assert_eq!(commits(&bus).await, (0..6000).map(text).collect::<Vec<_>>());
}

/// Sends `count` stale appends, as a deposed controller with a queue of commits would: each expects its predecessor.
/// Returns how many the journal took.
async fn stale_appends_taken(site: &Site, pipelined: bool, count: u64) -> usize {
    let stale = site.bus(&User::Controller).await;
    let successor = site.bus(&User::Controller).await;
    let start = successor.last_sequence(StreamKind::Journal).await.unwrap();
    let activation = Bytes::from_static(b"{\"activated\":2}");
    NatsJournal::new(&successor).append(start, activation.clone()).await.unwrap();
    if pipelined {
        // The broken rule: all under way at once. A raw client, because ours has no way to do this.
        let raw = site.nats.connect(&User::Controller).await;
        let subject = site.nats.site().journal();
        let sent = (0..count).map(|number| {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert(ADDRESS_HEADER, subject.as_str());
            headers.insert("Nats-Expected-Last-Sequence", (start + number).to_string().as_str());
            let (raw, subject) = (raw.clone(), subject.clone());
            async move { raw.request_with_headers(subject, headers, text(number)).await }
        });
        futures::future::join_all(sent).await;
    } else {
        let mut journal = NatsJournal::new(&stale);
        let mut last = start;
        for number in 0..count {
            match journal.append(last, text(number)).await {
                Ok(appended) => last = appended.sequence,
                Err(AppendError::Fenced { found, .. }) => {
                    assert_eq!(found, activation);
                    stale.close_now();
                }
                Err(AppendError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    let all = commits(&successor).await;
    let activated = all.iter().rposition(|bytes| *bytes == activation).unwrap();
    all.len() - activated - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_stale_appends_after_an_activation_none_is_taken() {
    let site = Site::start().await;
    assert_eq!(stale_appends_taken(&site, false, 200).await, 0);
}

/// Sabotage: the same count sees the hole when the one-in-flight rule is broken. Should the server once refuse
/// pipelined stale appends by itself, this goes red, and the rule may be thought over.
#[tokio::test(flavor = "multi_thread")]
async fn of_200_pipelined_stale_appends_after_an_activation_many_are_taken() {
    let site = Site::start().await;
    let taken = stale_appends_taken(&site, true, 200).await;
    assert!(taken > 100, "only {taken} of 200 pipelined stale appends were taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_append_blocks_every_other_until_it_is_known() {
    let mut site = Site::start().await;
    let bus = site.bus(&User::Controller).await;
    let mut journal = NatsJournal::new(&bus);
    site.nats.kill().await;
    let abandoned = tokio::time::timeout(Duration::from_millis(200), journal.append(0, text(1))).await;
    assert!(abandoned.is_err(), "appended without a server: {abandoned:?}");
    assert!(matches!(journal.append(0, text(2)).await, Err(AppendError::Unresolved { expected: 0 })));
    site.nats.start_again().await;
    assert_eq!(soon("the append", journal.append(0, text(1))).await.unwrap().sequence, 1);
    journal.append(1, text(2)).await.unwrap();
    assert_eq!(commits(&bus).await, [text(1), text(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_closed_bus_had_in_its_buffers_arrives_later() {
    let mut site = Site::start().await;
    let (fenced, other) = (site.bus(&User::Controller).await, site.bus(&User::Controller).await);
    site.nats.kill().await;
    // Into the buffers of the connection, for after the reconnect.
    let subject = site.nats.site().job_start("etl", "r1");
    for _ in 0..50 {
        fenced.tell(&subject, ordo_journal::Headers::new(), "{}").await.unwrap();
        other.tell(&subject, ordo_journal::Headers::new(), "{}").await.unwrap();
    }
    fenced.close_now();
    site.nats.start_again().await;
    let fresh = site.bus(&User::Controller).await;
    // The other connection's arrive: the test would see the fenced one's.
    let jobs = site.nats.site().stream(StreamKind::Jobs);
    ordo_testkit::wait_until(Duration::from_secs(20), "flush of the other connection", async || {
        fresh.stream_info(&jobs).await.is_ok_and(|info| info.messages >= 50)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(fresh.stream_info(&jobs).await.unwrap().messages, 50);
    let error = fenced.last_sequence(StreamKind::Journal).await.unwrap_err();
    assert_eq!(error.kind(), BusErrorKind::Closed, "{}", chain(&error));
    let outcome = NatsJournal::new(&fenced).append(0, text(1)).await;
    assert!(matches!(outcome, Err(AppendError::Closed)), "{outcome:?}");
}

/// Whatever gets into the journal without being meant for it is no commit: it neither fences the controller nor reaches
/// a reader. (That agents get nothing in at all is tested with the rights.)
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_meant_for_the_journal_does_no_harm_in_it() {
    let site = Site::start().await;
    let bus = site.bus(&User::Controller).await;
    let mut journal = NatsJournal::new(&bus);
    journal.append(0, text(1)).await.unwrap();
    let raw = site.nats.connect(&User::Controller).await;
    let subject = site.nats.site().journal();
    raw.request(subject.clone(), "{}".into()).await.unwrap();
    // Nor does a copy of a genuine one that the server marked as such.
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(ADDRESS_HEADER, subject.as_str());
    headers.insert("Nats-Stream", "ORDO-default-REPORTS");
    raw.request_with_headers(subject, headers, text(9)).await.unwrap();
    assert_eq!(journal.append(1, text(2)).await.unwrap().sequence, 4);
    assert_eq!(commits(&bus).await, [text(1), text(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_too_large_is_said_at_once() {
    let site = Site::start().await;
    let bus = site.bus(&User::Controller).await;
    let mut journal = NatsJournal::new(&bus);
    for bytes in [300 * 1024, 2 * 1024 * 1024] {
        let outcome = soon("the refusal", journal.append(0, vec![b'x'; bytes].into())).await;
        assert!(matches!(outcome, Err(AppendError::TooLarge { .. })), "{outcome:?}");
    }
    journal.append(0, text(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_journal_is_a_gap_for_who_was_not_there_yet() {
    let site = Site::start().await;
    let bus = site.bus(&User::Controller).await;
    let mut journal = NatsJournal::new(&bus);
    for number in 0..20 {
        journal.append(number, text(number)).await.unwrap();
    }
    assert_eq!(bus.purge_journal(10).await.unwrap(), 10);
    let info = bus.stream_info(&bus.names().stream(StreamKind::Journal)).await.unwrap();
    assert_eq!((info.first_sequence, info.last_sequence, info.messages), (11, 20, 10));
    let gap = bus.follow(FollowFrom::journal(&bus, 5)).await.err().unwrap();
    assert!(matches!(gap, FollowError::Gap { expected: 5, found: 11, .. }), "{gap}");
    let mut follow = bus.follow(FollowFrom::journal(&bus, 11)).await.unwrap();
    assert_eq!(follow.next().await.unwrap().payload(), &text(10));
    let behind = bus.follow(FollowFrom::journal(&bus, 30)).await.err().unwrap();
    assert!(matches!(behind, FollowError::Behind { position: 29, last: 20, .. }), "{behind}");
}
