//! Deployed versions of workflows.

use crate::{
    Instant, Site,
    apply::{Applied, misfit},
    definition::WorkflowDeployed,
    site::DeployedWorkflow,
};
use std::collections::BTreeMap;

pub(crate) fn deployed(site: &mut Site, at: Instant, e: &WorkflowDeployed) -> Applied {
    let retired = site.retired.get(&e.workflow);
    let last = site.workflows.get(&e.workflow).or(retired).map_or(0, |w| w.version);
    if e.version != last + 1 {
        let state = format_args!("version {last}");
        return Err(misfit(
            format_args!("workflow {}", e.workflow),
            state,
            format_args!("{} is not the next", e.version),
        ));
    }
    let retired = site.retired.remove(&e.workflow);
    let workflow = site.workflows.entry(e.workflow.clone()).or_insert_with(|| {
        retired.unwrap_or_else(|| DeployedWorkflow {
            version: 0,
            hash: e.hash.clone(),
            deployed_at: at,
            versions: BTreeMap::new(),
        })
    });
    workflow.version = e.version;
    workflow.hash = e.hash.clone();
    workflow.deployed_at = at;
    workflow.versions.insert(e.version, e.hash.clone());
    Ok(())
}
