//! Ordered readers and durables.

use crate::bus_site::{SOON, Site, never, soon};
use bytes::Bytes;
use ordo_contract::name::StreamKind;
use ordo_journal::{
    Ack, Bus, Durable, FollowError, FollowFrom, Headers, Journal, Kills, NatsJournal, OrderedDurable, Outgoing,
};
use ordo_testkit::User;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

async fn fill(bus: &Bus, count: u64) {
    let mut journal = NatsJournal::new(bus);
    let start = journal.last_sequence().await.unwrap();
    for number in start..start + count {
        journal.append(number, Bytes::from(format!("{number}"))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_comes_through_restarts_without_gap_or_repeat() {
    let mut site = Site::start().await;
    let (writer, reader) = (site.bus(&User::Controller).await, site.bus(&User::Proxy).await);
    let mut follow = reader.follow(FollowFrom::journal(&reader, 1)).await.unwrap();
    let reading = tokio::spawn(async move {
        for expected in 1..=1500 {
            let message = follow.next().await.unwrap();
            assert_eq!(message.sequence, expected);
            assert_eq!(message.payload(), &Bytes::from(format!("{}", expected - 1)));
        }
    });
    fill(&writer, 500).await;
    site.nats.kill().await;
    site.nats.start_again().await;
    fill(&writer, 500).await;
    site.nats.stop().await;
    site.nats.start_again().await;
    fill(&writer, 500).await;
    soon("the last message", reading).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_whose_consumer_vanished_makes_another() {
    let site = Site::start().await;
    let bus = site.bus(&User::Controller).await;
    fill(&bus, 10).await;
    let mut follow = bus.follow(FollowFrom::journal(&bus, 1)).await.unwrap();
    assert_eq!(follow.next().await.unwrap().sequence, 1);
    let raw = site.nats.connect(&User::Controller).await;
    let stream = site.nats.site().stream(StreamKind::Journal);
    let list = raw.request(format!("$JS.API.CONSUMER.NAMES.{stream}"), "".into()).await.unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list.payload).unwrap();
    let names: Vec<&str> = list["consumers"].as_array().unwrap().iter().filter_map(|c| c.as_str()).collect();
    let own = names.iter().find(|name| name.starts_with("controller-reads-")).unwrap();
    raw.request(format!("$JS.API.CONSUMER.DELETE.{stream}.{own}"), "".into()).await.unwrap();
    fill(&bus, 10).await;
    for expected in 2..=20 {
        assert_eq!(soon("a message", follow.next()).await.unwrap().sequence, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_is_fast_and_complete() {
    const COUNT: u64 = 100_000;
    let site = Site::start().await;
    let bus = site.bus(&User::Controller).await;
    // OUTPUT does not wait for the disk: a quick way to many messages.
    let subject = site.nats.site().output("etl", "r1");
    let messages = (0..COUNT).map(|n| Outgoing::new(subject.clone(), Headers::new(), format!("{n:0>20}"))).collect();
    site.agent("etl").await.publish_all(messages, &never()).await.unwrap();
    let (stream, filter) = (site.nats.site().stream(StreamKind::Output), site.nats.site().outputs());
    let started = Instant::now();
    let mut follow = bus.follow(FollowFrom::contiguous(stream, filter, 1)).await.unwrap();
    let mut count = 0;
    while count < COUNT {
        for message in soon("a batch", follow.batch(4096)).await.unwrap() {
            count += 1;
            assert_eq!(message.sequence, count);
        }
    }
    assert_eq!(follow.pending(), 0);
    let rate = COUNT as f64 / started.elapsed().as_secs_f64();
    eprintln!("replay: {rate:.0} messages/s");
    assert!(rate > 20_000.0, "{rate:.0} messages/s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_in_what_should_be_contiguous_is_an_error_and_elsewhere_nothing() {
    let site = Site::start().await;
    let bus = site.bus(&User::Controller).await;
    let names = site.nats.site();
    for run in ["a", "b", "c"] {
        bus.publish(&Outgoing::new(names.job_start("etl", run), Headers::new(), run), &never()).await.unwrap();
    }
    // A work queue: what is acknowledged leaves a hole.
    bus.ensure_agent_consumers("etl").await.unwrap();
    let agent = site.agent("etl").await;
    let mut durable = Durable::starts(&agent, "etl");
    durable.grant(2);
    let (_first, second) = (durable.next().await.unwrap(), durable.next().await.unwrap());
    agent.ack(&second, Ack::Done).await.unwrap();
    let stream = names.stream(StreamKind::Jobs);
    ordo_testkit::wait_until(SOON, "the ack", async || bus.stream_info(&stream).await.unwrap().messages == 2).await;
    // Work queues allow no second consumer; the hole is seen by reading.
    assert!(bus.read(&stream, 2).await.unwrap().is_none());
    assert!(bus.read(&stream, 3).await.unwrap().is_some());
    // The journal with a deleted message does not exist; one that was purged behind a reader does.
    fill(&bus, 10).await;
    let mut follow = bus.follow(FollowFrom::journal(&bus, 1)).await.unwrap();
    assert_eq!(follow.batch(1).await.unwrap().len(), 1);
    let other = bus.follow(FollowFrom::filtered(names.stream(StreamKind::Journal), names.journal(), 1)).await;
    bus.purge_journal(9).await.unwrap();
    drop(follow);
    let gap = bus.follow(FollowFrom::journal(&bus, 2)).await.err().unwrap();
    assert!(matches!(gap, FollowError::Gap { expected: 2, found: 10, .. }), "{gap}");
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gets_as_many_jobs_as_it_has_free_slots_and_not_one_more() {
    let site = Site::start().await;
    let (controller, agent) = (site.bus(&User::Controller).await, site.agent("etl").await);
    let names = site.nats.site();
    let mut durable = Durable::starts(&agent, "etl");
    durable.grant(2);
    // The consumer comes later than its user.
    let waited = tokio::time::timeout(Duration::from_millis(500), durable.next()).await;
    assert!(waited.is_err());
    controller.ensure_agent_consumers("etl").await.unwrap();
    for run in 0..5 {
        let job = Outgoing::new(names.job_start("etl", &format!("r{run}")), Headers::new(), "{}");
        controller.publish(&job, &never()).await.unwrap();
    }
    let mut got = Vec::new();
    for _ in 0..2 {
        got.push(soon("a job", durable.next()).await.unwrap());
    }
    let more = tokio::time::timeout(Duration::from_millis(500), durable.next()).await;
    assert!(more.is_err(), "a third job for two slots");
    let info =
        || async { controller.consumer_info(&names.stream(StreamKind::Jobs), "agent-etl").await.unwrap().unwrap() };
    assert_eq!((info().await.unacknowledged, info().await.pending), (2, 3));
    // One is done: its slot is free again. The other is given back.
    agent.ack(&got[0], Ack::Done).await.unwrap();
    durable.grant(1);
    assert_eq!(soon("a job", durable.next()).await.unwrap().last_token(), "r2");
    agent.ack(&got[1], Ack::Again(Duration::ZERO)).await.unwrap();
    durable.grant(3);
    let again = soon("the job given back", async {
        loop {
            let job = durable.next().await.unwrap();
            if job.delivered > 1 {
                return job;
            }
        }
    })
    .await;
    assert_eq!((again.last_token(), again.delivered), ("r1", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_survive_kill_9_of_the_server_and_come_until_acknowledged() {
    let mut site = Site::start().await;
    let (controller, agent) = (site.bus(&User::Controller).await, site.agent("etl").await);
    controller.ensure_agent_consumers("etl").await.unwrap();
    let names = site.nats.site().clone();
    let mut durable = Durable::starts(&agent, "etl");
    let (mut seen, mut sent) = (BTreeSet::new(), 0);
    for _ in 0..3 {
        for _ in 0..40 {
            let job = Outgoing::new(names.job_start("etl", &format!("r{sent}")), Headers::new(), "{}");
            controller.publish(&job, &never()).await.unwrap();
            sent += 1;
        }
        while seen.len() < sent {
            durable.grant(8_usize.saturating_sub(durable.granted()));
            let job = soon("a job", durable.next()).await.unwrap();
            seen.insert(job.last_token().to_owned());
            agent.ack(&job, Ack::Done).await.unwrap();
        }
        site.nats.kill().await;
        site.nats.start_again().await;
    }
    assert_eq!(seen.len(), 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_share_the_jobs_and_each_sees_its_own_kills() {
    let site = Site::start().await;
    let controller = site.bus(&User::Controller).await;
    controller.ensure_agent_consumers("etl").await.unwrap();
    let (one, two) = (site.agent("etl").await, site.agent("etl").await);
    let (mut first, mut second) = (Durable::starts(&one, "etl"), Durable::starts(&two, "etl"));
    let names = site.nats.site();
    first.grant(2);
    second.grant(2);
    let both = async {
        let mut runs = BTreeSet::new();
        for _ in 0..2 {
            runs.insert(first.next().await.unwrap().last_token().to_owned());
            runs.insert(second.next().await.unwrap().last_token().to_owned());
        }
        runs
    };
    let sending = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        for run in 0..4 {
            let job = Outgoing::new(names.job_start("etl", &format!("r{run}")), Headers::new(), "{}");
            controller.publish(&job, &never()).await.unwrap();
        }
    };
    let (runs, ()) = soon("the jobs", async { tokio::join!(both, sending) }).await;
    assert_eq!(runs.len(), 4);
    let (mut kills_one, mut kills_two) =
        (Kills::open(&one, "etl", "i1").await.unwrap(), Kills::open(&two, "etl", "i2").await.unwrap());
    for instance in ["i2", "i1"] {
        let kill = Outgoing::new(names.job_kill("etl", instance), Headers::new(), instance);
        controller.publish(&kill, &never()).await.unwrap();
    }
    for (bus, kills, instance) in [(&one, &mut kills_one, "i1"), (&two, &mut kills_two, "i2")] {
        let kill = soon("a kill", kills.next()).await.unwrap();
        assert_eq!(kill.payload(), instance);
        bus.ack(&kill, Ack::Done).await.unwrap();
    }
    let stream = names.stream(StreamKind::Jobs);
    ordo_testkit::wait_until(SOON, "the kills to be gone", async || {
        controller.stream_info(&stream).await.unwrap().messages == 4
    })
    .await;
}

/// Reads to the end of `count` and acknowledges; returns the sequences in the order in which they came.
async fn project(durable: &mut OrderedDurable, upto: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    while durable.position() <= upto {
        let batch = soon("a batch", durable.batch(100, Duration::from_secs(15))).await.unwrap();
        seen.extend(batch.iter().map(|m| m.sequence));
        durable.ack().await.unwrap();
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_reads_in_order_from_its_own_position_whatever_the_durable_thinks() {
    let mut site = Site::start().await;
    let (writer, bus) = (site.bus(&User::Controller).await, site.bus(&User::History).await);
    fill(&writer, 250).await;
    let mut durable = OrderedDurable::journal(&bus, "history", 1);
    assert_eq!(project(&mut durable, 250).await, (1..=250).collect::<Vec<_>>());
    let floor = async || {
        let stream = site.nats.site().stream(StreamKind::Journal);
        writer.consumer_info(&stream, "history").await.unwrap().unwrap().ack_floor
    };
    fill(&writer, 50).await;
    assert_eq!(project(&mut durable, 300).await, (251..=300).collect::<Vec<_>>());
    ordo_testkit::wait_until(SOON, "the ack floor", async || floor().await == 300).await;
    drop(durable);
    // A restored database stands earlier than what was acknowledged.
    let mut durable = OrderedDurable::journal(&bus, "history", 101);
    assert_eq!(project(&mut durable, 300).await, (101..=300).collect::<Vec<_>>());
    // An instance that takes messages and dies without acknowledging them.
    fill(&writer, 30).await;
    let dying = site.bus(&User::History).await;
    let mut taken = Durable::open(&dying, site.nats.site().stream(StreamKind::Journal), "history");
    assert!(!soon("messages", taken.batch(20, Duration::from_secs(5))).await.unwrap().is_empty());
    dying.close_now();
    fill(&writer, 30).await;
    assert_eq!(project(&mut durable, 360).await, (301..=360).collect::<Vec<_>>());
    site.nats.kill().await;
    site.nats.start_again().await;
    fill(&writer, 10).await;
    assert_eq!(project(&mut durable, 370).await, (361..=370).collect::<Vec<_>>());
}

/// A pull is over after ten quiet seconds. Readers ask again; seen to hang for good once.
#[tokio::test(flavor = "multi_thread")]
async fn readers_still_hear_after_a_long_silence() {
    let site = Site::start().await;
    let (controller, agent) = (site.bus(&User::Controller).await, site.agent("etl").await);
    controller.ensure_agent_consumers("etl").await.unwrap();
    let mut durable = Durable::starts(&agent, "etl");
    durable.grant(2);
    let proxy = site.bus(&User::Proxy).await;
    let mut follow = proxy.follow(FollowFrom::journal(&proxy, 1)).await.unwrap();
    let mut watch = proxy.instances().watch(">").await.unwrap();
    let heard = async {
        tokio::join!(
            async { follow.next().await.unwrap().sequence },
            async { watch.next().await.unwrap().key },
            async { durable.next().await.unwrap().last_token().to_owned() },
        )
    };
    let sent = async {
        tokio::time::sleep(Duration::from_secs(23)).await;
        fill(&controller, 1).await;
        agent.put_heartbeat("i1", "{}").await.unwrap();
        let job = Outgoing::new(site.nats.site().job_start("etl", "r1"), Headers::new(), "{}");
        controller.publish(&job, &never()).await.unwrap();
    };
    let both = async { tokio::join!(heard, sent).0 };
    let heard = tokio::time::timeout(Duration::from_secs(30), both).await.expect("a reader fell silent");
    assert_eq!(heard, (1, "agent-etl.i1".to_owned(), "r1".to_owned()));
}
