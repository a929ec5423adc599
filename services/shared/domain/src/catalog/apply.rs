//! What is deployed, removed and suspended.

use super::{
    DefinitionDeployed, DefinitionKind, DefinitionRemoved, DeployedDefinition, ScheduleResumed, ScheduleSuspended,
    WorkflowRemoved,
};
use crate::{
    DefinitionName, Instant, Site,
    apply::{Applied, NotApplicable, misfit},
};

pub(crate) fn deployed(site: &mut Site, at: Instant, e: &DefinitionDeployed) -> Applied {
    let of_kind = site.definitions.entry(e.kind).or_default();
    let known = of_kind.get(&e.name);
    let last = known.map_or(0, |d| d.version);
    if e.version != last + 1 {
        let state = format_args!("version {last}");
        return Err(misfit(
            format_args!("{} {}", e.kind, e.name),
            state,
            format_args!("{} is not the next", e.version),
        ));
    }
    // A new version of a suspended schedule does not start it.
    let suspended = known.is_some_and(|d| d.suspended && !d.removed);
    let deployed = DeployedDefinition {
        version: e.version,
        hash: e.hash.clone(),
        deployed_at: at,
        references: e.references.clone(),
        suspended,
        removed: false,
    };
    of_kind.insert(e.name.clone(), deployed);
    Ok(())
}

pub(crate) fn removed(site: &mut Site, e: &DefinitionRemoved) -> Applied {
    let definition = live(site, e.kind, &e.name)?;
    definition.removed = true;
    definition.suspended = false;
    definition.references = Default::default();
    Ok(())
}

pub(crate) fn workflow_removed(site: &mut Site, e: &WorkflowRemoved) -> Applied {
    match site.workflows.remove(&e.workflow) {
        Some(workflow) => {
            site.retired.insert(e.workflow.clone(), workflow);
            Ok(())
        }
        None => Err(misfit(format_args!("workflow {}", e.workflow), "unknown", "it is not deployed")),
    }
}

pub(crate) fn suspended(site: &mut Site, e: &ScheduleSuspended) -> Applied {
    live(site, DefinitionKind::Schedule, &e.schedule)?.suspended = true;
    Ok(())
}

pub(crate) fn resumed(site: &mut Site, e: &ScheduleResumed) -> Applied {
    live(site, DefinitionKind::Schedule, &e.schedule)?.suspended = false;
    Ok(())
}

fn live<'a>(
    site: &'a mut Site,
    kind: DefinitionKind,
    name: &DefinitionName,
) -> Result<&'a mut DeployedDefinition, NotApplicable> {
    let found = site.definitions.get_mut(&kind).and_then(|of_kind| of_kind.get_mut(name));
    found
        .filter(|definition| !definition.removed)
        .ok_or_else(|| misfit(format_args!("{kind} {name}"), "unknown", "it is not deployed"))
}
