//! Migrations and rights against a real PostgreSQL.

use ordo_store::{Connect, MIGRATIONS, Migration, Store, StoreError, apply, migrate, newest};
use ordo_testkit::{DatabaseRole, TestPostgres};
use postgres::{Client, NoTls};

/// The sync driver must not run inside tokio.
async fn sync<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn sql(url: String, text: &'static str) -> Result<Vec<String>, String> {
    sync(move || {
        let mut client = Client::connect(&url, NoTls).unwrap();
        let rows = client
            .simple_query(text)
            .map_err(|e| e.as_db_error().map_or(e.to_string(), |d| d.code().code().to_owned()))?;
        let first = |m: postgres::SimpleQueryMessage| match m {
            postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("(null)").to_owned()),
            _ => None,
        };
        Ok(rows.into_iter().filter_map(first).collect())
    })
    .await
}

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    let postgres = TestPostgres::start().await;
    let url = postgres.url(DatabaseRole::Owner);
    let shape = "SELECT string_agg(table_name || column_name || data_type, ',' ORDER BY table_name, column_name) \
                 FROM information_schema.columns WHERE table_schema = 'public'";
    let _ = sync({
        let url = url.clone();
        move || migrate(&url, None).unwrap()
    })
    .await;
    let before = sql(url.clone(), shape).await;
    let again = sync({
        let url = url.clone();
        move || migrate(&url, None).unwrap()
    })
    .await;
    assert_eq!((again.applied, again.version), (vec![], newest()));
    assert_eq!(sql(url, shape).await, before);
}

#[tokio::test]
async fn an_empty_database_gets_all_migrations_and_says_what_it_needs_before() {
    let postgres = TestPostgres::start().await;
    sql(postgres.url(DatabaseRole::Administrator), "DROP SCHEMA public CASCADE").await.unwrap();
    let give = "CREATE SCHEMA public; ALTER SCHEMA public OWNER TO ordo; GRANT USAGE ON SCHEMA public TO PUBLIC";
    sql(postgres.url(DatabaseRole::Administrator), give).await.unwrap();
    let store = Store::open(&Connect::new(postgres.url(DatabaseRole::History), None)).unwrap();
    let missing = store.ready().await.unwrap_err();
    assert!(matches!(missing, StoreError::NotMigrated { found: 0, .. }), "{missing}");
    assert!(missing.to_string().contains("ordo db migrate"));
    let url = postgres.url(DatabaseRole::Owner);
    let done = sync(move || migrate(&url, None).unwrap()).await;
    assert_eq!(done.applied, MIGRATIONS.iter().map(|m| m.version).collect::<Vec<_>>());
    store.ready().await.unwrap();
}

#[tokio::test]
async fn a_migration_that_was_changed_after_it_was_applied_is_refused() {
    let postgres = TestPostgres::start().await;
    let url = postgres.url(DatabaseRole::Owner);
    let changed = Migration { sql: "SELECT 1", ..MIGRATIONS[0] };
    let refused = sync(move || apply(&url, None, &[changed]).unwrap_err()).await;
    assert!(matches!(refused, StoreError::MigrationChanged { version: 1, .. }), "{refused}");
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing() {
    let postgres = TestPostgres::start().await;
    let url = postgres.url(DatabaseRole::Owner);
    let broken = Migration { version: 900, name: "broken", sql: "CREATE TABLE half (n int); SELECT 1 / 0" };
    let failed = sync({
        let url = url.clone();
        move || apply(&url, None, &[broken]).unwrap_err()
    })
    .await;
    assert!(failed.to_string().contains("apply a migration"), "{failed}");
    assert_eq!(sql(url.clone(), "SELECT to_regclass('half')").await.unwrap(), ["(null)"]);
    assert_eq!(sql(url, "SELECT count(*) FROM migrations WHERE version = 900").await.unwrap(), ["0"]);
}

#[tokio::test]
async fn ten_that_migrate_at_once_wait_for_each_other() {
    let postgres = TestPostgres::start().await;
    let url = postgres.url(DatabaseRole::Owner);
    const FRESH: Migration = Migration { version: 901, name: "fresh", sql: "CREATE TABLE fresh (n int)" };
    let all = (0..10).map(|_| {
        sync({
            let url = url.clone();
            move || apply(&url, None, &[FRESH]).unwrap().applied.len()
        })
    });
    let applied: usize = futures::future::join_all(all).await.into_iter().sum();
    assert_eq!(applied, 1);
}

#[tokio::test]
async fn each_role_may_do_its_own_and_no_more() {
    let postgres = TestPostgres::start().await;
    let denied = Err("42501".to_owned());
    let history = || postgres.url(DatabaseRole::History);
    assert_eq!(sql(history(), "SELECT ordo_create_event_partition('2026-12-01')").await.unwrap(), ["t"]);
    assert_eq!(sql(history(), "SELECT ordo_create_event_partition('2026-12-24')").await.unwrap(), ["f"]);
    assert_eq!(sql(history(), "UPDATE events SET epoch = 1").await, denied);
    assert_eq!(sql(history(), "DELETE FROM orders").await, denied);
    assert_eq!(sql(history(), "UPDATE migrations SET name = ''").await, denied);
    assert!(sql(history(), "UPDATE orders SET title = ''").await.is_ok());
    assert_eq!(sql(history(), "CREATE TABLE mine (n int)").await, denied);
    let read = || postgres.url(DatabaseRole::Read);
    assert_eq!(sql(read(), "SELECT count(*) FROM events_2026_12").await.unwrap(), ["0"]);
    assert_eq!(sql(read(), "SELECT count(*) FROM log_chunks").await.unwrap(), ["0"]);
    assert_eq!(sql(read(), "UPDATE orders SET title = ''").await, denied);
    assert_eq!(sql(read(), "SELECT ordo_create_event_partition('2027-01-01')").await, denied);
    let dump = std::process::Command::new(postgres.bin().join("pg_dump"))
        .arg(postgres.url(DatabaseRole::Backup))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&dump.stdout);
    assert!(
        dump.status.success() && text.contains("COPY public.events_2026_12"),
        "{}",
        String::from_utf8_lossy(&dump.stderr)
    );
}

#[tokio::test]
async fn addresses_that_cannot_be_used_say_what_is_wrong() {
    let open = |url: &str| Store::open(&Connect::new(url, None)).map(|_| ());
    let wrong = open("postgres://ordo:secret@host/ordo?sslmode=paranoid").unwrap_err().to_string();
    assert!(wrong.contains("paranoid") && wrong.contains("verify-full") && !wrong.contains("secret"), "{wrong}");
    let wrong = open("postgres://ordo@host/ordo?sslmode=verify-full").unwrap_err().to_string();
    assert!(wrong.contains("ORDO_DATABASE_CA"), "{wrong}");
    let wrong = open("host").unwrap_err().to_string();
    assert!(wrong.contains("postgres://role@host:port/database"), "{wrong}");
}

#[tokio::test]
async fn a_server_that_is_away_or_refuses_is_told_apart() {
    let postgres = TestPostgres::start().await;
    let good = postgres.url(DatabaseRole::History);
    let ready = async |url: String| Store::open(&Connect::new(url, None)).unwrap().ready().await.unwrap_err();
    let away = ready("postgres://ordo_history:pass@127.0.0.1:1/ordo".into()).await;
    assert!(matches!(away, StoreError::Unreachable { .. }) && away.is_passing(), "{away:?}");
    assert!(
        away.to_string().contains("127.0.0.1:1/ordo as ordo_history") && !away.to_string().contains("pass"),
        "{away}"
    );
    let nobody = ready(good.replacen("ordo_history", "nobody", 1)).await;
    assert!(matches!(nobody, StoreError::NotAdmitted { .. }), "{nobody:?}");
    let (server, _) = good.rsplit_once('/').unwrap();
    let nowhere = ready(format!("{server}/nowhere")).await;
    assert!(matches!(nowhere, StoreError::NotAdmitted { .. }), "{nowhere:?}");
}

#[tokio::test]
async fn a_database_belongs_to_one_site() {
    let postgres = TestPostgres::start().await;
    let store = Store::open(&Connect::new(postgres.url(DatabaseRole::History), None)).unwrap();
    store.bind_site("prod").await.unwrap();
    store.bind_site("prod").await.unwrap();
    let other = store.bind_site("test").await.unwrap_err();
    assert!(matches!(other, StoreError::OtherSite { .. }), "{other}");
}
