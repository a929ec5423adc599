//! Numbered, forward-only migrations. By the sync driver, for `ordo db migrate` and the like: call it on a thread of its
//! own, never inside tokio.

use crate::connect::{Target, check_version};
use crate::error::{StoreError, sort};
use crate::tls::Tls;
use ordo_domain::ContentHash;
use postgres::{Client, NoTls};
use std::path::Path;
use std::time::Duration;

/// One step of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    pub version: i32,
    pub name: &'static str,
    pub sql: &'static str,
}

/// All of them, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "history", sql: include_str!("../../../../schemas/postgres/0001_history.sql") },
    Migration { version: 2, name: "service", sql: include_str!("../../../../schemas/postgres/0002_service.sql") },
    Migration { version: 3, name: "plan", sql: include_str!("../../../../schemas/postgres/0003_plan.sql") },
    Migration { version: 4, name: "monitor", sql: include_str!("../../../../schemas/postgres/0004_monitor.sql") },
    Migration { version: 5, name: "log", sql: include_str!("../../../../schemas/postgres/0005_log.sql") },
    Migration { version: 6, name: "cleanup", sql: include_str!("../../../../schemas/postgres/0006_cleanup.sql") },
];

const GRANTS: &str = include_str!("../../../../schemas/postgres/grants.sql");
/// Of the advisory lock: whoever migrates waits for whoever migrates already.
const LOCK: i64 = 7_306_362_170;
const NOTED: &str = "CREATE TABLE IF NOT EXISTS migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)";

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Migrated {
    /// Versions applied now.
    pub applied: Vec<i32>,
    /// The schema's version after it; above [`newest`] when a newer Ordo was here.
    pub version: i32,
}

/// The version of the schema that this build needs.
pub fn newest() -> i32 {
    MIGRATIONS.last().map_or(0, |m| m.version)
}

/// Brings the database to this build's schema and sets the rights of the roles that exist. Does nothing the second time.
///
/// # Errors
/// The server is away or older than 15; a migration fails (nothing of it stays); one was changed after it was applied.
pub fn migrate(url: &str, ca: Option<&Path>) -> Result<Migrated, StoreError> {
    apply(url, ca, MIGRATIONS)
}

/// [`migrate`] with other migrations; for tests of the mechanism.
pub fn apply(url: &str, ca: Option<&Path>, migrations: &[Migration]) -> Result<Migrated, StoreError> {
    let Target { config, tls, at } = Target::parse(url, ca)?;
    let mut config = postgres::Config::from(config);
    config.application_name("ordo migrate").connect_timeout(Duration::from_secs(5));
    let connected = match tls {
        Tls::Plain => config.connect(NoTls),
        Tls::Encrypted(tls) => config.connect(tls),
    };
    let mut client = connected.map_err(|e| sort(&at, "connect", &e))?;
    let mut run = Run { client: &mut client, at: &at };
    let number: i32 = run
        .sorted("ask for the version", |c| c.query_one("SELECT current_setting('server_version_num')::int", &[]))?
        .get(0);
    check_version(&at, number)?;
    run.sorted("wait for other migrations", |c| {
        c.batch_execute(&format!(
            "SET lock_timeout = '120s'; SELECT pg_advisory_lock({LOCK}); SET lock_timeout = '30s'"
        ))
    })?;
    run.sorted("make the table of migrations", |c| {
        c.batch_execute(&format!("SET client_min_messages = warning; {NOTED}"))
    })?;
    let mut done = Migrated::default();
    for migration in migrations {
        if run.migration(migration)? {
            done.applied.push(migration.version);
        }
    }
    run.sorted("set the rights of the roles", |c| c.batch_execute(GRANTS))?;
    let sql = "SELECT coalesce(max(version), 0) FROM migrations";
    done.version = run.sorted("read the schema's version", |c| c.query_one(sql, &[]))?.get(0);
    Ok(done)
}

struct Run<'a> {
    client: &'a mut Client,
    at: &'a str,
}

impl Run<'_> {
    fn sorted<T>(
        &mut self,
        attempt: &'static str,
        what: impl FnOnce(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T, StoreError> {
        what(self.client).map_err(|e| sort(self.at, attempt, &e))
    }

    /// Applies it where it is new; true if it was.
    fn migration(&mut self, migration: &Migration) -> Result<bool, StoreError> {
        let checksum = ContentHash::of(migration.sql.as_bytes());
        let sql = "SELECT checksum FROM migrations WHERE version = $1";
        let known = self.sorted("read the applied migrations", |c| c.query_opt(sql, &[&migration.version]))?;
        if let Some(row) = known {
            let known: String = row.get(0);
            return if known == checksum.as_str() {
                Ok(false)
            } else {
                Err(StoreError::MigrationChanged {
                    at: self.at.to_owned(),
                    version: migration.version,
                    name: migration.name.to_owned(),
                })
            };
        }
        self.sorted("apply a migration", |c| {
            let mut tx = c.transaction()?;
            tx.batch_execute(migration.sql)?;
            let sql = "INSERT INTO migrations (version, name, checksum) VALUES ($1, $2, $3)";
            tx.execute(sql, &[&migration.version, &migration.name, &checksum.as_str()])?;
            tx.commit()
        })?;
        Ok(true)
    }
}
