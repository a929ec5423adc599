//! The runner: one small process per data folder of an agent that holds the running jobs, so that a crash, a restart or
//! an upgrade of the agent touches none of them.
//!
//! It owns the pipes of its jobs, their process groups, their time limits and their run folders. It knows no bus, no
//! order and no controller, and it must never start the same run twice: the run folder is renamed into place, which one
//! wins. A runner that dies makes its runs lost; the next one ends what is left of them and says so.
//!
//! # Layout
//! - [`protocol`]: what the agent and the runner say to each other, JSON lines on a socket in the data folder
//! - [`folder`]: the files of one run, and who takes them
//! - [`spawn`]: from a start request to a process, on a few threads (a spawn blocks until the program is loaded)
//! - [`event_loop`]: one thread that watches all jobs, connections and deadlines
//! - [`output`]: frames on disk, first and last part kept; [`mask`]: secrets become `***` before they reach the disk
//! - [`process_table`]: reading `/proc`, and signals that cannot reach a reused process id
//! - [`sweep`]: what happens to the runs of a runner that died
//! - [`system`]: the system calls that std and nix do not offer in the form needed here
//!
//! # Decisions
//! - Jobs write into pipes of the runner, not into files: bytes and lines are counted exactly, secrets are masked before
//!   they reach the disk, the order of the two channels is kept, and 1 GB of output never fills a disk.
//! - Each job leads a session of its own. When its main process has ended, what it left in its group has
//!   [`LEFTOVER_GRACE`] to end by itself (a shell does not wait for `>(gzip)`), then gets SIGKILL. What left the session
//!   too is adopted by the runner (child subreaper), known by `ORDO_RUN` in its environment, and ended a moment later.
//! - `end.json` is written and renamed, but not synced: what it protects from is the death of the agent and of the
//!   runner. After the death of the machine a run without an end is lost, and every end is synced in the agent's log
//!   before it is published.

pub mod event_loop;
pub mod folder;
pub mod mask;
pub mod output;
pub mod process_table;
pub mod protocol;
pub mod spawn;
pub mod sweep;
pub mod system;

mod connection;
mod job;
mod start;

pub use event_loop::{LOG, set_aside};
pub use start::{RunnerOptions, build_of_this_program, capacity_here, connect, main, main_with};

use std::time::Duration;

/// How long what a job left in its process group may go on after the job's main process has ended.
pub const LEFTOVER_GRACE: Duration = Duration::from_secs(1);
/// A runner without runs and without an agent ends itself after this.
pub const IDLE: Duration = Duration::from_secs(60);
