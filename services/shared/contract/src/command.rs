//! A message of COMMANDS. Subject `ordo.<site>.command.<noun>.<verb>`; published by the proxy for a person or a service.

use ordo_domain::{Command, CommandId, Instant, command::By};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandMessage {
    /// Chosen by the sender: a repeat has the same outcome.
    pub id: CommandId,
    pub by: By,
    /// When the proxy published it.
    pub at: Instant,
    pub command: Command,
}

/// The noun and the verb of a command's subject.
pub fn noun_verb(command: &Command) -> (&'static str, &'static str) {
    match command {
        Command::AddOrders(_) => ("order", "add"),
        Command::CancelOrders(_) => ("order", "cancel"),
        Command::SuspendOrders(_) => ("order", "suspend"),
        Command::ResumeOrders(_) => ("order", "resume"),
        Command::Deploy(_) => ("definition", "deploy"),
        Command::AddAgent(_) => ("agent", "add"),
        Command::RemoveDefinitions(_) => ("definition", "remove"),
        Command::SuspendSchedules(_) => ("schedule", "suspend"),
        Command::ResumeSchedules(_) => ("schedule", "resume"),
        Command::NoteStarts(_) => ("schedule", "note"),
    }
}
