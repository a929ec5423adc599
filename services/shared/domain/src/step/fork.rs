use super::{Here, check_depth, child_id, too_deep};
use crate::{
    BranchName, Event, Failure, Position, limit,
    order::event::{Child, OrderForked},
    workflow::{Block, WhenFailed},
};

/// The event must fit into a commit with others.
const FORK_BYTES: usize = 128 * 1024;
/// The longest label, behind the path of a branch.
const LABEL_BYTES: usize = 40;
const POSITION_BYTES: usize = 700;

/// A child order for each branch. They share the arguments and see the results of this order; theirs become its own when
/// they join.
pub(super) fn take<'a>(
    here: &Here,
    branches: impl Iterator<Item = &'a BranchName>,
    when_failed: WhenFailed,
) -> Result<Vec<Event>, Failure> {
    check_depth(here)?;
    let mut children = vec![];
    for branch in branches {
        let first = here.workflow.first_in(&here.label, &Block::Branch(branch.clone()));
        let position = first.map(|first| here.position.into_branch(branch, first));
        if position.as_ref().is_some_and(|p| p.prefix().len() + LABEL_BYTES > POSITION_BYTES) {
            return Err(too_deep());
        }
        children.push(Child { order: child_id(here, branch)?, branch: branch.clone(), position, call: None });
    }
    forked(here, children, when_failed)
}

pub(super) fn forked(here: &Here, children: Vec<Child>, when_failed: WhenFailed) -> Result<Vec<Event>, Failure> {
    let position: Position = here.position.clone();
    let forked = OrderForked { order: here.order.id.clone(), position, when_failed, children };
    let bytes = limit::json_bytes(&forked);
    if bytes > FORK_BYTES {
        let count = forked.children.len();
        let reason = format!("{count} branches at once take {bytes} bytes in the journal, the limit is {FORK_BYTES}");
        return Err(Failure::Definition { reason });
    }
    Ok(vec![forked.into()])
}
