//! Why the active part of a service ends.

use ordo_journal::{BusError, BusErrorKind, FollowError};
use ordo_store::StoreError;

/// Ends being active. Waiting does not help here: what heals by itself is waited out where it happens.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// Told to.
    #[error("stopped")]
    Told,
    /// Another instance wrote.
    #[error("another instance of this service is active")]
    Fenced(#[source] StoreError),
    /// Commits that the rows were not made from are gone, or the rows were made from another journal. A service that
    /// can begins anew; for the others it is trouble.
    #[error("{0}")]
    Broken(String),
    /// A person must look at it, or another build can do it.
    #[error("{0}")]
    Trouble(String),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        match error {
            fenced @ StoreError::Fenced { .. } => Stop::Fenced(fenced),
            broken @ (StoreError::RebuildNeeded { .. }
            | StoreError::OtherChain { .. }
            | StoreError::IncarnationUnknown { .. }) => Stop::Broken(chain(&broken)),
            other => Stop::Trouble(chain(&other)),
        }
    }
}

impl From<BusError> for Stop {
    fn from(error: BusError) -> Self {
        match error.kind() {
            BusErrorKind::Closed | BusErrorKind::Cancelled => Stop::Told,
            _ => Stop::Trouble(chain(&error)),
        }
    }
}

impl From<FollowError> for Stop {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Bus(error) => error.into(),
            FollowError::Gap { stream, expected, found } => Stop::Broken(format!(
                "rebuild needed: {stream} begins at {found}, the database wants {expected} next; restore a database whose position \
                 the journal still covers"
            )),
            other => Stop::Broken(format!("rebuild needed: {other}")),
        }
    }
}

/// The error and its sources, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
