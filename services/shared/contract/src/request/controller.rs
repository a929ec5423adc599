//! What the active controller answers: it alone may take anything away on the bus, and knows what is still needed.
//! Only the cleanup may ask.

use crate::name::StreamKind;
use ordo_domain::{ContentHash, Instant};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const STREAM_PURGE: &str = "stream.purge";
pub const SNAPSHOT_SWEEP: &str = "snapshot.sweep";
pub const DEFINITION_SWEEP: &str = "definition.sweep";

/// Streams that may be purged. Nothing of JOBS ever is: a job goes when its agent took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PurgedStream {
    Journal,
    Commands,
    Reports,
    Output,
    Logs,
    Notices,
}

impl PurgedStream {
    pub fn kind(self) -> StreamKind {
        match self {
            PurgedStream::Journal => StreamKind::Journal,
            PurgedStream::Commands => StreamKind::Commands,
            PurgedStream::Reports => StreamKind::Reports,
            PurgedStream::Output => StreamKind::Output,
            PurgedStream::Logs => StreamKind::Logs,
            PurgedStream::Notices => StreamKind::Notices,
        }
    }
}

/// Takes away what was stored before this and nobody needs any more: the controller itself, readers, snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamPurgeRequest {
    pub stream: PurgedStream,
    pub before: Instant,
    /// Only says what would go.
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StreamPurgeReply {
    pub messages: u64,
    /// Their share of the stream's bytes.
    pub bytes: u64,
    /// Who needs some of what is older, in words; none where all of it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
}

/// Takes away snapshots from before this, never one of the two newest good ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotSweepRequest {
    pub before: Instant,
    #[serde(default)]
    pub dry_run: bool,
}

/// Takes away bodies that were stored, and last deployed, before this and that nothing uses: no newest version, no order,
/// no run, and nothing in `keep`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DefinitionSweepRequest {
    pub before: Instant,
    /// Used elsewhere, as by orders in the history; with the scripts of their jobs.
    #[serde(default)]
    pub keep: Vec<ContentHash>,
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SweepReply {
    pub objects: u64,
    pub bytes: u64,
    /// There is more of it: ask again.
    #[serde(default)]
    pub more: bool,
}
