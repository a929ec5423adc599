//! The blocks that every role's configuration shares.
//!
//! A role's own `Config` holds them like this; the loader refuses unknown keys itself, so `flatten` is allowed:
//!
//! ```
//! # use serde::{Serialize, Deserialize};
//! # use ordo_runtime::{RoleSettings, DatabaseSettings};
//! #[derive(Debug, Clone, Default, Serialize, Deserialize)]
//! #[serde(default)]
//! pub struct Config {
//!     #[serde(flatten)]
//!     pub role: RoleSettings,           // ORDO_SITE, ORDO_INSTANCE, ORDO_NODE, ORDO_DATA, ORDO_NATS_URL, …
//!     pub database: DatabaseSettings,   // ORDO_DATABASE_URL, ORDO_DATABASE_PASSWORD_FILE, ORDO_DATABASE_CA
//!     pub batch_rows: u32,              // ORDO_BATCH_ROWS
//! }
//! ```

use crate::home;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Who this process is and where its bus is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RoleSettings {
    /// The site it works for, `[a-z0-9]{1,20}`.
    pub site: String,
    /// Its id among the instances of its role, e.g. `c1`. Empty: taken from the data folder, made there once.
    pub instance: String,
    /// The machine as people call it. Empty: the host name.
    pub node: String,
    /// Folder for what must outlive a restart, and for the status file. Empty: under the user's data folder.
    pub data: PathBuf,
    /// How to reach NATS.
    pub nats: BusSettings,
}

impl Default for RoleSettings {
    fn default() -> Self {
        Self {
            site: "default".into(),
            instance: String::new(),
            node: String::new(),
            data: PathBuf::new(),
            nats: BusSettings::default(),
        }
    }
}

/// How to reach NATS (`ORDO_NATS_URL`, `ORDO_NATS_CREDS`, `ORDO_NATS_CA`, …).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BusSettings {
    /// One or more addresses, comma separated: `nats://host:4222`, or `tls://…`.
    pub url: String,
    /// The `.creds` file with the user's JWT and key.
    pub creds: Option<PathBuf>,
    /// PEM file with the authority that signed the servers' certificates. Given: TLS is required.
    pub ca: Option<PathBuf>,
    /// PEM file with this client's certificate, where the server asks for one; needs `key`.
    pub cert: Option<PathBuf>,
    /// PEM file with the key of `cert`.
    pub key: Option<PathBuf>,
}

impl Default for BusSettings {
    fn default() -> Self {
        Self { url: "nats://127.0.0.1:4222".into(), creds: None, ca: None, cert: None, key: None }
    }
}

/// How to reach PostgreSQL (`ORDO_DATABASE_URL`, `ORDO_DATABASE_PASSWORD_FILE`, `ORDO_DATABASE_CA`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSettings {
    /// `postgres://role@host:port/database`; a password in it is masked wherever the configuration is shown.
    pub url: String,
    /// File with the password, for addresses that carry none.
    pub password_file: Option<PathBuf>,
    /// PEM file with the authority that signed the server's certificate. Given: TLS with verification is required.
    pub ca: Option<PathBuf>,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self { url: "postgres://ordo@127.0.0.1:5432/ordo".into(), password_file: None, ca: None }
    }
}

impl DatabaseSettings {
    /// The address with the password from `password_file` put in, where there is one.
    ///
    /// # Errors
    /// When the file cannot be read, or the address has no `user@` that the password could belong to.
    pub fn url_with_password(&self) -> Result<String, SettingsError> {
        let Some(file) = &self.password_file else { return Ok(self.url.clone()) };
        let password = std::fs::read_to_string(file).map_err(|source| SettingsError::Unreadable {
            what: "the database password",
            path: file.clone(),
            source,
        })?;
        let (scheme, rest) = self.url.split_once("://").ok_or_else(|| self.no_user())?;
        let (user, address) = rest.split_once('@').ok_or_else(|| self.no_user())?;
        let user = user.split(':').next().unwrap_or_default();
        Ok(format!("{scheme}://{user}:{}@{address}", percent_encode(password.trim_end_matches(['\n', '\r']))))
    }

    fn no_user(&self) -> SettingsError {
        SettingsError::Invalid {
            key: "database.url",
            value: crate::config::masked(&self.url),
            wanted: "postgres://role@host:port/database".into(),
        }
    }
}

fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The value does not have the form that the key wants.
    #[error("{key} is {value:?}, wanted {wanted}")]
    Invalid {
        /// Dotted key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        wanted: String,
    },
    /// A file that a setting names cannot be read or written.
    #[error("cannot use {what} in {path}")]
    Unreadable {
        /// What the file holds.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl RoleSettings {
    /// Fills what was left empty and checks the rest: the node from the host name, the data folder (made when
    /// missing, 0700) from the user's, the instance from the file `instance` in the data folder, written there once so
    /// that the id persists over restarts.
    ///
    /// # Errors
    /// A name outside its alphabet, or a data folder that cannot be made or written.
    pub fn resolve(mut self, role: &str) -> Result<Self, SettingsError> {
        self.check()?;
        if self.data.as_os_str().is_empty() {
            self.data = home::data_home().join(&self.site).join(role);
        }
        make_private_folder(&self.data)?;
        if self.node.is_empty() {
            self.node = home::node_name();
        }
        if self.instance.is_empty() {
            self.instance = persistent_instance(&self.data, role)?;
        }
        self.check()?;
        Ok(self)
    }

    /// Checks what is given. Nothing is read or made for it.
    ///
    /// # Errors
    /// A name outside its alphabet.
    pub fn check(&self) -> Result<(), SettingsError> {
        name("site", &self.site, 20, |c| c.is_ascii_lowercase() || c.is_ascii_digit(), "[a-z0-9]{1,20}")?;
        let given = [("node", &self.node), ("instance", &self.instance)];
        for (key, value) in given.into_iter().filter(|(_, value)| !value.is_empty()) {
            name(key, value, 40, |c| is_instance(&c.to_string()), "[A-Za-z0-9_-]{1,40}")?;
        }
        Ok(())
    }
}

fn name(
    key: &'static str,
    value: &str,
    longest: usize,
    allowed: fn(char) -> bool,
    wanted: &str,
) -> Result<(), SettingsError> {
    if value.is_empty() || value.len() > longest || !value.chars().all(allowed) {
        return Err(SettingsError::Invalid { key, value: value.to_owned(), wanted: wanted.to_owned() });
    }
    Ok(())
}

fn make_private_folder(path: &Path) -> Result<(), SettingsError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| SettingsError::Unreadable {
        what: "the data folder",
        path: path.to_owned(),
        source,
    })
}

fn persistent_instance(data: &Path, role: &str) -> Result<String, SettingsError> {
    let path = data.join("instance");
    let failed = |source| SettingsError::Unreadable { what: "the instance id", path: path.clone(), source };
    let kept = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(error)),
    };
    // An empty one is what a crash left of an older version's.
    if kept.is_empty() {
        let fresh = format!("{}{:012x}", role.chars().next().unwrap_or('x'), rand::random::<u64>() >> 16);
        keep(&path, &fresh).map_err(failed)?;
        return Ok(fresh);
    }
    if !is_instance(&kept) {
        let wanted = format!("[A-Za-z0-9_-]{{1,40}} in {}", path.display());
        return Err(SettingsError::Invalid { key: "instance", value: kept, wanted });
    }
    Ok(kept)
}

/// As a whole or not at all, and not lost with the power.
fn keep(path: &Path, instance: &str) -> std::io::Result<()> {
    use std::io::Write;
    let fresh = path.with_extension("new");
    let mut file = std::fs::File::create(&fresh)?;
    writeln!(file, "{instance}")?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn is_instance(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (1..=40).contains(&text.len()) && text.chars().all(allowed)
}
