//! The status file behind `ordo health ROLE`.
//!
//! Each process rewrites `health-<role>.json` in its data folder every second and at every change. `ordo health ROLE`
//! reads the file of the same data folder: it works in a container, needs no port, no credentials and no bus, and a
//! process that hangs or died is told by the age of the file (on CLOCK_BOOTTIME, so a clock that was set cannot lie).

use crate::clock::boottime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often the file is written.
pub const EVERY: Duration = Duration::from_secs(1);
/// A file older than this belongs to a process that hangs or is gone.
pub const STALE: Duration = Duration::from_secs(5);

/// What a role says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthState {
    /// Not serving yet.
    Starting,
    /// Does its duty: serving, following as standby, running jobs.
    Ready,
    /// Alive, but something it needs is missing; it heals by itself.
    Degraded,
    /// On its way down.
    Stopping,
}

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `controller`, `agent`, …
    pub role: String,
    /// Which instance.
    pub instance: String,
    /// Its process.
    pub pid: u32,
    /// CLOCK_BOOTTIME in milliseconds when this was written.
    pub boottime_ms: u64,
    /// What it says of itself.
    pub state: HealthState,
    /// One line for people: `active, epoch 7`.
    pub detail: String,
    /// Its links, e.g. `nats` -> `ok`.
    pub links: BTreeMap<String, String>,
}

/// A role's own handle; cheap to clone, every part of the process may speak through it.
#[derive(Debug, Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    status: Mutex<Status>,
    changed: Notify,
}

impl Health {
    /// Starts as [`HealthState::Starting`]; nothing is written before [`Health::run`].
    pub fn new(role: &str, instance: &str, data: &Path) -> Self {
        let status = Status {
            role: role.to_owned(),
            instance: instance.to_owned(),
            pid: std::process::id(),
            boottime_ms: 0,
            state: HealthState::Starting,
            detail: "starting".to_owned(),
            links: BTreeMap::new(),
        };
        Self {
            shared: Arc::new(Shared {
                path: status_path(data, role),
                status: Mutex::new(status),
                changed: Notify::new(),
            }),
        }
    }

    /// Says how things are; written at once when it differs from before.
    pub fn set(&self, state: HealthState, detail: impl Into<String>) {
        let detail = detail.into();
        let mut status = self.lock();
        if status.state != state || status.detail != detail {
            status.state = state;
            status.detail = detail;
            drop(status);
            self.shared.changed.notify_one();
        }
    }

    /// Says how a link is: `health.link("nats", "ok")`.
    pub fn link(&self, name: &str, word: impl Into<String>) {
        let word = word.into();
        let mut status = self.lock();
        if status.links.get(name) != Some(&word) {
            status.links.insert(name.to_owned(), word);
            drop(status);
            self.shared.changed.notify_one();
        }
    }

    /// What is said now; for heartbeats.
    pub fn status(&self) -> Status {
        let mut status = self.lock().clone();
        status.boottime_ms = millis(boottime());
        status
    }

    /// Keeps the file fresh until `shutdown`, then removes it.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut failing = false;
        loop {
            match write(&self.shared.path, &self.status()) {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(path = %self.shared.path.display(), %error, "status file not written");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.shared.changed.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
        let _ = std::fs::remove_file(&self.shared.path);
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.shared.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a role is not healthy; `Display` is what `ordo health` prints.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// No file: not started, or stopped in order.
    #[error("{role} is not running: no status file {path}; is --data (ORDO_DATA) the folder that the role runs with?")]
    NotRunning {
        /// Which role.
        role: String,
        /// Where a file was looked for.
        path: PathBuf,
    },
    /// The file is not what this version writes.
    #[error("the status file {path} cannot be read: {reason}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file is too old.
    #[error("{role} hangs or was killed: it last wrote its status {age_ms} ms ago, {limit_ms} ms are allowed")]
    Stale {
        /// Which role.
        role: String,
        /// How old.
        age_ms: u64,
        /// How old it may be.
        limit_ms: u64,
    },
    /// It says so itself.
    #[error("{role}/{instance} is {state}: {detail}")]
    NotReady {
        /// Which role.
        role: String,
        /// Which instance.
        instance: String,
        /// What it says.
        state: &'static str,
        /// And why.
        detail: String,
    },
}

/// What the status file in `data` says about `role`, as an answer to "is it healthy?". A standby is ready; degraded
/// counts as unhealthy only for who asks `strictly`: a supervisor that restarts a role because the database is away
/// would make things worse.
///
/// # Errors
/// See [`Unhealthy`].
pub fn probe(data: &Path, role: &str, strictly: bool) -> Result<Status, Unhealthy> {
    let path = status_path(data, role);
    let text = std::fs::read(&path).map_err(|_| Unhealthy::NotRunning { role: role.to_owned(), path: path.clone() })?;
    let status: Status =
        serde_json::from_slice(&text).map_err(|error| Unhealthy::Unreadable { path, reason: error.to_string() })?;
    let age_ms = millis(boottime()).saturating_sub(status.boottime_ms);
    let limit_ms = millis(STALE);
    if age_ms > limit_ms {
        return Err(Unhealthy::Stale { role: role.to_owned(), age_ms, limit_ms });
    }
    let word = match status.state {
        HealthState::Ready => return Ok(status),
        HealthState::Degraded if !strictly => return Ok(status),
        HealthState::Degraded => "degraded",
        HealthState::Starting => "starting",
        HealthState::Stopping => "stopping",
    };
    Err(Unhealthy::NotReady { role: status.role, instance: status.instance, state: word, detail: status.detail })
}

/// Where a role with this data folder keeps its status.
pub fn status_path(data: &Path, role: &str) -> PathBuf {
    data.join(format!("health-{role}.json"))
}

fn write(path: &Path, status: &Status) -> std::io::Result<()> {
    let fresh = path.with_extension("json.new");
    std::fs::write(&fresh, serde_json::to_vec(status)?)?;
    std::fs::rename(&fresh, path)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
