//! Reads a `log_rule:` document.

use super::{file_log_rule as file, read::Reader, yaml::Node};
use crate::{
    DefinitionName, limit,
    log_rule::{FOLD, LONGEST_FOLD, LogRule, Severity, TextPattern},
};

/// Patterns of names in one list.
const NAMES: usize = 100;
/// Bytes of such a pattern.
const NAME_BYTES: usize = 255;

impl Reader<'_, '_> {
    pub(super) fn log_rule(&mut self, node: &Node) -> Option<LogRule> {
        let mut fields = self.fields::<file::LogRuleFile>(node, "a log rule");
        let name: Option<DefinitionName> = self.name(&mut fields, "log_rule");
        let title = self.get(&mut fields, "title").and_then(|n| self.short_text(n, "title", limit::TITLE_BYTES));
        let words = Severity::ALL.map(Severity::word);
        let severity = self.get(&mut fields, "severity").and_then(|n| self.word(n, "severity", &words));
        let applications = self.get(&mut fields, "applications").map(|n| self.names(n, "applications"));
        let hosts = self.get(&mut fields, "hosts").map(|n| self.names(n, "hosts"));
        let text = self.get(&mut fields, "text").and_then(|n| self.text_pattern(n, "text"));
        let exclude = self.get(&mut fields, "exclude").and_then(|n| self.text_pattern(n, "exclude"));
        let notice = self.get(&mut fields, "notice").and_then(|n| self.short_text(n, "notice", limit::TITLE_BYTES));
        let fold = self.get(&mut fields, "fold").and_then(|n| {
            let fold = self.span(n, "fold")?;
            if fold > LONGEST_FOLD {
                self.problems.add(&n.at, format!("fold is at most {LONGEST_FOLD}"));
            }
            Some(fold)
        });
        let says_nothing =
            ["severity", "applications", "hosts", "text"].iter().all(|f| !fields.entries.contains_key(f));
        if says_nothing {
            let help = "give at least one of severity, applications, hosts, text";
            self.problems.help(&fields.at(), "this rule takes every line there is", help);
        }
        self.done(fields);
        let name = name?;
        let notice = notice.or_else(|| title.clone()).unwrap_or_else(|| name.to_string());
        Some(LogRule {
            name,
            title,
            severity,
            applications: applications.unwrap_or_default(),
            hosts: hosts.unwrap_or_default(),
            text,
            exclude,
            notice,
            fold: fold.unwrap_or(FOLD),
        })
    }

    /// One name, or a list of them.
    fn names(&mut self, node: &Node, what: &str) -> Vec<String> {
        if node.text().is_some() {
            return self.short_text(node, what, NAME_BYTES).into_iter().collect();
        }
        let items = self.list(node, what);
        if items.is_empty() {
            self.problems.help(&node.at, format!("{what} has nothing in it"), "leave the line out: any will do then");
        }
        if items.len() > NAMES {
            self.problems.add(&node.at, format!("{} patterns in {what}; the limit is {NAMES}", items.len()));
        }
        items.iter().filter_map(|item| self.short_text(item, what, NAME_BYTES)).collect()
    }

    fn text_pattern(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.text(node, what)?;
        if text.is_empty() {
            self.problems.help(&node.at, format!("{what} is empty"), "give it a value, or leave the line out");
            return None;
        }
        if let Err(wrong) = TextPattern::new(text) {
            let help = "a regular expression, such as `disk (full|failed)`; in single quotes YAML leaves \\ alone";
            self.problems.help(&node.at, format!("{what} is no pattern: {wrong}"), help);
            return None;
        }
        Some(text.to_owned())
    }
}
