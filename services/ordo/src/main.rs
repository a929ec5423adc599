//! The one binary: every role (`ordo run ROLE`), all of them on one machine (`ordo up`), and the commands for people.
//!
//! Owns the edge of the processes: parsing, signals, exit codes, supervision. Decides nothing about orders.
//!
//! # Layout
//! - `run.rs`: one role as a process; `health.rs`: is it well
//! - `up/`: everything on one machine, supervised
//! - `setup.rs`: keys, credentials and server configuration for other supervisors
//! - `admit.rs`: `agent add`, `user add`; `db.rs`: `db migrate`

mod admit;
mod db;
mod health;
mod run;
mod setup;
mod up;

use clap::{Parser, Subcommand};
use ordo_cli::{AgentCommand, Command as CliCommand, Common};
use std::path::PathBuf;
use std::process::ExitCode;

/// Ordo, an event-sourced workload scheduler: NATS JetStream holds the truth, PostgreSQL holds what people read, agents
/// run the work.
#[derive(Debug, Parser)]
#[command(name = "ordo", version, propagate_version = false, arg_required_else_help = true)]
#[command(after_help = ordo_cli::arguments::ENVIRONMENT_HELP, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start everything on this machine: NATS, PostgreSQL, controllers, proxy, history and an agent
    Up(up::Arguments),
    #[command(flatten)]
    People(CliCommand),
    /// Admit people
    #[command(subcommand)]
    User(admit::UserCommand),
    /// Run one role as a process of its own
    Run(run::Arguments),
    /// Say whether a role on this machine is well; for health checks
    Health(health::Arguments),
    /// Write keys, credentials and server configuration for a site that others supervise
    Setup(setup::Arguments),
    /// Look after the database
    #[command(subcommand)]
    Db(db::DbCommand),
    /// What an agent starts to hold its jobs; not for people
    #[command(hide = true)]
    Runner {
        /// The data folder of the agent
        #[arg(long)]
        data: PathBuf,
    },
}

fn main() -> ExitCode {
    let Arguments { command, common } = Arguments::parse();
    match command {
        // Before any thread is there: the runner lives long and small.
        Command::Runner { data } => ordo_agent::runner::main(&data),
        Command::Health(arguments) => health::health(&arguments, &common),
        Command::Setup(arguments) => print_once(setup::setup(&arguments, &common)),
        Command::Db(command) => print_once(db::db(&command)),
        Command::Run(arguments) => run::run(&arguments, &common),
        command => in_runtime(async move {
            match command {
                Command::Up(arguments) => up::up(arguments, common).await,
                Command::User(command) => print_once(admit::user(&command, &common)),
                Command::People(CliCommand::Agent(AgentCommand::Add(arguments))) => {
                    admit::agent(&arguments, &common).await
                }
                Command::People(command) => ordo_cli::run(command, common).await,
                _ => ExitCode::from(2),
            }
        }),
    }
}

fn in_runtime(task: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime.block_on(task),
        Err(error) => print_once(Err(anyhow::Error::from(error).context("cannot start the runtime"))),
    }
}

/// The edge: an error is printed once, with what led to it, and never as a stack trace.
fn print_once(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ordo: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// The whole chain in one line; a cause that its consequence already quotes is not said twice.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = if text.is_empty() { cause } else { format!("{text}: {cause}") };
        }
    }
    text
}
