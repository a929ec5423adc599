//! The value of a lease key, for people and for whoever may take it next.

use ordo_domain::{InstanceId, Instant, NodeName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LeaseValue {
    /// With a TTL; renewed.
    Active {
        active: InstanceId,
        node: NodeName,
        since: Instant,
        /// Handed over to this one: others wait a moment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<InstanceId>,
    },
    /// Without a TTL: terminated without switch-over.
    Held { held_by: InstanceId, who: String, why: String },
}
