//! One file per noun: asks, and shows the answer by a view.

pub mod agent;
pub mod cleanup;
pub mod definition;
pub mod deploy;
pub mod events;
pub mod history;
pub mod log;
pub mod logs;
pub mod notification;
pub mod order;
pub mod order_add;
pub mod plan;
pub mod schedule;
pub mod service;
pub mod status;
pub mod workflow;

use crate::{
    arguments::{AgentCommand, Command, Common},
    client::Client,
    error::{CliError, Exit},
    show::Look,
};
use ordo_domain::InvalidId;

/// Connects and carries out one command.
pub async fn dispatch(command: Command, common: &Common, look: &Look) -> Result<Exit, CliError> {
    // What is wrong with the files is said even where no site can be reached.
    let files = match &command {
        Command::Deploy(arguments) => Some(deploy::read_paths(&arguments.paths)?),
        _ => None,
    };
    let client = Client::connect(common).await?;
    match command {
        Command::Deploy(arguments) => deploy::run(&client, &arguments, files.unwrap_or_default(), look).await,
        Command::Workflow(command) => workflow::run(&client, command, look).await,
        Command::Definition(command) => definition::run(&client, command, look).await,
        Command::Schedule(command) => schedule::run(&client, command, look).await,
        Command::Plan(command) => plan::run(&client, command, look).await,
        Command::Order(command) => order::run(&client, command, look).await,
        Command::Logs(arguments) => logs::run(&client, &arguments, look).await,
        Command::Log(command) => log::run(&client, command, look).await,
        Command::History(command) => history::run(&client, command, look).await,
        Command::Agent(AgentCommand::List) => agent::list(&client, look).await,
        Command::Agent(AgentCommand::Add(arguments)) => agent::add_and_show(&client, &arguments, look).await,
        Command::Notification(command) => notification::run(&client, command, look).await,
        Command::Monitor(command) => notification::monitor(&client, command, look).await,
        Command::Cleanup(command) => cleanup::run(&client, command, look).await,
        Command::Service(command) => service::run(&client, command, look).await,
        Command::Status => status::run(&client, look).await,
        Command::Events(arguments) => events::run(&client, &arguments, look).await,
    }
}

/// Text from the command line as a name or id.
pub(crate) fn id<T: std::str::FromStr<Err = InvalidId>>(text: &str) -> Result<T, CliError> {
    text.parse().map_err(|e: InvalidId| CliError::usage(e.to_string()))
}

pub(crate) fn optional_id<T: std::str::FromStr<Err = InvalidId>>(text: Option<&str>) -> Result<Option<T>, CliError> {
    text.map(id).transpose()
}
