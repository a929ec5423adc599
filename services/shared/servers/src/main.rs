//! `make servers`: fetches the servers into a folder of the checkout where the machine has none that is new enough.

use ordo_servers::{Programs, fetch};
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from(".servers"), PathBuf::from);
    match Programs::find() {
        Ok(programs) => {
            eprintln!("NATS server {} and PostgreSQL {} are there", programs.nats_version, programs.postgres_version);
            return ExitCode::SUCCESS;
        }
        Err(missing) => eprintln!("{missing}"),
    }
    match fetch::fetch(&folder, |step| eprintln!("{step}")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let reason = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            eprintln!("{error}{reason}");
            ExitCode::FAILURE
        }
    }
}
