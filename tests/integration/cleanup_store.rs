//! Deleting what is old: all of a family or nothing, never what lives, and counted by the same condition.

use chrono::{DateTime, TimeDelta, Utc};
use ordo_domain::retention::RetentionKind;
use ordo_store::{CleanupRun, CleanupState, CleanupStep, Connect, Counts, NewRun, Store, StoreError, add_all};
use ordo_testkit::{DatabaseRole, TestPostgres};
use postgres::NoTls;

pub fn store(postgres: &TestPostgres) -> Store {
    Store::open(&Connect::new(postgres.url(DatabaseRole::Cleanup), None)).unwrap()
}

/// As the role, on a thread of its own; the first column of the first row, or the SQLSTATE.
pub async fn sql(postgres: &TestPostgres, role: DatabaseRole, text: impl Into<String>) -> Result<String, String> {
    let (url, text) = (postgres.url(role), text.into());
    let work = move || {
        let mut client = postgres::Client::connect(&url, NoTls).unwrap();
        let rows = client.simple_query(&text).map_err(|e| {
            e.as_db_error().map_or_else(|| e.to_string(), |d| format!("{} {}", d.code().code(), d.message()))
        })?;
        let first = rows.into_iter().find_map(|m| match m {
            postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("").to_owned()),
            _ => None,
        });
        Ok(first.unwrap_or_default())
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Finished top orders, each with a branch, two steps, and a log of two chunks.
pub async fn old_orders(postgres: &TestPostgres, prefix: &str, count: u32, ended_at: DateTime<Utc>) {
    let at = ended_at.to_rfc3339();
    // Numbers from the back, so that they never meet those of the journal.
    let text = format!(
        "WITH o AS (SELECT n, '20200101-A' || n || '-{prefix}' AS id FROM generate_series(1, {count}) n), \
         pairs AS (SELECT id, NULL AS parent FROM o UNION ALL SELECT id || ':east', id FROM o), \
         made AS (INSERT INTO orders (order_id, number, parent, workflow, version, workflow_hash, business_day, priority, added_by, \
            added_at, started_at, ended_at, state) \
            SELECT id, (SELECT coalesce(min(number), 0) FROM orders) - row_number() OVER (), parent, 'nightly', 1, 'hash', '2020-01-01', \
            0, 'ops', '{at}'::timestamptz - interval '1 minute', '{at}'::timestamptz - interval '1 minute', '{at}', 'finished' FROM pairs), \
         runs AS (INSERT INTO steps (run_id, number, order_id, position, job, attempt, agent, state, sent_at, ended_at) \
            SELECT md5(id), (SELECT coalesce(min(number), 0) FROM steps) - row_number() OVER (), id, 'load', 'load', 1, 'etl', 'succeeded', \
            '{at}', '{at}' FROM pairs RETURNING run_id), \
         logs AS (INSERT INTO logs (run_id, stored_chunks, stored_bytes) SELECT run_id, 2, 20 FROM runs) \
         INSERT INTO log_chunks (run_id, chunk, at, size, lines, channel, compressed, body) \
            SELECT run_id, c, '{at}', 10, 1, 'stdout', false, '0123456789' FROM runs, generate_series(1, 2) c"
    );
    sql(postgres, DatabaseRole::Owner, text).await.unwrap();
}

pub async fn rows(postgres: &TestPostgres, table: &str) -> u64 {
    sql(postgres, DatabaseRole::Owner, format!("SELECT count(*) FROM {table}")).await.unwrap().parse().unwrap()
}

pub fn days(n: i64) -> DateTime<Utc> {
    Utc::now() - TimeDelta::days(n)
}

async fn begin(store: &Store, kinds: &[RetentionKind], cut_off: DateTime<Utc>, dry_run: bool) -> CleanupRun {
    let steps = kinds.iter().map(|kind| (*kind, cut_off)).collect();
    let asked_by = Some("test".to_owned());
    let new = NewRun { asked_by, retention: None, batch: 100, started_at: Utc::now(), until: None, dry_run, steps };
    let (run, begun) = store.begin_cleanup(&new).await.unwrap();
    assert!(begun);
    run
}

async fn finish(store: &Store, step: &mut CleanupStep, size: u32, dry_run: bool) -> Counts {
    let mut counts = Counts::new();
    while step.state == CleanupState::Waiting {
        add_all(&mut counts, &store.clean_batch(step, size, dry_run).await.unwrap().counts);
    }
    counts
}

/// Begins, does and ends a run of one kind.
pub async fn clean(store: &Store, kind: RetentionKind, cut_off: DateTime<Utc>, size: u32, dry_run: bool) -> Counts {
    let run = begin(store, &[kind], cut_off, dry_run).await;
    let mut step = run.steps[0].clone();
    let counts = finish(store, &mut step, size, dry_run).await;
    assert_eq!(step.counts, counts);
    store.end_cleanup(run.run, CleanupState::Done, Utc::now()).await.unwrap();
    counts
}

pub fn counts<const N: usize>(all: [(&str, u64); N]) -> Counts {
    all.into_iter().map(|(name, n)| (name.to_owned(), n)).collect()
}

#[tokio::test]
async fn finished_orders_go_with_all_that_is_theirs_and_a_repeated_dry_run_counts_zero() {
    let postgres = TestPostgres::start().await;
    let store = store(&postgres);
    old_orders(&postgres, "old", 350, days(100)).await;
    old_orders(&postgres, "young", 20, days(10)).await;
    let expected =
        counts([("orders", 700), ("steps", 700), ("logs", 700), ("log_chunks", 1400), ("log_bytes", 14_000)]);
    for size in [7, 100] {
        assert_eq!(clean(&store, RetentionKind::Orders, days(90), size, true).await, expected, "a dry run of {size}");
    }
    assert_eq!(rows(&postgres, "orders").await, 740, "a dry run changes nothing");
    assert_eq!(clean(&store, RetentionKind::Orders, days(90), 100, false).await, expected);
    assert_eq!(clean(&store, RetentionKind::Orders, days(90), 100, true).await, Counts::new());
    for (table, left) in [("orders", 40), ("steps", 40), ("logs", 40), ("log_chunks", 80)] {
        assert_eq!(rows(&postgres, table).await, left, "{table}");
    }
}

#[tokio::test]
async fn nothing_of_a_family_goes_while_any_of_it_lives() {
    let postgres = TestPostgres::start().await;
    let store = store(&postgres);
    let old = days(100);
    for (name, change) in [
        ("failed", "UPDATE orders SET state = 'failed' WHERE order_id LIKE '%-failed'"),
        ("running", "UPDATE orders SET state = 'started', ended_at = NULL WHERE order_id LIKE '%-running'"),
        ("planned", "UPDATE orders SET state = 'scheduled', ended_at = NULL WHERE order_id LIKE '%-planned'"),
        ("branch", "UPDATE orders SET state = 'started', ended_at = NULL WHERE order_id LIKE '%-branch:east'"),
        ("waiting", "UPDATE orders SET state = 'scheduled', ended_at = NULL WHERE order_id LIKE '%-waiting:east'"),
        ("step", "UPDATE steps SET state = 'running', ended_at = NULL WHERE order_id LIKE '%-step:east'"),
        ("sent", "UPDATE steps SET state = 'sent', ended_at = NULL WHERE order_id LIKE '%-sent'"),
        ("over", "UPDATE orders SET state = 'failed' WHERE order_id LIKE '%-over:east'"),
    ] {
        old_orders(&postgres, name, 3, old).await;
        sql(&postgres, DatabaseRole::Owner, change).await.unwrap();
    }
    // A failed branch of an order that finished is over; its order caught the failure.
    let gone = clean(&store, RetentionKind::Orders, days(90), 2, false).await;
    assert_eq!(gone["orders"], 6, "{gone:?}");
    for name in ["failed", "running", "planned", "branch", "waiting", "step", "sent"] {
        let left = format!("SELECT count(*) FROM orders WHERE order_id LIKE '%-{name}%'");
        assert_eq!(sql(&postgres, DatabaseRole::Owner, left).await.unwrap(), "6", "{name}");
    }
    assert_eq!(rows(&postgres, "steps").await, 42);
    // As soon as it is over, it goes.
    let end = "UPDATE steps SET state = 'succeeded', ended_at = now() - interval '100 days' WHERE order_id LIKE '%-step:east'";
    sql(&postgres, DatabaseRole::Owner, end).await.unwrap();
    assert_eq!(clean(&store, RetentionKind::Orders, days(90), 100, true).await["orders"], 6);
    let failed = store.old_failed_orders(days(90), None, 10).await.unwrap();
    assert_eq!(
        failed.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
        ["20200101-A1-failed", "20200101-A2-failed", "20200101-A3-failed"]
    );
    assert_eq!(store.old_failed_orders(days(90), failed.get(1), 10).await.unwrap().len(), 1);
    assert!(store.old_failed_orders(days(101), None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_restart_in_the_middle_goes_on_behind_the_last_batch() {
    let postgres = TestPostgres::start().await;
    old_orders(&postgres, "old", 200, days(100)).await;
    let first = store(&postgres);
    let run = begin(&first, &[RetentionKind::Orders, RetentionKind::Commands], days(90), false).await;
    let mut step = run.steps[0].clone();
    for _ in 0..3 {
        first.clean_batch(&mut step, 20, false).await.unwrap();
    }
    drop(first);
    let second = store(&postgres);
    let run = second.running_cleanup().await.unwrap().unwrap();
    assert_eq!(run.steps[0], CleanupStep { moved_at: run.steps[0].moved_at, ..step });
    let mut step = run.steps[0].clone();
    assert_eq!(step.counts["orders"], 120);
    finish(&second, &mut step, 50, false).await;
    assert_eq!((step.counts["orders"], rows(&postgres, "orders").await), (400, 0));
    let mut other = second.running_cleanup().await.unwrap().unwrap().steps[1].clone();
    finish(&second, &mut other, 50, false).await;
    second.end_cleanup(run.run, CleanupState::Done, Utc::now()).await.unwrap();
    assert_eq!(second.running_cleanup().await.unwrap(), None);
    assert_eq!(second.last_cleanups(5).await.unwrap()[0].state, CleanupState::Done);
}

#[tokio::test]
async fn of_two_instances_one_is_fenced_and_nothing_is_counted_twice() {
    let postgres = TestPostgres::start().await;
    old_orders(&postgres, "old", 100, days(100)).await;
    let (first, second) = (store(&postgres), store(&postgres));
    let run = begin(&first, &[RetentionKind::Orders], days(90), false).await;
    let (mut ours, mut theirs) = (run.steps[0].clone(), run.steps[0].clone());
    let (a, b) = tokio::join!(first.clean_batch(&mut ours, 30, false), second.clean_batch(&mut theirs, 30, false));
    let fenced = a.err().or(b.err()).expect("one of them came too late");
    assert!(matches!(fenced, StoreError::Fenced { .. }), "{fenced}");
    let mut step = second.running_cleanup().await.unwrap().unwrap().steps[0].clone();
    assert_eq!(step.counts["orders"], 60);
    finish(&second, &mut step, 30, false).await;
    assert_eq!(step.counts["orders"], 200);
    // And no second run beside the first.
    let new = NewRun {
        asked_by: None,
        retention: None,
        batch: 1,
        started_at: Utc::now(),
        until: None,
        dry_run: false,
        steps: vec![],
    };
    let (same, begun) = second.begin_cleanup(&new).await.unwrap();
    assert_eq!((same.run, begun), (run.run, false));
}

#[tokio::test]
async fn a_long_log_goes_bit_by_bit() {
    let postgres = TestPostgres::start().await;
    let store = store(&postgres);
    old_orders(&postgres, "long", 2, days(100)).await;
    let chunks = "INSERT INTO log_chunks (run_id, chunk, at, size, lines, channel, compressed, body) \
        SELECT min(run_id), c, now(), 1, 0, 'stdout', false, 'x' FROM logs, generate_series(3, 12000) c GROUP BY c; \
        UPDATE logs SET stored_chunks = 12000 WHERE run_id = (SELECT min(run_id) FROM logs)";
    sql(&postgres, DatabaseRole::Owner, chunks).await.unwrap();
    let gone = clean(&store, RetentionKind::Orders, days(90), 100, false).await;
    assert_eq!((gone["orders"], rows(&postgres, "log_chunks").await), (4, 0));
}

const EVENT: &str = "INSERT INTO events (sequence, index, at, epoch, type, order_id, cause, event) \
    SELECT n, 0, '{at}', 1, 'OrderAdded', {order}, '{}', '{}' FROM generate_series({from}, {to}) n";

async fn events(postgres: &TestPostgres, at: &str, order: &str, from: u32, to: u32) {
    let text = EVENT.replace("{at}", at).replace("{order}", order);
    let text = text.replace("{from}", &from.to_string()).replace("{to}", &to.to_string());
    sql(postgres, DatabaseRole::Owner, text).await.unwrap();
}

#[tokio::test]
async fn months_of_events_are_dropped_but_not_what_living_orders_did_in_them() {
    let postgres = TestPostgres::start().await;
    let store = store(&postgres);
    for month in ["2024-01-01", "2024-02-01", "2024-03-01"] {
        let made = format!("SELECT ordo_create_event_partition('{month}')");
        sql(&postgres, DatabaseRole::Owner, made).await.unwrap();
    }
    let ended = "2024-01-20T00:00:00Z".parse().unwrap();
    old_orders(&postgres, "old", 1, ended).await;
    old_orders(&postgres, "live", 1, ended).await;
    let live = "UPDATE orders SET state = 'started', ended_at = NULL WHERE order_id = '20200101-A1-live'";
    sql(&postgres, DatabaseRole::Owner, live).await.unwrap();
    events(&postgres, "2023-12-05T00:00:00Z", "NULL", 1, 30).await;
    events(&postgres, "2024-01-20T00:00:00Z", "'20200101-A1-old'", 31, 60).await;
    events(&postgres, "2024-01-20T00:00:00Z", "'20200101-A1-live'", 61, 65).await;
    events(&postgres, "2024-01-20T00:00:00Z", "'20200101-A1-live:east'", 66, 67).await;
    events(&postgres, "2024-02-20T00:00:00Z", "'20200101-A9-gone'", 68, 70).await;
    events(&postgres, "2024-03-20T00:00:00Z", "NULL", 71, 75).await;
    // In the middle of March: January and February go, and December from the default partition.
    let cut_off = "2024-03-15T00:00:00Z".parse().unwrap();
    let dry = clean(&store, RetentionKind::Events, cut_off, 10, true).await;
    assert_eq!(dry, counts([("events", 63)]));
    assert_eq!(clean(&store, RetentionKind::Events, cut_off, 10, false).await, dry);
    assert_eq!(clean(&store, RetentionKind::Events, cut_off, 10, true).await, Counts::new());
    let left =
        sql(&postgres, DatabaseRole::Owner, "SELECT string_agg(sequence::text, ',' ORDER BY sequence) FROM events")
            .await;
    assert_eq!(left.unwrap(), "61,62,63,64,65,66,67,71,72,73,74,75");
    let months = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relname ~ '^events_2024_..$'";
    assert_eq!(sql(&postgres, DatabaseRole::Owner, months).await.unwrap(), "events_2024_03");
    // When the order is over, its events go too.
    let over = "UPDATE orders SET state = 'finished', ended_at = '2024-01-21' WHERE order_id = '20200101-A1-live'";
    sql(&postgres, DatabaseRole::Owner, over).await.unwrap();
    assert_eq!(clean(&store, RetentionKind::Events, cut_off, 3, false).await, counts([("events", 7)]));
}

#[tokio::test]
async fn old_commands_go_and_young_ones_stay() {
    let postgres = TestPostgres::start().await;
    let store = store(&postgres);
    let text = "INSERT INTO commands (sequence, index, at, result, outcome, cause) \
        SELECT n, 0, now() - make_interval(days => n), 'accepted', '{}', '{}' FROM generate_series(1, 300) n";
    sql(&postgres, DatabaseRole::Owner, text).await.unwrap();
    let dry = clean(&store, RetentionKind::Commands, days(90), 40, true).await;
    assert_eq!(clean(&store, RetentionKind::Commands, days(90), 40, false).await, dry);
    assert_eq!((dry["commands"], rows(&postgres, "commands").await), (211, 89));
}

#[tokio::test]
async fn the_role_can_delete_only_what_is_its_own() {
    let postgres = TestPostgres::start().await;
    let this_month = Utc::now().format("%Y-%m-01").to_string();
    sql(&postgres, DatabaseRole::Owner, format!("SELECT ordo_create_event_partition('{this_month}')")).await.unwrap();
    let month = format!("events_{}", Utc::now().format("%Y_%m"));
    for text in [
        "DELETE FROM agents".to_owned(),
        "DELETE FROM workflows".to_owned(),
        "DELETE FROM controllers".to_owned(),
        "DELETE FROM site".to_owned(),
        "DELETE FROM migrations".to_owned(),
        "DELETE FROM events".to_owned(),
        format!("DELETE FROM {month}"),
        format!("DROP TABLE {month}"),
        "TRUNCATE orders".to_owned(),
        "UPDATE orders SET state = 'finished'".to_owned(),
        "UPDATE steps SET state = 'succeeded'".to_owned(),
        "INSERT INTO events SELECT * FROM events".to_owned(),
        "UPDATE notifications SET state = 'new'".to_owned(),
        "DELETE FROM monitor_gathered".to_owned(),
        "SELECT ordo_create_event_partition('2024-01-01')".to_owned(),
        // The function has the last word, whatever cut-off it is told.
        format!("SELECT ordo_drop_event_partition('{this_month}', now() + interval '1 year')"),
    ] {
        let refused = sql(&postgres, DatabaseRole::Cleanup, text.clone()).await;
        assert!(refused.clone().is_err_and(|e| e.starts_with("42501")), "{text}: {refused:?}");
    }
    assert_eq!(
        sql(&postgres, DatabaseRole::Read, "SELECT ordo_drop_event_partition('2024-01-01', now())").await.unwrap_err()
            [..5],
        *"42501"
    );
    assert_eq!(sql(&postgres, DatabaseRole::Cleanup, "DELETE FROM orders WHERE false").await.unwrap(), "");
}
