//! What the expressions of an order can see where it stands.

use super::Here;
use crate::{
    Failure, Label, Position, SecretName, VariableName,
    expression::{ErrorFacts, OrderFacts, Scope},
    order::{Order, state::StepResult},
    workflow::{Block, arguments},
};
use std::{borrow::Cow, collections::BTreeMap};

/// Owns what a [`Scope`] borrows.
pub(super) struct Sight<'a> {
    order: &'a Order,
    secrets: BTreeMap<VariableName, SecretName>,
    results: Cow<'a, BTreeMap<Label, StepResult>>,
    error: Option<ErrorFacts>,
    attempt: u32,
}

impl<'a> Sight<'a> {
    pub fn new(here: &Here<'a>) -> Self {
        Self {
            order: here.order,
            secrets: arguments::secrets(&here.workflow.workflow),
            results: results(here),
            error: error(here),
            attempt: here.order.attempt.max(1),
        }
    }

    /// In a retry condition.
    pub fn with_error(mut self, failed_at: &Position, failure: &Failure) -> Self {
        self.error = Some(facts(failed_at, failure));
        self
    }

    /// `order.attempt` of the run to come.
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    pub fn scope(&self) -> Scope<'_> {
        let order = OrderFacts {
            id: self.order.id.as_str(),
            workflow: self.order.workflow.name.as_str(),
            title: self.order.title.as_deref().unwrap_or(self.order.workflow.name.as_str()),
            business_day: self.order.business_day,
            attempt: self.attempt,
        };
        Scope {
            order,
            arguments: &self.order.arguments,
            secrets: &self.secrets,
            results: &self.results,
            error: self.error.clone(),
        }
    }
}

/// Its own, and in a branch those of the orders it is a branch of.
fn results<'a>(here: &Here<'a>) -> Cow<'a, BTreeMap<Label, StepResult>> {
    let own = &here.order.results;
    let mut all: Option<BTreeMap<Label, StepResult>> = None;
    let mut order = here.order;
    while let Some(parent) = order.branch_parent().and_then(|id| here.site.orders.get(id)) {
        let all = all.get_or_insert_with(|| own.clone());
        for (label, result) in &parent.results {
            if !all.contains_key(label) {
                all.insert(label.clone(), result.clone());
            }
        }
        order = parent;
    }
    all.map_or(Cow::Borrowed(own), Cow::Owned)
}

/// What the innermost catch steps around it have caught, also from inside a fork in them.
fn error(here: &Here) -> Option<ErrorFacts> {
    let mut order = here.order;
    for (outer, block) in here.workflow.enclosing(&here.label) {
        match block {
            Block::Catch => {
                if let Some((at, failure)) = order.tries.get(outer).and_then(|t| t.caught.as_ref()) {
                    return Some(facts(at, failure));
                }
            }
            Block::Branch(_) => order = here.site.orders.get(order.branch_parent()?)?,
            Block::Then | Block::Otherwise | Block::Try => {}
        }
    }
    None
}

fn facts(at: &Position, failure: &Failure) -> ErrorFacts {
    ErrorFacts {
        message: failure.to_string(),
        code: failure.code().into(),
        label: at.label().to_string(),
        return_code: failure.return_code(),
    }
}
