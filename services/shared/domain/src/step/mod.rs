//! What an order does on each instruction: `step/<instruction>.rs`. The data of instructions is in [`crate::workflow`].

mod call;
mod fail;
mod finish;
mod fork;
mod if_else;
mod job;
mod sight;
mod try_catch;

pub(crate) use try_catch::fall;

use crate::{
    BranchName, Ctx, Event, Failure, Label, OrderId, Position, Site,
    ctx::LoadedWorkflow,
    limit,
    order::{
        Order,
        event::{OrderFinished, OrderMoved},
    },
    workflow::{Block, Instruction},
};

/// An order at a step.
pub(crate) struct Here<'a> {
    pub site: &'a Site,
    pub order: &'a Order,
    pub workflow: &'a LoadedWorkflow,
    pub position: &'a Position,
    pub label: Label,
    pub ctx: Ctx<'a>,
}

impl<'a> Here<'a> {
    pub fn new(
        site: &'a Site,
        order: &'a Order,
        workflow: &'a LoadedWorkflow,
        position: &'a Position,
        ctx: Ctx<'a>,
    ) -> Self {
        Self { site, order, workflow, position, label: position.label(), ctx }
    }
}

/// What an order that stands before the step does now; nothing when it has to wait.
pub(crate) fn take(here: &Here) -> Vec<Event> {
    let Some(step) = here.workflow.step(&here.label) else {
        let (name, version) = (&here.order.workflow.name, here.order.workflow.version);
        let reason = format!("version {version} of workflow {name} has no step {}", here.label);
        return fall(here, Failure::Definition { reason });
    };
    let taken = match &step.instruction {
        Instruction::Job(job) => job::take(here, job),
        Instruction::If { condition, .. } => if_else::take(here, condition),
        Instruction::Fork { branches, when_failed } => fork::take(here, branches.keys(), *when_failed),
        Instruction::Try { .. } => Ok(try_catch::take(here)),
        Instruction::Call { workflow, arguments } => call::take(here, workflow, arguments),
        Instruction::Fail { message } => fail::take(here, message),
        Instruction::Finish { message } => finish::take(here, message.as_ref()),
    };
    taken.unwrap_or_else(|failure| fall(here, failure))
}

/// The step is over: to the next one, out of as many blocks as end here, or to the end of the order.
pub(crate) fn go_on(here: &Here) -> Vec<Event> {
    let mut left = vec![];
    if here.order.tries.contains_key(&here.label) {
        left.push(here.label.clone());
    }
    let mut at = &here.label;
    loop {
        if let Some(next) = here.workflow.next(at) {
            let (order, to) = (here.order.id.clone(), here.position.sibling(next));
            return vec![OrderMoved { order, to, left }.into()];
        }
        match here.workflow.inside(at) {
            None | Some((_, Block::Branch(_))) => return finish(here, None),
            Some((outer, Block::Then | Block::Otherwise)) => at = outer,
            Some((outer, Block::Try | Block::Catch)) => {
                left.push(outer.clone());
                at = outer;
            }
        }
    }
}

fn finish(here: &Here, message: Option<String>) -> Vec<Event> {
    vec![OrderFinished { order: here.order.id.clone(), message }.into()]
}

/// The id of a new branch, never one that this order had: `-2`, `-3`, … where a fork is entered again.
fn child_id(here: &Here, branch: &BranchName) -> Result<OrderId, Failure> {
    let order = here.order;
    let is_new = |last: &String| !order.used_branches.contains(last);
    let numbered = |first: &str| {
        let again = (2..).map(|n| format!("{first}-{n}"));
        std::iter::once(first.to_owned()).chain(again).find(is_new).unwrap_or_default()
    };
    let id = order.id.child(&numbered(branch.as_str()));
    // Names that are too long together give way to numbers.
    let id = id.or_else(|_| order.id.child(&numbered(&(order.used_branches.len() + 1).to_string())));
    id.map_err(|_| too_deep())
}

fn too_deep() -> Failure {
    Failure::TooDeep { limit: limit::NESTING as u64 }
}

/// Forks and calls that the order is inside of.
fn check_depth(here: &Here) -> Result<(), Failure> {
    let up = |order: &&Order| order.parent.as_ref().and_then(|p| here.site.orders.get(&p.order));
    let depth = std::iter::successors(Some(here.order), up).take(limit::NESTING + 1).count();
    if depth > limit::NESTING { Err(too_deep()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
