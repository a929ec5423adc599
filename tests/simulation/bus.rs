//! The bus of the simulation: streams as vectors, with the same promises as the real ones and no more.

use ordo_contract::{command::CommandMessage, job::JobMessage, job::KillMessage, report::ReportMessage};
use ordo_domain::{AgentName, InstanceId, RunId, run::Report};
use ordo_journal::MemoryLog;
use std::collections::BTreeMap;

/// A stored report with the agent of its subject.
#[derive(Debug, Clone)]
pub struct StoredReport {
    pub agent: AgentName,
    pub message: ReportMessage,
}

/// A message of the work queue.
#[derive(Debug, Clone)]
pub struct StoredJob {
    pub sequence: u64,
    pub message: JobMessage,
    /// Given out and neither acknowledged nor given up.
    pub out_to: Option<InstanceId>,
}

#[derive(Default)]
pub struct SimBus {
    pub journal: MemoryLog,
    pub commands: Vec<CommandMessage>,
    pub reports: Vec<StoredReport>,
    /// Sequences of claims by run: the expected subject sequence 0 lets one in.
    claims: BTreeMap<RunId, u64>,
    pub jobs: Vec<StoredJob>,
    next_job: u64,
    pub kills: Vec<(AgentName, InstanceId, KillMessage)>,
    /// Runs that were ever put into JOBS.
    pub sent: Vec<RunId>,
}

impl SimBus {
    /// Publishes a claim: the sequence where it won, the winner's where not.
    pub fn claim(&mut self, agent: &AgentName, message: ReportMessage) -> Result<u64, u64> {
        let (Report::Accepted { run } | Report::Refused { run }) = &message.report else {
            panic!("no claim: {message:?}");
        };
        if let Some(sequence) = self.claims.get(run) {
            return Err(*sequence);
        }
        let sequence = self.reports.len() as u64 + 1;
        self.claims.insert(run.clone(), sequence);
        self.reports.push(StoredReport { agent: agent.clone(), message });
        Ok(sequence)
    }

    /// Whose claim won.
    pub fn claimed_by(&self, run: &RunId) -> Option<&ReportMessage> {
        self.claims.get(run).map(|s| &self.reports[*s as usize - 1].message)
    }

    pub fn report(&mut self, agent: &AgentName, message: ReportMessage) {
        self.reports.push(StoredReport { agent: agent.clone(), message });
    }

    pub fn send_job(&mut self, message: JobMessage) {
        self.next_job += 1;
        self.sent.push(message.run.clone());
        self.jobs.push(StoredJob { sequence: self.next_job, message, out_to: None });
    }

    pub fn has_job(&self, run: &RunId) -> bool {
        self.jobs.iter().any(|j| j.message.run == *run)
    }

    pub fn acknowledge_job(&mut self, sequence: u64) {
        self.jobs.retain(|j| j.sequence != sequence);
    }

    /// What an instance that died had taken is given out again.
    pub fn give_back(&mut self, instance: &InstanceId) {
        for job in &mut self.jobs {
            if job.out_to.as_ref() == Some(instance) {
                job.out_to = None;
            }
        }
    }
}
