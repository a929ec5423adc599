use super::{Here, check_depth, child_id, fork, sight::Sight};
use crate::{
    Arguments, BranchName, Event, Failure, Position, Value, VariableName, WorkflowName,
    expression::{self, OrderFacts},
    order::event::{Called, Child, WorkflowRef},
    workflow::{WhenFailed, arguments},
};
use std::collections::BTreeMap;

/// A child order runs the newest version of the other workflow, with its own arguments. The caller sees that it ended:
/// `label.returnCode` is 0, or 1 where it failed; results of its steps stay its own.
pub(super) fn take(
    here: &Here,
    name: &WorkflowName,
    given: &BTreeMap<VariableName, Value>,
) -> Result<Vec<Event>, Failure> {
    check_depth(here)?;
    let unknown = || Failure::UnknownWorkflow { workflow: name.clone() };
    let deployed = here.site.workflows.get(name).ok_or_else(unknown)?;
    let loaded = here.ctx.definitions.workflow(&deployed.hash).ok_or_else(|| Failure::Definition {
        reason: format!("version {} of workflow {name} cannot be loaded", deployed.version),
    })?;
    let workflow = &loaded.workflow;
    let branch = BranchName::new(here.label.as_str()).map_err(|e| Failure::Internal { reason: e.to_string() })?;
    let order = child_id(here, &branch)?;

    let sight = Sight::new(here);
    let rendered: Arguments = given
        .iter()
        .map(|(name, value)| Ok((name.clone(), expression::render_value(value, &sight.scope())?)))
        .collect::<Result<_, Failure>>()?;
    let facts = OrderFacts {
        id: order.as_str(),
        workflow: name.as_str(),
        title: workflow.title.as_deref().unwrap_or(name.as_str()),
        business_day: here.order.business_day,
        attempt: 1,
    };
    let arguments = arguments::complete(workflow, &rendered, facts)
        .map_err(|refusal| Failure::CallRefused { workflow: name.clone(), reason: refusal.to_string() })?;

    let called = Called {
        workflow: WorkflowRef { name: name.clone(), version: deployed.version, hash: deployed.hash.clone() },
        title: workflow.title.clone(),
        folder: workflow.folder.clone(),
        arguments,
    };
    let position = loaded.first().map(Position::from);
    fork::forked(here, vec![Child { order, branch, position, call: Some(called) }], WhenFailed::Join)
}
