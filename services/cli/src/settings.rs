//! Where the bus is and who asks: what is typed wins over the environment, that over the `ordo.env` of `ordo up`.

use crate::{arguments::Common, error::CliError};
use ordo_contract::name::SiteNames;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// All that a connection needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub site: SiteNames,
    pub url: String,
    pub creds: Option<PathBuf>,
    pub ca: Option<PathBuf>,
    /// The person's NATS name, from its credentials.
    pub user: String,
    /// The `ordo.env` that named the address; nothing where it was typed.
    pub env_file: Option<PathBuf>,
}

const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

impl Settings {
    /// From the process environment and the user's data folder.
    pub fn find(common: &Common) -> Result<Self, CliError> {
        Self::from_parts(common, &env_file(), std::env::var("ORDO_USER").ok())
    }

    /// The site alone: for who has no credentials yet.
    pub fn find_site(common: &Common) -> Result<SiteNames, CliError> {
        site(common, &known_in(&env_file())?.0)
    }

    /// [`Settings::find`] with the file as an argument; clap has put the environment into `common` already.
    pub fn from_parts(common: &Common, env_file: &Path, user: Option<String>) -> Result<Self, CliError> {
        let (known, env_file) = known_in(env_file)?;
        let found = |key: &str| known.get(key).filter(|v| !v.is_empty()).cloned();
        let site = site(common, &known)?;
        // Credentials belong to the address they were written for: an address typed by hand does not inherit them.
        let typed_url = common.nats_url.clone().filter(|url| !url.is_empty());
        let inherits = typed_url.is_none() || typed_url == found("ORDO_NATS_URL");
        let inherited = |key: &str| if inherits { found(key).map(PathBuf::from) } else { None };
        let url = typed_url.or_else(|| found("ORDO_NATS_URL")).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let creds = common.creds.clone().or_else(|| inherited("ORDO_NATS_CREDS"));
        let ca = common.ca.clone().or_else(|| inherited("ORDO_NATS_CA"));
        let user = match &creds {
            Some(path) => user_of(path)?,
            None => user.or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "anonymous".to_owned()),
        };
        let env_file = env_file.filter(|_| inherits && found("ORDO_NATS_URL").is_some());
        Ok(Self { site, url, creds, ca, user, env_file })
    }
}

/// The `ordo.env` that `ordo up` writes.
fn env_file() -> PathBuf {
    let folder = std::env::var_os("ORDO_DATA").filter(|d| !d.is_empty()).map(PathBuf::from);
    folder.map_or_else(ordo_runtime::home::env_file, |folder| folder.join("ordo.env"))
}

/// What it holds, and its path where it is there.
fn known_in(env_file: &Path) -> Result<(BTreeMap<String, String>, Option<PathBuf>), CliError> {
    match std::fs::read_to_string(env_file) {
        Ok(text) => Ok((parse_env(&text), Some(env_file.to_owned()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok((BTreeMap::new(), None)),
        Err(e) => Err(CliError::usage(format!("cannot read {}: {e}", env_file.display()))),
    }
}

fn site(common: &Common, known: &BTreeMap<String, String>) -> Result<SiteNames, CliError> {
    let found = || known.get("ORDO_SITE").filter(|v| !v.is_empty()).cloned();
    let site = common.site.clone().or_else(found).unwrap_or_else(|| "default".to_owned());
    SiteNames::new(&site).map_err(|e| CliError::usage(e.to_string()))
}

impl Settings {
    /// The address for people: without a password.
    pub fn shown_url(&self) -> String {
        ordo_runtime::config::masked(&self.url)
    }
}

/// `KEY=value` and `export KEY='value'` lines; everything else is passed over.
pub fn parse_env(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        if line.starts_with('#') {
            continue;
        }
        if let Some((key, value)) = line.split_once('=') {
            let value = value.trim();
            let quoted = |q: char| value.strip_prefix(q).and_then(|v| v.strip_suffix(q));
            let value = match (quoted('\''), quoted('"')) {
                (Some(single), _) => single.replace("'\\''", "'"),
                (None, Some(double)) => double.replace("\\\"", "\"").replace("\\\\", "\\"),
                (None, None) => value.to_owned(),
            };
            found.insert(key.trim().to_owned(), value);
        }
    }
    found
}

/// The name in the JWT of a credentials file: the only one under which the server lets its owner ask.
fn user_of(creds: &Path) -> Result<String, CliError> {
    let text = std::fs::read_to_string(creds)
        .map_err(|e| CliError::usage(format!("cannot read the credentials file {}: {e}", creds.display())))?;
    name_in_credentials(&text).ok_or_else(|| {
        CliError::usage(format!("{} is not a credentials file: no NATS USER JWT with a name in it", creds.display()))
    })
}

fn name_in_credentials(text: &str) -> Option<String> {
    let jwt = text.lines().skip_while(|line| !line.contains("BEGIN NATS USER JWT")).nth(1)?.trim();
    let body = decode_base64url(jwt.split('.').nth(1)?)?;
    let claims: serde_json::Value = serde_json::from_slice(&body).ok()?;
    Some(claims.get("name")?.as_str()?.to_owned())
}

/// RFC 4648 part 5, without padding.
fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::with_capacity(text.len() * 3 / 4));
    for b in text.bytes().filter(|b| *b != b'=') {
        let value = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_the_name_in_the_credentials() {
        // {"name":"ops","sub":"U…"}
        let text = "-----BEGIN NATS USER JWT-----\neyJ0eXAiOiJKV1QifQ.eyJuYW1lIjoib3BzIiwic3ViIjoiVeKApiJ9.c2ln\n------END NATS USER JWT------\n";
        assert_eq!(name_in_credentials(text).as_deref(), Some("ops"));
        assert_eq!(name_in_credentials("nothing"), None);
    }

    #[test]
    fn an_env_file_is_read_as_a_shell_would() {
        let found = parse_env(
            "# written by ordo up\nexport ORDO_SITE=default\nORDO_NATS_URL='nats://127.0.0.1:4333'\nX=\"a \\\"b\\\"\"\n",
        );
        assert_eq!(found["ORDO_SITE"], "default");
        assert_eq!(found["ORDO_NATS_URL"], "nats://127.0.0.1:4333");
        assert_eq!(found["X"], "a \"b\"");
    }

    #[test]
    fn an_address_typed_by_hand_does_not_get_the_credentials_of_another() {
        let folder = std::env::temp_dir().join(format!("ordo-settings-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("ordo.env");
        std::fs::write(&file, "ORDO_NATS_URL=nats://127.0.0.1:4333\nORDO_NATS_CA=/ca.pem\nORDO_SITE=prod\n").unwrap();
        let own = Settings::from_parts(&Common::default(), &file, Some("ops".into())).unwrap();
        assert_eq!((own.url.as_str(), own.site.site(), own.user.as_str()), ("nats://127.0.0.1:4333", "prod", "ops"));
        assert_eq!(own.ca, Some("/ca.pem".into()));
        let typed = Common { nats_url: Some("nats://elsewhere:4222".into()), ..Common::default() };
        let other = Settings::from_parts(&typed, &file, None).unwrap();
        assert_eq!((other.url.as_str(), other.ca), ("nats://elsewhere:4222", None));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
