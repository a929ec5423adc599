//! A site to try things on: every action is decided and settled as the controller does it, checked against all invariants,
//! and replayed by `apply` alone from the JSON of its events.

mod site;
mod walk;
mod world;

pub(crate) use world::{World, by, facts, hash_of, new_order};

use crate::{
    Span,
    workflow::{
        Action, Expression, Instruction, Job, LatePolicy, Parameter, Retry, Step, Template, WhenFailed, Workflow,
    },
};
use std::{collections::BTreeMap, str::FromStr};

/// Any name or id.
pub(crate) fn id<T: FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

pub(crate) fn workflow(name: &str, steps: Vec<Step>) -> Workflow {
    Workflow {
        name: id(name),
        title: None,
        folder: None,
        tags: Default::default(),
        zone: None,
        priority: 0,
        late: LatePolicy::default(),
        parameters: BTreeMap::new(),
        steps,
    }
}

pub(crate) fn step(label: &str, instruction: Instruction) -> Step {
    Step { label: id(label), instruction }
}

pub(crate) fn plain_job() -> Job {
    Job {
        agent: id("etl"),
        action: Action::Command { arguments: vec![Template("true".into())] },
        env: BTreeMap::new(),
        directory: None,
        timeout: None,
        kill_after: Span::from_secs(15),
        success: [0].into(),
        warning: Default::default(),
        parallel: None,
        restartable: true,
        locks: BTreeMap::new(),
        results: BTreeMap::new(),
    }
}

pub(crate) fn job(label: &str) -> Step {
    job_with(label, |_| {})
}

pub(crate) fn job_with(label: &str, change: impl FnOnce(&mut Job)) -> Step {
    let mut job = plain_job();
    change(&mut job);
    step(label, Instruction::Job(Box::new(job)))
}

pub(crate) fn if_else(label: &str, condition: &str, then: Vec<Step>, otherwise: Vec<Step>) -> Step {
    step(label, Instruction::If { condition: Expression(condition.into()), then, otherwise })
}

pub(crate) fn fork(label: &str, when_failed: WhenFailed, branches: Vec<(&str, Vec<Step>)>) -> Step {
    let branches = branches.into_iter().map(|(name, steps)| (id(name), steps)).collect();
    step(label, Instruction::Fork { branches, when_failed })
}

pub(crate) fn try_catch(label: &str, steps: Vec<Step>, delays: Option<&[u64]>, catch: Vec<Step>) -> Step {
    let retry = delays.map(|d| Retry { delays: d.iter().map(|s| Span::from_secs(*s)).collect(), when: None });
    step(label, Instruction::Try { steps, retry, catch })
}

pub(crate) fn try_when(label: &str, steps: Vec<Step>, delays: &[u64], when: &str, catch: Vec<Step>) -> Step {
    let delays = delays.iter().map(|s| Span::from_secs(*s)).collect();
    let retry = Some(Retry { delays, when: Some(Expression(when.into())) });
    step(label, Instruction::Try { steps, retry, catch })
}

pub(crate) fn call(label: &str, name: &str, arguments: serde_json::Value) -> Step {
    step(label, Instruction::Call { workflow: id(name), arguments: serde_json::from_value(arguments).unwrap() })
}

pub(crate) fn fail(label: &str, message: &str) -> Step {
    step(label, Instruction::Fail { message: Template(message.into()) })
}

pub(crate) fn finish(label: &str, message: &str) -> Step {
    step(label, Instruction::Finish { message: Some(Template(message.into())) })
}

pub(crate) fn parameter(json: serde_json::Value) -> Parameter {
    serde_json::from_value(json).unwrap()
}
