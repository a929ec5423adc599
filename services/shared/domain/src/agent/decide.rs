//! New agents, and what instances say of themselves.

use super::{AddAgent, AgentAdded, AgentReady, AgentStopped};
use crate::{
    AgentName, Event, InstanceId, NodeName, Refusal, Site,
    command::{Accepted, By},
    limit,
    run::event::{ReportRefusal, ReportRefused},
};

pub(crate) fn add(site: &Site, by: &By, new: &AddAgent) -> Result<(Vec<Event>, Accepted), Refusal> {
    if site.agents.contains_key(&new.agent) {
        return Err(Refusal::AgentExists { agent: new.agent.clone() });
    }
    crate::decide::at_most("title", new.title.as_deref(), limit::TITLE_BYTES)?;
    let added = AgentAdded { agent: new.agent.clone(), title: new.title.clone(), by: by.clone() };
    Ok((vec![added.into()], Accepted::Agent { agent: new.agent.clone() }))
}

pub(crate) fn ready(
    site: &Site,
    agent: &AgentName,
    instance: &InstanceId,
    node: &NodeName,
    version: &str,
) -> Result<Event, ReportRefusal> {
    if !site.agents.contains_key(agent) {
        return Err(ReportRefusal::AgentUnknown);
    }
    let version = version.chars().take(100).collect();
    Ok(AgentReady { agent: agent.clone(), instance: instance.clone(), node: node.clone(), version }.into())
}

pub(crate) fn stopped(site: &Site, agent: &AgentName, instance: &InstanceId) -> Result<Event, ReportRefusal> {
    let known = site.agents.get(agent).ok_or(ReportRefusal::AgentUnknown)?;
    match known.instances.get(instance) {
        None => Err(ReportRefusal::WrongInstance),
        Some(i) if !i.ready => Err(ReportRefusal::Repeated),
        Some(_) => Ok(AgentStopped { agent: agent.clone(), instance: instance.clone() }.into()),
    }
}

/// The event for a report that does not fit.
pub(crate) fn refused(
    agent: &AgentName,
    instance: &InstanceId,
    run: Option<&crate::RunId>,
    reason: ReportRefusal,
) -> Event {
    ReportRefused { agent: agent.clone(), instance: instance.clone(), run: run.cloned(), reason }.into()
}
