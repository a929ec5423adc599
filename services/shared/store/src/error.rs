//! What can go wrong with PostgreSQL, without the types of its driver: what was attempted, at which server, what would
//! be right. The driver's own words are the source.

use std::fmt;

/// What the server or the driver said. Its text never holds values of rows or credentials: of a server's error only
/// code and primary message are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The SQLSTATE, where the server answered.
    pub code: Option<String>,
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} (SQLSTATE {code})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Fault {}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database address {address:?} cannot be used: {reason}; right is postgres://role@host:port/database")]
    Address { address: String, reason: String },
    #[error("the file {path} with the database's certificate authority cannot be used: {reason}")]
    Authority { path: String, reason: String },
    /// Nobody answers, or the connection broke: try again with back-off.
    #[error("PostgreSQL at {at} cannot be reached ({attempt})")]
    Unreachable {
        at: String,
        attempt: &'static str,
        #[source]
        source: Fault,
    },
    /// The server is there, but not for us: role, password, database or TLS are wrong.
    #[error("PostgreSQL at {at} does not let us in; check role, password, database name and sslmode")]
    NotAdmitted {
        at: String,
        #[source]
        source: Fault,
    },
    #[error("PostgreSQL at {at} has version {found}; Ordo needs 15 or later")]
    TooOld { at: String, found: String },
    #[error(
        "the database at {at} has schema {found}, this build needs {needed}: run `ordo db migrate` with the owner's role"
    )]
    NotMigrated { at: String, found: i32, needed: i32 },
    #[error(
        "migration {version} ({name}) was changed after it was applied to {at}: restore the file, changes come as a new migration"
    )]
    MigrationChanged { at: String, version: i32, name: String },
    #[error(
        "the database at {at} holds the history of site {found}, not of {wanted}: give each site a database of its own"
    )]
    OtherSite { at: String, found: String, wanted: String },
    /// Somebody else moved the projection: he is active, we are not any more.
    #[error("the projection of {stream} was moved from {ours} to {theirs} by another instance")]
    Fenced { stream: String, ours: u64, theirs: u64 },
    /// Messages are missing between the position and what came: never passed over in silence.
    #[error(
        "{stream}: after {position} came {found}, commits between them are missing; rebuild needed: restore a database whose position the journal still covers, or a journal that covers {position}"
    )]
    RebuildNeeded { stream: String, position: u64, found: u64 },
    #[error(
        "the commit at {stream} {sequence} does not follow the one that the database was built from: another journal, or a changed one; rebuild needed"
    )]
    OtherChain { stream: String, sequence: u64 },
    /// The stream is another one than the rows were made from.
    #[error(
        "{stream} has incarnation {found:?}, the database was built from {known:?}: the stream was made anew or restored; a person must decide what becomes of the history"
    )]
    IncarnationUnknown { stream: String, known: String, found: String },
    #[error("the commit at {stream} {sequence} cannot be read ({reason}); a newer Ordo may have written it")]
    Unreadable { stream: String, sequence: u64, reason: String },
    #[error("{what}")]
    Refused { what: String },
    #[error("{attempt} failed in PostgreSQL at {at}")]
    Failed {
        at: String,
        attempt: &'static str,
        #[source]
        source: Fault,
    },
}

impl StoreError {
    /// The same may succeed later without anybody doing anything: the database is away, busy or starting.
    pub fn is_passing(&self) -> bool {
        match self {
            StoreError::Unreachable { .. } => true,
            StoreError::Failed { source, .. } | StoreError::NotAdmitted { source, .. } => {
                match source.code.as_deref() {
                    // Connection, resources, operator's intervention, serialisation and deadlock, lock timeout, read-only standby.
                    Some(code) => {
                        ["08", "53", "57", "58", "40"].contains(&&code[..2]) || code == "55P03" || code == "25006"
                    }
                    None => matches!(self, StoreError::Failed { .. }),
                }
            }
            _ => false,
        }
    }

    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            StoreError::Failed { source, .. } => source.code.as_deref(),
            _ => None,
        }
    }
}

/// Words for what the driver says, without values.
pub(crate) fn fault(error: &tokio_postgres::Error) -> Fault {
    if let Some(db) = error.as_db_error() {
        return Fault { code: Some(db.code().code().to_owned()), message: db.message().to_owned() };
    }
    let mut message = error.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = inner.source();
    }
    Fault { code: None, message }
}

/// Sorts an error of the driver: away, not for us, or this statement failed.
pub(crate) fn sort(at: &str, attempt: &'static str, error: &tokio_postgres::Error) -> StoreError {
    let (at, source) = (at.to_owned(), fault(error));
    match source.code.as_deref() {
        Some(code) if code.starts_with("28") || code == "3D000" => StoreError::NotAdmitted { at, source },
        Some(code) if code.starts_with("08") || code.starts_with("57P") => {
            StoreError::Unreachable { at, attempt, source }
        }
        Some(_) => StoreError::Failed { at, attempt, source },
        None if is_local(error) => StoreError::Failed { at, attempt, source },
        None => StoreError::Unreachable { at, attempt, source },
    }
}

/// The driver refused it before it reached the server: wrong types, a programming mistake.
fn is_local(error: &tokio_postgres::Error) -> bool {
    let text = error.to_string();
    text.starts_with("error serializing")
        || text.starts_with("error deserializing")
        || text.starts_with("invalid column")
}
