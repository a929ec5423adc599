//! Steps: what each is, its label, and what the steps inside of it may name.

use super::{
    file,
    item::{ArgumentUse, CallUse},
    nearest,
    read::{Fields, Reader},
    yaml::{Content, Node},
};
use crate::{
    BranchName, Label, VariableName, WorkflowName, limit,
    workflow::{Instruction, Retry, Step, WhenFailed},
};
use std::collections::{BTreeMap, BTreeSet};

const KINDS: &[&str] = &["job", "if", "fork", "try", "call", "fail", "finish"];
/// Steps inside of steps. Bodies are read as JSON, whose readers allow 128 levels; a fork makes five of them.
const STEP_DEPTH: usize = 20;
/// Of a position: labels and branches.
const POSITION_BYTES: usize = 700;
/// Attempts of a try block.
const DELAYS: usize = 100;

/// All labels that the steps give, and the names of the jobs; quietly, problems are noted when the steps are read.
pub(super) fn find_labels(node: &Node, labels: &mut BTreeSet<String>, jobs: &mut BTreeSet<Label>) {
    match &node.content {
        Content::List(items) => items.iter().for_each(|item| find_labels(item, labels, jobs)),
        Content::Map(entries) => {
            let text = |name: &str| entries.iter().find(|(k, _)| k.text() == Some(name)).and_then(|(_, v)| v.text());
            let label = text("label").or(text("job"));
            labels.extend(label.map(str::to_owned));
            if text("job").is_some() {
                jobs.extend(label.and_then(|l| Label::new(l).ok()));
            }
            entries.iter().for_each(|(_, value)| find_labels(value, labels, jobs));
        }
        _ => {}
    }
}

/// How expressions write a label.
fn written(label: &Label) -> String {
    label.as_str().replace('-', "_")
}

impl Reader<'_, '_> {
    /// A list of at least one step.
    pub(super) fn steps(&mut self, node: &Node, what: &str) -> Vec<Step> {
        let items = self.list(node, what);
        if items.is_empty() && matches!(node.content, Content::List(_)) {
            self.problems.help(&node.at, format!("{what} is empty"), "add a step: a line `- job: NAME`, …");
        }
        if self.depth >= STEP_DEPTH {
            self.problems.help(
                &node.at,
                format!("steps inside of steps: more than {STEP_DEPTH} levels"),
                "call a workflow of its own",
            );
            return Vec::new();
        }
        self.depth += 1;
        let steps = items.iter().filter_map(|item| self.step(item)).collect();
        self.depth -= 1;
        steps
    }

    fn step(&mut self, node: &Node) -> Option<Step> {
        self.steps += 1;
        if self.steps > limit::STEPS {
            if self.steps == limit::STEPS + 1 {
                self.problems.add(&node.at, format!("more than {} steps in one workflow", limit::STEPS));
            }
            return None;
        }
        match self.step_kind(node)? {
            "job" => self.job(node),
            "if" => self.if_step(node),
            "fork" => self.fork(node),
            "try" => self.try_step(node),
            "call" => self.call(node),
            "fail" => self.fail(node),
            _ => self.finish(node),
        }
    }

    fn step_kind(&mut self, node: &Node) -> Option<&'static str> {
        let all = KINDS.join(", ");
        let Content::Map(entries) = &node.content else {
            let help = format!("begin it with one of {all}, such as `- job: NAME`");
            self.problems.help(&node.at, format!("a step is a map, not {}", node.what()), help);
            return None;
        };
        let mut found = entries.iter().filter_map(|(key, _)| {
            let text = key.text()?;
            KINDS.iter().find(|k| **k == text).map(|kind| (*kind, key))
        });
        let Some((first, _)) = found.next() else {
            let (key, _) = entries.first()?;
            let text = key.text().unwrap_or("");
            let help = match nearest(text, KINDS.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("a step begins with one of {all}"),
            };
            self.problems.help(&key.at, format!("a step {text:?} is not known"), help);
            return None;
        };
        if let Some((second, key)) = found.next() {
            let help = match (first, second) {
                ("job", "if") | ("if", "job") => "put the job under `then:` of the if".to_owned(),
                _ => format!("make {second} a step of its own: begin it with `- `"),
            };
            self.problems.help(&key.at, format!("a step is one thing; this is {first} already"), help);
            return None;
        }
        Some(first)
    }

    /// The label that is given, else the name, else one that is made of the kind.
    pub(super) fn label(&mut self, fields: &mut Fields<'_>, kind: &'static str, name: Option<&Node>) -> Option<Label> {
        let given = self.get(fields, "label").or(name);
        let (label, at) = match given {
            Some(node) => (self.id::<Label>(node, "label")?, node.at.clone()),
            None => (self.made_label(kind)?, fields.at()),
        };
        let earlier = self.labels.get(&written(&label)).cloned();
        if let Some((earlier, place)) = earlier {
            let line = self.problems.place(&place).line;
            let message = match earlier == label {
                true => format!("the label {label} is there twice: line {line} has it already"),
                false => format!("the labels {label} and {earlier} (line {line}) are the same in expressions"),
            };
            self.problems.help(&at, message, "give this step a `label:` of its own");
            return Some(label);
        }
        if self.path + label.as_str().len() > POSITION_BYTES {
            self.problems.add(
                &at,
                format!(
                    "the position of this step is longer than {POSITION_BYTES} bytes: shorten the labels of the forks"
                ),
            );
        }
        self.labels.insert(written(&label), (label.clone(), at));
        Some(label)
    }

    fn made_label(&mut self, kind: &'static str) -> Option<Label> {
        loop {
            let number = self.made.entry(kind).or_default();
            *number += 1;
            let label = format!("{kind}{number}");
            if !self.given.contains(&label) {
                return Label::new(label).ok();
            }
        }
    }

    fn if_step(&mut self, node: &Node) -> Option<Step> {
        let mut fields = self.fields::<file::IfStep>(node, "an if step");
        let label = self.label(&mut fields, "if", None);
        let condition = self.get(&mut fields, "if").and_then(|n| self.condition(n, "if"));
        let before = self.names.steps.clone();
        let then = self.required(&mut fields, "then", "add then: with the steps").map(|n| self.steps(n, "then"));
        let after_then = std::mem::replace(&mut self.names.steps, before);
        let otherwise = self.get(&mut fields, "else").map(|n| self.steps(n, "else"));
        self.names.steps.extend(after_then);
        self.done(fields);
        let (then, otherwise) = (then.unwrap_or_default(), otherwise.unwrap_or_default());
        Some(Step { label: label?, instruction: Instruction::If { condition: condition?, then, otherwise } })
    }

    fn fork(&mut self, node: &Node) -> Option<Step> {
        let mut fields = self.fields::<file::ForkStep>(node, "a fork step");
        let label = self.label(&mut fields, "fork", None);
        let words = ["join", "wait", "cancel_others"];
        let when_failed: Option<WhenFailed> =
            self.get(&mut fields, "when_failed").and_then(|n| self.word(n, "when_failed", &words));
        let mut branches = BTreeMap::new();
        if let Some(node) = self.get(&mut fields, "fork") {
            self.enter(node);
            let before = self.names.steps.clone();
            let mut after = before.clone();
            let entries = self.entries(node, "a fork");
            if entries.is_empty() && matches!(node.content, Content::Map(_)) {
                self.problems.help(&node.at, "a fork has no branches", "add NAME: with the steps of a branch");
            }
            for (_, key, value) in entries {
                let Some(name) = self.id::<BranchName>(key, "a branch") else { continue };
                self.names.steps.clone_from(&before);
                let path = self.path;
                // `label:branch/`
                self.path += label.as_ref().map_or(0, |l| l.as_str().len()) + name.as_str().len() + 2;
                let is_empty = matches!(&value.content, Content::List(items) if items.is_empty());
                let steps = if is_empty { Vec::new() } else { self.steps(value, "a branch") };
                self.path = path;
                after.extend(std::mem::take(&mut self.names.steps));
                branches.insert(name, steps);
            }
            self.names.steps = after;
            self.nesting -= 1;
        }
        self.done(fields);
        let when_failed = when_failed.unwrap_or_default();
        Some(Step { label: label?, instruction: Instruction::Fork { branches, when_failed } })
    }

    /// Into a fork or a call.
    fn enter(&mut self, node: &Node) {
        self.nesting += 1;
        if self.nesting > limit::NESTING {
            self.problems
                .add(&node.at, format!("forks and calls inside each other: more than {} levels", limit::NESTING));
        }
    }

    fn try_step(&mut self, node: &Node) -> Option<Step> {
        let mut fields = self.fields::<file::TryStep>(node, "a try step");
        let label = self.label(&mut fields, "try", None);
        let steps_node = self.get(&mut fields, "try");
        let retry_node = self.get(&mut fields, "retry");
        // A second attempt sees what the first left behind.
        if let (Some(steps), Some(_)) = (steps_node, retry_node) {
            self.names.steps.extend(super::job::results_ahead(steps));
        }
        let steps = steps_node.map(|n| self.steps(n, "try")).unwrap_or_default();
        let outside = std::mem::replace(&mut self.names.error, true);
        let retry = retry_node.and_then(|n| self.retry(n));
        let catch_node = self.get(&mut fields, "catch");
        let catch = catch_node.map(|n| self.steps(n, "catch")).unwrap_or_default();
        self.names.error = outside;
        if retry_node.is_none()
            && catch_node.is_none()
            && !fields.entries.contains_key("retry")
            && !fields.entries.contains_key("catch")
        {
            let at = fields.at();
            self.problems.help(
                &at,
                "this try step has neither retry nor catch",
                "add one of them, or leave the try out",
            );
        }
        self.done(fields);
        Some(Step { label: label?, instruction: Instruction::Try { steps, retry, catch } })
    }

    fn retry(&mut self, node: &Node) -> Option<Retry> {
        let mut fields = self.fields::<file::RetryFile>(node, "retry");
        let delays_node = self.required(&mut fields, "delays", "add delays: [10s, 1m], one for each further attempt");
        let delays = delays_node.map(|n| (n, self.list(n, "delays")));
        if let Some((n, items)) = delays {
            if items.is_empty() && matches!(n.content, Content::List(_)) {
                self.problems.help(
                    &n.at,
                    "delays is empty: nothing is tried again",
                    "write [10s, 1m], one for each further attempt",
                );
            }
            if items.len() > DELAYS {
                self.problems.add(&n.at, format!("{} delays; the limit is {DELAYS}", items.len()));
            }
        }
        let delays = delays.map(|(_, items)| items.iter().filter_map(|i| self.span(i, "a delay")).collect());
        let when = self.get(&mut fields, "if").and_then(|n| self.condition(n, "the if of retry"));
        self.done(fields);
        Some(Retry { delays: delays?, when })
    }

    fn call(&mut self, node: &Node) -> Option<Step> {
        let mut fields = self.fields::<file::CallStep>(node, "a call step");
        let label = self.label(&mut fields, "call", None);
        let name_node = self.get(&mut fields, "call");
        let workflow: Option<WorkflowName> = name_node.and_then(|n| self.id(n, "call"));
        let mut arguments = BTreeMap::new();
        let mut used = BTreeMap::new();
        if let Some(node) = self.get(&mut fields, "arguments") {
            for (_, key, node) in self.entries(node, "arguments") {
                let Some(name) = self.id::<VariableName>(key, "an argument") else { continue };
                let Some((value, kind)) = self.value(node, "an argument") else { continue };
                let (place, name_place) = (self.problems.place(&node.at), self.problems.place(&key.at));
                used.insert(name.clone(), ArgumentUse { name: name_place, place, kind, value: value.clone() });
                arguments.insert(name, value);
            }
        }
        self.done(fields);
        self.enter(node);
        self.nesting -= 1;
        let (label, workflow) = (label?, workflow?);
        let place = self.problems.place(&name_node?.at);
        self.uses.calls.push(CallUse {
            by: format!("step {label}"),
            workflow: workflow.clone(),
            place,
            arguments: used,
        });
        Some(Step { label, instruction: Instruction::Call { workflow, arguments } })
    }

    fn fail(&mut self, node: &Node) -> Option<Step> {
        let mut fields = self.fields::<file::FailStep>(node, "a fail step");
        let label = self.label(&mut fields, "fail", None);
        let message =
            self.required(&mut fields, "fail", "say why: fail: MESSAGE").and_then(|n| self.template(n, "fail"));
        self.done(fields);
        Some(Step { label: label?, instruction: Instruction::Fail { message: message? } })
    }

    fn finish(&mut self, node: &Node) -> Option<Step> {
        let mut fields = self.fields::<file::FinishStep>(node, "a finish step");
        let label = self.label(&mut fields, "finish", None);
        let node = self.raw(&mut fields, "finish").map(|(_, value)| *value).filter(|n| !n.is_null());
        let message = node.and_then(|n| self.template(n, "finish"));
        self.done(fields);
        Some(Step { label: label?, instruction: Instruction::Finish { message } })
    }

    /// The step that was read ends before those that follow: they may name it.
    pub(super) fn ended(&mut self, label: &Label, results: BTreeMap<VariableName, crate::Kind>) {
        self.names.steps.insert(label.clone(), results);
    }
}
