//! Messages of REPORTS. Claims: `ordo.<site>.report.<agent>.accepted.<run>`, one message a subject ever; others
//! `ordo.<site>.report.<agent>.<kind>`.

use ordo_domain::{AgentName, InstanceId, Instant, run::Report};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportMessage {
    pub v: u32,
    pub agent: AgentName,
    /// The controller's own id where it claims a run as refused.
    pub instance: InstanceId,
    /// Counts the reports of this instance, from 1 after its data folder was made: a repeat is known by it. 0 for claims.
    pub number: u64,
    pub at: Instant,
    /// The highest epoch that the agent has seen.
    pub epoch: u64,
    pub report: Report,
}

impl ReportMessage {
    /// The last token of the subject, where it is no claim.
    pub fn kind(&self) -> &'static str {
        match self.report {
            Report::Accepted { .. } | Report::Refused { .. } => "accepted",
            Report::Ended { .. } => "ended",
            Report::Ready { .. } => "ready",
            Report::Stopping => "stopping",
        }
    }
}
