//! Reads a `rule:` document.

use super::{
    file_rule as file, nearest,
    read::{Fields, Reader},
    yaml::{Content, Node},
};
use crate::{
    AgentName, DefinitionName, Span, WorkflowName,
    alert::{
        Kind, MailAddress, Pattern, Rule, Scope, Trigger,
        rule::{FOLD, Measure, RECIPIENTS},
    },
    limit,
};

/// Patterns in one list.
const PATTERNS: usize = 100;
/// Repeats are gathered at most so long.
const LONGEST_FOLD: Span = Span::from_secs(24 * 3600);

impl Reader<'_, '_> {
    pub(super) fn rule(&mut self, node: &Node) -> Option<Rule> {
        let mut fields = self.fields::<file::RuleFile>(node, "a rule");
        let name: Option<DefinitionName> = self.name(&mut fields, "rule");
        let title = self.get(&mut fields, "title").and_then(|n| self.short_text(n, "title", limit::TITLE_BYTES));
        let scope = self.scope(&mut fields);
        let on = self.required(&mut fields, "on", "add on: [failed], or what else shall be told");
        let on = on.map(|n| self.triggers(n, &scope)).unwrap_or_default();
        let notify = self.get(&mut fields, "notify").map(|n| self.recipients(n)).unwrap_or_default();
        let fold = self.get(&mut fields, "fold").and_then(|n| self.fold(n));
        let enabled = self.get(&mut fields, "enabled").and_then(|n| self.boolean(n, "enabled"));
        self.done(fields);
        let (fold, enabled) = (fold.unwrap_or(FOLD), enabled.unwrap_or(true));
        Some(Rule { name: name?, title, scope, on, notify, fold, enabled })
    }

    /// `workflows`, `tags`, `folders` and `agents` of a map that has them.
    pub(super) fn scope(&mut self, fields: &mut Fields<'_>) -> Scope {
        let workflows = self.get(fields, "workflows").map(|n| self.names_of::<WorkflowName>(n, "a workflow"));
        let tags = self.get(fields, "tags").map(|n| self.patterns(n, "a tag"));
        let folders = self.get(fields, "folders").map(|n| self.patterns(n, "a folder"));
        let agents = self.get(fields, "agents").map(|n| {
            for item in self.list(n, "agents") {
                if let Some(agent) = item.text().and_then(|text| text.parse::<AgentName>().ok()) {
                    let place = self.problems.place(&item.at);
                    self.uses.agents.entry(agent).or_insert(place);
                }
            }
            self.names_of::<AgentName>(n, "an agent")
        });
        let list = Option::unwrap_or_default;
        Scope { workflows: list(workflows), tags: list(tags), folders: list(folders), agents: list(agents) }
    }

    /// Patterns of names: a star may stand for any part of one.
    fn names_of<T: std::str::FromStr>(&mut self, node: &Node, what: &str) -> Vec<Pattern> {
        let patterns = self.patterns(node, what);
        let items = if let Content::List(items) = &node.content { items.as_slice() } else { &[] };
        for item in items {
            let Some(text) = item.text() else { continue };
            // What is left when each star stands for one letter has the shape of a name.
            if !text.is_empty() && text.replace('*', "x").parse::<T>().is_err() {
                let help = "1 to 40 of A-Z a-z 0-9 _ -, and * for any run of them";
                self.problems.help(&item.at, format!("{text:?} can never be the name of {what}"), help);
            }
        }
        patterns
    }

    fn patterns(&mut self, node: &Node, what: &str) -> Vec<Pattern> {
        let items = self.list(node, &format!("what names {what}"));
        if items.len() > PATTERNS {
            self.problems.add(&node.at, format!("{} entries; the limit is {PATTERNS}", items.len()));
        }
        if matches!(&node.content, Content::List(items) if items.is_empty()) {
            self.problems.help(&node.at, "an empty list matches nothing", "leave the line out to mean all");
        }
        let mut patterns = Vec::new();
        for item in items {
            let Some(text) = self.short_text(item, what, limit::FOLDER_BYTES) else { continue };
            if let Ok(pattern) = text.parse() {
                patterns.push(pattern);
            }
        }
        patterns
    }

    fn triggers(&mut self, node: &Node, scope: &Scope) -> Vec<Trigger> {
        let items = self.list(node, "on");
        if items.is_empty() && matches!(node.content, Content::List(_)) {
            self.problems.help(&node.at, "on is empty", "add what shall be told, such as failed");
        }
        let mut triggers: Vec<Trigger> = Vec::new();
        for item in items {
            let Some(trigger) = self.trigger(item) else { continue };
            if triggers.iter().any(|other| other.kind() == trigger.kind()) {
                self.problems.add(&item.at, format!("{} is there twice", trigger.kind()));
                continue;
            }
            self.can_match(item, trigger.kind(), scope);
            triggers.push(trigger);
        }
        let has = |kind: &Kind| triggers.iter().any(|t| t.kind() == *kind);
        let after =
            [(Kind::Recovered, &[Kind::Failed, Kind::RoleWithoutActive][..]), (Kind::AgentBack, &[Kind::AgentAway])];
        for (good, bad) in after {
            if has(&good) && !bad.iter().any(has) {
                let bad = bad.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
                let help = format!("add {bad}");
                self.problems.help(&node.at, format!("{good} is told only to who was told of {bad}"), help);
            }
        }
        triggers
    }

    fn trigger(&mut self, node: &Node) -> Option<Trigger> {
        if let Content::Map(entries) = &node.content {
            let [(key, value)] = entries.as_slice() else {
                self.problems.help(
                    &node.at,
                    "one entry of on is one word",
                    "begin a new line `- …` for each, such as `- runs_too_long: { longer_than: 30m }`",
                );
                return None;
            };
            let kind = self.trigger_kind(key)?;
            if kind.measure() == Measure::None {
                self.problems.help(&key.at, format!("{kind} has no measure"), format!("write it alone: - {kind}"));
                return None;
            }
            let mut fields = self.fields::<file::LongerThan>(value, "what is measured");
            let span = self.required(&mut fields, "longer_than", "add longer_than: 30m, or how long it may last");
            let span = span.and_then(|n| self.span(n, "longer_than"));
            self.done(fields);
            return kind.trigger(Some(span?));
        }
        let kind = self.trigger_kind(node)?;
        let trigger = kind.trigger(None);
        if trigger.is_none() {
            let help = format!("write {kind}: {{ longer_than: 30m }}");
            self.problems.help(&node.at, format!("{kind} wants to know how long is too long"), help);
        }
        trigger
    }

    fn trigger_kind(&mut self, node: &Node) -> Option<Kind> {
        let text = self.text(node, "what is told")?;
        if let Some(kind) = Kind::of_word(text) {
            return Some(kind);
        }
        let words = Kind::ALL.map(Kind::word);
        let help = match nearest(text, words) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("one of: {}", words.join(", ")),
        };
        let shown: String = text.chars().take(40).collect();
        self.problems.help(&node.at, format!("{shown:?} is nothing that can be told"), help);
        None
    }

    /// A rule that names workflows would never tell of an agent, and so on: better said now.
    fn can_match(&mut self, node: &Node, kind: Kind, scope: &Scope) {
        let never = match () {
            () if kind.is_of_orders() => None,
            () if scope.names_orders() => Some("workflows, tags or folders"),
            () if !kind.is_of_agents() && !scope.agents.is_empty() => Some("agents"),
            () => None,
        };
        if let Some(named) = never {
            let message = format!("{kind} has nothing to do with the {named} that this rule names");
            self.problems.help(&node.at, message, "put it into a rule of its own");
        }
    }

    fn recipients(&mut self, node: &Node) -> Vec<MailAddress> {
        let items = self.list(node, "notify");
        if items.len() > RECIPIENTS {
            self.problems.add(&node.at, format!("{} addresses; the limit is {RECIPIENTS}", items.len()));
        }
        let mut addresses: Vec<MailAddress> = Vec::new();
        for item in items {
            let Some(text) = self.text(item, "an address") else { continue };
            match text.parse() {
                Ok(address) if addresses.contains(&address) => {
                    self.problems.add(&item.at, format!("{address} is there twice"));
                }
                Ok(address) => addresses.push(address),
                Err(_) => {
                    let shown: String = text.chars().take(80).collect();
                    let help = "write name@domain, in ASCII";
                    self.problems.help(&item.at, format!("{shown:?} is not a mail address"), help);
                }
            }
        }
        addresses
    }

    fn fold(&mut self, node: &Node) -> Option<Span> {
        let span = self.span(node, "fold")?;
        if span > LONGEST_FOLD {
            self.problems.add(&node.at, format!("fold is {span}; the limit is {LONGEST_FOLD}"));
            return None;
        }
        Some(span)
    }
}
