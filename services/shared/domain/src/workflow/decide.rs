//! Deploying: all definitions of a command or none.

use super::{Instruction, Step};
use crate::{
    ContentHash, Ctx, DefinitionName, Event, LockName, Refusal, Site, WorkflowName,
    catalog::{CatalogDefinition, DefinitionDeployed, DefinitionKind},
    command::{Accepted, By, Deploy, DeployItem},
    ctx::LoadedWorkflow,
    definition::WorkflowDeployed,
    limit,
    lock::{LockDefinition, LockDeployed},
};
use std::{collections::BTreeMap, sync::Arc};

/// What the site has after the deployment, as far as the deployed workflows can name it.
struct Deployment<'a> {
    site: &'a Site,
    workflows: BTreeMap<&'a WorkflowName, (&'a ContentHash, Arc<LoadedWorkflow>)>,
    locks: BTreeMap<&'a LockName, (&'a ContentHash, LockDefinition)>,
    definitions: BTreeMap<(DefinitionKind, &'a DefinitionName), (&'a ContentHash, Arc<CatalogDefinition>)>,
}

pub(crate) fn deploy(site: &Site, by: &By, command: &Deploy, ctx: Ctx) -> Result<(Vec<Event>, Accepted), Refusal> {
    if command.items.is_empty() {
        return Err(Refusal::Empty { what: "the list of definitions".into() });
    }
    if command.items.len() > limit::DEPLOY_ITEMS {
        let (count, limit) = (command.items.len() as u64, limit::DEPLOY_ITEMS as u64);
        return Err(Refusal::TooMany { what: "definitions in one deployment".into(), count, limit });
    }
    let deployment = load(site, command, ctx)?;
    for (name, (_, loaded)) in &deployment.workflows {
        for step in loaded.steps() {
            check_step(&deployment, name, step)?;
        }
    }
    for ((kind, name), (_, definition)) in &deployment.definitions {
        check_references(&deployment, *kind, name, definition)?;
    }
    Ok(events(&deployment, by))
}

fn load<'a>(site: &'a Site, command: &'a Deploy, ctx: Ctx) -> Result<Deployment<'a>, Refusal> {
    let mut deployment =
        Deployment { site, workflows: BTreeMap::new(), locks: BTreeMap::new(), definitions: BTreeMap::new() };
    for item in &command.items {
        let described = || format!("{} {}", item.kind(), item.name());
        let refuse = |reason: &str| Refusal::DefinitionInvalid { definition: described(), reason: reason.into() };
        let missing = || refuse("its body is not in the definition store; deploy its file again");
        let is_new = match item {
            DeployItem::Workflow { name, hash } => {
                let loaded = ctx.definitions.workflow(hash).ok_or_else(missing)?;
                if loaded.workflow.name != *name {
                    return Err(refuse(&format!("its body is of workflow {}", loaded.workflow.name)));
                }
                deployment.workflows.insert(name, (hash, loaded)).is_none()
            }
            DeployItem::Lock { name, hash } => {
                let lock = ctx.definitions.lock(hash).ok_or_else(missing)?;
                if lock.name != *name {
                    return Err(refuse(&format!("its body is of lock {}", lock.name)));
                }
                deployment.locks.insert(name, (hash, lock)).is_none()
            }
            DeployItem::Definition { kind, name, hash } => {
                let definition = ctx.definitions.catalog(hash).ok_or_else(missing)?;
                if (definition.kind(), definition.name()) != (*kind, name) {
                    return Err(refuse(&format!("its body is of {} {}", definition.kind(), definition.name())));
                }
                deployment.definitions.insert((*kind, name), (hash, definition)).is_none()
            }
        };
        if !is_new {
            return Err(refuse("it is twice in the deployment"));
        }
    }
    Ok(deployment)
}

/// What it refers to is deployed, or will be with it.
fn check_references(
    deployment: &Deployment,
    kind: DefinitionKind,
    name: &DefinitionName,
    definition: &CatalogDefinition,
) -> Result<(), Refusal> {
    let is_there = |workflow: &WorkflowName| {
        deployment.workflows.contains_key(workflow) || deployment.site.workflows.contains_key(workflow)
    };
    match definition.references().workflows.iter().find(|workflow| !is_there(workflow)) {
        None => Ok(()),
        Some(workflow) => Err(Refusal::DefinitionInvalid {
            definition: format!("{kind} {name}"),
            reason: format!("workflow {workflow} is not deployed; deploy it before or together with this"),
        }),
    }
}

fn check_step(deployment: &Deployment, name: &WorkflowName, step: &Step) -> Result<(), Refusal> {
    let refuse = |reason: String| Refusal::DefinitionInvalid {
        definition: format!("workflow {name}, step {}", step.label),
        reason,
    };
    match &step.instruction {
        Instruction::Call { workflow, .. } => {
            if !deployment.workflows.contains_key(workflow) && !deployment.site.workflows.contains_key(workflow) {
                let hint = "deploy it before or together with this";
                return Err(refuse(format!("the called workflow {workflow} is not deployed; {hint}")));
            }
        }
        Instruction::Job(job) => {
            for (lock, weight) in &job.locks {
                let new = deployment.locks.get(lock).map(|(_, definition)| definition);
                let known = deployment.site.locks.get(lock).map(|l| &l.definition);
                let Some(definition) = new.or(known) else {
                    return Err(Refusal::LockUnknown { lock: lock.clone() });
                };
                if *weight > definition.capacity {
                    let capacity = definition.capacity;
                    return Err(refuse(format!("wants {weight} of lock {lock}, which has a capacity of {capacity}")));
                }
            }
        }
        Instruction::If { .. }
        | Instruction::Fork { .. }
        | Instruction::Try { .. }
        | Instruction::Fail { .. }
        | Instruction::Finish { .. } => {}
    }
    Ok(())
}

/// Locks first: a workflow that uses them is never deployed without. What is the same as now is no new version.
fn events(deployment: &Deployment, by: &By) -> (Vec<Event>, Accepted) {
    let (mut events, mut items) = (vec![], vec![]);
    for (name, (hash, definition)) in &deployment.locks {
        let known = deployment.site.locks.get(*name);
        if known.is_some_and(|l| l.hash == **hash) {
            continue;
        }
        let version = known.map_or(0, |l| l.version) + 1;
        events.push(LockDeployed { version, hash: (*hash).clone(), lock: definition.clone() }.into());
        items.push((DeployItem::Lock { name: (*name).clone(), hash: (*hash).clone() }, version));
    }
    for (name, (hash, _)) in &deployment.workflows {
        let known = deployment.site.workflows.get(*name);
        if known.is_some_and(|w| w.hash == **hash) {
            continue;
        }
        let retired = deployment.site.retired.get(*name);
        let version = known.or(retired).map_or(0, |w| w.version) + 1;
        let (workflow, hash) = ((*name).clone(), (*hash).clone());
        events
            .push(WorkflowDeployed { workflow: workflow.clone(), version, hash: hash.clone(), by: by.clone() }.into());
        items.push((DeployItem::Workflow { name: workflow, hash }, version));
    }
    for ((kind, name), (hash, definition)) in &deployment.definitions {
        let known = deployment.site.definitions.get(kind).and_then(|of_kind| of_kind.get(*name));
        if known.is_some_and(|d| d.hash == **hash && !d.removed) {
            continue;
        }
        let version = known.map_or(0, |d| d.version) + 1;
        let (kind, name, hash) = (*kind, (*name).clone(), (*hash).clone());
        let references = definition.references();
        let event =
            DefinitionDeployed { kind, name: name.clone(), version, hash: hash.clone(), references, by: by.clone() };
        events.push(event.into());
        items.push((DeployItem::Definition { kind, name, hash }, version));
    }
    (events, Accepted::Deployed { items })
}
