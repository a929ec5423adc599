use super::{Agent, AgentAdded, AgentInstance, AgentReady, AgentStopped};
use crate::{
    AgentName, Site,
    apply::{Applied, NotApplicable, misfit},
};
use std::collections::BTreeMap;

pub(crate) fn added(site: &mut Site, e: &AgentAdded) -> Applied {
    if site.agents.contains_key(&e.agent) {
        return Err(misfit(format_args!("agent {}", e.agent), "known", "it was added already"));
    }
    site.agents.insert(e.agent.clone(), Agent { title: e.title.clone(), instances: BTreeMap::new() });
    Ok(())
}

pub(crate) fn ready(site: &mut Site, e: &AgentReady) -> Applied {
    let agent = known(site, &e.agent)?;
    let instance = AgentInstance { node: e.node.clone(), version: e.version.clone(), ready: true };
    agent.instances.insert(e.instance.clone(), instance);
    Ok(())
}

pub(crate) fn stopped(site: &mut Site, e: &AgentStopped) -> Applied {
    let agent = known(site, &e.agent)?;
    let Some(instance) = agent.instances.get_mut(&e.instance) else {
        let what = format_args!("agent {}/{}", e.agent, e.instance).to_string();
        return Err(misfit(what, "unknown", "that instance was never ready"));
    };
    instance.ready = false;
    Ok(())
}

fn known<'a>(site: &'a mut Site, agent: &AgentName) -> Result<&'a mut Agent, NotApplicable> {
    site.agents.get_mut(agent).ok_or_else(|| misfit(format_args!("agent {agent}"), "unknown", "there is no such agent"))
}
