//! What can go wrong around a server: what was attempted, where, what would be right.

use std::path::{Path, PathBuf};

/// Why a server is not there.
#[derive(Debug, thiserror::Error)]
pub enum ServersError {
    /// A program is not installed in a version that is new enough.
    #[error(
        "{program} {wanted} or later not found{seen}; install it, or run `make servers`, or set ORDO_SERVERS to the folder that `make servers` filled"
    )]
    NotFound {
        /// `nats-server` or `PostgreSQL`.
        program: &'static str,
        /// The oldest version that will do.
        wanted: &'static str,
        /// Older or incomplete ones that were seen, with their paths.
        seen: String,
    },
    /// A file or folder could not be used.
    #[error("cannot {attempt} {path}")]
    File {
        /// `read`, `write`, …
        attempt: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("cannot start {program}")]
    Start {
        /// Which.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A program ended instead of serving, or a one-off program failed.
    #[error("{program} ended with {status}: {tail}")]
    Ended {
        /// Which.
        program: String,
        /// How.
        status: String,
        /// The last lines it wrote.
        tail: String,
    },
    /// A server runs but does not serve in time.
    #[error("{program} on port {port} did not serve within {seconds} s: {last}")]
    NotServing {
        /// Which.
        program: &'static str,
        /// Where.
        port: u16,
        /// How long it was given.
        seconds: u64,
        /// What the last probe said.
        last: String,
    },
    /// A key file does not hold a key of the right kind.
    #[error("{path} holds no {kind} key: {reason}")]
    Key {
        /// Which file.
        path: PathBuf,
        /// `operator`, `account`, …
        kind: &'static str,
        /// Why.
        reason: String,
    },
    /// The site's name is not one.
    #[error(transparent)]
    Site(#[from] ordo_contract::name::InvalidSite),
    /// PostgreSQL refused a statement while roles or databases were made.
    #[error("PostgreSQL refused to {attempt}: {reason}")]
    Statement {
        /// What was to be done.
        attempt: String,
        /// The server's words.
        reason: String,
    },
    /// PostgreSQL refuses root and no other user can be taken.
    #[error("PostgreSQL refuses to run as root, and there is neither a user postgres nor a user nobody to run it as")]
    NoUser,
}

impl ServersError {
    /// For `map_err` on file operations.
    pub(crate) fn file(attempt: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { attempt, path, source }
    }
}
