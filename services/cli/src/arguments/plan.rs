//! What can be typed of schedules and the plan.

use super::AskedArguments;
use clap::{Args, Subcommand};

pub(super) const SCHEDULE_HELP: &str = "\
Schedules are definitions: `ordo deploy FILE` brings them and changes them. What was planned for later is
changed with them, and nothing else.

Examples:
  ordo schedule list
  ordo schedule preview nightly-backup --from 2026-12-24 --to 2027-01-02
  ordo schedule suspend nightly-backup --reason 'storage is being moved'";

pub(super) const PLAN_HELP: &str = "\
Examples:
  ordo plan show                            today, with what became of each start so far
  ordo plan show --date 2026-12-24
  ordo plan show --schedule nightly-backup --json | jq '.starts[] | select(.state != \"finished\")'";

const SUSPEND_HELP: &str = "\
A suspended schedule starts nothing: what was planned and has not started is taken back. Orders that run,
run on.

Exit codes: 0 done, 1 refused, 3 not reachable, 4 not found";

const RESUME_HELP: &str = "\
Starts that fell into the time between are not made up for.

Exit codes: 0 done, 1 refused, 3 not reachable, 4 not found";

const REMOVE_HELP: &str = "\
What was planned and has not started is taken back. Orders that run, run on.

Exit codes: 0 done, 1 refused, 3 not reachable, 4 not found";

const PREVIEW_HELP: &str = "\
Computed from the definition alone, with days left out, validity and daylight saving. A time of day that the
clocks leave out starts at the first instant behind the gap; one that they show twice starts once, at the
first.

Examples:
  ordo schedule preview nightly-backup
  ordo schedule preview nightly-backup --from 2027-03-27 --to 2027-03-29

Exit codes: 0 shown, 2 usage, 3 not reachable, 4 not found";

#[derive(Debug, Clone, Subcommand)]
pub enum ScheduleCommand {
    /// List the schedules: their state, their next start
    List,
    /// Show a schedule: when it starts, with what, and its starts around now
    Show {
        /// Name of the schedule
        schedule: String,
    },
    /// Let schedules start nothing until they are resumed
    #[command(after_help = SUSPEND_HELP)]
    Suspend(SchedulesArguments),
    /// Let suspended schedules start again
    #[command(after_help = RESUME_HELP)]
    Resume(SchedulesArguments),
    /// Remove schedules
    #[command(after_help = REMOVE_HELP)]
    Remove(SchedulesArguments),
    /// Show when a schedule would start
    #[command(after_help = PREVIEW_HELP)]
    Preview(PreviewArguments),
}

#[derive(Debug, Clone, Default, Args)]
pub struct SchedulesArguments {
    /// Names of schedules
    #[arg(required = true, value_name = "SCHEDULE")]
    pub schedules: Vec<String>,
    #[command(flatten)]
    pub asked: AskedArguments,
}

#[derive(Debug, Clone, Default, Args)]
pub struct PreviewArguments {
    /// Name of the schedule
    pub schedule: String,
    /// Behind this time: 2026-12-24, 2026-12-24T02:00, an RFC 3339 instant, or +10m [default: now]
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Up to this time, or to the end of this day [default: a week after --from]
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// At most this many [default: 100]
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum PlanCommand {
    /// Show a day: what starts when, and what became of it
    Show(PlanShowArguments),
    /// Plan now what is to be planned, and hand over what is due
    Run,
}

#[derive(Debug, Clone, Default, Args)]
pub struct PlanShowArguments {
    /// The business day [default: today in the zone of the site]
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub date: Option<chrono::NaiveDate>,
    /// Only of this schedule
    #[arg(long, value_name = "SCHEDULE")]
    pub schedule: Option<String>,
    /// Every start on a line of its own: else those of one hour that are many and alike share one
    #[arg(long)]
    pub all: bool,
}
