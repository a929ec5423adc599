//! `ordo notification …` and `ordo monitor …`

use clap::{Args, Subcommand};

pub const NOTIFICATION_HELP: &str = "\
Rules say of what people are told; each thing that happened is one notification, whoever is told of it by mail.

Examples:
  ordo notification list                          what stands: new and acknowledged
  ordo notification list --workflow backup --all  recovered ones too
  ordo notification show 20261122-48213-0         with its mails, and what became of them
  ordo notification acknowledge 20261122-48213-0 --comment 'disk is being replaced'
  ordo notification acknowledge $(ordo notification list --rule nights --json | jq -r .notifications[].id)

Exit codes: 0 done, 1 refused, 3 not reachable, 4 not found";

pub const MONITOR_HELP: &str = "\
Examples:
  ordo monitor test-mail ops@example.org
  ordo monitor test-mail                          to everybody whom a rule names

Exit codes: 0 accepted for all, 1 not for all, 3 not reachable";

#[derive(Debug, Clone, Subcommand)]
pub enum NotificationCommand {
    /// List notifications, newest first
    List(NotificationListArguments),
    /// Show one: what happened, to whom it was told, and what became of the mails
    Show {
        /// Notification id
        notification: String,
    },
    /// Say that somebody takes care; all that are named, or none
    Acknowledge {
        /// Notification ids
        #[arg(required = true, value_name = "NOTIFICATION")]
        notifications: Vec<String>,
        /// Kept with it, for the others
        #[arg(long, value_name = "TEXT")]
        comment: Option<String>,
    },
}

#[derive(Debug, Clone, Default, Args)]
pub struct NotificationListArguments {
    /// new, acknowledged or recovered [default: new and acknowledged]
    #[arg(long)]
    pub state: Option<String>,
    /// Recovered ones too
    #[arg(long, conflicts_with = "state")]
    pub all: bool,
    /// Those that this rule told of
    #[arg(long)]
    pub rule: Option<String>,
    /// failed, started_late, not_started, runs_too_long, waits_too_long, agent_away, role_without_active, controller_failed_over or log
    #[arg(long)]
    pub kind: Option<String>,
    /// Of orders of this workflow
    #[arg(long)]
    pub workflow: Option<String>,
    /// Of this order
    #[arg(long)]
    pub order: Option<String>,
    /// At most so many [default: 50]
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum MonitorCommand {
    /// Send a test mail now, and say what the server answers
    TestMail {
        /// Mail addresses; everybody whom a rule names, if none is given
        #[arg(value_name = "ADDRESS")]
        to: Vec<String>,
    },
}
