//! Definitions as people write them: YAML files, checked, compiled to [`crate::workflow::Workflow`] or a lock.

use crate::{
    AgentName, ContentHash, LockName, VariableName, WorkflowName, command::By, lock::LockDefinition, workflow::Parameter,
    workflow::Workflow,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowDeployed {
    pub workflow: WorkflowName,
    /// From 1, by name.
    pub version: u32,
    pub hash: ContentHash,
    pub by: By,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Compiled {
    pub items: Vec<Item>,
}

/// One YAML document of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub file: String,
    pub definition: Definition,
    /// Normalised JSON: equal definitions have equal bytes. What the definition store keeps, named by its hash.
    pub body: Vec<u8>,
    pub hash: ContentHash,
    /// Texts of scripts by their hash; to be stored beside the body.
    pub scripts: BTreeMap<ContentHash, String>,
    /// Places of what [`check_together`] looks at.
    pub(crate) places: BTreeMap<String, Place>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Definition {
    Workflow(Workflow),
    Lock(LockDefinition),
}

/// A stretch of one line of a file: line and column from 1, columns and length in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    pub length: usize,
}

/// Something wrong in a file, in words, at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub length: usize,
    pub message: String,
    pub help: Option<String>,
}

/// What the site has already.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Known {
    pub workflows: BTreeMap<WorkflowName, KnownWorkflow>,
    /// With their capacity.
    pub locks: BTreeMap<LockName, u32>,
    /// None: not known, so not checked.
    pub agents: Option<BTreeSet<AgentName>>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct KnownWorkflow {
    pub parameters: BTreeMap<VariableName, Parameter>,
    /// The workflows that it calls.
    pub calls: BTreeSet<WorkflowName>,
}

/// Reads and checks one file by itself.
pub fn read(_file_name: &str, _text: &str) -> Result<Compiled, Vec<Problem>> {
    Ok(Compiled::default())
}

/// Checks what lies between definitions: calls, locks, agents. Empty: all may be deployed.
pub fn check_together(_items: &[Item], _known: &Known) -> Vec<Problem> {
    Vec::new()
}

/// A difference between two versions of a workflow, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The label of the step; empty for the workflow itself.
    pub label: String,
    pub text: String,
}

pub fn difference(_old: &Workflow, _new: &Workflow) -> Vec<Change> {
    Vec::new()
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
