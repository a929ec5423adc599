//! A database of its own for each test, on one PostgreSQL per test process; or a PostgreSQL of its own for tests that
//! kill it.

use crate::TestFolder;
use ordo_runtime::DatabaseSettings;
use ordo_servers::{DatabaseRole, PostgresServer, PostgresSettings, Tls};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::OnceCell;

/// Made once per process with the tables in it; the databases of tests are copies.
const TEMPLATE: &str = "ordo_template";

/// A database with Ordo's roles and tables.
#[derive(Debug)]
pub struct TestPostgres {
    server: Server,
    database: String,
    ca: Option<PathBuf>,
}

#[derive(Debug)]
enum Server {
    Shared(&'static PostgresServer),
    Own(PostgresServer, #[allow(dead_code, reason = "holds the folder until the server is gone")] TestFolder),
}

/// The process's server and its folder. It is ended by the kernel with the process, the folder by its watcher.
static SHARED: OnceCell<(PostgresServer, TestFolder)> = OnceCell::const_new();

impl TestPostgres {
    /// A fresh database on the server of this test process.
    pub async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (server, _) = SHARED.get_or_init(|| async { launch(None).await }).await;
        let database = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        make(server, &database).await;
        Self { server: Server::Shared(server), database, ca: None }
    }

    /// A fresh database on a server of its own, which may be killed and started again.
    pub async fn start_own() -> Self {
        Self::own(None, None).await
    }

    /// As [`TestPostgres::start_own`], speaking TLS: certificate, key, and the authority that clients shall trust.
    pub async fn start_with_tls(tls: Tls, ca: PathBuf) -> Self {
        Self::own(Some(tls), Some(ca)).await
    }

    async fn own(tls: Option<Tls>, ca: Option<PathBuf>) -> Self {
        let (server, folder) = launch(tls).await;
        let database = "test".to_owned();
        make(&server, &database).await;
        Self { server: Server::Own(server, folder), database, ca }
    }

    fn server(&self) -> &PostgresServer {
        match &self.server {
            Server::Shared(server) => server,
            Server::Own(server, _) => server,
        }
    }

    /// The address for a role, password included.
    pub fn url(&self, role: DatabaseRole) -> String {
        self.server().url_of(role, &self.database).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The settings with which a service reaches it as that role.
    pub fn settings(&self, role: DatabaseRole) -> DatabaseSettings {
        DatabaseSettings { url: self.url(role), password_file: None, ca: self.ca.clone() }
    }

    /// The folder with `pg_dump` and `psql` of its version.
    pub fn bin(&self) -> &Path {
        self.server().bin()
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// A copy of all rows, as an operator would make it.
    ///
    /// # Panics
    /// When `pg_dump` fails.
    pub fn dump(&self) -> Vec<u8> {
        let arguments = ["--data-only", "--load-via-partition-root", "--exclude-table=migrations"];
        let dump = Command::new(self.bin().join("pg_dump"))
            .args(arguments)
            .arg(self.url(DatabaseRole::Backup))
            .output()
            .unwrap_or_else(|error| panic!("cannot start pg_dump: {error}"));
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        dump.stdout
    }

    /// Puts such a copy into this database, which must be empty.
    ///
    /// # Panics
    /// When `psql` fails.
    pub fn restore(&self, copy: &[u8]) {
        let mut psql = Command::new(self.bin().join("psql"))
            .args(["-q", "-v", "ON_ERROR_STOP=1", &self.url(DatabaseRole::Owner)])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start psql: {error}"));
        let input = psql.stdin.take();
        let written = input.map(|mut input| input.write_all(copy));
        assert!(matches!(written, Some(Ok(()))), "psql takes nothing: {written:?}");
        let ended = psql.wait();
        assert!(ended.as_ref().is_ok_and(std::process::ExitStatus::success), "psql failed: {ended:?}");
    }

    /// Kills the server at once, as a crash would.
    ///
    /// # Panics
    /// On the shared server, which other tests use.
    pub async fn kill(&self) {
        match &self.server {
            Server::Own(server, _) => server.kill().await,
            Server::Shared(_) => panic!("other tests use this server: start_own() gives one that may be killed"),
        }
    }

    /// Starts it again on the same port with the same data, and waits until it serves.
    ///
    /// # Panics
    /// On the shared server.
    pub async fn start_again(&mut self) {
        match &mut self.server {
            Server::Own(server, _) => server.start_again().await.unwrap_or_else(|error| panic!("{error}")),
            Server::Shared(_) => panic!("other tests use this server: start_own() gives one that may be restarted"),
        }
    }
}

async fn launch(tls: Option<Tls>) -> (PostgresServer, TestFolder) {
    let folder = TestFolder::new("postgres");
    let mut settings = PostgresSettings::new(folder.join("postgres"), folder.join("secrets"));
    settings.database = TEMPLATE.to_owned();
    settings.fast = true;
    settings.tls = tls;
    let server = PostgresServer::start(settings).await.unwrap_or_else(|error| panic!("{error}"));
    migrate(server.url(DatabaseRole::Owner).unwrap_or_else(|error| panic!("{error}"))).await;
    (server, folder)
}

/// On a thread of its own: the library brings its own runtime.
async fn migrate(url: String) {
    let migrated = tokio::task::spawn_blocking(move || ordo_store::migrate(&url, None)).await;
    match migrated {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => panic!("cannot make the tables: {error}"),
        Err(error) => panic!("the migration broke off: {error}"),
    }
}

async fn make(server: &PostgresServer, database: &str) {
    server.make_database(database, Some(TEMPLATE)).await.unwrap_or_else(|error| panic!("{error}"));
}
