//! The folder of one `ordo up`: where everything is, and that only one runs on it.

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use ordo_servers::secret;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The paths below DIR.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Makes DIR where it is missing, closed to others.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        secret::make_folder(dir)?;
        let root = fs::canonicalize(dir).with_context(|| format!("cannot use the folder {}", dir.display()))?;
        if nix::unistd::Uid::effective().is_root() {
            // PostgreSQL runs as another user then, who passes through without seeing what is here.
            let passable = fs::Permissions::from_mode(0o711);
            fs::set_permissions(&root, passable)
                .with_context(|| format!("cannot open {} for PostgreSQL", root.display()))?;
        }
        let layout = Self { root };
        secret::make_folder(&layout.logs())?;
        Ok(layout)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }
    pub fn creds(&self) -> PathBuf {
        self.root.join("creds")
    }
    pub fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }
    pub fn nats(&self) -> PathBuf {
        self.root.join("nats")
    }
    pub fn postgres(&self) -> PathBuf {
        self.root.join("postgres")
    }
    pub fn logs(&self) -> PathBuf {
        self.root.join("log")
    }
    /// The mails of a site that has no mail server.
    pub fn mails(&self) -> PathBuf {
        self.root.join("mails")
    }
    /// What an instance keeps.
    pub fn instance(&self, role: &str, instance: &str) -> PathBuf {
        self.root.join(format!("{role}-{instance}"))
    }
    pub fn env_file(&self) -> PathBuf {
        self.root.join("ordo.env")
    }
    fn ports_file(&self) -> PathBuf {
        self.root.join("ports.json")
    }
    pub(super) fn children_file(&self) -> PathBuf {
        self.root.join("children.json")
    }

    /// The ports of the last run, so that a sourced `ordo.env` stays right.
    pub fn ports(&self) -> Ports {
        let text = fs::read(self.ports_file()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or(Ports { nats: 4222, postgres: 5432, syslog: SYSLOG })
    }

    pub fn keep_ports(&self, ports: Ports) -> anyhow::Result<()> {
        Ok(secret::write(&self.ports_file(), &serde_json::to_string(&ports)?)?)
    }

    /// Takes the folder for this process. The kernel gives it back when we end, in whatever way.
    pub fn lock(&self) -> anyhow::Result<Lock> {
        let path = self.root.join("lock");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()))?;
                Ok(Lock { _file: lock })
            }
            Err((mut file, _)) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                bail!(
                    "another `ordo up` (process {}) runs on {}; stop it with Ctrl-C there, or give this one a folder of its own: ordo up --data DIR",
                    pid.trim(),
                    self.root.display()
                )
            }
        }
    }
}

/// Held as long as this `ordo up` runs.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// Preferred ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    pub nats: u16,
    pub postgres: u16,
    #[serde(default = "syslog")]
    pub syslog: u16,
}

/// 514 is for root alone.
const SYSLOG: u16 = 5514;

fn syslog() -> u16 {
    SYSLOG
}
