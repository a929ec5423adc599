//! The controller's regular comparison of its state with what lives: runs that no agent knows any more, jobs that lie
//! nowhere, ended orders that history has passed. It looks outside, never decides:
//! what it finds goes to the engine.

use crate::{config::Config, presence};
use ordo_contract::{
    commit::Source,
    heartbeat::Heartbeat,
    name::{StreamKind, agent_user},
    replica::{Replica, SNAPSHOT_FORMAT},
};
use ordo_domain::{AgentName, InstanceId, Instant, OrderId, RunId, run::RunState};
use ordo_journal::{Bus, BusError};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A job that was sent so long ago is looked for.
const UNCLAIMED_SECONDS: i64 = 30;
/// Of those, at each look.
const LOOKED_FOR_AT_ONCE: usize = 200;
/// So many heartbeats in a row must lack a claimed run before it counts as lost.
const MISSED_HEARTBEATS: u32 = 3;
/// The purge point needs two; a broken one must not be the last.
const SNAPSHOTS_KEPT: usize = 4;

/// What must be looked for, taken from the state.
#[derive(Debug)]
pub struct Question {
    now: Instant,
    claimed: Vec<(RunId, AgentName, InstanceId)>,
    unclaimed: Vec<(RunId, AgentName)>,
}

impl Question {
    pub fn of(replica: &Replica, now: Instant) -> Self {
        let mut question = Self { now, claimed: Vec::new(), unclaimed: Vec::new() };
        for run in replica.site.runs.values() {
            match &run.state {
                RunState::Claimed { instance, .. } => {
                    question.claimed.push((run.id.clone(), run.agent.clone(), instance.clone()));
                }
                RunState::Dispatched { .. } if (now - run.dispatched_at).num_seconds() >= UNCLAIMED_SECONDS => {
                    question.unclaimed.push((run.id.clone(), run.agent.clone()));
                }
                RunState::Dispatched { .. } => {}
            }
        }
        question
    }
}

/// What was found. Only true when the engine has read REPORTS up to `reports`: the end of a run may be on its way.
#[derive(Debug, Default)]
pub struct Findings {
    pub reports: u64,
    pub lost: Vec<(RunId, String)>,
    /// Nothing of them lies in JOBS.
    pub unsent: BTreeSet<RunId>,
    /// History is behind this commit.
    pub history: u64,
    pub headroom_percent: u64,
    /// Another controller follows and takes the snapshots.
    pub has_standby: bool,
}

impl Findings {
    pub fn hold_for(&self, replica: &Replica) -> bool {
        self.reports == 0 || replica.causes.get(&Source::Reports).is_some_and(|p| p.sequence >= self.reports)
    }
}

/// A heartbeat's revision, and the runs that it names.
type Known = (u64, BTreeSet<RunId>);

/// What it remembers between two looks.
#[derive(Debug, Default)]
pub struct Watcher {
    /// For each run that was missing: in how many heartbeats, and the last of those.
    missing: BTreeMap<RunId, (u32, u64)>,
    /// The last run that was looked for in JOBS, where more were left.
    looked_for: Option<RunId>,
}

impl Watcher {
    pub async fn look(&mut self, bus: &Bus, config: &Config, question: Question) -> Result<Findings, BusError> {
        let mut findings = Findings { lost: self.lost(bus, &question).await?, ..Findings::default() };
        for (run, agent) in self.next_unclaimed(&question.unclaimed) {
            let subject = bus.names().job_start(agent.as_str(), run.as_str());
            if bus.last_on(&bus.names().stream(StreamKind::Jobs), &subject).await?.is_none() {
                findings.unsent.insert(run.clone());
            }
        }
        let history = bus.consumer_info(&bus.names().stream(StreamKind::Journal), "history").await?;
        findings.history = history.map_or(0, |info| info.ack_floor);
        findings.headroom_percent = bus.headroom(config.journal.budget_bytes).await?.percent();
        findings.has_standby = presence::coupled_standby(bus, &config.role.instance, question.now).await.is_some();
        findings.reports = bus.last_sequence(StreamKind::Reports).await?;
        Ok(findings)
    }

    /// Some at a time, in turn: an agent that is away may have thousands, and each is a request to the bus.
    fn next_unclaimed<'q>(&mut self, unclaimed: &'q [(RunId, AgentName)]) -> &'q [(RunId, AgentName)] {
        let begin = self.looked_for.as_ref().map_or(0, |last| unclaimed.partition_point(|(run, _)| run <= last));
        let end = unclaimed.len().min(begin + LOOKED_FOR_AT_ONCE);
        self.looked_for = (end < unclaimed.len()).then(|| unclaimed[end - 1].0.clone());
        &unclaimed[begin..end]
    }

    async fn lost(&mut self, bus: &Bus, question: &Question) -> Result<Vec<(RunId, String)>, BusError> {
        let mut heartbeats: BTreeMap<(AgentName, InstanceId), Option<Known>> = BTreeMap::new();
        let mut lost = Vec::new();
        let mut still_missing = BTreeMap::new();
        for (run, agent, instance) in &question.claimed {
            let at = (agent.clone(), instance.clone());
            if !heartbeats.contains_key(&at) {
                heartbeats.insert(at.clone(), heartbeat(bus, agent, instance).await?);
            }
            let Some(Some((revision, runs))) = heartbeats.get(&at) else { continue };
            if runs.contains(run) {
                continue;
            }
            let (mut count, seen) = self.missing.get(run).copied().unwrap_or_default();
            count += u32::from(seen != *revision);
            if count >= MISSED_HEARTBEATS {
                lost.push((run.clone(), format!("agent {agent} instance {instance} lives and does not know it")));
            }
            still_missing.insert(run.clone(), (count, *revision));
        }
        self.missing = still_missing;
        Ok(lost)
    }
}

async fn heartbeat(bus: &Bus, agent: &AgentName, instance: &InstanceId) -> Result<Option<Known>, BusError> {
    let key = bus.names().instance_key(&agent_user(agent.as_str()), instance.as_str());
    let Some(entry) = bus.instances().get(&key).await? else { return Ok(None) };
    let heartbeat = entry.value.and_then(|v| serde_json::from_slice::<Heartbeat>(&v).ok());
    Ok(heartbeat.and_then(|h| h.agent).map(|a| (entry.revision, a.runs.into_iter().collect())))
}

/// Ended orders with the commit that ended them, waiting for history.
#[derive(Debug, Default)]
pub struct Ended(VecDeque<(u64, OrderId)>);

impl Ended {
    /// At an activation all that have ended count as of now.
    pub fn from_state(replica: &Replica) -> Self {
        Self(replica.site.ended.iter().map(|order| (replica.sequence, order.clone())).collect())
    }

    pub fn note(&mut self, sequence: u64, order: OrderId) {
        self.0.push_back((sequence, order));
    }

    /// Those that history has passed.
    pub fn passed(&mut self, history: u64) -> Vec<OrderId> {
        let count = self.0.iter().take_while(|(sequence, _)| *sequence <= history).count();
        self.0.drain(..count).map(|(_, order)| order).collect()
    }
}

/// When snapshots are due, and the taking of them. The standby does it where there is one.
pub struct Snapshots {
    bus: Bus,
    every: u64,
    next: u64,
}

impl Snapshots {
    pub fn new(bus: &Bus, config: &Config, decisions: u64) -> Self {
        let every = config.journal.snapshot_decisions.max(1);
        Self { bus: bus.clone(), every, next: decisions + every }
    }

    pub fn are_due(&self, replica: &Replica) -> bool {
        replica.decisions >= self.next
    }

    /// Somebody else takes them.
    pub fn put_off(&mut self, replica: &Replica) {
        self.next = replica.decisions + self.every;
    }

    /// Writes a state that is journalled, stores it beside all else, and reads it back to verify it.
    pub fn take(&mut self, replica: &Replica) {
        self.put_off(replica);
        let (bus, sequence, incarnation) = (self.bus.clone(), replica.sequence, replica.incarnation.clone());
        match serde_json::to_vec(replica) {
            Ok(state) => {
                tokio::spawn(async move {
                    match store(&bus, state, sequence, &incarnation).await {
                        Ok(bytes) => tracing::info!(stream_seq = sequence, bytes, "snapshot taken"),
                        Err(error) => tracing::warn!(%error, "snapshot not taken"),
                    }
                });
            }
            Err(error) => tracing::error!(%error, "the state cannot be written as a snapshot"),
        }
    }
}

async fn store(bus: &Bus, state: Vec<u8>, sequence: u64, incarnation: &str) -> Result<u64, BusError> {
    let head = bus.snapshots().put(sequence, incarnation, SNAPSHOT_FORMAT, state).await?;
    bus.snapshots().prune(SNAPSHOTS_KEPT).await?;
    Ok(head.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unclaimed_runs_are_looked_for_in_turn() {
        let agent: AgentName = "local".parse().unwrap();
        let runs = |numbers: std::ops::Range<u128>| numbers.map(|n| (RunId::from_bits(n), agent.clone())).collect();
        let unclaimed: Vec<_> = runs(0..450);
        let mut watcher = Watcher::default();
        let mut look = |unclaimed: &[(RunId, AgentName)]| watcher.next_unclaimed(unclaimed).to_vec();
        assert_eq!(look(&unclaimed), unclaimed[..200]);
        assert_eq!(look(&unclaimed[100..]), unclaimed[200..400], "some were claimed meanwhile");
        assert_eq!(look(&unclaimed), unclaimed[400..]);
        assert_eq!(look(&unclaimed), unclaimed[..200], "from the beginning again");
        assert_eq!(look(&unclaimed[..200]), [], "the rest was claimed meanwhile");
        assert_eq!(look(&unclaimed[..150]), unclaimed[..150]);
        assert_eq!(look(&[]), []);
    }
}
