//! Everything that can be asked of a site.

use crate::{
    AgentName, ContentHash, DefinitionName, LockName, OrderId, UserName, WorkflowName,
    agent::AddAgent,
    catalog::{DefinitionKind, NoteStarts, RemoveDefinitions, RemoveItem, ResumeSchedules, SuspendSchedules},
    order::command::*,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// In JSON: `{"add_orders": {…}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    AddOrders(AddOrders),
    CancelOrders(CancelOrders),
    SuspendOrders(SuspendOrders),
    ResumeOrders(ResumeOrders),
    Deploy(Deploy),
    AddAgent(AddAgent),
    RemoveDefinitions(RemoveDefinitions),
    SuspendSchedules(SuspendSchedules),
    ResumeSchedules(ResumeSchedules),
    NoteStarts(NoteStarts),
}

/// Who asked, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct By {
    pub user: UserName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// All of them or none. The bodies are in the definition store already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    pub items: Vec<DeployItem>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeployItem {
    Workflow { name: WorkflowName, hash: ContentHash },
    Lock { name: LockName, hash: ContentHash },
    Definition { kind: DefinitionKind, name: DefinitionName, hash: ContentHash },
}

impl DeployItem {
    /// As in files: `workflow`, `lock`, `schedule`, ….
    pub fn kind(&self) -> &'static str {
        match self {
            DeployItem::Workflow { .. } => "workflow",
            DeployItem::Lock { .. } => "lock",
            DeployItem::Definition { kind, .. } => kind.word(),
        }
    }

    pub fn name(&self) -> &str {
        match self {
            DeployItem::Workflow { name, .. } => name.as_str(),
            DeployItem::Lock { name, .. } => name.as_str(),
            DeployItem::Definition { name, .. } => name.as_str(),
        }
    }

    pub fn hash(&self) -> &ContentHash {
        match self {
            DeployItem::Workflow { hash, .. } | DeployItem::Lock { hash, .. } | DeployItem::Definition { hash, .. } => {
                hash
            }
        }
    }
}

/// What the sender gets back; kept for 24 h by the command's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Accepted {
    Orders {
        orders: Vec<OrderId>,
    },
    /// New version numbers; unchanged items are not among them.
    Deployed {
        items: Vec<(DeployItem, u32)>,
    },
    Agent {
        agent: AgentName,
    },
    Removed {
        items: Vec<RemoveItem>,
    },
    Schedules {
        schedules: Vec<DefinitionName>,
    },
    Noted,
}
