//! What the journal knows of controllers.

pub(crate) mod apply;

use crate::{Failure, InstanceId, OrderId, Refusal, command::Accepted, id::CommandId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The fence: its append makes every other controller's next append fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ControllerActivated {
    pub epoch: u64,
    pub instance: InstanceId,
    /// How it came to be: first start, hand-over, lease marker, silence, holder gone.
    pub how: String,
    /// The highest event level that this instance writes.
    pub event_level: u32,
}

/// Orderly: the next is told to take over at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ControllerHandedOver {
    pub epoch: u64,
    pub from: InstanceId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<InstanceId>,
}

/// Terminated without switch-over: the role stays with this instance. The format; the operation comes later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleHeld {
    pub instance: InstanceId,
    pub who: String,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandAccepted {
    pub command: CommandId,
    pub outcome: Accepted,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandRefused {
    /// None when the message could not be read at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
    pub refusal: Refusal,
}

/// Carrying it out panicked twice or could not be encoded: passed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandFailed {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
    pub failure: Failure,
}

/// SHA-256 of the whole state before this event, every 10,000 decisions: followers compare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateDigest {
    pub decisions: u64,
    pub hash: String,
}
