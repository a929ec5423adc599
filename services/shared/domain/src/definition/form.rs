//! A compiled workflow as the file that says the same: to show it to people, and to check a body that did not come from
//! [`super::read()`].

use super::{Definition, Problem, document};
use crate::workflow::{Action, Instruction, Job, LatePolicy, Parameter, Step, Workflow};
use serde::Serialize;
use serde_json::{Map, Value as Json};
use std::fmt::Write;

/// The shape of its file, with all defaults filled in and every label given.
pub fn file_form(workflow: &Workflow) -> Json {
    let mut form = Form::default();
    form.put("workflow", &workflow.name);
    form.put("title", &workflow.title);
    form.put("folder", &workflow.folder);
    form.put("tags", &workflow.tags);
    form.put("zone", &workflow.zone);
    form.put("priority", &workflow.priority);
    if workflow.late != LatePolicy::default() {
        form.put("late", &workflow.late);
    }
    let parameters = workflow.parameters.iter().map(|(name, p)| (name.to_string(), parameter(p)));
    form.put("parameters", &parameters.collect::<Map<String, Json>>());
    form.put("steps", &steps(&workflow.steps));
    form.done()
}

/// Checks a body as if it were the file that says the same. What is found points into that file, [`file_text`].
pub fn verify(workflow: &Workflow) -> Result<(), Vec<Problem>> {
    let name = format!("workflow {}", workflow.name);
    let text = file_text(workflow);
    let compiled = document::read_text(&name, &text)?;
    match compiled.items.as_slice() {
        [item] if item.definition == Definition::Workflow(workflow.clone()) => Ok(()),
        _ => {
            let message = "the body is not what its own file would give".to_owned();
            let help = Some("deploy it from its file".to_owned());
            Err(vec![Problem { file: name, line: 1, column: 1, length: 1, message, help }])
        }
    }
}

/// The file as text: JSON, which is YAML. What YAML does not take as it is, is escaped.
pub fn file_text(workflow: &Workflow) -> String {
    let json = format!("{:#}", file_form(workflow));
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        let is_plain = c == '\n'
            || (!c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'));
        if is_plain {
            text.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

#[derive(Default)]
struct Form(Map<String, Json>);

impl Form {
    /// Nothing for what is empty.
    fn put(&mut self, name: &str, value: &impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or_default();
        let is_empty = match &value {
            Json::Null => true,
            Json::Array(items) => items.is_empty(),
            Json::Object(entries) => entries.is_empty(),
            _ => false,
        };
        if !is_empty {
            self.0.insert(name.to_owned(), value);
        }
    }

    /// Also what is empty.
    fn keep(&mut self, name: &str, value: &impl Serialize) {
        self.0.insert(name.to_owned(), serde_json::to_value(value).unwrap_or_default());
    }

    fn done(self) -> Json {
        Json::Object(self.0)
    }
}

fn parameter(parameter: &Parameter) -> Json {
    let mut form = Form::default();
    form.put("type", &parameter.kind);
    form.put("items", &parameter.items);
    if let Some(default) = &parameter.default {
        form.keep("default", default);
    }
    form.put("from", &parameter.from);
    form.put("title", &parameter.title);
    form.done()
}

fn steps(steps: &[Step]) -> Json {
    steps.iter().map(step).collect()
}

fn step(step: &Step) -> Json {
    let mut form = Form::default();
    match &step.instruction {
        Instruction::Job(job) => {
            form.put("job", &step.label);
            put_job(&mut form, job);
            return form.done();
        }
        Instruction::If { condition, then, otherwise } => {
            form.keep("if", condition);
            form.keep("then", &self::steps(then));
            form.put("else", &self::steps(otherwise));
        }
        Instruction::Fork { branches, when_failed } => {
            let branches = branches.iter().map(|(name, steps)| (name.to_string(), self::steps(steps)));
            form.keep("fork", &branches.collect::<Map<String, Json>>());
            form.put("when_failed", when_failed);
        }
        Instruction::Try { steps, retry, catch } => {
            form.keep("try", &self::steps(steps));
            if let Some(retry) = retry {
                let mut inner = Form::default();
                inner.keep("delays", &retry.delays);
                inner.put("if", &retry.when);
                form.keep("retry", &inner.done());
            }
            form.put("catch", &self::steps(catch));
        }
        Instruction::Call { workflow, arguments } => {
            form.put("call", workflow);
            form.put("arguments", arguments);
        }
        Instruction::Fail { message } => form.keep("fail", message),
        Instruction::Finish { message } => form.keep("finish", message),
    }
    form.put("label", &step.label);
    form.done()
}

fn put_job(form: &mut Form, job: &Job) {
    form.put("agent", &job.agent);
    match &job.action {
        Action::Script { text, .. } => form.keep("script", text),
        Action::Command { arguments } => form.keep("command", arguments),
    }
    form.put("env", &job.env);
    form.put("directory", &job.directory);
    form.put("timeout", &job.timeout);
    form.put("kill_after", &job.kill_after);
    form.keep("success", &job.success);
    form.put("warning", &job.warning);
    form.put("parallel", &job.parallel);
    form.put("restartable", &job.restartable);
    form.put("locks", &job.locks);
    form.put("results", &job.results);
}
