//! What a file gives: definitions with their stored bodies, and what each uses of others, with places.

use super::problem::Place;
use crate::{
    AgentName, ContentHash, LockName, Value, VariableName, WorkflowName, catalog::CatalogDefinition,
    command::DeployItem, expression::KindOrAny, lock::LockDefinition, workflow::Workflow,
};
use std::collections::BTreeMap;

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
    pub(super) uses: Uses,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Definition {
    Workflow(Workflow),
    Lock(LockDefinition),
    Catalog(CatalogDefinition),
}

impl Definition {
    pub fn name(&self) -> &str {
        match self {
            Definition::Workflow(workflow) => workflow.name.as_str(),
            Definition::Lock(lock) => lock.name.as_str(),
            Definition::Catalog(definition) => definition.name().as_str(),
        }
    }

    /// `workflow`, `lock`, `schedule`, ….
    pub fn kind(&self) -> &'static str {
        match self {
            Definition::Workflow(_) => "workflow",
            Definition::Lock(_) => "lock",
            Definition::Catalog(definition) => definition.kind().word(),
        }
    }

    /// Normalised JSON.
    pub fn body(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Definition::Workflow(workflow) => serde_json::to_vec(workflow),
            Definition::Lock(lock) => serde_json::to_vec(lock),
            Definition::Catalog(definition) => serde_json::to_vec(definition),
        }
    }
}

impl Item {
    /// As the deploy command names it.
    pub fn deploy_item(&self) -> DeployItem {
        match &self.definition {
            Definition::Workflow(w) => DeployItem::Workflow { name: w.name.clone(), hash: self.hash.clone() },
            Definition::Lock(l) => DeployItem::Lock { name: l.name.clone(), hash: self.hash.clone() },
            Definition::Catalog(d) => {
                DeployItem::Definition { kind: d.kind(), name: d.name().clone(), hash: self.hash.clone() }
            }
        }
    }

    /// The agents that its jobs name.
    pub fn agents(&self) -> impl Iterator<Item = &AgentName> {
        self.uses.agents.keys()
    }
}

/// What a definition uses of others, and where it says so.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Uses {
    /// Of the definition's own name.
    pub name: Place,
    pub calls: Vec<CallUse>,
    pub locks: Vec<LockUse>,
    /// The first place of each.
    pub agents: BTreeMap<AgentName, Place>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct CallUse {
    /// For messages: `step load`.
    pub by: String,
    pub workflow: WorkflowName,
    pub place: Place,
    pub arguments: BTreeMap<VariableName, ArgumentUse>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ArgumentUse {
    /// Of its name, and of its value.
    pub name: Place,
    pub place: Place,
    pub kind: KindOrAny,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct LockUse {
    pub lock: LockName,
    pub weight: u32,
    pub place: Place,
}
