//! What lies between definitions: calls and their arguments, locks, agents, names.

use super::{
    Item,
    item::{ArgumentUse, CallUse, Definition},
    nearest,
    problem::{Place, Problem},
};
use crate::{
    AgentName, Kind, LockName, Value, VariableName, WorkflowName,
    catalog::CatalogDefinition,
    expression::KindOrAny,
    workflow::{Instruction, Parameter, Step, Workflow},
};
use std::collections::{BTreeMap, BTreeSet};

/// What the site has already.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Known {
    pub workflows: BTreeMap<WorkflowName, KnownWorkflow>,
    /// With their capacity.
    pub locks: BTreeMap<LockName, u32>,
    /// None: not known, so not checked.
    pub agents: Option<BTreeSet<AgentName>>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct KnownWorkflow {
    pub parameters: BTreeMap<VariableName, Parameter>,
    /// The workflows that it calls.
    pub calls: BTreeSet<WorkflowName>,
    /// Locks that it needs, with the largest weight.
    pub locks: BTreeMap<LockName, u32>,
}

impl From<&Workflow> for KnownWorkflow {
    fn from(workflow: &Workflow) -> Self {
        let mut known = KnownWorkflow { parameters: workflow.parameters.clone(), ..Default::default() };
        visit(&workflow.steps, &mut |step| match &step.instruction {
            Instruction::Call { workflow, .. } => drop(known.calls.insert(workflow.clone())),
            Instruction::Job(job) => {
                for (lock, weight) in &job.locks {
                    let most = known.locks.entry(lock.clone()).or_default();
                    *most = (*most).max(*weight);
                }
            }
            _ => {}
        });
        known
    }
}

/// Every step, those inside of others too.
pub(super) fn visit<'a>(steps: &'a [Step], f: &mut dyn FnMut(&'a Step)) {
    for step in steps {
        f(step);
        match &step.instruction {
            Instruction::If { then, otherwise, .. } => {
                visit(then, f);
                visit(otherwise, f);
            }
            Instruction::Fork { branches, .. } => branches.values().for_each(|steps| visit(steps, f)),
            Instruction::Try { steps, catch, .. } => {
                visit(steps, f);
                visit(catch, f);
            }
            Instruction::Job(_) | Instruction::Call { .. } | Instruction::Fail { .. } | Instruction::Finish { .. } => {}
        }
    }
}

struct Check<'a> {
    items: &'a [Item],
    known: &'a Known,
    problems: Vec<Problem>,
}

/// Checks what lies between definitions that shall be deployed together. Empty: all may be deployed.
pub fn check_together(items: &[Item], known: &Known) -> Vec<Problem> {
    let mut check = Check { items, known, problems: Vec::new() };
    check.names();
    for item in items {
        for call in &item.uses.calls {
            check.call(item, call);
        }
        for used in &item.uses.locks {
            check.lock(item, &used.lock, used.weight, used.place);
        }
        for (agent, place) in &item.uses.agents {
            check.agent(item, agent, *place);
        }
        match &item.definition {
            Definition::Lock(lock) => check.capacity(item, &lock.name, lock.capacity),
            Definition::Catalog(definition) => check.references(item, definition),
            Definition::Workflow(_) => {}
        }
    }
    check.circles();
    check.problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    check.problems
}

impl Check<'_> {
    fn add(&mut self, item: &Item, place: Place, message: String, help: Option<String>) {
        self.problems.push(Problem::at(&item.file, place, message, help));
    }

    /// Each name once.
    fn names(&mut self) {
        let mut seen: BTreeMap<(&str, &str), &Item> = BTreeMap::new();
        for item in self.items {
            let key = (item.definition.kind(), item.definition.name());
            let Some(first) = seen.get(&key) else {
                seen.insert(key, item);
                continue;
            };
            let message = format!("{} {} is there twice", key.0, key.1);
            let help = format!("{}:{} defines it already", first.file, first.uses.name.line);
            self.add(item, item.uses.name, message, Some(help));
        }
    }

    /// The workflows that it names are there.
    fn references(&mut self, item: &Item, definition: &CatalogDefinition) {
        // What is given arguments as well, is checked with them.
        let is_called = |workflow: &WorkflowName| item.uses.calls.iter().any(|call| call.workflow == *workflow);
        for workflow in &definition.references().workflows {
            if !is_called(workflow) && self.parameters(workflow).is_none() {
                self.not_deployed(item, workflow, item.uses.name);
            }
        }
    }

    fn not_deployed(&mut self, item: &Item, workflow: &WorkflowName, place: Place) {
        let new = self.items.iter().filter_map(|item| match &item.definition {
            Definition::Workflow(workflow) => Some(workflow.name.as_str()),
            Definition::Lock(_) | Definition::Catalog(_) => None,
        });
        let known = self.known.workflows.keys().map(|n| n.as_str()).chain(new);
        let help = match nearest(workflow.as_str(), known) {
            Some(near) => format!("did you mean {near}?"),
            None => "deploy it together with this, or before".into(),
        };
        self.add(item, place, format!("workflow {workflow} is not deployed"), Some(help));
    }

    fn parameters(&self, name: &WorkflowName) -> Option<BTreeMap<VariableName, Parameter>> {
        let deployed = self.items.iter().find_map(|item| match &item.definition {
            Definition::Workflow(workflow) if workflow.name == *name => Some(workflow.parameters.clone()),
            _ => None,
        });
        deployed.or_else(|| self.known.workflows.get(name).map(|w| w.parameters.clone()))
    }

    fn call(&mut self, item: &Item, call: &CallUse) {
        let Some(parameters) = self.parameters(&call.workflow) else {
            return self.not_deployed(item, &call.workflow, call.place);
        };
        for (name, argument) in &call.arguments {
            match parameters.get(name) {
                Some(parameter) => self.argument(item, call, name, argument, parameter),
                None => {
                    let known: Vec<&str> = parameters.keys().map(|n| n.as_str()).collect();
                    let help = match nearest(name.as_str(), known.iter().copied()) {
                        Some(near) => format!("did you mean {near}?"),
                        None if known.is_empty() => "it has none".to_owned(),
                        None => format!("it has: {}", known.join(", ")),
                    };
                    let message = format!("workflow {} has no parameter {name}", call.workflow);
                    self.add(item, argument.name, message, Some(help));
                }
            }
        }
        for (name, parameter) in &parameters {
            let required = parameter.default.is_none() && parameter.kind != Kind::Secret;
            if required && !call.arguments.contains_key(name) {
                let message = format!("workflow {} needs the parameter {name}, a {}", call.workflow, parameter.kind);
                self.add(item, call.place, message, Some(format!("add arguments: {{ {name}: … }} to {}", call.by)));
            }
        }
    }

    fn argument(
        &mut self,
        item: &Item,
        call: &CallUse,
        name: &VariableName,
        argument: &ArgumentUse,
        parameter: &Parameter,
    ) {
        if parameter.kind == Kind::Secret {
            let message = format!("parameter {name} of {} is a secret: it takes no argument", call.workflow);
            let help = "its value is a file at the agent, named by its definition".to_owned();
            return self.add(item, argument.name, message, Some(help));
        }
        if let KindOrAny::Kind(found) = argument.kind
            && found != parameter.kind
        {
            let message = format!("parameter {name} of {} is a {}, not a {found}", call.workflow, parameter.kind);
            return self.add(item, argument.place, message, None);
        }
        if let (Some(wanted), Value::List(items)) = (parameter.items, &argument.value) {
            let template = |v: &Value| matches!(v, Value::String(text) if text.contains("${"));
            if let Some(wrong) = items.iter().find(|v| v.kind() != wanted && !template(v)) {
                let message = format!(
                    "the items of parameter {name} of {} are {wanted}s; this has a {}",
                    call.workflow,
                    wrong.kind()
                );
                self.add(item, argument.place, message, None);
            }
        }
    }

    fn lock(&mut self, item: &Item, name: &LockName, weight: u32, place: Place) {
        let new = self.items.iter().find_map(|item| match &item.definition {
            Definition::Lock(lock) if lock.name == *name => Some(lock.capacity),
            _ => None,
        });
        let Some(capacity) = new.or_else(|| self.known.locks.get(name).copied()) else {
            let help = match nearest(name.as_str(), self.known.locks.keys().map(|n| n.as_str())) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("deploy a definition of it: lock: {name}, capacity: N"),
            };
            return self.add(item, place, format!("lock {name} is not defined"), Some(help));
        };
        if weight > capacity {
            let message = format!("lock {name} has capacity {capacity}; {weight} of it can never be held");
            self.add(item, place, message, None);
        }
    }

    /// A lock is not made smaller than what deployed workflows need of it.
    fn capacity(&mut self, item: &Item, name: &LockName, capacity: u32) {
        let known = self.known;
        let replaced = |workflow: &WorkflowName| {
            self.items.iter().any(|i| matches!(&i.definition, Definition::Workflow(w) if w.name == *workflow))
        };
        let largest = known.workflows.iter().filter(|(w, _)| !replaced(w));
        let largest = largest.filter_map(|(w, k)| k.locks.get(name).map(|weight| (*weight, w))).max();
        if let Some((weight, workflow)) = largest.filter(|(weight, _)| *weight > capacity) {
            let message =
                format!("a capacity of {capacity} is too small: workflow {workflow} needs {weight} of lock {name}");
            self.add(item, item.uses.name, message, None);
        }
    }

    fn agent(&mut self, item: &Item, agent: &AgentName, place: Place) {
        let Some(agents) = &self.known.agents else { return };
        if agents.contains(agent) {
            return;
        }
        let help = match nearest(agent.as_str(), agents.iter().map(|a| a.as_str())) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("add it with `ordo agent add {agent}`, or use one of `ordo agent list`"),
        };
        self.add(item, place, format!("agent {agent} is not known"), Some(help));
    }

    /// No workflow calls itself, be it by way of others.
    fn circles(&mut self) {
        let mut calls: BTreeMap<&WorkflowName, BTreeSet<&WorkflowName>> =
            self.known.workflows.iter().map(|(name, w)| (name, w.calls.iter().collect())).collect();
        for item in self.items {
            if let Definition::Workflow(workflow) = &item.definition {
                calls.insert(&workflow.name, item.uses.calls.iter().map(|c| &c.workflow).collect());
            }
        }
        for item in self.items {
            let Definition::Workflow(workflow) = &item.definition else { continue };
            for call in &item.uses.calls {
                if let Some(way) = way(&calls, &call.workflow, &workflow.name) {
                    let way: Vec<&str> = std::iter::once(&workflow.name).chain(way).map(|n| n.as_str()).collect();
                    let message = format!("workflow {} calls itself: {}", workflow.name, way.join(" calls "));
                    self.add(
                        item,
                        call.place,
                        message,
                        Some("a workflow cannot call itself, be it by way of others".into()),
                    );
                }
            }
        }
    }
}

/// From one workflow to another by calls, both included.
fn way<'a>(
    calls: &BTreeMap<&'a WorkflowName, BTreeSet<&'a WorkflowName>>,
    from: &'a WorkflowName,
    to: &WorkflowName,
) -> Option<Vec<&'a WorkflowName>> {
    let mut seen = BTreeSet::from([from]);
    let mut ways = std::collections::VecDeque::from([vec![from]]);
    while let Some(way) = ways.pop_front() {
        let last = *way.last()?;
        if last == to {
            return Some(way);
        }
        for next in calls.get(last).into_iter().flatten() {
            if seen.insert(next) {
                ways.push_back(way.iter().copied().chain([*next]).collect());
            }
        }
    }
    None
}
