//! One PostgreSQL: its cluster, its roles, its databases, its start on a free port, its stop.

mod admin;
mod cluster;
mod role;

pub use admin::{database_statements, role_statements};
pub use role::DatabaseRole;

use crate::owner::{self, Owner};
use crate::{Process, ServersError, Spawn, Tls, find, port, secret};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long it may take to recover and serve.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a fast shutdown (sessions are ended, everything is written) may take.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Between attempts while the processes of one that was killed let go.
const LET_GO: Duration = Duration::from_millis(50);
/// Another port is tried this often when somebody takes ours between the test and the start.
const PORT_TRIES: u32 = 5;

/// How a PostgreSQL is to run.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// Holds the cluster (in `data`, or where a link of that name points) and the log.
    pub folder: PathBuf,
    /// Holds one password file per role.
    pub secrets: PathBuf,
    /// The database that roles and rights are made for.
    pub database: String,
    /// Taken when it is free, else another.
    pub port: Option<u16>,
    /// Speaks TLS; all but the administrator must use it then.
    pub tls: Option<Tls>,
    /// Gives up safety against a crash of the machine (never against a crash of a process): for tests.
    pub fast: bool,
}

impl PostgresSettings {
    /// A safe one on a free port with the database `ordo`.
    pub fn new(folder: impl Into<PathBuf>, secrets: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            secrets: secrets.into(),
            database: "ordo".into(),
            port: None,
            tls: None,
            fast: false,
        }
    }
}

/// A running PostgreSQL. Dropping it ends it at once (an immediate shutdown: recovery at the next start).
#[derive(Debug)]
pub struct PostgresServer {
    settings: PostgresSettings,
    bin: PathBuf,
    data: PathBuf,
    owner: Option<Owner>,
    port: u16,
    process: Process,
}

impl PostgresServer {
    /// Makes the cluster where there is none, starts it, waits until it serves, makes roles and database where missing.
    ///
    /// # Errors
    /// When there is no program, it ends instead of serving, does not serve within a minute, or refuses a statement.
    pub async fn start(settings: PostgresSettings) -> Result<Self, ServersError> {
        let owner = Owner::for_postgres()?;
        let bin = cluster::reachable_programs(find::postgres()?.0, owner)?;
        secret::make_folder(&settings.secrets)?;
        std::fs::create_dir_all(&settings.folder).map_err(ServersError::file("make the folder", &settings.folder))?;
        let data = owner::reachable_folder(&settings.folder.join("data"), owner)?;
        cluster::make(&settings, &bin, &data, owner)?;
        let mut wanted = settings.port;
        let (started, mut round) = (Instant::now(), 0);
        loop {
            round += 1;
            let port = port::free(wanted).map_err(ServersError::file("find a free port for", &data))?;
            let process = launch(&settings, &bin, &data, owner, port)?;
            let server =
                Self { settings: settings.clone(), bin: bin.clone(), data: data.clone(), owner, port, process };
            match server.serving().await {
                Ok(()) => {
                    admin::make_roles_and_database(&server).await?;
                    return Ok(server);
                }
                Err(error) if is_still_in_use(&error) && started.elapsed() < START_LIMIT => {
                    round -= 1;
                    tokio::time::sleep(LET_GO).await;
                }
                Err(_) if round < PORT_TRIES && server.port_was_taken() => wanted = None,
                Err(error) => return Err(error),
            }
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder with `pg_dump` and `psql` of its version.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Its process, to be watched.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The address of its database for a role, password included. Never log it.
    ///
    /// # Errors
    /// When the password file cannot be read.
    pub fn url(&self, role: DatabaseRole) -> Result<String, ServersError> {
        self.url_of(role, &self.settings.database)
    }

    /// [`PostgresServer::url`] for another database.
    ///
    /// # Errors
    /// When the password file cannot be read.
    pub fn url_of(&self, role: DatabaseRole, database: &str) -> Result<String, ServersError> {
        let path = self.password_file(role);
        let password = std::fs::read_to_string(&path).map_err(ServersError::file("read the password in", &path))?;
        let tls =
            if self.settings.tls.is_some() && role != DatabaseRole::Administrator { "?sslmode=require" } else { "" };
        Ok(format!("postgres://{}:{}@127.0.0.1:{}/{database}{tls}", role.name(), password.trim(), self.port))
    }

    /// The address without the password, for settings that name the file.
    pub fn url_without_password(&self, role: DatabaseRole) -> String {
        let tls = if self.settings.tls.is_some() { "?sslmode=require" } else { "" };
        format!("postgres://{}@127.0.0.1:{}/{}{tls}", role.name(), self.port, self.settings.database)
    }

    /// Where the role's password stands.
    pub fn password_file(&self, role: DatabaseRole) -> PathBuf {
        role.password_file(&self.settings.secrets)
    }

    /// Makes a database with the rights of all roles, from `template` where given.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn make_database(&self, name: &str, template: Option<&str>) -> Result<(), ServersError> {
        admin::make_database(self, name, template).await
    }

    /// Drops a database with all sessions in it.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn drop_database(&self, name: &str) -> Result<(), ServersError> {
        admin::drop_database(self, name).await
    }

    /// Stops it in order: ends sessions, writes everything.
    pub async fn stop(&self) {
        self.process.stop(Signal::SIGINT, STOP_LIMIT).await;
    }

    /// Kills its main process at once, as a crash would; its other processes notice and end by themselves.
    pub async fn kill(&self) {
        self.process.kill().await;
    }

    /// Starts it again after its end, on the same port and with the same data.
    ///
    /// # Errors
    /// As [`PostgresServer::start`].
    pub async fn start_again(&mut self) -> Result<(), ServersError> {
        let started = Instant::now();
        loop {
            self.process = launch(&self.settings, &self.bin, &self.data, self.owner, self.port)?;
            match self.serving().await {
                Err(error) if is_still_in_use(&error) && started.elapsed() < START_LIMIT => {
                    tokio::time::sleep(LET_GO).await;
                }
                other => return other,
            }
        }
    }

    fn port_was_taken(&self) -> bool {
        self.process.ended().is_some() && self.process.log_tail().contains("Address already in use")
    }

    async fn serving(&self) -> Result<(), ServersError> {
        let started = Instant::now();
        let mut last = String::from("nothing yet");
        while started.elapsed() < START_LIMIT {
            if let Some(status) = self.process.ended() {
                return Err(ServersError::Ended {
                    program: "postgres".into(),
                    status: status.to_string(),
                    tail: self.process.log_tail(),
                });
            }
            match admin::probe(self).await? {
                None => return Ok(()),
                Some(trouble) => last = trouble,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(ServersError::NotServing { program: "PostgreSQL", port: self.port, seconds: START_LIMIT.as_secs(), last })
    }
}

/// After a kill the other processes of the old one hold its shared memory for a moment.
fn is_still_in_use(error: &ServersError) -> bool {
    matches!(error, ServersError::Ended { tail, .. } if tail.contains("is still in use"))
}

fn launch(
    settings: &PostgresSettings,
    bin: &Path,
    data: &Path,
    owner: Option<Owner>,
    port: u16,
) -> Result<Process, ServersError> {
    cluster::prepare(settings, data, owner)?;
    let mut spawn = Spawn::new(bin.join("postgres"), settings.folder.join("postgres.log"));
    spawn = spawn.arguments(["-D".as_ref(), data.as_os_str()]);
    for setting in cluster::settings(settings, port) {
        spawn = spawn.arguments(["-c".to_owned(), setting]);
    }
    spawn.owner = owner;
    spawn.folder = Some(PathBuf::from("/"));
    // An immediate shutdown, which frees its shared memory; SIGKILL would leave that to the next start.
    spawn.on_our_death = Signal::SIGQUIT;
    Process::spawn(spawn)
}
