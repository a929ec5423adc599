//! Everything that can be asked of a site.

use crate::{AgentName, ContentHash, LockName, OrderId, UserName, WorkflowName, agent::AddAgent, order::command::*};
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
}

impl DeployItem {
    pub fn hash(&self) -> &ContentHash {
        match self {
            DeployItem::Workflow { hash, .. } | DeployItem::Lock { hash, .. } => hash,
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
}
