//! Output of runs: twice, out of order, missing, from the wrong agent; and when a log is complete.

use crate::history_chronicle::Chronicle;
use crate::store_projection::{STREAM, store};
use chrono::{TimeDelta, Utc};
use ordo_contract::commit::{COMMIT_VERSION, Cause, Commit, Decision};
use ordo_contract::request::{LogPosition, LogReadRequest};
use ordo_domain::run::event::{RunDispatched, RunEnded};
use ordo_domain::run::report::{OutputSummary, Usage};
use ordo_domain::run::{RunEnd, RunFacts};
use ordo_domain::{Event, OrderId, Outcome, RunId};
use ordo_store::{Chunk, Message, Projection, Store, StoredChunks};
use ordo_testkit::TestPostgres;

const LIMIT: u64 = 64 * 1024 * 1024;

/// A journal with one order whose one run is sent; its end comes when a test says so.
struct OneRun {
    run: RunId,
    order: OrderId,
    dispatched: RunDispatched,
    store: Store,
    projection: Projection,
}

impl OneRun {
    async fn new(postgres: &TestPostgres) -> Self {
        let mut life = Chronicle::new(21);
        while life.site.runs.is_empty() {
            life.live(1);
        }
        let store = store(postgres);
        let mut projection = store.projection(STREAM, "i1").await.unwrap();
        projection.write(&life.after(0)).await.unwrap();
        let run = life.site.runs.values().next().unwrap().clone();
        let is_it = |e: &Event| matches!(e, Event::RunDispatched(d) if d.run == run.id);
        let commits = life.commits.iter().map(|b| Commit::decode(b).unwrap());
        let events = commits.flat_map(|c| c.decisions).flat_map(|d| d.events);
        let Some(Event::RunDispatched(dispatched)) = events.into_iter().find(is_it) else { panic!("no dispatch") };
        Self { run: run.id, order: run.order, dispatched, store, projection }
    }

    fn chunk(&self, number: u32, text: &str) -> Chunk {
        Chunk {
            run: self.run.clone(),
            agent: "etl".into(),
            number,
            channel: if number.is_multiple_of(2) { "stderr" } else { "stdout" }.into(),
            at: Utc::now() + TimeDelta::milliseconds(i64::from(number)),
            omitted: 0,
            bytes: text.as_bytes().to_vec(),
        }
    }

    async fn put(&self, chunks: &[Chunk]) -> StoredChunks {
        self.store.store_output(chunks, LIMIT, None).await.unwrap()
    }

    async fn end(&mut self, end: RunEnd, chunks: u32, bytes: u64) {
        let facts = RunFacts {
            end,
            started_at: None,
            ended_at: Utc::now(),
            usage: Usage::default(),
            output: OutputSummary { bytes, lines: 0, kept_bytes: bytes, chunks },
            results: Default::default(),
            results_error: None,
        };
        let d = &self.dispatched;
        let event = RunEnded {
            run: d.run.clone(),
            order: d.order.clone(),
            position: d.position.clone(),
            facts,
            outcome: Some(Outcome::Succeeded),
        };
        let position = self.projection.position().clone();
        let decision = Decision { cause: Cause::Upkeep, entity: d.run.to_string(), events: vec![event.into()] };
        let (at, epoch, build, prev_hash) = (Utc::now(), position.epoch, "test".into(), position.hash);
        let commit = Commit { v: COMMIT_VERSION, epoch, at, build, prev_hash, decisions: vec![decision] };
        let bytes = commit.encode().unwrap();
        self.projection.write(&[Message { sequence: position.sequence + 1, bytes: &bytes }]).await.unwrap();
    }

    async fn complete(&self) -> bool {
        let stored = self.store.stored_output(std::slice::from_ref(&self.run)).await.unwrap();
        let request =
            ordo_contract::request::HistoryStepsRequest { order: Some(self.order.clone()), ..Default::default() };
        let steps = self.store.steps(&request).await.unwrap().steps;
        let step = steps.iter().find(|s| s.run == self.run).unwrap();
        assert_eq!(stored[0].complete, step.log_complete);
        step.log_complete
    }

    async fn read(&self, after: Vec<LogPosition>) -> ordo_contract::request::LogReadReply {
        let request = LogReadRequest { order: self.order.clone(), run: Some(self.run.clone()), after };
        self.store.log(&request).await.unwrap().unwrap()
    }

    async fn text(&self) -> String {
        let (mut text, mut after) = (String::new(), Vec::new());
        loop {
            let reply = self.read(after).await;
            text.extend(reply.chunks.iter().map(|c| c.text.as_str()));
            after = reply.next;
            if !reply.more {
                return text;
            }
        }
    }
}

#[tokio::test]
async fn chunks_may_come_twice_and_in_any_order() {
    let postgres = TestPostgres::start().await;
    let mut it = OneRun::new(&postgres).await;
    assert_eq!(it.put(&[it.chunk(3, "three\n"), it.chunk(1, "one\n"), it.chunk(3, "three\n")]).await.new, 2);
    assert_eq!(it.text().await, "one\n", "what lies behind a hole waits");
    assert_eq!(it.put(&[it.chunk(1, "one\n")]).await.new, 0);
    let stored = it.store.stored_output(std::slice::from_ref(&it.run)).await.unwrap();
    assert_eq!((stored[0].through, stored[0].also.as_slice(), stored[0].complete), (1, &[3][..], false));
    it.end(RunEnd::Exited { code: 0 }, 3, 14).await;
    assert!(!it.complete().await, "the second is missing");
    assert!(!it.read(vec![]).await.ended);
    it.put(&[it.chunk(2, "two\n")]).await;
    assert!(it.complete().await);
    assert_eq!(it.text().await, "one\ntwo\nthree\n");
    let reply = it.read(vec![LogPosition { run: it.run.clone(), chunk: 2 }]).await;
    assert_eq!(reply.chunks.iter().map(|c| c.chunk).collect::<Vec<_>>(), [3]);
    assert!(reply.ended);
}

#[tokio::test]
async fn a_log_is_complete_whoever_comes_last_and_not_when_bytes_differ() {
    let postgres = TestPostgres::start().await;
    let mut it = OneRun::new(&postgres).await;
    it.put(&[it.chunk(1, "abc")]).await;
    assert!(!it.complete().await, "not ended");
    it.end(RunEnd::Exited { code: 0 }, 1, 3).await;
    assert!(it.complete().await, "the end came last");

    let postgres = TestPostgres::start().await;
    let mut it = OneRun::new(&postgres).await;
    it.end(RunEnd::Exited { code: 0 }, 1, 4).await;
    it.put(&[it.chunk(1, "abc")]).await;
    assert!(!it.complete().await, "three bytes are not four");

    let postgres = TestPostgres::start().await;
    let mut it = OneRun::new(&postgres).await;
    it.end(RunEnd::Exited { code: 0 }, 0, 0).await;
    assert!(it.complete().await, "nothing printed is all");
}

#[tokio::test]
async fn the_end_and_the_last_chunk_at_the_same_time_make_it_complete() {
    for n in 0..20 {
        let postgres = TestPostgres::start().await;
        let mut it = OneRun::new(&postgres).await;
        it.put(&[it.chunk(1, "a")]).await;
        let (store, last) = (it.store.clone(), it.chunk(2, "b"));
        let put = tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_micros(n * 150)).await;
            store.store_output(&[last], LIMIT, None).await.unwrap();
        });
        it.end(RunEnd::Exited { code: 0 }, 2, 2).await;
        put.await.unwrap();
        assert!(it.complete().await, "round {n}");
    }
}

#[tokio::test]
async fn output_of_strangers_and_of_unknown_runs_is_not_kept() {
    let postgres = TestPostgres::start().await;
    let it = OneRun::new(&postgres).await;
    let stranger = Chunk { agent: "rogue".into(), ..it.chunk(1, "forged") };
    let early = Chunk { run: RunId::from_bits(7), ..it.chunk(1, "early") };
    let stored = it.put(&[stranger, early]).await;
    assert_eq!(stored.new, 0);
    assert_eq!(stored.foreign.len(), 1);
    assert_eq!(stored.unknown.iter().next(), Some(&RunId::from_bits(7)));
    assert_eq!(it.text().await, "");
}

#[tokio::test]
async fn a_log_over_the_limit_is_counted_and_cut() {
    let postgres = TestPostgres::start().await;
    let mut it = OneRun::new(&postgres).await;
    let chunks: Vec<Chunk> = (1..=10).map(|n| it.chunk(n, &"x".repeat(1000))).collect();
    let stored = it.store.store_output(&chunks, 4_500, None).await.unwrap();
    assert_eq!((stored.new, stored.dropped), (10, 6));
    it.end(RunEnd::Exited { code: 0 }, 10, 10_000).await;
    assert!(it.complete().await);
    let reply = it.read(vec![]).await;
    assert_eq!(reply.chunks.iter().map(|c| c.text.len()).sum::<usize>(), 4_000);
    assert_eq!(reply.chunks.iter().map(|c| c.omitted_bytes).sum::<u64>(), 6_000);
}

#[tokio::test]
async fn binary_and_long_output_is_read_back_page_by_page() {
    let postgres = TestPostgres::start().await;
    let mut it = OneRun::new(&postgres).await;
    let mut all = String::new();
    let mut bytes = 0;
    for n in 1..=40 {
        let text = format!("{n}: {}\n", "строка ".repeat(4_000));
        bytes += text.len() as u64;
        all.push_str(&text);
        it.put(&[it.chunk(n, &text)]).await;
    }
    let raw = Chunk { bytes: vec![0, 159, 146, 150, b'\n'], ..it.chunk(41, "") };
    it.put(&[raw]).await;
    it.end(RunEnd::Exited { code: 0 }, 41, bytes + 5).await;
    assert!(it.complete().await);
    let text = it.text().await;
    assert!(text.starts_with(&all));
    assert_eq!(&text[all.len()..], "\0\u{fffd}\u{fffd}\u{fffd}\n");
    assert!(it.read(vec![]).await.more);
}

#[tokio::test]
async fn a_lost_run_ends_its_log_with_what_is_there() {
    let postgres = TestPostgres::start().await;
    let mut it = OneRun::new(&postgres).await;
    it.put(&[it.chunk(1, "a"), it.chunk(3, "c")]).await;
    it.end(RunEnd::Lost { reason: "runner died".into() }, 0, 0).await;
    let reply = it.read(vec![]).await;
    assert_eq!(reply.chunks.iter().map(|c| c.text.as_str()).collect::<String>(), "ac");
    assert!(reply.ended);
}
