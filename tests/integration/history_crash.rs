//! History equals the journal, whatever is killed on the way.

use crate::history_site::{HistorySite, LIMIT};
use ordo_contract::heartbeat::Activity;
use ordo_testkit::{TestPostgres, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

#[tokio::test]
async fn killed_again_and_again_it_goes_on_where_it_was() {
    let mut it = HistorySite::new(41).await;
    let mut rng = StdRng::seed_from_u64(41);
    for round in 0..8 {
        let instance = it.start("h1");
        it.live(25).await;
        // Anywhere: connecting, taking the lease, catching up, in a transaction.
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..600))).await;
        if round == 4 {
            it.wait_caught_up().await;
        }
        instance.kill().await;
    }
    let instance = it.start("h1");
    it.assert_told().await;
    instance.stop().await;
}

#[tokio::test]
async fn of_two_instances_one_is_active_and_the_other_takes_over() {
    let mut it = HistorySite::new(42).await;
    let mut instances = vec![("h1", it.start("h1")), ("h2", it.start("h2"))];
    for _ in 0..4 {
        it.live(20).await;
        it.wait_caught_up().await;
        let (mut active, mut standby) = (Vec::new(), Vec::new());
        for (name, _) in &instances {
            match it.heartbeat(name).await.map(|beat| beat.activity) {
                Some(Activity::Active) => active.push(*name),
                _ => standby.push(*name),
            }
        }
        let Some(first) = active.first().copied() else { continue };
        let at = instances.iter().position(|(name, _)| *name == first).unwrap();
        let (name, killed) = instances.remove(at);
        killed.kill().await;
        it.live(20).await;
        it.wait_caught_up().await;
        instances.push((name, it.start(name)));
    }
    it.assert_told().await;
    for (_, instance) in instances {
        instance.stop().await;
    }
}

#[tokio::test]
async fn postgresql_killed_in_the_middle_is_waited_for_and_nothing_is_missing() {
    let mut it = HistorySite::with(43, TestPostgres::start_own().await).await;
    let instance = it.start("h1");
    for _ in 0..3 {
        it.live(30).await;
        it.postgres.kill().await;
        it.live(10).await;
        wait_until(LIMIT, "a heartbeat says that PostgreSQL is away", async || {
            it.heartbeat("h1").await.is_some_and(|beat| beat.links.iter().any(|l| l.to == "PostgreSQL" && !l.ok))
        })
        .await;
        it.postgres.start_again().await;
        it.wait_caught_up().await;
    }
    it.assert_told().await;
    instance.stop().await;
}

#[tokio::test]
async fn the_bus_killed_in_the_middle_is_waited_for_and_nothing_is_missing() {
    let mut it = HistorySite::new(44).await;
    let instance = it.start("h1");
    for _ in 0..3 {
        it.live(30).await;
        it.site.nats.kill().await;
        it.site.nats.start_again().await;
        it.live(10).await;
        it.wait_caught_up().await;
    }
    it.assert_told().await;
    instance.stop().await;
}

#[tokio::test]
async fn a_database_restored_from_an_older_copy_catches_up_from_the_journal() {
    let mut it = HistorySite::new(45).await;
    let instance = it.start("h1");
    it.live(60).await;
    it.wait_caught_up().await;
    let run = it.life.runs.keys().next().unwrap().clone();
    let etl = it.site.agent("etl").await;
    it.print(&etl, &run, 1, b"before\n").await;
    let stored = async |it: &HistorySite, chunks: u32| {
        let (store, run) = (it.store(), run.clone());
        wait_until(LIMIT, "chunks are stored", async || {
            store.stored_output(std::slice::from_ref(&run)).await.is_ok_and(|s| s[0].through == chunks)
        })
        .await;
    };
    stored(&it, 1).await;
    let copy = it.postgres.dump();
    // What comes now is acknowledged on the bus, and lost with the database.
    it.live(60).await;
    it.print(&etl, &run, 2, b"after\n").await;
    it.wait_caught_up().await;
    stored(&it, 2).await;
    instance.stop().await;
    it.postgres = TestPostgres::start().await;
    it.postgres.restore(&copy);
    // No new commit is needed for it to notice.
    let instance = it.start("h1");
    it.assert_told().await;
    stored(&it, 2).await;
    it.live(10).await;
    it.assert_told().await;
    instance.stop().await;
}
