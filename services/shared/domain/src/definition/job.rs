//! Jobs: what they run and how, with the workflow's defaults filled in.

use super::{
    file,
    item::LockUse,
    read::{Fields, Reader},
    yaml::{Content, Node},
};
use crate::{
    AgentName, ContentHash, Kind, Label, LockName, Span, VariableName, expression, limit,
    workflow::{Action, Instruction, Job, Step, Template},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

const KILL_AFTER: Span = Span::from_secs(15);
const RESULT_KINDS: &[&str] = &["string", "number", "boolean", "list", "map"];
/// Arguments of a command, variables of an environment, results of a job.
const ENTRIES: usize = 500;

/// What jobs have that do not say otherwise.
#[derive(Debug, Default)]
pub(super) struct JobDefaults {
    agent: Option<AgentName>,
    agent_is_given: bool,
    settings: Settings,
}

/// What defaults and jobs both have.
#[derive(Debug, Clone)]
struct Settings {
    env: BTreeMap<String, Template>,
    directory: Option<Template>,
    timeout: Option<Span>,
    kill_after: Span,
    success: BTreeSet<i32>,
    warning: BTreeSet<i32>,
    restartable: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            env: BTreeMap::new(),
            directory: None,
            timeout: None,
            kill_after: KILL_AFTER,
            success: BTreeSet::from([0]),
            warning: BTreeSet::new(),
            restartable: true,
        }
    }
}

/// Results of the jobs in these steps, for expressions that stand before them; quietly.
pub(super) fn results_ahead(node: &Node) -> BTreeMap<Label, BTreeMap<VariableName, Kind>> {
    let mut found = BTreeMap::new();
    match &node.content {
        Content::List(items) => items.iter().for_each(|item| found.extend(results_ahead(item))),
        Content::Map(entries) => {
            let field = |name: &str| entries.iter().find(|(k, _)| k.text() == Some(name)).map(|(_, v)| v);
            if let Some(job) = field("job")
                && let Some(Ok(label)) = field("label").unwrap_or(job).text().map(Label::new)
            {
                let kind = |text: &str| serde_json::from_value(serde_json::Value::String(text.to_owned())).ok();
                let results = match field("results").map(|r| &r.content) {
                    Some(Content::Map(results)) => results
                        .iter()
                        .filter_map(|(k, v)| Some((VariableName::new(k.text()?).ok()?, kind(v.text()?)?)))
                        .collect(),
                    _ => BTreeMap::new(),
                };
                found.insert(label, results);
            }
            entries.iter().for_each(|(_, value)| found.extend(results_ahead(value)));
        }
        _ => {}
    }
    found
}

impl Reader<'_, '_> {
    /// The `defaults:` of the workflow.
    pub(super) fn read_defaults(&mut self, node: &Node) {
        let mut fields = self.fields::<file::Defaults>(node, "defaults");
        self.defaults.agent = self.agent(&mut fields);
        // A wrong one is one problem, not one for every job.
        self.defaults.agent_is_given = fields.entries.contains_key("agent");
        let mut settings = self.defaults.settings.clone();
        self.settings(&mut fields, &mut settings);
        self.defaults.settings = settings;
        self.done(fields);
    }

    fn agent(&mut self, fields: &mut Fields<'_>) -> Option<AgentName> {
        let node = self.get(fields, "agent")?;
        let agent: AgentName = self.id(node, "agent")?;
        let place = self.problems.place(&node.at);
        self.uses.agents.entry(agent.clone()).or_insert(place);
        Some(agent)
    }

    /// What defaults and jobs both have.
    fn settings(&mut self, fields: &mut Fields<'_>, job: &mut Settings) {
        if let Some(node) = self.get(fields, "env") {
            self.env(node, &mut job.env);
        }
        if let Some(node) = self.get(fields, "directory") {
            job.directory = self.directory(node);
        }
        if let Some(node) = self.get(fields, "timeout") {
            job.timeout = self.span(node, "timeout");
            if job.timeout == Some(Span::from_millis(0)) {
                self.problems.help(
                    &node.at,
                    "a timeout of nothing ends every run at once",
                    "leave it out for no timeout",
                );
            }
        }
        if let Some(span) = self.get(fields, "kill_after").and_then(|n| self.span(n, "kill_after")) {
            job.kill_after = span;
        }
        let (given_success, given_warning) = (self.get(fields, "success"), self.get(fields, "warning"));
        if let Some(node) = given_success {
            job.success = self.exit_codes(node, "success");
            if job.success.is_empty() && matches!(node.content, Content::List(_)) {
                self.problems.help(&node.at, "success is empty: no run could be good", "write [0]");
            }
        }
        if let Some(node) = given_warning {
            job.warning = self.exit_codes(node, "warning");
        }
        if let (Some(both), Some(node)) =
            (job.success.intersection(&job.warning).next(), given_warning.or(given_success))
        {
            self.problems.add(&node.at, format!("exit code {both} is both success and warning"));
        }
        if let Some(restartable) = self.get(fields, "restartable").and_then(|n| self.boolean(n, "restartable")) {
            job.restartable = restartable;
        }
    }

    fn exit_codes(&mut self, node: &Node, what: &'static str) -> BTreeSet<i32> {
        self.list(node, what).iter().filter_map(|n| self.whole(n, "an exit code", 0..=255)).collect()
    }

    fn directory(&mut self, node: &Node) -> Option<Template> {
        let template = self.template(node, "directory")?;
        if template.0.trim().is_empty() {
            self.problems.help(&node.at, "directory is empty", "give a path, or leave the line out");
            return None;
        }
        Some(template)
    }

    fn env(&mut self, node: &Node, env: &mut BTreeMap<String, Template>) {
        for (name, key, value) in self.entries(node, "env") {
            let good = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && !name.starts_with(|c: char| c.is_ascii_digit());
            if !good || name.is_empty() || name.len() > 100 {
                let help = "letters, digits and _, not a digit first, at most 100";
                self.problems.help(&key.at, format!("{name:?} is not the name of a variable"), help);
                continue;
            }
            if name == "ORDO_RESULTS" {
                self.problems.help(&key.at, "ORDO_RESULTS is set by the agent", "give the variable another name");
                continue;
            }
            if value.is_null() {
                self.problems.help(&key.at, format!("{name} is empty"), "write \"\" for an empty text");
                continue;
            }
            if let Some(template) = self.env_value(value) {
                env.insert(name.to_owned(), template);
            }
        }
        if env.len() > ENTRIES {
            self.problems.add(&node.at, format!("{} variables; the limit is {ENTRIES}", env.len()));
        }
    }

    /// A secret may only be the whole of it.
    fn env_value(&mut self, node: &Node) -> Option<Template> {
        let text = self.text(node, "a value of env")?;
        let name = expression::whole_template(text).map(str::trim);
        if let Some(name) = name
            && matches!(self.names.parameters.get(name), Some((Kind::Secret, _)))
        {
            return Some(Template(text.to_owned()));
        }
        self.template(node, "a value of env")
    }

    pub(super) fn job(&mut self, node: &Node) -> Option<Step> {
        let mut fields = self.fields::<file::JobStep>(node, "a job step");
        let name = self.get(&mut fields, "job");
        let label = self.label(&mut fields, "job", name);
        let at = name.map_or_else(|| fields.at(), |n| n.at.clone());
        let agent = self.agent(&mut fields).or_else(|| self.defaults.agent.clone());
        if agent.is_none() && !self.defaults.agent_is_given && !fields.entries.contains_key("agent") {
            let name = name.and_then(Node::text).unwrap_or("this");
            let help = "add agent: NAME to the job, or to the workflow's defaults:";
            self.problems.help(&at, format!("the job {name} has no agent"), help);
        }
        let mut settings = self.defaults.settings.clone();
        self.settings(&mut fields, &mut settings);
        let action = self.action(&mut fields, &at);
        let parallel = self.get(&mut fields, "parallel").and_then(|n| self.whole(n, "parallel", 1..=u32::MAX));
        let locks = self.get(&mut fields, "locks").map(|n| self.locks(n)).unwrap_or_default();
        let results = self.get(&mut fields, "results").map(|n| self.results(n)).unwrap_or_default();
        self.done(fields);
        let label = label?;
        self.not_a_parameter(&label, &at);
        self.ended(&label, results.clone());
        let Settings { env, directory, timeout, kill_after, success, warning, restartable } = settings;
        let (agent, action) = (agent?, action?);
        #[rustfmt::skip]
        let job = Job {
            agent, action, env, directory, timeout, kill_after, success, warning, parallel, restartable, locks, results,
        };
        Some(Step { label, instruction: Instruction::Job(Box::new(job)) })
    }

    /// Expressions name jobs and parameters alike.
    fn not_a_parameter(&mut self, label: &Label, at: &Range<usize>) {
        let written = label.as_str().replace('-', "_");
        if self.names.parameters.contains_key(written.as_str()) {
            self.problems.help(
                at,
                format!("{written} is a parameter too: expressions could mean both"),
                "give the job a `label:`",
            );
        } else if matches!(written.as_str(), "order" | "error") {
            self.problems.help(at, format!("{written} has a meaning in expressions"), "give the job a `label:`");
        }
    }

    fn action(&mut self, fields: &mut Fields<'_>, at: &Range<usize>) -> Option<Action> {
        let has = |name: &str| fields.entries.contains_key(name);
        match (has("script"), has("command")) {
            (true, true) => {
                self.problems.help(at, "a job has a script or a command, not both", "leave one of them out")
            }
            (false, false) => {
                self.problems.help(
                    at,
                    "this job does nothing",
                    "add script: |  with lines for /bin/sh, or command: [program, argument, …]",
                );
            }
            _ => {}
        }
        let (script, command) = (self.get(fields, "script"), self.get(fields, "command"));
        let command = command.and_then(|n| self.command(n));
        script.and_then(|n| self.script(n)).or(command)
    }

    fn script(&mut self, node: &Node) -> Option<Action> {
        let text = self.text(node, "script")?;
        if text.trim().is_empty() {
            self.problems.help(&node.at, "script is empty", "write it below, indented: script: |");
            return None;
        }
        if text.len() > limit::SCRIPT_BYTES {
            let message = format!("the script is {} bytes; the limit is {}", text.len(), limit::SCRIPT_BYTES);
            self.problems.help(&node.at, message, "put it into a file at the agent and run that");
            return None;
        }
        if text.contains('\0') {
            self.problems.add(&node.at, "the script has a NUL character in it");
            return None;
        }
        if !text.starts_with("#!") {
            self.not_a_template(node, text);
        }
        let hash = ContentHash::of(text.as_bytes());
        self.scripts.insert(hash.clone(), text.to_owned());
        Some(Action::Script { text: text.to_owned(), hash })
    }

    /// `${ day }` of a parameter is no shell syntax: somebody expects it to be filled in.
    fn not_a_template(&mut self, node: &Node, text: &str) {
        for (at, _) in text.match_indices("${ ") {
            let rest = text[at + 3..].trim_start();
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let known = name == "order"
                || self.names.parameters.contains_key(name.as_str())
                || self.names.step(&name).is_some();
            if known {
                let range = self.problems.within(node, at, text[at..].find('}').map_or(2, |n| n + 1));
                let help = format!(
                    "give it by env: {{ {}: \"${{ {name} }}\" }} and write \"${}\" here",
                    name.to_uppercase(),
                    name.to_uppercase()
                );
                self.problems.help(&range, "values are not put into scripts", help);
            }
        }
    }

    fn command(&mut self, node: &Node) -> Option<Action> {
        if let Content::Text(text) = &node.content {
            let words: Vec<&str> = text.split_whitespace().collect();
            let help = format!("write [{}], or use script: for a shell", words.join(", "));
            self.problems.help(&node.at, "command is a list of a program and its arguments, not a text", help);
            return None;
        }
        let items = self.list(node, "command");
        if items.is_empty() && matches!(node.content, Content::List(_)) {
            self.problems.help(&node.at, "command is empty", "write [program, argument, …]");
        }
        if items.len() > ENTRIES {
            self.problems.add(&node.at, format!("{} arguments; the limit is {ENTRIES}", items.len()));
        }
        let arguments = items.iter().filter_map(|n| self.template(n, "an argument")).collect::<Vec<_>>();
        if let (Some(first), Some(node)) = (arguments.first(), items.first())
            && first.0.trim().is_empty()
        {
            self.problems.add(&node.at, "the program of the command is empty");
        }
        Some(Action::Command { arguments })
    }

    fn locks(&mut self, node: &Node) -> BTreeMap<LockName, u32> {
        let mut locks = BTreeMap::new();
        for (_, key, value) in self.entries(node, "locks") {
            let Some(lock) = self.id::<LockName>(key, "a lock") else { continue };
            let Some(weight) = self.whole(value, "the weight of a lock", 1..=u32::MAX) else { continue };
            self.uses.locks.push(LockUse { lock: lock.clone(), weight, place: self.problems.place(&key.at) });
            locks.insert(lock, weight);
        }
        locks
    }

    fn results(&mut self, node: &Node) -> BTreeMap<VariableName, Kind> {
        let mut results = BTreeMap::new();
        for (text, key, value) in self.entries(node, "results") {
            if text == "returnCode" {
                self.problems.help(&key.at, "returnCode is there by itself", "leave it out");
                continue;
            }
            let Some(name) = self.id::<VariableName>(key, "a result") else { continue };
            if let Some(kind) = self.word(value, "the kind of a result", RESULT_KINDS) {
                if kind == Kind::Secret {
                    self.problems.help(&value.at, "a result cannot be a secret", "results are shown to people");
                }
                results.insert(name, kind);
            }
        }
        if results.len() > ENTRIES {
            self.problems.add(&node.at, format!("{} results; the limit is {ENTRIES}", results.len()));
        }
        results
    }
}
