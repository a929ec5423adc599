//! The projection of the journal: exact, fenced, and never silent about a hole.

use crate::history_chronicle::Chronicle;
use ordo_store::{Connect, Message, Projection, Store, StoreError};
use ordo_testkit::{DatabaseRole, TestPostgres};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

pub const STREAM: &str = "ORDO-default-JOURNAL";

pub fn store(postgres: &TestPostgres) -> Store {
    Store::open(&Connect::new(postgres.url(DatabaseRole::History), None)).unwrap()
}

async fn projection(store: &Store) -> Projection {
    store.projection(STREAM, "i1").await.unwrap()
}

#[tokio::test]
async fn history_equals_the_journal_whatever_the_size_of_batches() {
    for (seed, size) in [(1, 1), (2, 7), (3, 500)] {
        let postgres = TestPostgres::start().await;
        let store = store(&postgres);
        let mut life = Chronicle::new(seed);
        life.live(300);
        let mut projection = projection(&store).await;
        let mut written = 0;
        for batch in life.after(0).chunks(size) {
            written += projection.write(batch).await.unwrap().commits;
        }
        assert_eq!(written, life.commits.len());
        life.assert_told_by(&store).await;
    }
}

#[tokio::test]
async fn what_is_written_already_is_passed_over() {
    let postgres = TestPostgres::start().await;
    let store = store(&postgres);
    let mut life = Chronicle::new(4);
    life.live(60);
    let mut projection = projection(&store).await;
    projection.write(&life.after(0)[..40]).await.unwrap();
    let again = projection.write(&life.after(0)).await.unwrap();
    assert_eq!(again.commits, life.commits.len() - 40);
    assert_eq!(projection.write(&life.after(0)).await.unwrap().commits, 0);
    life.assert_told_by(&store).await;
}

#[tokio::test]
async fn rows_survive_a_position_that_was_set_back_by_hand() {
    let postgres = TestPostgres::start().await;
    let store = store(&postgres);
    let mut life = Chronicle::new(5);
    life.live(120);
    projection(&store).await.write(&life.after(0)).await.unwrap();
    let url = postgres.url(DatabaseRole::Owner);
    let reset = move || {
        postgres::Client::connect(&url, postgres::NoTls)
            .unwrap()
            .batch_execute("UPDATE projections SET sequence = 0, hash = ''")
    };
    tokio::task::spawn_blocking(reset).await.unwrap().unwrap();
    let mut again = projection(&store).await;
    for batch in life.after(0).chunks(9) {
        again.write(batch).await.unwrap();
    }
    life.assert_told_by(&store).await;
}

#[tokio::test]
async fn a_second_writer_fences_the_first() {
    let postgres = TestPostgres::start().await;
    let store = store(&postgres);
    let mut life = Chronicle::new(6);
    life.live(30);
    let (mut first, mut second) = (projection(&store).await, projection(&store).await);
    first.write(&life.after(0)[..10]).await.unwrap();
    let fenced = second.write(&life.after(0)[..12]).await.unwrap_err();
    assert!(matches!(fenced, StoreError::Fenced { ours: 0, theirs: 10, .. }), "{fenced}");
    let mut second = projection(&store).await;
    second.write(&life.after(0)[..20]).await.unwrap();
    let fenced = first.write(&life.after(0)).await.unwrap_err();
    assert!(matches!(fenced, StoreError::Fenced { ours: 10, theirs: 20, .. }), "{fenced}");
    second.write(&life.after(0)).await.unwrap();
    life.assert_told_by(&store).await;
}

#[tokio::test]
async fn many_writers_at_once_write_each_commit_once() {
    let postgres = TestPostgres::start().await;
    let mut life = Chronicle::new(7);
    life.live(150);
    let life = std::sync::Arc::new(life);
    let writers = (0..4).map(|n: u64| {
        let (store, life) = (store(&postgres), life.clone());
        tokio::spawn(async move {
            let mut rng = StdRng::seed_from_u64(n);
            let mut fenced = 0;
            loop {
                let mut projection = projection(&store).await;
                loop {
                    let at = projection.position().sequence as usize;
                    if at == life.commits.len() {
                        return fenced;
                    }
                    let until = (at + rng.random_range(1..6)).min(life.commits.len());
                    match projection.write(&life.after(0)[at..until]).await {
                        Ok(_) => {}
                        Err(StoreError::Fenced { .. }) => break fenced += 1,
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        })
    });
    let fenced: usize = futures::future::join_all(writers).await.into_iter().map(Result::unwrap).sum();
    assert!(fenced > 0, "the writers never met");
    life.assert_told_by(&store(&postgres)).await;
}

#[tokio::test]
async fn a_writer_that_is_stopped_anywhere_leaves_rows_and_position_in_step() {
    let postgres = TestPostgres::start().await;
    let mut life = Chronicle::new(8);
    life.live(200);
    let mut rng = StdRng::seed_from_u64(8);
    let mut stopped = 0;
    loop {
        let store = store(&postgres);
        let mut projection = projection(&store).await;
        let at = projection.position().sequence as usize;
        if at == life.commits.len() {
            break;
        }
        let until = (at + rng.random_range(1..20)).min(life.commits.len());
        let batch = &life.after(0)[at..until];
        if rng.random_range(0..3) == 0 {
            projection.write(batch).await.unwrap();
            continue;
        }
        // Dropped in the middle: the connection goes, the server rolls back or had committed already.
        let limit = Duration::from_micros(rng.random_range(200..30_000));
        stopped += usize::from(tokio::time::timeout(limit, projection.write(batch)).await.is_err());
    }
    assert!(stopped > 3, "stopped only {stopped} times");
    life.assert_told_by(&store(&postgres)).await;
}

#[tokio::test]
async fn a_hole_another_chain_and_another_stream_are_refused() {
    let postgres = TestPostgres::start().await;
    let store = store(&postgres);
    let (mut life, mut other) = (Chronicle::new(9), Chronicle::new(10));
    life.live(20);
    other.live(20);
    let mut projection = projection(&store).await;
    let late = projection.write(&life.after(5)).await.unwrap_err();
    assert!(matches!(late, StoreError::RebuildNeeded { position: 0, found: 6, .. }), "{late}");
    projection.write(&life.after(0)[..10]).await.unwrap();
    let hole = projection.write(&life.after(11)).await.unwrap_err();
    assert!(matches!(hole, StoreError::RebuildNeeded { position: 10, found: 12, .. }), "{hole}");
    assert!(hole.to_string().contains("rebuild needed"));
    let chain = projection.write(&other.after(10)).await.unwrap_err();
    assert!(matches!(chain, StoreError::OtherChain { sequence: 11, .. }), "{chain}");
    let Err(stream) = store.projection(STREAM, "i2").await else { panic!("another incarnation was taken") };
    assert!(matches!(stream, StoreError::IncarnationUnknown { .. }), "{stream}");
    // A message that is no commit takes a sequence: the chain tells that nothing is missing.
    let shifted: Vec<Message<'_>> =
        life.after(10).into_iter().map(|m| Message { sequence: m.sequence + 3, ..m }).collect();
    projection.write(&shifted).await.unwrap();
    assert_eq!(projection.position().sequence, life.commits.len() as u64 + 3);
}

#[tokio::test]
async fn a_commit_that_cannot_be_read_stops_and_changes_nothing() {
    let postgres = TestPostgres::start().await;
    let store = store(&postgres);
    let life = Chronicle::new(11);
    let mut projection = projection(&store).await;
    projection.write(&life.after(0)).await.unwrap();
    let next = life.commits.len() as u64 + 1;
    let future = String::from_utf8(life.commits[0].clone()).unwrap().replace("ControllerActivated", "ControllerDreamt");
    let unread = projection.write(&[Message { sequence: next, bytes: future.as_bytes() }]).await.unwrap_err();
    assert!(matches!(&unread, StoreError::Unreadable { sequence, .. } if *sequence == next), "{unread}");
    life.assert_told_by(&store).await;
}

/// The first column of the first row, as the person who reads.
async fn number(postgres: &TestPostgres, sql: &'static str) -> i64 {
    let url = postgres.url(DatabaseRole::Read);
    let ask = move || postgres::Client::connect(&url, postgres::NoTls).unwrap().query_one(sql, &[]).unwrap().get(0);
    tokio::task::spawn_blocking(ask).await.unwrap()
}

#[tokio::test]
async fn commands_controllers_and_definitions_have_their_rows_and_events_their_month() {
    let postgres = TestPostgres::start().await;
    let store = store(&postgres);
    let mut life = Chronicle::new(12);
    life.live(200);
    life.activate();
    life.live(200);
    projection(&store).await.write(&life.after(0)).await.unwrap();
    assert_eq!(number(&postgres, "SELECT count(*) FROM commands").await, life.commands as i64);
    assert_eq!(
        number(
            &postgres,
            "SELECT count(*) FROM commands WHERE result = 'accepted' AND asked_by IS DISTINCT FROM 'ops'"
        )
        .await,
        0
    );
    assert!(number(&postgres, "SELECT count(*) FROM commands WHERE code = 'workflow_unknown'").await > 0);
    assert_eq!(number(&postgres, "SELECT max(epoch) FROM controllers").await, 2);
    assert_eq!(number(&postgres, "SELECT count(*) FROM workflows WHERE workflow = 'nightly' AND version = 1").await, 1);
    assert_eq!(number(&postgres, "SELECT count(*) FROM events_default").await, 0);
    assert!(number(&postgres, "SELECT count(*) FROM events_2026_11").await > 0);
}

#[tokio::test]
async fn the_comparison_with_the_journal_sees_each_kind_of_damage() {
    for damage in [
        "DELETE FROM events WHERE sequence = 20",
        "UPDATE events SET event = '{}' WHERE sequence = 20",
        "DELETE FROM steps WHERE number = (SELECT max(number) FROM steps)",
        "UPDATE steps SET state = 'lost' WHERE number = (SELECT max(number) FROM steps WHERE state <> 'lost')",
        "UPDATE orders SET ended_at = NULL WHERE number = (SELECT max(number) FROM orders WHERE state = 'finished')",
        "UPDATE orders SET state = 'cancelled' WHERE number = (SELECT max(number) FROM orders WHERE state = 'started')",
        "UPDATE projections SET sequence = sequence - 1",
    ] {
        let postgres = TestPostgres::start().await;
        let mut life = Chronicle::new(13);
        life.live(80);
        let store = store(&postgres);
        projection(&store).await.write(&life.after(0)).await.unwrap();
        let url = postgres.url(DatabaseRole::Owner);
        let harm = move || postgres::Client::connect(&url, postgres::NoTls).unwrap().execute(damage, &[]).unwrap();
        assert!(tokio::task::spawn_blocking(harm).await.unwrap() > 0, "{damage} did nothing");
        let compared = tokio::spawn(async move { life.assert_told_by(&store).await }).await;
        assert!(compared.is_err_and(|e| e.is_panic()), "not seen: {damage}");
    }
}
