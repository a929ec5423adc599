mod add;
mod cancel;
mod end;
mod series;
mod suspend;

use crate::{Failure, OrderId, order::OrderState, tests::*};

pub(super) fn world() -> World {
    let mut w = World::new();
    w.deploy(workflow("w", vec![job("a"), job("b")]));
    w
}

pub(super) fn failure(w: &World, order: &OrderId) -> Failure {
    match &w.order(order).state {
        OrderState::Failed { failure } => failure.clone(),
        other => panic!("{other:?}"),
    }
}
