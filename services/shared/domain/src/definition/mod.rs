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
