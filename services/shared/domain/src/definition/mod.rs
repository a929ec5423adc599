//! Definitions as people write them: YAML files, checked, compiled to [`crate::workflow::Workflow`] or a lock.
//!
//! # Layout
//! - [`read()`] takes one file: `yaml.rs` makes a tree with places of it; `read.rs`, `document.rs`, `parameter.rs`,
//!   `step.rs`, `job.rs` make definitions of the tree, and note all problems, see `problem.rs`.
//! - [`check_together`] looks at what lies between definitions: `together.rs`.
//! - [`file_form`] makes a file of a workflow, [`verify`] checks one that did not come from a file: `form.rs`.
//! - [`difference`] says what a new version changes: `difference.rs`.
//! - [`mod@file`] holds the shape of files for JSON Schemas; `file_<kind>.rs` and `<kind>.rs` do the same for what services
//!   act by.
//!
//! # Labels
//! A step's label is what its `label:` says, else the name of the job, else its kind and a number: the first `if` without
//! a label is `if1`, the second `if2`, in the order of the file. Numbers that a given label has taken are passed over.
//! Such a label changes when another step of its kind is put before it: give one where it shall stay.

mod difference;
mod document;
pub mod file;
pub mod file_log_rule;
pub mod file_retention;
pub mod file_rule;
pub mod file_schedule;
mod form;
mod item;
mod job;
mod log_rule;
mod maintenance;
mod parameter;
mod problem;
mod read;
mod retention;
mod rule;
mod schedule;
mod step;
#[cfg(test)]
mod tests;
mod together;
mod yaml;

use crate::{ContentHash, WorkflowName, command::By};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use difference::{Change, catalog_difference, difference, step_count};
pub use document::read;
pub use form::{file_form, file_text, verify};
pub use item::{Compiled, Definition, Item};
pub use parameter::default_order;
pub use problem::{Place, Problem};
pub use together::{Known, KnownWorkflow, check_together};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowDeployed {
    pub workflow: WorkflowName,
    /// From 1, by name.
    pub version: u32,
    pub hash: ContentHash,
    pub by: By,
}
/// The known word that a misspelt one is most like.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    known.into_iter().map(|k| (distance(word, k), k)).filter(|(d, _)| *d <= limit).min().map(|(_, k)| k)
}

/// Letters to change, leave out, put in or swap, without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(60).flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().take(60).flat_map(char::to_lowercase).collect();
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let least = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped { least.min(rows[i - 2][j - 2] + 1) } else { least }
            };
        }
    }
    rows[a.len()][b.len()]
}
