//! Messages of OUTPUT: raw bytes that a job printed, in chunks numbered from 1 per run; all that is known of them is in headers.

/// The run that printed it.
pub const RUN: &str = "Ordo-Run";
pub const ORDER: &str = "Ordo-Order";
pub const JOB: &str = "Ordo-Job";
/// `stdout` or `stderr`.
pub const CHANNEL: &str = "Ordo-Channel";
/// From 1, without gaps.
pub const CHUNK: &str = "Ordo-Chunk";
/// When the chunk was cut, RFC 3339.
pub const AT: &str = "Ordo-At";
/// Set to the number of bytes left out between this chunk and the one before it.
pub const OMITTED: &str = "Ordo-Omitted-Bytes";

/// Longest chunk, in bytes.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Request to the role history, `output.stored`: which chunks of these runs are in the database.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoredRequest {
    /// At most 500.
    pub runs: Vec<ordo_domain::RunId>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct StoredReply {
    pub runs: Vec<StoredRun>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct StoredRun {
    pub run: ordo_domain::RunId,
    /// Chunks 1 to this are all stored.
    pub through: u32,
    /// Stored ones above that.
    pub also: Vec<u32>,
    /// The run's end is in history and its log matches: the agent may delete its files.
    pub complete: bool,
}
