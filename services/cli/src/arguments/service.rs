//! `ordo service …`

use clap::Subcommand;

pub const SERVICE_HELP: &str = "\
History, daily plan, monitor, log notification and cleanup run any number of instances, of which one is active.

Examples:
  ordo service list                         every instance, and what it says of itself
  ordo service run daily-plan               do now what would be done later
  ordo service restart monitor              all of its instances, the active one last
  ordo service restart history@node-a       only those on that node

Exit codes: 0 done, 1 refused, 3 not reachable, 4 no such service or instance";

#[derive(Debug, Clone, Subcommand)]
pub enum ServiceCommand {
    /// List the instances of all services
    List,
    /// Let the active instance of a service do its work now
    Run {
        /// Which: history, daily-plan, monitor, log-notification, cleanup
        service: String,
    },
    /// Stop instances in order; their supervisor starts them again
    Restart {
        /// Which, and on which node if not on all
        #[arg(value_name = "SERVICE[@NODE]")]
        service: String,
    },
}
