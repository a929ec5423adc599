//! `ordo health ROLE`: exit code 0 when the role of that data folder is well, 1 with a sentence when not.

use clap::Args;
use ordo_cli::{Common, show};
use ordo_runtime::{health, home};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 well, 1 not; the reason stands in one line")]
pub struct Arguments {
    /// Which role
    #[arg(value_enum)]
    role: crate::run::Role,
    /// The data folder that the role runs with [default: as for `ordo run`]
    #[arg(long, env = "ORDO_DATA", hide_env_values = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Being without the bus or the database counts as not well, too
    #[arg(long)]
    strict: bool,
}

/// Reads the status file: no port, no credentials, no bus.
pub fn health(arguments: &Arguments, common: &Common) -> ExitCode {
    let role = arguments.role.name();
    let site = common.site.as_deref().unwrap_or("default");
    let data = arguments.data.clone().unwrap_or_else(|| home::data_home().join(site).join(role));
    match health::probe(&data, role, arguments.strict) {
        Ok(status) => {
            if common.json {
                show::line(&serde_json::to_string(&status).unwrap_or_default().to_string());
            } else {
                show::line(&format!("{}/{} {}", status.role, status.instance, status.detail));
            }
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("ordo: {reason}");
            ExitCode::FAILURE
        }
    }
}
