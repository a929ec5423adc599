//! `ordo setup`: what a site needs before its first start where somebody else supervises it (compose, systemd): keys,
//! credentials, passwords, and the configuration of NATS and PostgreSQL. A repeat changes nothing that is there.

use anyhow::{Context, bail};
use clap::Args;
use ordo_cli::{Common, show};
use ordo_contract::bus_config::Limits;
use ordo_contract::name::is_name;
use ordo_contract::right::User;
use ordo_servers::nats::Configuration;
use ordo_servers::{DatabaseRole, Keys, Tls, postgres, secret};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(after_help = SETUP_HELP)]
pub struct Arguments {
    /// Where everything is written
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// An agent; may be given several times
    #[arg(long = "agent", value_name = "NAME", default_value = "local")]
    agents: Vec<String>,
    /// A person; may be given several times
    #[arg(long = "user", value_name = "NAME", default_value = "ops")]
    users: Vec<String>,
    /// A group that may read the files, for services that run as other users
    #[arg(long, value_name = "GID")]
    group: Option<u32>,
    /// Where NATS listens
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:4222")]
    listen: String,
    /// Where NATS serves its monitoring pages
    #[arg(long, value_name = "ADDRESS")]
    monitoring: Option<String>,
    /// Where NATS keeps its streams
    #[arg(long, value_name = "DIR", default_value = "/data")]
    store: PathBuf,
    /// NATS speaks TLS with this certificate
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The key of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

const SETUP_HELP: &str = "\
Writes into DIR:
  keys/            keep them: they make new agents and people (`ordo agent add NAME --keys DIR/keys`)
  creds/           one .creds file per role, agent and person
  secrets/         one password per role of PostgreSQL: database-ROLE
  nats.conf        for the NATS server
  postgres/init.sql  roles and rights, for the database `ordo`

Exit codes: 0 done, 1 failed, 2 usage";

/// Writes all of it.
pub fn setup(arguments: &Arguments, common: &Common) -> anyhow::Result<()> {
    for name in arguments.agents.iter().chain(&arguments.users) {
        if !is_name(name) {
            bail!("{name:?} is not a name, wanted 1 to 40 of A-Z a-z 0-9 _ -");
        }
    }
    if let Some(reserved) = arguments.users.iter().find(|name| User::is_reserved(name)) {
        bail!("{reserved:?} is the name of a service, a person needs another");
    }
    let dir = &arguments.dir;
    let keys = Keys::open(&dir.join("keys"), common.site.as_deref().unwrap_or("default"))?;
    let services = User::SERVICES;
    let agents = arguments.agents.iter().cloned().map(User::Agent);
    let people = arguments.users.iter().cloned().map(User::Person);
    for user in services.into_iter().chain(agents).chain(people) {
        keys.credentials(&dir.join("creds"), &user)?;
    }
    let tls = arguments
        .tls_certificate
        .clone()
        .zip(arguments.tls_key.clone())
        .map(|(certificate, key)| Tls { certificate, key });
    let configuration = Configuration {
        server_name: "ordo",
        listen: &arguments.listen,
        store: &arguments.store,
        max_file_store: Limits::default().total(),
        tls: tls.as_ref(),
        monitoring: arguments.monitoring.as_deref(),
    };
    secret::write(&dir.join("nats.conf"), &configuration.text(&keys)?)?;
    let secrets = dir.join("secrets");
    secret::make_folder(&secrets)?;
    secret::read_or_make(&DatabaseRole::Administrator.password_file(&secrets), secret::password)?;
    let roles = postgres::role_statements(&secrets)?;
    secret::make_folder(&dir.join("postgres"))?;
    secret::write(&dir.join("postgres/init.sql"), &format!("{roles}{}", postgres::database_statements()))?;
    if let Some(group) = arguments.group {
        open_for(dir, group, true)?;
    }
    show::line(&format!("keys, credentials and configuration of site {} are in {}", keys.site().site(), dir.display()));
    Ok(())
}

/// Gives everything but the keys to a group, to read.
fn open_for(path: &Path, group: u32, top: bool) -> anyhow::Result<()> {
    let doing = || format!("cannot give {} to group {group}", path.display());
    if top || path.file_name().is_none_or(|name| name != "keys") {
        std::os::unix::fs::chown(path, None, Some(group)).with_context(doing)?;
        let mode = if path.is_dir() { 0o750 } else { 0o640 };
        fs::set_permissions(path, Permissions::from_mode(mode)).with_context(doing)?;
        if path.is_dir() {
            for entry in fs::read_dir(path).with_context(doing)? {
                open_for(&entry.with_context(doing)?.path(), group, false)?;
            }
        }
    }
    Ok(())
}
