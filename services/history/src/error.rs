//! Why the active part of the service ends.

use ordo_journal::{BusError, BusErrorKind, FollowError};
use ordo_store::StoreError;

/// Ends being active. Waiting does not help here: what heals by itself is waited out where it happens.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// Told to.
    #[error("stopped")]
    Told,
    /// Another instance wrote.
    #[error("another instance of history is active")]
    Fenced(#[source] StoreError),
    /// A person must look at it, or another build can do it.
    #[error("{0}")]
    Trouble(String),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        match error {
            fenced @ StoreError::Fenced { .. } => Stop::Fenced(fenced),
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
            FollowError::Gap { stream, expected, found } => Stop::Trouble(format!(
                "rebuild needed: {stream} begins at {found}, the database wants {expected} next; restore a database whose position \
                 the journal still covers"
            )),
            other => Stop::Trouble(format!("rebuild needed: {other}")),
        }
    }
}

/// The error and its sources, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
