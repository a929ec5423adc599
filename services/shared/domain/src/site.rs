//! The state of a site: all that the journal says, folded by [`crate::apply`]. Snapshots are its JSON.

use crate::{
    AgentName, CommandId, ContentHash, DefinitionName, InstanceId, Instant, LockName, OrderId, Refusal, RunId,
    WorkflowName,
    agent::Agent,
    catalog::{DefinitionKind, DeployedDefinition},
    command::Accepted,
    lock::{LockDefinition, Resources},
    order::{Order, command::StartKey, series::SeriesIndex},
    run::Run,
};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufWriter, Write},
};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Site {
    pub epoch: u64,
    /// The instance of the last activation.
    pub active: Option<InstanceId>,
    pub held_by: Option<InstanceId>,
    /// Time of the last commit; never goes back.
    pub at: Option<Instant>,
    pub orders: BTreeMap<OrderId, Order>,
    pub runs: BTreeMap<RunId, Run>,
    pub resources: Resources,
    /// For the queues of resources.
    pub tickets: u64,
    pub workflows: BTreeMap<WorkflowName, DeployedWorkflow>,
    /// Removed ones: their numbers go on when they come back.
    #[serde(default)]
    pub retired: BTreeMap<WorkflowName, DeployedWorkflow>,
    pub locks: BTreeMap<LockName, DeployedLock>,
    /// Schedules, rules and what else services act by; removed ones too: ask [`Site::definition`].
    #[serde(default)]
    pub definitions: BTreeMap<DefinitionKind, BTreeMap<DefinitionName, DeployedDefinition>>,
    pub agents: BTreeMap<AgentName, Agent>,
    pub commands: CommandMemory,
    /// The last counter used in an order id, per business day.
    pub counters: BTreeMap<NaiveDate, u64>,
    pub starts: Starts,
    /// Planned orders that run, or wait behind one that runs.
    #[serde(default)]
    pub series: SeriesIndex,
    /// Orders that start or go on by themselves: (when, which). Scheduled ones that are due at once are not here.
    pub timers: BTreeSet<(Instant, OrderId)>,
    /// Finished and cancelled top orders that history may not have passed yet, in the order of their end.
    pub ended: Vec<OrderId>,
    /// The command whose orders are being added in several parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adding: Option<Adding>,
}

/// What the later parts of a command must know of the earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adding {
    pub command: CommandId,
    pub orders: Vec<OrderId>,
}

impl Site {
    /// A definition that is deployed.
    pub fn definition(&self, kind: DefinitionKind, name: &DefinitionName) -> Option<&DeployedDefinition> {
        self.definitions.get(&kind).and_then(|of_kind| of_kind.get(name)).filter(|definition| !definition.removed)
    }

    /// All definitions that are deployed.
    pub fn deployed_definitions(&self) -> impl Iterator<Item = (DefinitionKind, &DefinitionName, &DeployedDefinition)> {
        let all = self.definitions.iter().flat_map(|(kind, of_kind)| of_kind.iter().map(|(name, d)| (*kind, name, d)));
        all.filter(|(_, _, definition)| !definition.removed)
    }

    /// SHA-256 of the whole state but the time of the last commit (a live controller knows that only after the ack): equal
    /// states have equal digests.
    pub fn digest(&self) -> String {
        // Named one by one: a new field does not compile until somebody decides about it.
        let Site {
            epoch,
            active,
            held_by,
            at: _,
            orders,
            runs,
            resources,
            tickets,
            workflows,
            retired,
            locks,
            definitions,
            agents,
            commands,
            counters,
            starts,
            series,
            timers,
            ended,
            adding,
        } = self;
        let mut hasher = Hasher(BufWriter::with_capacity(64 * 1024, Sha(sha2::Sha256::default())));
        hasher.add(&(epoch, active, held_by, tickets, adding));
        hasher.add(orders);
        hasher.add(runs);
        hasher.add(resources);
        hasher.add(&(workflows, retired, locks, definitions, agents));
        hasher.add(commands);
        hasher.add(counters);
        hasher.add(starts);
        hasher.add(series);
        hasher.add(timers);
        hasher.add(ended);
        hasher.finish()
    }
}

/// Hashes the JSON of what is added.
struct Hasher(BufWriter<Sha>);

struct Sha(sha2::Sha256);

impl Write for Sha {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        sha2::Digest::update(&mut self.0, bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Hasher {
    fn add(&mut self, thing: &impl Serialize) {
        // Neither the hasher nor the types of the state can fail; a map with a wrong key would, and then says so.
        if let Err(e) = serde_json::to_writer(&mut self.0, thing) {
            let _ = write!(self.0, "{e}");
        }
    }
    fn finish(self) -> String {
        match self.0.into_inner() {
            Ok(sha) => sha2::Digest::finalize(sha.0).iter().map(|b| format!("{b:02x}")).collect(),
            Err(e) => e.to_string(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedWorkflow {
    /// The newest, that new orders get.
    pub version: u32,
    pub hash: ContentHash,
    pub deployed_at: Instant,
    /// All versions by number.
    pub versions: BTreeMap<u32, ContentHash>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedLock {
    pub version: u32,
    pub hash: ContentHash,
    pub definition: LockDefinition,
    /// What is held may still exceed a capacity that a deployment lowered, but not more than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowered_from: Option<u32>,
}

/// Outcomes of commands by id, for 24 h.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CommandMemory {
    pub by_id: BTreeMap<CommandId, (Instant, CommandOutcome)>,
    pub by_time: BTreeSet<(Instant, CommandId)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandOutcome {
    Accepted(Accepted),
    Refused(Refusal),
}

/// Starts made by schedules.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Starts {
    #[serde(with = "pairs")]
    pub known: BTreeMap<StartKey, OrderId>,
    /// Below it, what is unknown is refused.
    pub watermarks: BTreeMap<String, Instant>,
}

/// JSON wants text keys: maps with other keys are written as pairs.
mod pairs {
    use super::*;
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(map: &BTreeMap<StartKey, OrderId>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(map)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<StartKey, OrderId>, D::Error> {
        Ok(Vec::<(StartKey, OrderId)>::deserialize(d)?.into_iter().collect())
    }
}
