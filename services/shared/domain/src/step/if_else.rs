use super::{Here, go_on, sight::Sight};
use crate::{
    Event, Failure, expression,
    order::event::OrderMoved,
    workflow::{Block, Expression},
};

/// Into one of the two lists of steps; past both where the chosen one is empty.
pub(super) fn take(here: &Here, condition: &Expression) -> Result<Vec<Event>, Failure> {
    let is_true = expression::condition(condition, &Sight::new(here).scope())?;
    let block = if is_true { Block::Then } else { Block::Otherwise };
    Ok(match here.workflow.first_in(&here.label, &block) {
        Some(first) => {
            let (order, to) = (here.order.id.clone(), here.position.sibling(first));
            vec![OrderMoved { order, to, left: vec![] }.into()]
        }
        None => go_on(here),
    })
}
