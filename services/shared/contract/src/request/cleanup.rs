//! What the cleanup answers: to clean up now, to say what it would do, and how far it is.

use ordo_domain::{
    Instant,
    retention::{Retention, RetentionKind},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const RUN: &str = "cleanup.run";
pub const STATUS: &str = "cleanup.status";

/// Begins to clean up at once, whatever the window; what runs already goes on and is the answer. A dry run only counts
/// what would go now. `cleanup.status` shows how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CleanupRunRequest {
    pub dry_run: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CleanupRunReply {
    pub run: CleanupRunLine,
    /// It ran already.
    #[serde(default)]
    pub joined: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CleanupStatusReply {
    pub at: Instant,
    pub retention: Retention,
    /// Of the definition; none where nothing is deployed and the defaults hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// When the window closes that is open now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes_at: Option<Instant>,
    /// When it opens next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens_at: Option<Instant>,
    /// Newest first.
    pub runs: Vec<CleanupRunLine>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CleanupRunLine {
    pub run: i64,
    /// `running`, `done`, `stopped` (its window closed), `failed`.
    pub state: String,
    /// It only counts.
    #[serde(default)]
    pub dry_run: bool,
    /// None: the window opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
    pub started_at: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Instant>,
    pub steps: Vec<CleanupStepLine>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CleanupStepLine {
    pub kind: RetentionKind,
    /// What ended before this goes.
    pub cut_off: Instant,
    /// `waiting`, `done`, `failed`.
    pub state: String,
    /// What went, or would go: `orders`, `steps`, `messages`, `bytes`, ….
    pub counts: BTreeMap<String, u64>,
    /// Why it failed, or what it left and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_at: Option<Instant>,
}
