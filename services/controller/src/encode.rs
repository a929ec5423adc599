//! Decisions and commits as JSON. Each event is written once; a commit is put together from what is written already.

use ordo_contract::commit::{COMMIT_VERSION, Cause};
use ordo_domain::{Event, Instant, effect::Effect, limit};
use serde::Serialize;
use serde_json::value::RawValue;
use std::ops::Range;

/// Consequences beyond this go into a decision of their own, so that each decision fits into a commit.
const DECISION_BYTES: usize = limit::COMMIT_BYTES / 2;

pub struct EncodedDecision {
    pub cause: Cause,
    pub at: Instant,
    pub json: Box<RawValue>,
    pub effects: Vec<Effect>,
    events: Range<usize>,
}

impl EncodedDecision {
    pub fn bytes(&self) -> usize {
        self.json.get().len() + 1
    }
    /// Its own of all events that were settled together.
    pub fn events<'a>(&self, all: &'a [Event]) -> &'a [Event] {
        &all[self.events.clone()]
    }
}

#[derive(Serialize)]
struct DecisionOut<'a> {
    cause: &'a Cause,
    entity: &'a str,
    events: &'a [Box<RawValue>],
}

/// Cuts events into decisions. The first `own` stay together under their cause; consequences that are too many go on
/// under [`Cause::Advance`]: `advance` finds them again from the state if the program dies in between.
pub fn decisions(
    cause: Cause,
    entity: &str,
    own: usize,
    events: &[Event],
    at: Instant,
) -> Result<Vec<EncodedDecision>, serde_json::Error> {
    let mut encoded = Vec::new();
    let (mut start, mut bytes, mut open) = (0, 0, Vec::new());
    let mut cause = cause;
    for (i, event) in events.iter().enumerate() {
        let json = serde_json::value::to_raw_value(event)?;
        if i >= own && bytes + json.get().len() > DECISION_BYTES && !open.is_empty() {
            encoded.push(decision(cause, entity, &open, start..i, at)?);
            cause = Cause::Advance;
            (start, bytes) = (i, 0);
            open.clear();
        }
        bytes += json.get().len();
        open.push(json);
    }
    if !open.is_empty() {
        encoded.push(decision(cause, entity, &open, start..events.len(), at)?);
    }
    Ok(encoded)
}

fn decision(
    cause: Cause,
    entity: &str,
    events: &[Box<RawValue>],
    range: Range<usize>,
    at: Instant,
) -> Result<EncodedDecision, serde_json::Error> {
    let json = serde_json::value::to_raw_value(&DecisionOut { cause: &cause, entity, events })?;
    Ok(EncodedDecision { cause, at, json, effects: Vec::new(), events: range })
}

#[derive(Serialize)]
struct CommitOut<'a> {
    v: u32,
    epoch: u64,
    at: Instant,
    build: &'a str,
    prev_hash: &'a str,
    decisions: &'a [Box<RawValue>],
}

/// The bytes of a commit, the same as those of [`ordo_contract::commit::Commit`].
pub fn commit(
    epoch: u64,
    at: Instant,
    build: &str,
    prev_hash: &str,
    decisions: &[Box<RawValue>],
) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&CommitOut { v: COMMIT_VERSION, epoch, at, build, prev_hash, decisions })
}
