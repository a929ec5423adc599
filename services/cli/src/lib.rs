//! The commands for people: every `ordo <noun> <verb>` that talks to a running site.
//!
//! Owns what people type and read. Asks the proxy and the history over the bus and decides nothing: what it cannot learn
//! from an answer it does not say. Must never: touch a stream, read the database, or know a host other than the bus.
//!
//! # Layout
//! - [`arguments`]: what can be typed, with the texts of the manual
//! - [`settings`]: flags, environment and `ordo.env` become an address and a user
//! - [`client`]: one question, one answer; [`error`]: what can go wrong, with its exit code
//! - [`command`]: one file per noun, each ends in a view of `show`
//! - [`show`]: tables, colours, times, and other people's text made harmless
//! - [`watch`]: an order, live; [`deploy`](command::deploy): definitions, from files or texts
//!
//! For the binary: flatten [`Command`] and [`Common`] into your parser and call [`run`].

pub mod arguments;
pub mod client;
pub mod command;
pub mod error;
pub mod settings;
pub mod show;
pub mod value;
pub mod watch;

pub use arguments::{AgentCommand, Command, Common};
pub use client::Client;
pub use command::deploy::{DeployText, Deployed, deploy_texts};
pub use error::{CliError, Exit};
pub use watch::{Ended, WatchOptions, add_and_watch, watch_order};

use std::process::ExitCode;

/// Carries out one command and prints what there is to say: results to standard output, errors (once) to standard
/// error. The code is one of design part 10, see [`Exit`].
pub async fn run(command: Command, common: Common) -> ExitCode {
    let look = show::Look::of_terminal(&common);
    match command::dispatch(command, &common, &look).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            error.print(&look);
            error.exit().into()
        }
    }
}
