//! What came of one attempt for one recipient.

/// `server` = which one said so, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The server took over responsibility.
    Accepted { server: String, response: String },
    /// It may go well by itself: greylisting, a server that is away or slow, a connection cut after DATA. The same message,
    /// with the same Message-ID, is tried again.
    Later { server: String, why: String },
    /// This recipient will not get it, however often it is tried.
    Refused { server: String, why: String },
    /// A person must repair the configuration: a bad certificate, a refused log-in, a refused sender. Tried again slowly,
    /// as then everything goes out that had to wait.
    Trouble { server: String, why: String },
}

impl Outcome {
    pub fn is_accepted(&self) -> bool {
        matches!(self, Outcome::Accepted { .. })
    }

    /// What is shown of it.
    pub fn words(&self) -> &str {
        match self {
            Outcome::Accepted { response, .. } => response,
            Outcome::Later { why, .. } | Outcome::Refused { why, .. } | Outcome::Trouble { why, .. } => why,
        }
    }

    pub fn server(&self) -> &str {
        match self {
            Outcome::Accepted { server, .. }
            | Outcome::Later { server, .. }
            | Outcome::Refused { server, .. }
            | Outcome::Trouble { server, .. } => server,
        }
    }
}
