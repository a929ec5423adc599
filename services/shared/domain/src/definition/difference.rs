//! What a new version of a definition changes, in words: for `ordo deploy --dry-run`.

use super::together::visit;
use crate::{
    Label,
    catalog::CatalogDefinition,
    workflow::{Action, Instruction, Job, Step, Workflow},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A difference between two versions of a workflow, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The label of the step; nothing for the workflow itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    pub text: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.label {
            Some(label) => write!(f, "{label}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// What is different in the new version: first the workflow itself, then its steps in their order, then what is gone.
pub fn difference(old: &Workflow, new: &Workflow) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut top = |text: String| changes.push(Change { label: None, text });
    let (before, after) = (top_fields(old), top_fields(new));
    compare(&before, &after, &mut top);
    parameter_changes(old, new, &mut top);

    let (before, after) = (places(old), places(new));
    for (label, step, place) in &after {
        let mut add = |text: String| changes.push(Change { label: Some((*label).clone()), text });
        match before.iter().find(|(l, _, _)| l == label) {
            None => add(format!("new {} step, {place}", kind(step))),
            Some((_, old, old_place)) => {
                if kind(old) != kind(step) {
                    add(format!("was {} and is {}", article(kind(old)), article(kind(step))));
                } else {
                    step_changes(old, step, &mut add);
                }
                if old_place != place {
                    add(format!("moved: {place}, was {old_place}"));
                }
            }
        }
    }
    for (label, step, _) in &before {
        if !after.iter().any(|(l, _, _)| l == label) {
            changes.push(Change { label: Some((*label).clone()), text: format!("removed ({} step)", kind(step)) });
        }
    }
    order_changes(&before, &after, &mut changes);
    changes
}

fn kind(step: &Step) -> &'static str {
    match step.instruction {
        Instruction::Job(_) => "job",
        Instruction::If { .. } => "if",
        Instruction::Fork { .. } => "fork",
        Instruction::Try { .. } => "try",
        Instruction::Call { .. } => "call",
        Instruction::Fail { .. } => "fail",
        Instruction::Finish { .. } => "finish",
    }
}

fn article(kind: &str) -> String {
    if kind == "if" { "an if step".into() } else { format!("a {kind} step") }
}

/// Every step with the place it is in: `at the top`, `in loads, branch west`.
fn places(workflow: &Workflow) -> Vec<(&Label, &Step, String)> {
    let mut all = Vec::new();
    collect(&workflow.steps, "at the top".to_owned(), &mut all);
    all
}

fn collect<'a>(steps: &'a [Step], place: String, all: &mut Vec<(&'a Label, &'a Step, String)>) {
    for step in steps {
        all.push((&step.label, step, place.clone()));
        let label = &step.label;
        match &step.instruction {
            Instruction::If { then, otherwise, .. } => {
                collect(then, format!("in {label}, then"), all);
                collect(otherwise, format!("in {label}, else"), all);
            }
            Instruction::Fork { branches, .. } => {
                for (branch, steps) in branches {
                    collect(steps, format!("in {label}, branch {branch}"), all);
                }
            }
            Instruction::Try { steps, catch, .. } => {
                collect(steps, format!("in {label}, try"), all);
                collect(catch, format!("in {label}, catch"), all);
            }
            Instruction::Job(_) | Instruction::Call { .. } | Instruction::Fail { .. } | Instruction::Finish { .. } => {}
        }
    }
}

/// Steps that stay in the same place, in another order.
fn order_changes(before: &[(&Label, &Step, String)], after: &[(&Label, &Step, String)], changes: &mut Vec<Change>) {
    let common =
        |from: &[(&Label, &Step, String)], other: &[(&Label, &Step, String)]| -> BTreeMap<String, Vec<String>> {
            let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (label, _, place) in from {
                if other.iter().any(|(l, _, p)| l == label && p == place) {
                    places.entry(place.clone()).or_default().push(label.to_string());
                }
            }
            places
        };
    let old = common(before, after);
    for (place, labels) in common(after, before) {
        if old.get(&place).is_some_and(|o| *o != labels) {
            let was = old.get(&place).map(|o| o.join(", ")).unwrap_or_default();
            changes
                .push(Change { label: None, text: format!("other order {place}: {}, was {was}", labels.join(", ")) });
        }
    }
}

fn json(value: &impl Serialize) -> BTreeMap<String, Json> {
    match serde_json::to_value(value) {
        Ok(Json::Object(fields)) => fields.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}

fn top_fields(workflow: &Workflow) -> BTreeMap<String, Json> {
    let mut fields = json(workflow);
    for elsewhere in ["steps", "parameters", "name"] {
        fields.remove(elsewhere);
    }
    fields
}

fn parameter_changes(old: &Workflow, new: &Workflow, add: &mut dyn FnMut(String)) {
    let names: std::collections::BTreeSet<_> = old.parameters.keys().chain(new.parameters.keys()).collect();
    for name in names {
        match (old.parameters.get(name), new.parameters.get(name)) {
            (Some(before), Some(after)) => {
                compare(&json(before), &json(after), &mut |text| add(format!("parameter {name}: {text}")));
            }
            (None, Some(after)) if after.default.is_none() && after.kind != crate::Kind::Secret => {
                add(format!("new parameter {name}, a {}, required", after.kind));
            }
            (None, Some(after)) => add(format!("new parameter {name}, a {}", after.kind)),
            (Some(_), None) => add(format!("parameter {name} is gone")),
            (None, None) => {}
        }
    }
}

/// What a step is by itself, without the steps inside of it.
fn step_fields(step: &Step) -> BTreeMap<String, Json> {
    let only = |name: &str, value: Json| BTreeMap::from([(name.to_owned(), value)]);
    match &step.instruction {
        Instruction::Job(job) => job_fields(job),
        Instruction::If { condition, .. } => only("if", Json::String(condition.0.clone())),
        Instruction::Fork { when_failed, branches } => {
            let mut fields = only("when_failed", serde_json::to_value(when_failed).unwrap_or_default());
            fields.insert("branches".into(), branches.keys().map(|b| Json::String(b.to_string())).collect());
            fields
        }
        Instruction::Try { retry, .. } => only("retry", serde_json::to_value(retry).unwrap_or_default()),
        Instruction::Call { workflow, .. } => only("call", Json::String(workflow.to_string())),
        Instruction::Fail { message } => only("message", Json::String(message.0.clone())),
        Instruction::Finish { message } => only("message", serde_json::to_value(message).unwrap_or_default()),
    }
}

fn job_fields(job: &Job) -> BTreeMap<String, Json> {
    let mut fields = json(job);
    for elsewhere in ["action", "env", "locks", "results"] {
        fields.remove(elsewhere);
    }
    if let Action::Command { arguments } = &job.action {
        fields.insert("command".into(), serde_json::to_value(arguments).unwrap_or_default());
    }
    fields
}

fn step_changes(old: &Step, new: &Step, add: &mut dyn FnMut(String)) {
    compare(&step_fields(old), &step_fields(new), add);
    match (&old.instruction, &new.instruction) {
        (Instruction::Job(old), Instruction::Job(new)) => {
            script_change(&old.action, &new.action, add);
            compare_maps("env", &json(&old.env), &json(&new.env), add);
            compare_maps("lock", &json(&old.locks), &json(&new.locks), add);
            compare_maps("result", &json(&old.results), &json(&new.results), add);
        }
        (Instruction::Call { arguments: old, .. }, Instruction::Call { arguments: new, .. }) => {
            compare_maps("argument", &json(old), &json(new), add);
        }
        _ => {}
    }
}

fn script_change(old: &Action, new: &Action, add: &mut dyn FnMut(String)) {
    match (old, new) {
        (Action::Script { text: old, .. }, Action::Script { text: new, .. }) if old != new => {
            let (gone, come) = line_changes(old, new);
            add(format!("script changed: {come} lines new, {gone} lines gone"));
        }
        (Action::Script { .. }, Action::Command { .. }) => add("script replaced by a command".into()),
        (Action::Command { .. }, Action::Script { .. }) => add("command replaced by a script".into()),
        _ => {}
    }
}

/// Lines by number of occurrences: cheap, and enough to see how much it is.
fn line_changes(old: &str, new: &str) -> (i64, i64) {
    let mut count: BTreeMap<&str, i64> = BTreeMap::new();
    old.lines().for_each(|line| *count.entry(line).or_default() -= 1);
    new.lines().for_each(|line| *count.entry(line).or_default() += 1);
    let gone = count.values().filter(|n| **n < 0).map(|n| -n).sum();
    (gone, count.values().filter(|n| **n > 0).sum())
}

fn compare(old: &BTreeMap<String, Json>, new: &BTreeMap<String, Json>, add: &mut dyn FnMut(String)) {
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let (before, after) = (old.get(name).filter(|v| !v.is_null()), new.get(name).filter(|v| !v.is_null()));
        match (before, after) {
            (Some(before), Some(after)) if before != after => {
                add(format!("{name} is {}, was {}", shown(after), shown(before)))
            }
            (None, Some(after)) => add(format!("{name} is {}, was not given", shown(after))),
            (Some(before), None) => add(format!("{name} is gone, was {}", shown(before))),
            _ => {}
        }
    }
}

fn compare_maps(what: &str, old: &BTreeMap<String, Json>, new: &BTreeMap<String, Json>, add: &mut dyn FnMut(String)) {
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        match (old.get(name), new.get(name)) {
            (Some(before), Some(after)) if before != after => {
                add(format!("{what} {name} is {}, was {}", shown(after), shown(before)));
            }
            (None, Some(after)) => add(format!("new {what} {name}: {}", shown(after))),
            (Some(before), None) => add(format!("{what} {name} is gone, was {}", shown(before))),
            _ => {}
        }
    }
}

fn shown(value: &Json) -> String {
    let text = match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(100) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// The number of steps, those inside of others too: for summaries.
pub fn step_count(workflow: &Workflow) -> usize {
    let mut count = 0;
    visit(&workflow.steps, &mut |_| count += 1);
    count
}

/// What a new version of a definition that services act by changes: its fields, with both values.
pub fn catalog_difference(before: &CatalogDefinition, after: &CatalogDefinition) -> Vec<String> {
    let fields = |definition: &CatalogDefinition| match serde_json::to_value(definition) {
        // {"schedule": {…}}
        Ok(Json::Object(outer)) => outer.into_iter().next().map(|(_, inner)| inner).unwrap_or_default(),
        _ => Json::Null,
    };
    let (before, after) = (fields(before), fields(after));
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else { return Vec::new() };
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let show = |value: Option<&Json>| value.map_or_else(|| "none".to_owned(), Json::to_string);
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    changed.map(|name| format!("{name} {} -> {}", show(before.get(name)), show(after.get(name)))).collect()
}
