//! What may go wrong on the bus, in Ordo's words. Errors of the NATS library do not leave this crate by type; they stay
//! reachable as `source` for whoever prints the chain.

use std::fmt;
use thiserror::Error;

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What kind of trouble it is; decides what the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusErrorKind {
    /// No server answers at the address.
    Unreachable,
    /// The server does not accept the credentials.
    Unauthorized,
    /// The server is older than what Ordo needs.
    TooOld,
    /// The configuration of the connection is not usable (address, credentials file, CA).
    Configuration,
    /// No answer in time. Whether anything happened is unknown; a missing right also looks like this.
    Timeout,
    /// Nobody listens on the subject.
    NoResponders,
    /// The stream, message, object or consumer does not exist.
    NotFound,
    /// Larger than what is allowed there.
    TooLarge,
    /// The server refused the request.
    Rejected,
    /// Bytes that are not what they should be.
    Corrupt,
    /// This connection was closed by us.
    Closed,
    /// The caller cancelled while waiting.
    Cancelled,
}

/// An error of the bus: what was attempted and, where known, what would be right.
#[derive(Debug, Error)]
#[error("{text}")]
pub struct BusError {
    kind: BusErrorKind,
    text: String,
    #[source]
    source: Option<Source>,
}

impl BusError {
    pub(crate) fn new(kind: BusErrorKind, text: impl fmt::Display) -> Self {
        Self { kind, text: text.to_string(), source: None }
    }

    pub(crate) fn with(kind: BusErrorKind, text: impl fmt::Display, source: impl Into<Source>) -> Self {
        Self { kind, text: text.to_string(), source: Some(source.into()) }
    }

    pub(crate) fn cancelled(attempt: impl fmt::Display) -> Self {
        Self::new(BusErrorKind::Cancelled, format_args!("{attempt}: stopped waiting because we are shutting down"))
    }

    pub fn kind(&self) -> BusErrorKind {
        self.kind
    }

    /// True when trying the same again later may work: the bus, not the request, is the trouble.
    pub fn is_passing(&self) -> bool {
        matches!(self.kind, BusErrorKind::Unreachable | BusErrorKind::Timeout | BusErrorKind::NoResponders)
    }
}
