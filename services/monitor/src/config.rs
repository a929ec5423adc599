//! Configuration of the monitor. Rules and maintenance windows are definitions; servers and passwords are here.

use crate::post::{Limits, Post, Security, Server};
use anyhow::Context;
use ordo_domain::alert::MailAddress;
use ordo_runtime::{DatabaseSettings, RoleSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `ordo run monitor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    #[serde(flatten)]
    pub role: RoleSettings,
    /// With the role `ordo_monitor`.
    pub database: DatabaseSettings,
    /// The zone of the site, an IANA name: times in mails, and maintenance windows that name none.
    pub zone: String,
    pub mail: MailSettings,
    /// Commits written in one transaction, at most.
    pub batch_commits: u32,
}

/// How mails get out (`ORDO_MAIL_FROM`, `ORDO_MAIL_SMTP_HOST`, …).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MailSettings {
    /// The sender's address; its domain also ends each Message-ID.
    pub from: String,
    /// Shown instead of the address. Empty: `Ordo` and the site.
    pub from_name: String,
    /// Where answers go. Empty: to the sender.
    pub reply_to: String,
    /// As long as no server is configured: each mail becomes an `.eml` file here. Empty: `mail` in the data folder.
    pub folder: PathBuf,
    /// How long a mail waits for what history knows (the end of the log, the last good run), in milliseconds.
    pub facts_within_ms: u64,
    /// Given up when a server did not take it for so many hours.
    pub give_up_hours: u32,
    pub smtp: SmtpSettings,
    /// Asked when the first server is in trouble.
    pub fallback: SmtpSettings,
}

/// One mail server (`ORDO_MAIL_SMTP_…`, `ORDO_MAIL_FALLBACK_…`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SmtpSettings {
    /// Empty: there is none.
    pub host: String,
    /// 0: 587 with STARTTLS, 465 with TLS, 25 with neither.
    pub port: u16,
    pub tls: Security,
    /// Empty: no log-in.
    pub user: String,
    /// File with the password of `user`.
    pub password_file: Option<PathBuf>,
    /// PEM file with the authority that signed the server's certificate, trusted alone. Without it: those of this machine.
    pub ca: Option<PathBuf>,
    /// The name that this host calls itself. Empty: the address.
    pub hello: String,
    pub connect_seconds: u32,
    /// For each answer.
    pub command_seconds: u32,
    /// For the answer to a whole message.
    pub message_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: RoleSettings::default(),
            database: DatabaseSettings {
                url: "postgres://ordo_monitor@127.0.0.1:5432/ordo".into(),
                ..DatabaseSettings::default()
            },
            zone: "UTC".into(),
            mail: MailSettings::default(),
            batch_commits: 200,
        }
    }
}

impl Default for MailSettings {
    fn default() -> Self {
        Self {
            from: "ordo@localhost".into(),
            from_name: String::new(),
            reply_to: String::new(),
            folder: PathBuf::new(),
            facts_within_ms: 1_200,
            give_up_hours: 72,
            smtp: SmtpSettings::default(),
            fallback: SmtpSettings::default(),
        }
    }
}

impl Default for SmtpSettings {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 0,
            tls: Security::default(),
            user: String::new(),
            password_file: None,
            ca: None,
            hello: String::new(),
            connect_seconds: 10,
            command_seconds: 30,
            message_seconds: 120,
        }
    }
}

impl Config {
    pub fn zone(&self) -> anyhow::Result<chrono_tz::Tz> {
        let wanted = |_| anyhow::anyhow!("zone is {:?}, wanted an IANA name such as Europe/Berlin", self.zone);
        self.zone.parse().map_err(wanted)
    }
}

impl MailSettings {
    pub fn from(&self) -> anyhow::Result<MailAddress> {
        self.from.parse().context("mail.from")
    }

    pub fn reply_to(&self) -> anyhow::Result<Option<MailAddress>> {
        if self.reply_to.is_empty() { Ok(None) } else { Ok(Some(self.reply_to.parse().context("mail.reply_to")?)) }
    }

    /// The servers, or the folder while there is none.
    pub fn post(&self, data: &Path) -> anyhow::Result<Post> {
        let mut servers = Vec::new();
        for (name, settings) in [("mail.smtp", &self.smtp), ("mail.fallback", &self.fallback)] {
            servers.extend(settings.server().with_context(|| format!("settings {name}"))?);
        }
        if servers.is_empty() {
            let folder = if self.folder.as_os_str().is_empty() { data.join("mail") } else { self.folder.clone() };
            return Ok(Post::Folder(folder));
        }
        Ok(Post::servers(servers))
    }
}

impl SmtpSettings {
    fn server(&self) -> anyhow::Result<Option<Server>> {
        if self.host.is_empty() {
            return Ok(None);
        }
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let authority = self.ca.as_deref().map(read).transpose()?;
        let log_in = match (self.user.as_str(), &self.password_file) {
            ("", _) => None,
            (user, Some(file)) => {
                let password = String::from_utf8(read(file)?).context("the password is not UTF-8")?;
                Some((user.to_owned(), password.trim_end_matches(['\r', '\n']).to_owned()))
            }
            (user, None) => anyhow::bail!("user is {user:?}, but there is no password_file"),
        };
        let seconds = |n: u32| Duration::from_secs(u64::from(n.max(1)));
        let limits = Limits {
            connect: seconds(self.connect_seconds),
            command: seconds(self.command_seconds),
            message: seconds(self.message_seconds),
        };
        let port = (self.port != 0).then_some(self.port);
        let hello = (!self.hello.is_empty()).then(|| self.hello.clone());
        let server = Server::new(self.host.clone(), port, self.tls, authority.as_deref(), log_in, hello, limits)?;
        Ok(Some(server))
    }
}
