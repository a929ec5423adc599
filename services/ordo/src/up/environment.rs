//! `DIR/ordo.env`: for a shell to source, and for Ordo's own command line, which finds it by itself.

use super::layout::Layout;
use super::roles::PERSON;
use ordo_contract::right::User;
use ordo_servers::{DatabaseRole, Keys, PostgresServer, ServersError, secret};
use std::path::PathBuf;

/// What stands in it.
#[derive(Debug, Clone)]
pub struct Environment {
    pub site: String,
    pub nats_url: String,
    pub creds: PathBuf,
    /// Of the read-only role, password included.
    pub database_url: String,
    /// The same without the password, to be shown.
    pub shown_database_url: String,
    pub file: PathBuf,
}

impl Environment {
    /// Gathers it and writes the file.
    pub fn write(
        layout: &Layout,
        keys: &Keys,
        nats_url: &str,
        postgres: &PostgresServer,
    ) -> Result<Self, ServersError> {
        let environment = Self {
            site: keys.site().site().to_owned(),
            nats_url: nats_url.to_owned(),
            creds: keys.credentials(&layout.creds(), &User::Person(PERSON.to_owned()))?,
            database_url: postgres.url(DatabaseRole::Read)?,
            shown_database_url: postgres.url_without_password(DatabaseRole::Read),
            file: layout.env_file(),
        };
        let creds = environment.creds.display().to_string();
        let pairs = [
            ("ORDO_SITE", environment.site.as_str()),
            ("ORDO_NATS_URL", &environment.nats_url),
            ("ORDO_NATS_CREDS", &creds),
            ("ORDO_DATABASE_URL", &environment.database_url),
            ("NATS_URL", &environment.nats_url),
            ("NATS_CREDS", &creds),
        ];
        let mut text = format!(
            "# Written by `ordo up`: the addresses of the site, as {PERSON}. To use: . {}\n",
            quoted(&environment.file.display().to_string())
        );
        for (name, value) in pairs {
            text.push_str(&format!("export {name}={}\n", quoted(value)));
        }
        secret::write(&environment.file, &text)?;
        Ok(environment)
    }
}

/// For a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._:@-=?&,+".contains(c);
    if text.chars().all(|c| plain(c) && c != '&' && c != '?') {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_value_reaches_the_shell_as_it_is() {
        assert_eq!(quoted("nats://127.0.0.1:4222"), "nats://127.0.0.1:4222");
        assert_eq!(quoted("/a b/it's"), "'/a b/it'\\''s'");
        assert_eq!(quoted("postgres://u:p@h/d?sslmode=require"), "'postgres://u:p@h/d?sslmode=require'");
    }
}
