//! A copy of the state that follows the journal: the controller's own, a standby's, a proxy's, and what a snapshot holds.

use crate::commit::{COMMIT_VERSION, Cause, Commit, Source, chain_hash};
use ordo_domain::{Event, Instant, Site};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Of a replica's JSON in a snapshot. A change of the state's form raises it.
pub const SNAPSHOT_FORMAT: u32 = 1;

/// The state after a commit, and all that is needed to take the next one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Replica {
    /// Of the last applied commit in its stream; 0 before the first.
    pub sequence: u64,
    /// Of the journal stream; empty before the first.
    pub incarnation: String,
    /// Chain hash of the last commit.
    pub hash: String,
    /// All decisions ever.
    pub decisions: u64,
    /// The last consumed message of each source, and how much of it.
    pub causes: BTreeMap<Source, CausePosition>,
    pub site: Site,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CausePosition {
    pub incarnation: String,
    pub sequence: u64,
    pub part: u32,
    pub parts: u32,
}

impl CausePosition {
    /// All its parts are journalled.
    pub fn is_complete(&self) -> bool {
        self.part == self.parts
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    #[error("journal sequence {found} where {expected} was next: commits are missing")]
    Gap { expected: u64, found: u64 },
    #[error("the commit at journal sequence {sequence} does not follow the one before it: another journal, or changed")]
    Chain { sequence: u64 },
    #[error("the commit at journal sequence {sequence} cannot be read; a newer Ordo may have written it")]
    Unreadable {
        sequence: u64,
        #[source]
        source: serde_json::Error,
    },
    #[error("the commit at journal sequence {sequence} has version {version}; this build reads up to {COMMIT_VERSION}")]
    Version { sequence: u64, version: u32 },
    #[error("an event at journal sequence {sequence} does not fit the state")]
    NotApplicable {
        sequence: u64,
        #[source]
        source: ordo_domain::apply::NotApplicable,
    },
    #[error("the state at journal sequence {sequence} differs from what the journal says it was")]
    Digest { sequence: u64 },
}

impl Replica {
    /// Reads and applies the next message of the journal.
    pub fn take(&mut self, sequence: u64, bytes: &[u8]) -> Result<Commit, ReplicaError> {
        if sequence <= self.sequence {
            return Err(ReplicaError::Gap { expected: self.sequence + 1, found: sequence });
        }
        let commit = Commit::decode(bytes).map_err(|source| ReplicaError::Unreadable { sequence, source })?;
        if commit.v > COMMIT_VERSION {
            return Err(ReplicaError::Version { sequence, version: commit.v });
        }
        // The chain is what proves that none is missing: a message that is no commit may stand between two of them.
        if commit.prev_hash != self.hash {
            return Err(match sequence - self.sequence {
                1 => ReplicaError::Chain { sequence },
                _ => ReplicaError::Gap { expected: self.sequence + 1, found: sequence },
            });
        }
        // Before the events: the digest covers the state with the time of its own commit.
        self.site.at = Some(commit.at);
        for decision in &commit.decisions {
            for event in &decision.events {
                if let Event::StateDigest(digest) = event
                    && digest.hash != self.digest()
                {
                    return Err(ReplicaError::Digest { sequence });
                }
                ordo_domain::apply::apply(&mut self.site, commit.at, event)
                    .map_err(|source| ReplicaError::NotApplicable { sequence, source })?;
            }
            self.note(&decision.cause);
        }
        self.committed(sequence, commit.at, bytes);
        Ok(commit)
    }

    /// Moves the position of the cause. Called once for each decision, after its events.
    pub fn note(&mut self, cause: &Cause) {
        self.decisions += 1;
        if let Cause::Message(m) = cause {
            let position = CausePosition {
                incarnation: m.incarnation.clone(),
                sequence: m.sequence,
                part: m.part,
                parts: m.parts,
            };
            self.causes.insert(m.source, position);
        }
    }

    /// The commit with these bytes is in the journal at this sequence.
    pub fn committed(&mut self, sequence: u64, at: Instant, bytes: &[u8]) {
        self.sequence = sequence;
        self.hash = chain_hash(bytes);
        self.site.at = Some(at);
    }

    /// SHA-256 of the site's JSON: equal states have equal digests.
    pub fn digest(&self) -> String {
        self.site.digest()
    }
}
