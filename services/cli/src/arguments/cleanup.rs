//! `ordo cleanup …`

use clap::{Args, Subcommand};

pub const CLEANUP_HELP: &str = "\
How long things are kept, and when the cleanup works by itself, is a definition: `retention: default`, deployed like
workflows. Without one the defaults hold: every night from 01:00 to 04:00 UTC, orders for 90 days.
Nothing that runs, waits or is referred to is ever taken away.

Examples:
  ordo cleanup status
  ordo cleanup run --dry-run                count what would go
  ordo cleanup run                          clean up now, whatever the window

Exit codes: 0 done, 1 refused or failed in part, 3 not reachable";

#[derive(Debug, Clone, Subcommand)]
pub enum CleanupCommand {
    /// Clean up now, and show how it goes
    Run(CleanupRunArguments),
    /// Show what is kept for how long, the window, and the last runs
    Status,
}

#[derive(Debug, Clone, Args)]
pub struct CleanupRunArguments {
    /// Only count what would go; nothing is changed
    #[arg(long)]
    pub dry_run: bool,
    /// Begin it and return at once
    #[arg(long)]
    pub no_wait: bool,
}
