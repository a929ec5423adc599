//! From messages of the journal to commits: in order, none missing, each the follower of the one before.

use crate::error::StoreError;
use crate::projection::Position;
use ordo_contract::commit::{COMMIT_VERSION, Commit, chain_hash};
use ordo_domain::Event;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A message of the journal that is a commit.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub sequence: u64,
    pub bytes: &'a [u8],
}

/// A commit, and the very text of its causes and events.
pub struct Decoded<'a> {
    pub sequence: u64,
    pub commit: Commit,
    pub(crate) texts: Vec<DecisionText<'a>>,
}

impl Decoded<'_> {
    /// Its events, with the index that each has in the commit.
    pub fn events(&self) -> impl Iterator<Item = (u32, &Event)> {
        (0..).zip(self.commit.decisions.iter().flat_map(|decision| &decision.events))
    }
}

#[derive(Deserialize)]
struct CommitText<'a> {
    #[serde(borrow)]
    decisions: Vec<DecisionText<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct DecisionText<'a> {
    #[serde(borrow)]
    pub(crate) cause: &'a RawValue,
    #[serde(borrow)]
    pub(crate) events: Vec<&'a RawValue>,
}

/// Decodes what follows `position` and moves it; `None` for what it has behind it already.
///
/// Not the sequence decides whether something is missing but the chain: what lies in the journal and is no commit takes
/// a sequence too, and is not given to us.
pub(crate) fn decode<'a>(position: &mut Position, message: Message<'a>) -> Result<Option<Decoded<'a>>, StoreError> {
    let Message { sequence, bytes } = message;
    if sequence <= position.sequence {
        return Ok(None);
    }
    let stream = || position.stream.clone();
    let unreadable = |reason: String| StoreError::Unreadable { stream: stream(), sequence, reason };
    // The envelope first: a newer version may hold events that cannot be read.
    let commit = Commit::decode(bytes).map_err(|e| unreadable(e.to_string()))?;
    if commit.v > COMMIT_VERSION {
        return Err(unreadable(format!("version {}, this build reads up to {COMMIT_VERSION}", commit.v)));
    }
    if commit.prev_hash != position.hash {
        return Err(if sequence == position.sequence + 1 && position.sequence > 0 {
            StoreError::OtherChain { stream: stream(), sequence }
        } else {
            StoreError::RebuildNeeded { stream: stream(), position: position.sequence, found: sequence }
        });
    }
    let texts: CommitText<'a> = serde_json::from_slice(bytes).map_err(|e| unreadable(e.to_string()))?;
    position.sequence = sequence;
    position.hash = chain_hash(bytes);
    position.epoch = position.epoch.max(commit.epoch);
    position.at = Some(commit.at);
    Ok(Some(Decoded { sequence, commit, texts: texts.decisions }))
}
