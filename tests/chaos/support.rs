//! What these tests ask of a site: deploy, run, read the journal, compare history with it.

use ordo_cli::command::deploy::DeployText;
use ordo_contract::{commit::Commit, name::StreamKind, replica::Replica};
use ordo_domain::Event;
use ordo_journal::FollowFrom;
use ordo_tests::Up;
use std::time::{Duration, Instant};

pub async fn deploy(up: &Up, file: &str, text: &str) {
    let client = up.client().await;
    let texts = [DeployText { file: file.to_owned(), text: text.to_owned() }];
    ordo_cli::command::deploy::deploy_texts(&client, &texts)
        .await
        .unwrap_or_else(|e| panic!("{file} is deployed: {e}"));
}

/// The whole journal, chain and all.
pub async fn journal(up: &Up) -> Vec<Commit> {
    let bus = up.bus("controller").await;
    let last = bus.last_sequence(StreamKind::Journal).await.expect("the journal has an end");
    let mut follow = bus.follow(FollowFrom::journal(&bus, 1)).await.expect("the journal can be read");
    let (mut replica, mut commits) = (Replica::default(), Vec::new());
    while follow.position() <= last {
        for message in follow.batch(500).await.expect("the journal can be read") {
            commits.push(replica.take(message.sequence, message.payload()).expect("each commit fits"));
        }
    }
    commits
}

/// Every event verbatim, every run with its end, every order with its state.
pub async fn history_matches_journal(up: &Up, commits: &[Commit]) {
    let events: Vec<&Event> = commits.iter().flat_map(|c| &c.decisions).flat_map(|d| &d.events).collect();
    wait_for_events(up, events.len()).await;
    tokio::task::block_in_place(|| {
        let mut database = up.database();
        let rows = database.query("select event::text from events order by sequence, index", &[]).expect("events");
        for (i, row) in rows.iter().take(events.len()).enumerate() {
            let stored: Event = serde_json::from_str(row.get(0)).expect("an event");
            assert_eq!(&stored, events[i], "event {i} is in history as it is in the journal");
        }
        let ended = |wanted: &str| {
            let query = format!("select count(*) from steps where {wanted}");
            database.query_one(&query, &[]).expect("a count").get::<_, i64>(0)
        };
        let mut ended = ended;
        let in_journal = events.iter().filter(|e| matches!(e, Event::RunEnded(_))).count();
        assert_eq!(ended("ended_at is not null"), i64::try_from(in_journal).expect("small"), "ends of runs");
        let finished = events.iter().filter(|e| matches!(e, Event::OrderFinished(_))).count();
        let rows = database.query_one("select count(*) from orders where state = 'finished'", &[]).expect("a count");
        assert_eq!(rows.get::<_, i64>(0), i64::try_from(finished).expect("small"), "finished orders");
    });
}

async fn wait_for_events(up: &Up, count: usize) {
    let begin = Instant::now();
    loop {
        let there: i64 = tokio::task::block_in_place(|| {
            up.database().query_one("select count(*) from events", &[]).expect("a count").get(0)
        });
        if usize::try_from(there).is_ok_and(|there| there >= count) {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "history has {there} of {count} events");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
