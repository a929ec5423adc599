//! One message of the journal: the decisions of one append, and why each was made.

use ordo_domain::{Event, InstanceId, Instant};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Of the envelope. A reader that meets a higher one stops.
pub const COMMIT_VERSION: u32 = 1;
/// The highest level of events that this build can read and write.
pub const EVENT_LEVEL: u32 = 1;

/// In JSON, in this order: what a person wants to see first comes first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Commit {
    pub v: u32,
    pub epoch: u64,
    /// The time of all events in it. Never before that of the commit before it.
    pub at: Instant,
    /// Of the program that wrote it.
    pub build: String,
    /// The first 32 hex digits of the SHA-256 of the bytes of the commit before it; empty in the first.
    pub prev_hash: String,
    pub decisions: Vec<Decision>,
}

/// The events that one cause makes on the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    pub cause: Cause,
    /// What it is about, for readers: an order id, a run, a command.
    pub entity: String,
    pub events: Vec<Event>,
}

/// Where a decision comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A consumed message. Each ends in at least one decision, a refusal too, so that the position always moves.
    Message(MessageCause),
    /// A due start or the end of a delay.
    Timer,
    /// What follows by itself from the state: at activation, or after a part of something large.
    Advance,
    /// A controller took over.
    Activation { instance: InstanceId },
    /// The controller's regular comparison with what lives: lost runs, ended orders to forget, digests.
    Upkeep,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageCause {
    pub source: Source,
    pub incarnation: String,
    pub sequence: u64,
    /// Part k of n of a message whose consequences do not fit into one commit; from 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub part: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub parts: u32,
}

fn one() -> u32 {
    1
}

fn is_one(n: &u32) -> bool {
    *n == 1
}

/// The streams whose messages the controller turns into facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Commands,
    Reports,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Commands => "COMMANDS",
            Source::Reports => "REPORTS",
        })
    }
}

impl Commit {
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// The chain hash of a commit's bytes.
pub fn chain_hash(bytes: &[u8]) -> String {
    ordo_domain::ContentHash::of(bytes).as_str()[..32].to_owned()
}
