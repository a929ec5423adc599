//! What is asked about the site: its agents, its instances, its journal.

use crate::answer::Problem;
use crate::instances::is_fresh;
use crate::serve::Proxy;
use ordo_contract::heartbeat::Activity;
use ordo_contract::name::{StreamKind, agent_user};
use ordo_contract::request::{AgentInstanceLine, AgentLine, AgentListReply, JournalStatus, StatusReply};
use ordo_domain::{AgentName, InstanceId, Instant, agent::Agent, run::RunState};
use ordo_runtime::{Clock, SystemClock};
use std::collections::BTreeMap;

impl Proxy {
    pub fn agent_list(&self) -> AgentListReply {
        let now = SystemClock.now();
        let (agents, runs) = self.mirror.read(|replica| {
            let mut runs: BTreeMap<AgentName, (u64, u64)> = BTreeMap::new();
            for run in replica.site.runs.values() {
                let counts = runs.entry(run.agent.clone()).or_default();
                match run.state {
                    RunState::Dispatched { .. } => counts.0 += 1,
                    RunState::Claimed { .. } => counts.1 += 1,
                }
            }
            (replica.site.agents.clone(), runs)
        });
        let line = |(name, agent): (AgentName, Agent)| {
            let (waiting, running) = runs.get(&name).copied().unwrap_or_default();
            let instances = self.agent_instances(&name, &agent, now);
            AgentLine { agent: name, title: agent.title, instances, waiting, running }
        };
        AgentListReply { agents: agents.into_iter().map(line).collect() }
    }

    /// Those the journal knows, and those that only their heartbeats tell of.
    fn agent_instances(&self, name: &AgentName, agent: &Agent, now: Instant) -> Vec<AgentInstanceLine> {
        let mut lines: BTreeMap<InstanceId, AgentInstanceLine> = BTreeMap::new();
        for (instance, known) in &agent.instances {
            let state = if known.ready { "unknown" } else { "stopped" };
            let line = AgentInstanceLine {
                instance: instance.clone(),
                node: known.node.to_string(),
                version: known.version.clone(),
                state: state.to_owned(),
                seen_at: None,
                slots: None,
                runs: 0,
                outbox: 0,
            };
            lines.insert(instance.clone(), line);
        }
        for (instance, beat) in self.instances.of(&agent_user(name.as_str())) {
            let Ok(instance) = InstanceId::new(instance) else { continue };
            let state = match beat.activity {
                Activity::Stopping => "stopped",
                _ if !is_fresh(&beat, now) => "unknown",
                Activity::Starting => "starting",
                Activity::Active | Activity::Standby => "ready",
            };
            let facts = beat.agent;
            let line = AgentInstanceLine {
                instance: instance.clone(),
                node: beat.node.to_string(),
                version: beat.version,
                state: state.to_owned(),
                seen_at: Some(beat.at),
                slots: facts.as_ref().map(|facts| facts.slots),
                runs: facts.as_ref().map_or(0, |facts| facts.runs.len() as u64),
                outbox: facts.map_or(0, |facts| facts.outbox),
            };
            lines.insert(instance, line);
        }
        lines.into_values().collect()
    }

    pub async fn status(&self) -> Result<StatusReply, Problem> {
        let journal = self.journal_status().await?;
        let now = SystemClock.now();
        let instances = self.instances.all();
        let (epoch, active, orders) = self.mirror.read(|replica| {
            let mut orders: BTreeMap<String, u64> = BTreeMap::new();
            for order in replica.site.orders.values().filter(|order| order.parent.is_none()) {
                *orders.entry(order.state.word().to_owned()).or_default() += 1;
            }
            (replica.site.epoch, replica.site.active.clone(), orders)
        });
        // The journal tells who was activated last; only a heartbeat tells that it is still there.
        let active = active.filter(|active| {
            let key = self.bus.names().instance_key("controller", active.as_str());
            instances.get(&key).is_some_and(|beat| is_fresh(beat, now) && beat.activity == Activity::Active)
        });
        Ok(StatusReply {
            site: self.bus.names().site().to_owned(),
            at: now,
            epoch,
            active_controller: active,
            instances: instances.into_values().collect(),
            orders,
            journal,
        })
    }

    async fn journal_status(&self) -> Result<JournalStatus, Problem> {
        let names = self.bus.names();
        let stream = names.stream(StreamKind::Journal);
        let info = self.bus.stream_info(&stream).await?;
        let mut lag = BTreeMap::new();
        for (kind, durable) in names.service_consumers() {
            if kind == StreamKind::Journal
                && let Some(consumer) = self.bus.consumer_info(&stream, &durable.name).await?
            {
                lag.insert(durable.name, consumer.pending + consumer.unacknowledged);
            }
        }
        Ok(JournalStatus { first: info.first_sequence, last: info.last_sequence, bytes: info.bytes, lag })
    }
}
