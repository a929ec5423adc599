//! Deploying: all definitions of a command or none.

use super::{Instruction, Step};
use crate::{
    ContentHash, Ctx, Event, LockName, Refusal, Site, WorkflowName,
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
    Ok(events(&deployment, by))
}

fn load<'a>(site: &'a Site, command: &'a Deploy, ctx: Ctx) -> Result<Deployment<'a>, Refusal> {
    let mut deployment = Deployment { site, workflows: BTreeMap::new(), locks: BTreeMap::new() };
    for item in &command.items {
        let refuse = |reason: &str| Refusal::DefinitionInvalid { definition: describe(item), reason: reason.into() };
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
        };
        if !is_new {
            return Err(refuse("it is twice in the deployment"));
        }
    }
    Ok(deployment)
}

fn describe(item: &DeployItem) -> String {
    match item {
        DeployItem::Workflow { name, .. } => format!("workflow {name}"),
        DeployItem::Lock { name, .. } => format!("lock {name}"),
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
        let version = known.map_or(0, |w| w.version) + 1;
        let (workflow, hash) = ((*name).clone(), (*hash).clone());
        events
            .push(WorkflowDeployed { workflow: workflow.clone(), version, hash: hash.clone(), by: by.clone() }.into());
        items.push((DeployItem::Workflow { name: workflow, hash }, version));
    }
    (events, Accepted::Deployed { items })
}
