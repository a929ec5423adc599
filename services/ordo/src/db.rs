//! `ordo db migrate`: brings the tables to the level of this binary.

use anyhow::Context;
use clap::{Args, Subcommand};
use ordo_cli::show;
use ordo_runtime::DatabaseSettings;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Make or upgrade the tables; a repeat changes nothing
    Migrate(MigrateArguments),
}

#[derive(Debug, Args)]
pub struct MigrateArguments {
    /// Address with the role that owns the tables
    #[arg(
        long,
        env = "ORDO_DATABASE_URL",
        value_name = "URL",
        default_value = "postgres://ordo@127.0.0.1:5432/ordo",
        hide_env_values = true
    )]
    url: String,
    /// File with the role's password
    #[arg(long, env = "ORDO_DATABASE_PASSWORD_FILE", hide_env_values = true, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Certificate authority of the database, PEM; given, TLS is required
    #[arg(long, env = "ORDO_DATABASE_CA", hide_env_values = true, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Carries it out. Not inside a tokio runtime: the library brings its own.
pub fn db(command: &DbCommand) -> anyhow::Result<()> {
    let DbCommand::Migrate(arguments) = command;
    let settings = DatabaseSettings {
        url: arguments.url.clone(),
        password_file: arguments.password_file.clone(),
        ca: arguments.ca.clone(),
    };
    let url = settings.url_with_password()?;
    ordo_store::migrate(&url, settings.ca.as_deref())
        .with_context(|| format!("cannot migrate {}", ordo_runtime::config::masked(&arguments.url)))?;
    show::line("the tables are up to date");
    Ok(())
}
