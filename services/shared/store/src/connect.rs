//! The address of a database, and the pools of connections to it.

use crate::error::{Fault, StoreError, sort};
use crate::tls::{SslMode, Tls, tls};
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::{Config, NoTls};

const CONNECT: Duration = Duration::from_secs(5);
const OLDEST_VERSION: i32 = 150_000;

/// Which database, and how.
#[derive(Debug, Clone)]
pub struct Connect {
    /// `postgres://role:password@host:port/database?sslmode=verify-full&sslrootcert=…`
    pub url: String,
    /// Authority of the server's certificate; given without `sslmode` it means verify-full.
    pub ca: Option<PathBuf>,
    /// Shown in `pg_stat_activity`.
    pub application: String,
    /// Connections for reading, beside those for writing.
    pub readers: usize,
    /// Connections for writing: a service writes its projection, its outbox and its timers at the same time.
    pub writers: usize,
    /// Longest statement of a reader.
    pub read_timeout: Duration,
    /// Longest statement of a writer.
    pub write_timeout: Duration,
}

impl Connect {
    pub fn new(url: impl Into<String>, ca: Option<PathBuf>) -> Self {
        Self {
            url: url.into(),
            ca,
            application: "ordo".into(),
            readers: 4,
            writers: 4,
            read_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
        }
    }
}

/// An address, taken apart.
pub(crate) struct Target {
    pub(crate) config: Config,
    pub(crate) tls: Tls,
    /// For messages, without credentials: `host:port/database as role`.
    pub(crate) at: String,
}

impl Target {
    /// The driver knows neither `verify-full` nor `sslrootcert`: both are taken out before it sees the address.
    pub(crate) fn parse(url: &str, ca: Option<&Path>) -> Result<Self, StoreError> {
        let wrong = |reason: String| StoreError::Address { address: without_password(url), reason };
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut authority, mut rest) = (SslMode::Unsaid, ca.map(Path::to_owned), Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", word)) => {
                    mode = SslMode::parse(word).ok_or_else(|| {
                        wrong(format!(
                            "sslmode {word:?} is none of disable, allow, prefer, require, verify-ca, verify-full"
                        ))
                    })?;
                }
                Some(("sslrootcert", path)) if authority.is_none() => authority = Some(percent_decoded(path).into()),
                Some(("sslrootcert", _)) => {}
                _ => rest.push(pair),
            }
        }
        let plain = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
        let mut config: Config = plain.parse().map_err(|e: tokio_postgres::Error| wrong(e.to_string()))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(wrong("it names no host".into()));
        }
        let tls = tls(mode, authority.as_deref())?;
        config.ssl_mode(match tls {
            Tls::Plain => tokio_postgres::config::SslMode::Disable,
            Tls::Encrypted(_) => tokio_postgres::config::SslMode::Require,
        });
        config
            .connect_timeout(CONNECT)
            .tcp_user_timeout(Duration::from_secs(10))
            .keepalives_idle(Duration::from_secs(15));
        let at = described(&config);
        Ok(Self { config, tls, at })
    }
}

fn described(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(tokio_postgres::config::Host::Tcp(name)) => name.clone(),
        Some(tokio_postgres::config::Host::Unix(path)) => path.display().to_string(),
        None => config.get_hostaddrs().first().map(ToString::to_string).unwrap_or_default(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let user = config.get_user().unwrap_or("(nobody)");
    format!("{host}:{port}/{} as {user}", config.get_dbname().unwrap_or(user))
}

fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            let login = &url[scheme + 3..at];
            let user = login.split(':').next().unwrap_or_default();
            format!("{}{user}{}", &url[..scheme + 3], &url[at..])
        }
        _ => url.to_owned(),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten().and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A database of Ordo. Cheap to clone; connects when it is first needed, and again when the connection broke.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    at: String,
    write: Pool,
    read: Pool,
}

impl Store {
    /// Reads the address; makes no connection yet.
    pub fn open(connect: &Connect) -> Result<Self, StoreError> {
        let target = Target::parse(&connect.url, connect.ca.as_deref())?;
        let write = pool(&target, connect, connect.writers.max(2), connect.write_timeout, false)?;
        let read = pool(&target, connect, connect.readers.max(1), connect.read_timeout, true)?;
        Ok(Self { inner: Arc::new(Inner { at: target.at, write, read }) })
    }

    /// The database in words, without credentials.
    pub fn at(&self) -> &str {
        &self.inner.at
    }

    /// Asks the server for its version and schema: everything that must be true before work begins.
    pub async fn ready(&self) -> Result<(), StoreError> {
        let client = self.reader().await?;
        let version: i32 = self
            .sorted(
                "ask for the version",
                client.query_one("SELECT current_setting('server_version_num')::int", &[]).await,
            )?
            .get(0);
        check_version(&self.inner.at, version)?;
        let there = "SELECT to_regclass('public.migrations') IS NOT NULL";
        let there: bool = self.sorted("look for the schema", client.query_one(there, &[]).await)?.get(0);
        let needed = crate::migrate::newest();
        let mut found = 0;
        if there {
            let sql = "SELECT coalesce(max(version), 0) FROM migrations";
            found = self.sorted("ask for the schema's version", client.query_one(sql, &[]).await)?.get(0);
        }
        if found < needed {
            return Err(StoreError::NotMigrated { at: self.inner.at.clone(), found, needed });
        }
        Ok(())
    }

    /// One question and its answer: how long the way to the database and back takes.
    pub async fn ping(&self) -> Result<Duration, StoreError> {
        let before = std::time::Instant::now();
        let client = self.reader().await?;
        self.sorted("ping", client.simple_query("").await)?;
        Ok(before.elapsed())
    }

    /// Binds the database to a site, once for good.
    pub async fn bind_site(&self, site: &str) -> Result<(), StoreError> {
        let client = self.writer().await?;
        let sql = "INSERT INTO site (name) VALUES ($1) ON CONFLICT (only_row) DO NOTHING";
        self.sorted("note the site", client.execute(sql, &[&site]).await)?;
        let found: String = self.sorted("read the site", client.query_one("SELECT name FROM site", &[]).await)?.get(0);
        if found == site {
            Ok(())
        } else {
            Err(StoreError::OtherSite { at: self.inner.at.clone(), found, wanted: site.to_owned() })
        }
    }

    pub(crate) async fn writer(&self) -> Result<Object, StoreError> {
        self.inner.write.get().await.map_err(|e| pool_error(&self.inner.at, e))
    }

    pub(crate) async fn reader(&self) -> Result<Object, StoreError> {
        self.inner.read.get().await.map_err(|e| pool_error(&self.inner.at, e))
    }

    pub(crate) fn sorted<T>(
        &self,
        attempt: &'static str,
        result: Result<T, tokio_postgres::Error>,
    ) -> Result<T, StoreError> {
        result.map_err(|e| sort(&self.inner.at, attempt, &e))
    }
}

pub(crate) fn check_version(at: &str, number: i32) -> Result<(), StoreError> {
    if number < OLDEST_VERSION {
        return Err(StoreError::TooOld {
            at: at.to_owned(),
            found: format!("{}.{}", number / 10_000, number % 10_000),
        });
    }
    Ok(())
}

fn pool(
    target: &Target,
    connect: &Connect,
    size: usize,
    statement: Duration,
    reading: bool,
) -> Result<Pool, StoreError> {
    let mut config = target.config.clone();
    config.application_name(&connect.application);
    // Not by `options` of the start-up message: connection poolers refuse that.
    let session = format!(
        "SET statement_timeout = {}; SET lock_timeout = '20s'; SET idle_in_transaction_session_timeout = '60s'; \
         SET timezone = 'UTC'; SET default_transaction_read_only = {}",
        statement.as_millis(),
        if reading { "on" } else { "off" },
    );
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = match &target.tls {
        Tls::Plain => Manager::from_config(config, NoTls, recycling),
        Tls::Encrypted(tls) => Manager::from_config(config, tls.clone(), recycling),
    };
    Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .create_timeout(Some(CONNECT * 2))
        .wait_timeout(Some(statement))
        .recycle_timeout(Some(CONNECT))
        .post_create(Hook::async_fn(move |client, _| {
            let session = session.clone();
            Box::pin(async move { client.batch_execute(&session).await.map_err(HookError::Backend) })
        }))
        .build()
        .map_err(|e| StoreError::Address { address: target.at.clone(), reason: e.to_string() })
}

fn pool_error(at: &str, error: PoolError) -> StoreError {
    let driver = match &error {
        PoolError::Backend(e) | PoolError::PostCreateHook(HookError::Backend(e)) => Some(e),
        _ => None,
    };
    match driver {
        Some(e) => match sort(at, "connect", e) {
            // What fails while connecting and is no word of the server is TLS, or nobody there: both the way.
            StoreError::Failed { at, attempt, source } if source.code.is_none() => {
                StoreError::Unreachable { at, attempt, source }
            }
            other => other,
        },
        None => StoreError::Unreachable {
            at: at.to_owned(),
            attempt: "connect",
            source: Fault { code: None, message: error.to_string() },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Target, check_version, percent_decoded};

    #[test]
    fn servers_before_15_are_refused_with_their_version() {
        assert!(check_version("db", 150_000).is_ok() && check_version("db", 170_002).is_ok());
        let old = check_version("host:5432/ordo as ordo", 140_011).unwrap_err().to_string();
        assert!(old.contains("14.11") && old.contains("15 or later") && old.contains("host:5432"), "{old}");
    }

    #[test]
    fn an_address_is_shown_without_its_password_wherever_it_stands() {
        let at = Target::parse("postgres://ordo:p%40ss@db.example:6000/site?connect_timeout=3", None).unwrap().at;
        assert_eq!(at, "db.example:6000/site as ordo");
        let error = Target::parse("postgres://ordo:p@ss:word@db/ordo?sslmode=no", None).err().unwrap().to_string();
        assert!(error.contains("postgres://ordo@db/ordo") && !error.contains("word@"), "{error}");
        assert_eq!(percent_decoded("/a%20b%zz%"), "/a b%zz%");
    }
}
