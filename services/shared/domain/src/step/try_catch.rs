//! Try blocks, and where a failure goes.
//!
//! A failure goes to the innermost block whose *try* steps it happened in; one in catch steps goes outward. There it is
//! tried again while the block has delays left and its condition holds; else the catch steps run. Without catch steps a
//! block that retries lets the failure go outward, and one that does not retry ends it: `try` alone means *may fail*.

use super::{Here, go_on, sight::Sight};
use crate::{
    Event, Failure, Label, Position, expression,
    order::event::{OrderCaught, OrderFailed, OrderRetrying, OrderTried},
    workflow::{Block, Instruction, Retry},
};

pub(super) fn take(here: &Here) -> Vec<Event> {
    match here.workflow.first_in(&here.label, &Block::Try) {
        Some(first) => {
            let (order, to) = (here.order.id.clone(), here.position.sibling(first));
            vec![OrderTried { order, block: here.position.clone(), to }.into()]
        }
        None => go_on(here),
    }
}

/// The step failed: what follows.
pub(crate) fn fall(here: &Here, failure: Failure) -> Vec<Event> {
    let mut failure = failure;
    let mut left: Vec<Label> = vec![];
    if here.order.tries.contains_key(&here.label) {
        left.push(here.label.clone());
    }
    for (outer, block) in here.workflow.enclosing(&here.label) {
        match block {
            Block::Then | Block::Otherwise => {}
            Block::Branch(_) => break,
            Block::Catch => left.push(outer.clone()),
            Block::Try => {
                let Some(Instruction::Try { retry, catch, .. }) = here.workflow.step(outer).map(|s| &s.instruction)
                else {
                    break;
                };
                if let Some(retry) = retry {
                    match again(here, outer, retry, &failure, &left) {
                        Ok(Some(event)) => return vec![event],
                        Ok(None) => {}
                        // Nobody knows whether it should be tried again: that is what went wrong now.
                        Err(broken) => failure = broken,
                    }
                }
                let to = match catch.first() {
                    Some(first) => here.position.sibling(&first.label),
                    None if retry.is_none() => here.position.sibling(outer),
                    None => {
                        left.push(outer.clone());
                        continue;
                    }
                };
                return vec![caught(here, outer, failure, to, left)];
            }
        }
    }
    let (order, position) = (here.order.id.clone(), Some(here.position.clone()));
    vec![OrderFailed { order, position, failure }.into()]
}

fn caught(here: &Here, block: &Label, failure: Failure, to: Position, left: Vec<Label>) -> Event {
    let (order, failed_at) = (here.order.id.clone(), here.position.clone());
    OrderCaught { order, block: here.position.sibling(block), failed_at, failure, to, left }.into()
}

/// The next attempt of the block, if there is to be one.
fn again(
    here: &Here,
    block: &Label,
    retry: &Retry,
    failure: &Failure,
    left: &[Label],
) -> Result<Option<Event>, Failure> {
    let attempt = here.order.tries.get(block).map_or(1, |t| t.attempt);
    let (Some(delay), Some(first)) =
        (retry.delays.get(attempt.max(1) as usize - 1), here.workflow.first_in(block, &Block::Try))
    else {
        return Ok(None);
    };
    if let Some(when) = &retry.when {
        let sight = Sight::new(here).with_error(here.position, failure);
        if !expression::condition(when, &sight.scope())? {
            return Ok(None);
        }
    }
    let event = OrderRetrying {
        order: here.order.id.clone(),
        block: here.position.sibling(block),
        failed_at: here.position.clone(),
        failure: failure.clone(),
        attempt: attempt + 1,
        until: here.ctx.now + delay.to_chrono(),
        to: here.position.sibling(first),
        left: left.to_vec(),
    };
    Ok(Some(event.into()))
}
