//! `ordo definition …`

use super::AskedArguments;
use clap::{Subcommand, ValueEnum};
use ordo_domain::catalog::DefinitionKind;

pub const DEFINITION_HELP: &str = "\
Schedules, rules, maintenance windows, log rules and retentions are deployed by `ordo deploy`, like workflows.

Examples:
  ordo definition list --kind schedule
  ordo definition show rule failures
  ordo definition remove maintenance move-of-storage --reason 'it is over'";

#[derive(Debug, Clone, Subcommand)]
pub enum DefinitionCommand {
    /// List what is deployed besides workflows
    List {
        /// Only of this kind
        #[arg(long, value_enum)]
        kind: Option<KindArgument>,
    },
    /// Show one as it is deployed
    Show {
        /// What kind it is of
        #[arg(value_enum)]
        kind: KindArgument,
        /// Its name
        name: String,
    },
    /// Remove them: nothing acts by them any more
    Remove {
        /// What kind it is of
        #[arg(value_enum)]
        kind: KindArgument,
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        asked: AskedArguments,
    },
}

/// What a definition is for
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KindArgument {
    /// When orders start by themselves
    Schedule,
    /// What people are told by mail
    Rule,
    /// When people are not told
    Maintenance,
    /// Which log lines become notices
    LogRule,
    /// How long things are kept
    Retention,
}

impl From<KindArgument> for DefinitionKind {
    fn from(kind: KindArgument) -> Self {
        match kind {
            KindArgument::Schedule => DefinitionKind::Schedule,
            KindArgument::Rule => DefinitionKind::Rule,
            KindArgument::Maintenance => DefinitionKind::Maintenance,
            KindArgument::LogRule => DefinitionKind::LogRule,
            KindArgument::Retention => DefinitionKind::Retention,
        }
    }
}
