//! The roles that `ordo up` runs, and what each is told.

use super::layout::Layout;
use anyhow::Context;
use ordo_contract::right::User;
use ordo_servers::{DatabaseRole, Keys, PostgresServer, Spawn, secret};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The agent of this machine.
pub const AGENT: &str = "local";
/// The person that `ordo up` works as, and whose credentials stand in `ordo.env`.
pub const PERSON: &str = "ops";
/// The secret that holds the address of Ordo's own database for the `backup` example.
const DATABASE_SECRET: &str = "ordo-database";

/// One process to be.
#[derive(Debug)]
pub struct RoleProcess {
    /// `controller/c1`
    pub name: String,
    pub role: &'static str,
    /// Its data folder.
    pub data: PathBuf,
    pub spawn: Spawn,
}

/// What all roles are told.
#[derive(Debug)]
pub struct Surroundings<'a> {
    pub layout: &'a Layout,
    pub keys: &'a Keys,
    pub nats_url: &'a str,
    pub postgres: &'a PostgresServer,
    /// On this machine alone, for syslog.
    pub syslog: u16,
    /// Added to the environment of all, from the command line of `ordo up`.
    pub scale_down: u64,
}

/// Where syslog comes in: protocol, setting, address. As the shell of `ordo up` says, else on this machine alone.
pub fn syslog(port: u16) -> impl Iterator<Item = (&'static str, &'static str, String)> {
    let settings = [("udp", "ORDO_SYSLOG_UDP"), ("tcp", "ORDO_SYSLOG_TCP")];
    settings.into_iter().map(move |(protocol, name)| {
        (protocol, name, std::env::var(name).unwrap_or_else(|_| format!("127.0.0.1:{port}")))
    })
}

/// Two controllers, so that one takes over; a proxy, every service, and an agent.
pub fn all(surroundings: &Surroundings<'_>) -> anyhow::Result<Vec<RoleProcess>> {
    let roles = [
        ("controller", "c1", User::Controller),
        ("controller", "c2", User::Controller),
        ("proxy", "p1", User::Proxy),
        ("history", "h1", User::History),
        ("daily-plan", "d1", User::DailyPlan),
        ("monitor", "m1", User::Monitor),
        ("cleanup", "x1", User::Cleanup),
        ("log-notification", "l1", User::LogNotification),
        ("agent", AGENT, User::Agent(AGENT.to_owned())),
    ];
    roles.into_iter().map(|(role, instance, user)| one(surroundings, role, instance, &user)).collect()
}

fn one(around: &Surroundings<'_>, role: &'static str, instance: &str, user: &User) -> anyhow::Result<RoleProcess> {
    let data = around.layout.instance(role, instance);
    secret::make_folder(&data)?;
    let program = std::env::current_exe().context("cannot find the program that runs here")?;
    let mut spawn =
        Spawn::new(program, around.layout.logs().join(format!("{role}-{instance}.log"))).arguments(["run", role]);
    // Nothing that a shell holds for the command line may reach a role.
    spawn.without = std::env::vars_os().map(|(name, _)| name).filter(is_a_shells).collect();
    spawn = spawn
        .variable("ORDO_SITE", around.keys.site().site())
        .variable("ORDO_INSTANCE", instance)
        .variable("ORDO_DATA", &data)
        .variable("ORDO_NATS_URL", around.nats_url)
        .variable("ORDO_NATS_CREDS", around.keys.credentials(&around.layout.creds(), user)?);
    match role {
        "controller" => spawn = spawn.variable("ORDO_JOURNAL_SCALE_DOWN", around.scale_down.to_string()),
        "agent" => {
            let folder = data.join("secrets");
            secret::make_folder(&folder)?;
            secret::write(&folder.join(DATABASE_SECRET), &around.postgres.url(DatabaseRole::Backup)?)?;
            // Jobs find pg_dump and psql of the server's version.
            spawn = spawn.variable("ORDO_AGENT", instance).variable("PATH", path_with(around.postgres.bin())?);
        }
        "monitor" => spawn = spawn.variable("ORDO_MAIL_FOLDER", around.layout.mails()),
        "log-notification" => {
            for (_, name, address) in syslog(around.syslog) {
                spawn = spawn.variable(name, address);
            }
        }
        _ => {}
    }
    if let Some(database) = database_role(role) {
        spawn = spawn
            .variable("ORDO_DATABASE_URL", around.postgres.url_without_password(database))
            .variable("ORDO_DATABASE_PASSWORD_FILE", around.postgres.password_file(database));
    }
    Ok(RoleProcess { name: format!("{role}/{instance}"), role, data, spawn })
}

/// Whom the database knows a role as.
fn database_role(role: &str) -> Option<DatabaseRole> {
    match role {
        "history" => Some(DatabaseRole::History),
        "daily-plan" => Some(DatabaseRole::DailyPlan),
        "monitor" => Some(DatabaseRole::Monitor),
        "cleanup" => Some(DatabaseRole::Cleanup),
        "log-notification" => Some(DatabaseRole::LogNotification),
        _ => None,
    }
}

/// A variable of Ordo that means the command line, or an instance that runs elsewhere. What is a setting of the whole site goes on.
fn is_a_shells(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    let of_the_site = ["ORDO_LOG", "ORDO_LOG_FORMAT", "ORDO_SERVERS", "ORDO_ZONE"].contains(&name.as_ref())
        || name.starts_with("ORDO_SYSLOG_")
        || (name.starts_with("ORDO_MAIL_") && name != "ORDO_MAIL_FOLDER");
    name.starts_with("ORDO_") && !of_the_site
}

fn path_with(first: &Path) -> anyhow::Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(first.to_owned()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).context("PATH holds a folder that cannot stand in it")
}
