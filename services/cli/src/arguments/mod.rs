//! What can be typed. The doc comments here are the manual: `ordo help …` prints them.

mod cleanup;
mod definition;
mod notification;
mod plan;
mod service;

use clap::{Args, Subcommand};
use std::path::PathBuf;

pub use cleanup::{CleanupCommand, CleanupRunArguments};
pub use definition::{DefinitionCommand, KindArgument};
pub use notification::{MonitorCommand, NotificationCommand, NotificationListArguments};
pub use plan::{PlanCommand, PlanShowArguments, PreviewArguments, ScheduleCommand, SchedulesArguments};
pub use service::ServiceCommand;

/// Flags that every command has.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection and output")]
pub struct Common {
    /// The site to talk to [default: default]
    #[arg(long, global = true, env = "ORDO_SITE", hide_env = true)]
    pub site: Option<String>,
    /// Address of the bus, e.g. nats://host:4222 [default: from ordo.env, else nats://127.0.0.1:4222]
    #[arg(long, global = true, env = "ORDO_NATS_URL", value_name = "URL", hide_env = true)]
    pub nats_url: Option<String>,
    /// Credentials file of the person who asks
    #[arg(long, global = true, env = "ORDO_NATS_CREDS", value_name = "FILE", hide_env = true)]
    pub creds: Option<PathBuf>,
    /// Certificate authority of the bus, PEM; given, TLS is required
    #[arg(long, global = true, env = "ORDO_NATS_CA", value_name = "FILE", hide_env = true)]
    pub ca: Option<PathBuf>,
    /// Print JSON for programs; streams as one document a line
    #[arg(long, global = true)]
    pub json: bool,
    /// No colours (they appear only on a terminal, and never with NO_COLOR set)
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// Everything that talks to a running site.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Check definition files and deploy them, all or none
    #[command(after_help = DEPLOY_HELP)]
    Deploy(DeployArguments),
    /// Look at deployed workflows, and remove them
    #[command(subcommand, after_help = WORKFLOW_HELP)]
    Workflow(WorkflowCommand),
    /// Look at schedules, rules and what else is deployed, and remove it
    #[command(subcommand, after_help = definition::DEFINITION_HELP)]
    Definition(DefinitionCommand),
    /// Look at schedules, suspend and remove them, and see when they would start
    #[command(subcommand, after_help = plan::SCHEDULE_HELP)]
    Schedule(ScheduleCommand),
    /// Look at the plan of a day, and plan now
    #[command(subcommand, after_help = plan::PLAN_HELP)]
    Plan(PlanCommand),
    /// Add orders, look at them, and act on them
    #[command(subcommand, after_help = ORDER_HELP)]
    Order(OrderCommand),
    /// Show what the jobs of an order printed
    #[command(after_help = LOGS_HELP)]
    Logs(LogsArguments),
    /// Warnings and errors of Ordo itself, and what syslog brought
    #[command(subcommand, after_help = LOG_HELP)]
    Log(LogCommand),
    /// Look into the past: ended orders and their steps
    #[command(subcommand, after_help = HISTORY_HELP)]
    History(HistoryCommand),
    /// Look at agents, and admit new ones
    #[command(subcommand, after_help = AGENT_HELP)]
    Agent(AgentCommand),
    /// See what rules told of, and say that somebody takes care
    #[command(subcommand, after_help = notification::NOTIFICATION_HELP)]
    Notification(NotificationCommand),
    /// Try whether mail works
    #[command(subcommand, after_help = notification::MONITOR_HELP)]
    Monitor(MonitorCommand),
    /// Take away what is older than it is kept, and see what is kept for how long
    #[command(subcommand, after_help = cleanup::CLEANUP_HELP)]
    Cleanup(CleanupCommand),
    /// Look at services, restart them, let them work now
    #[command(subcommand, after_help = service::SERVICE_HELP)]
    Service(ServiceCommand),
    /// Show who is active, how well, and how much is going on
    #[command(after_help = STATUS_HELP)]
    Status,
    /// Show what happened, event by event
    #[command(after_help = EVENTS_HELP)]
    Events(EventsArguments),
}

/// Environment and exit codes, for the help of the whole program.
pub const ENVIRONMENT_HELP: &str = "\
Environment:
  ORDO_SITE        the site [default: default]
  ORDO_NATS_URL    address of the bus
  ORDO_NATS_CREDS  credentials file of the person who asks
  ORDO_NATS_CA     certificate authority of the bus
  ORDO_DATA        data folder of `ordo up`; its ordo.env is found there by itself
                   [default: $XDG_DATA_HOME/ordo, else ~/.local/share/ordo]
  NO_COLOR         set: no colours
  TZ               zone in which times are shown [default: that of this machine]
  Flags come before the environment, the environment before ordo.env.

Exit codes:
  0  done                      10  the order failed
  1  refused or failed         11  the order was cancelled
  2  not a valid command line  12  the wait was over before the order
  3  not reachable
  4  not found";

const DEPLOY_HELP: &str = "\
Every file is checked before anything changes; errors point into the file. Bodies are stored by their
content, so deploying the same again changes nothing. Running orders stay on the version they started with.

Examples:
  ordo deploy workflows/                    every .yaml and .yml file below the folder
  ordo deploy --dry-run backup.yaml         check, and show what would change
  ordo deploy - < backup.yaml               from standard input

Exit codes: 0 deployed (or nothing to change), 1 refused, 2 no such file or no definition in it, 3 not reachable";

const ORDER_HELP: &str = "\
Examples:
  ordo order add backup --wait              add an order and watch it to its end
  ordo order list --state failed            what needs a person
  ordo order cancel --kill 20261122-D3-backup
  ordo order resume 20261122-D3-backup      let a failed order try its step again";

const ADD_HELP: &str = "\
Values are given as text and take the type that the workflow declares for the parameter: lists and maps as
JSON (a list also as a,b,c). Secrets are not given: the agent has them.

Examples:
  ordo order add backup
  ordo order add nightly-sales -p day=2026-11-22 -p regions=east,west --wait --logs
  ordo order add nightly-sales --arguments sales.json --at 02:00 --reason 'late data'
  ordo order add backup --held                        starts when it is resumed
  ordo order add --file orders.json                   many: [{\"workflow\":\"backup\"},…] or one a line
  ordo order add backup --id import-7                 repeating it adds nothing: the same id, the same order

Exit codes: 0 added (with --wait: ended well), 1 refused, 2 usage, 3 not reachable, 4 no such workflow;
with --wait also 10 failed, 11 cancelled, 12 not ended within --timeout";

const WAIT_HELP: &str = "\
Examples:
  ordo order wait 20261122-D3-backup
  ordo order wait 20261122-D3-backup --timeout 10m --logs

Exit codes: 0 ended well, 10 failed, 11 cancelled, 12 not ended within --timeout, 3 not reachable, 4 not found";

const CANCEL_HELP: &str = "\
All the orders named are cancelled, or none of them.

Examples:
  ordo order cancel 20261122-D3-backup
  ordo order cancel --kill 20261122-D3-backup 20261122-D4-backup --reason 'wrong day'
  ordo order cancel $(ordo order list --state failed --json | jq -r '.[].order')

Exit codes: 0 done, 1 refused, 3 not reachable, 4 not found";

const SUSPEND_HELP: &str = "\
A suspended order keeps what it has done and goes on with `ordo order resume`.

Example:
  ordo order suspend 20261122-D3-backup --reason 'storage is being moved'

Exit codes: 0 done, 1 refused, 3 not reachable, 4 not found";

const RESUME_HELP: &str = "\
A failed order tries the step again at which it failed, or goes on at the step that you name.

Examples:
  ordo order resume 20261122-D3-backup
  ordo order resume 20261122-D3-backup --position verify

Exit codes: 0 done, 1 refused, 3 not reachable, 4 not found";

const WORKFLOW_HELP: &str = "\
Examples:
  ordo workflow list
  ordo workflow show backup                 its parameters and steps
  ordo workflow show backup --version 2     as it was
  ordo workflow remove old-report           refused while something needs it, which is listed";

const HISTORY_HELP: &str = "\
What the site knows of the past is read from the history; it lies a moment behind what happens.

Examples:
  ordo history orders --state failed --limit 20
  ordo history orders --business-day 2026-11-22
  ordo history steps 20261122-D3-backup
  ordo history steps --agent etl --json | jq -r .[].run";

const AGENT_HELP: &str = "\
Examples:
  ordo agent list
  ordo agent add etl --output etl.creds     then: ordo run agent there, with these credentials";

const LOGS_HELP: &str = "\
Lines of several branches are told apart by the position in front of each. What a job printed may hold control
characters: they are shown escaped, unless you ask for --raw.

Examples:
  ordo logs 20261122-D3-backup
  ordo logs 20261122-D3-backup --follow
  ordo logs 20261122-D3-backup --step compress --raw > compress.log

Exit codes: 0 shown, 3 not reachable, 4 not found";

const LOG_HELP: &str = "\
What the jobs of an order print is shown by `ordo logs ORDER`.

Examples:
  ordo log list --level error               the newest errors, of Ordo itself and from outside
  ordo log list --role syslog --host 'db*' --grep '(?i)disk'
  ordo log tail --role 'agent-*'            what agents say, as it comes

Exit codes: 0 shown, 1 not a pattern, 3 not reachable";

const STATUS_HELP: &str = "\
  ● healthy   ◐ runs, but not well   ○ stopped in order   ✖ unknown: silent for longer than it may be

Exit codes: 0 all healthy, 1 something is not, 3 not reachable";

const EVENTS_HELP: &str = "\
Without --follow: the newest events of the history, oldest first. With --follow they come as they happen, one a
line: a live view that may miss some; `ordo events --order ID` shows them all.

Examples:
  ordo events --order 20261122-D3-backup
  ordo events --follow --json | jq .event

Exit codes: 0 shown, 3 not reachable, 4 not found";

/// `ordo deploy`
#[derive(Debug, Clone, Args)]
pub struct DeployArguments {
    /// Files, or folders whose .yaml and .yml files are taken; - for standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Check and show the difference, change nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub asked: AskedArguments,
}

/// Who asks is known; why, and under which id, can be said.
#[derive(Debug, Clone, Default, Args)]
pub struct AskedArguments {
    /// Why; kept in the audit trail
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// An id of your choice: a repeat with the same id has the same outcome, for 24 h
    #[arg(long = "id", value_name = "ID")]
    pub id: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum WorkflowCommand {
    /// List the deployed workflows
    List,
    /// Show a workflow: its parameters, its steps and its versions
    Show {
        /// Name of the workflow
        workflow: String,
        /// An older version
        #[arg(long)]
        version: Option<u32>,
    },
    /// Remove workflows: refused while a workflow, a schedule, a rule or an order needs one of them
    Remove {
        /// Names of the workflows
        #[arg(required = true, value_name = "WORKFLOW")]
        workflows: Vec<String>,
        #[command(flatten)]
        asked: AskedArguments,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub enum OrderCommand {
    /// Add one order or many
    #[command(after_help = ADD_HELP)]
    Add(Box<AddArguments>),
    /// List the orders that are in the state: all but those ended and gone into history
    List(OrderListArguments),
    /// Show one order: where it is, why it does not move, its arguments and results
    Show {
        /// Order id
        order: String,
    },
    /// Wait for an order's end and show its progress
    #[command(after_help = WAIT_HELP)]
    Wait {
        /// Order id
        order: String,
        #[command(flatten)]
        watch: WatchArguments,
    },
    /// End orders: at once if not started, else after the running job
    #[command(after_help = CANCEL_HELP)]
    Cancel {
        #[command(flatten)]
        which: ManyArguments,
        /// End the running jobs too
        #[arg(long)]
        kill: bool,
    },
    /// Stop orders before their next step
    #[command(after_help = SUSPEND_HELP)]
    Suspend {
        #[command(flatten)]
        which: ManyArguments,
        /// End the running jobs too; they start again on resume
        #[arg(long)]
        kill: bool,
    },
    /// Let suspended, held or failed orders go on
    #[command(after_help = RESUME_HELP)]
    Resume {
        #[command(flatten)]
        which: ManyArguments,
        /// Go on at this step instead (label or position)
        #[arg(long, value_name = "POSITION")]
        position: Option<String>,
    },
}

#[derive(Debug, Clone, Args)]
pub struct ManyArguments {
    /// Order ids
    #[arg(required = true, value_name = "ORDER")]
    pub orders: Vec<String>,
    #[command(flatten)]
    pub asked: AskedArguments,
}

#[derive(Debug, Clone, Default, Args)]
pub struct AddArguments {
    /// Name of the workflow
    #[arg(required_unless_present = "file")]
    pub workflow: Option<String>,
    /// A parameter's value; may be given several times
    #[arg(short = 'p', long = "parameter", value_name = "NAME=VALUE")]
    pub parameters: Vec<String>,
    /// All values as one JSON object, from a file or - for standard input
    #[arg(long, value_name = "FILE")]
    pub arguments: Option<PathBuf>,
    /// Start then: 02:00 (the next), 2026-11-23T02:00, an RFC 3339 instant, or +10m
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Do not start before it is resumed
    #[arg(long)]
    pub held: bool,
    /// Higher goes first where orders queue [default: the workflow's]
    #[arg(long, allow_hyphen_values = true, value_name = "NUMBER")]
    pub priority: Option<i16>,
    /// Shown to people [default: the workflow's]
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// In addition to the workflow's; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Last part of the order id [default: the workflow's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The day it is for [default: today in the zone of the site]
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub business_day: Option<chrono::NaiveDate>,
    /// Add this many alike
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: Option<u32>,
    /// Many orders, as a JSON list or one a line; - for standard input
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["workflow", "parameters", "arguments", "at", "held", "priority", "title", "tags", "name", "business_day", "count"]
    )]
    pub file: Option<PathBuf>,
    /// Stay until it has ended, and end with its exit code
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub watch: WatchArguments,
    #[command(flatten)]
    pub asked: AskedArguments,
}

#[derive(Debug, Clone, Default, Args)]
pub struct WatchArguments {
    /// While waiting: show what its jobs print
    #[arg(long)]
    pub logs: bool,
    /// While waiting: give up after this long, e.g. 90s, 2h; the order goes on
    #[arg(long, value_name = "SPAN")]
    pub timeout: Option<ordo_domain::Span>,
    /// While waiting: say nothing, only end with the code
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct OrderListArguments {
    /// scheduled, ready, queued, running, retrying, forked, failed, …; or suspended, waiting, active
    #[arg(long)]
    pub state: Option<String>,
    /// Only of this workflow
    #[arg(long)]
    pub workflow: Option<String>,
    /// Only with this tag
    #[arg(long)]
    pub tag: Option<String>,
    /// At most this many [default: 100]
    #[arg(long, value_name = "N", conflicts_with = "all")]
    pub limit: Option<u32>,
    /// However many there are
    #[arg(long)]
    pub all: bool,
    /// Those behind this order id, for the next page
    #[arg(long, value_name = "ORDER")]
    pub after: Option<String>,
}

#[derive(Debug, Clone, Default, Args)]
pub struct LogsArguments {
    /// Order id; its branches are shown with it
    pub order: String,
    /// Stay until the order has ended
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// Only this step (label or position)
    #[arg(long)]
    pub step: Option<String>,
    /// Bytes as they are: control characters unescaped, nothing in front of the lines
    #[arg(long)]
    pub raw: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub enum LogCommand {
    /// Show lines, the oldest first
    List {
        #[command(flatten)]
        which: LogArguments,
        /// Those behind this place in the stream, as --json shows it [default: the newest]
        #[arg(long, value_name = "SEQUENCE")]
        after: Option<u64>,
        /// At most this many [default: 50]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },
    /// Show lines as they come, until you stop it
    Tail {
        #[command(flatten)]
        which: LogArguments,
        /// So many of those before [default: 10]
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
    },
}

#[derive(Debug, Clone, Default, Args)]
pub struct LogArguments {
    /// At least as bad: emergency, alert, critical, error, warning, notice, info, debug
    #[arg(long)]
    pub level: Option<ordo_domain::log_rule::Severity>,
    /// Only of this role, e.g. controller, agent-NAME, syslog; may have * and ?
    #[arg(long)]
    pub role: Option<String>,
    /// Only of this machine; may have * and ?
    #[arg(long)]
    pub host: Option<String>,
    /// Only of this application, ordo-ROLE for Ordo itself; may have * and ?
    #[arg(long)]
    pub application: Option<String>,
    /// Only with this regular expression in the text
    #[arg(long, value_name = "PATTERN")]
    pub grep: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum HistoryCommand {
    /// Orders that have ended or run, newest first
    Orders(HistoryOrdersArguments),
    /// Runs of steps: of one order, oldest first; else the newest
    Steps(HistoryStepsArguments),
}

#[derive(Debug, Clone, Default, Args)]
pub struct HistoryOrdersArguments {
    /// Only of this workflow
    #[arg(long)]
    pub workflow: Option<String>,
    /// finished, failed, cancelled, started
    #[arg(long)]
    pub state: Option<String>,
    /// Only of this business day
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub business_day: Option<chrono::NaiveDate>,
    /// At most this many [default: 50]
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
    /// Branches and called workflows too
    #[arg(long)]
    pub children: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct HistoryStepsArguments {
    /// Order id
    pub order: Option<String>,
    /// Only on this agent
    #[arg(long)]
    pub agent: Option<String>,
    /// At most this many [default: 50]
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum AgentCommand {
    /// List the agents and their instances
    List,
    /// Admit a new agent: its credentials, its rights, and its place on the bus
    Add(AddAgentArguments),
}

/// Credentials need the account's key: the binary makes them before it asks here, see [`crate::command::agent::add`].
#[derive(Debug, Clone, Default, Args)]
pub struct AddAgentArguments {
    /// Name of the agent, 1 to 40 of A-Z a-z 0-9 _ -
    pub name: String,
    /// Shown to people
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// Where the credentials file goes [default: among the site's credentials]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The folder with the site's keys [default: that of `ordo up`]
    #[arg(long, env = "ORDO_KEYS", hide_env_values = true, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    #[command(flatten)]
    pub asked: AskedArguments,
}

#[derive(Debug, Clone, Default, Args)]
pub struct EventsArguments {
    /// Stay, and show events as they happen
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// Only of this order and its branches
    #[arg(long, value_name = "ORDER")]
    pub order: Option<String>,
    /// The newest this many [default: 50; with --order all]
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
}
