//! Reads a `log_rule:` document.

use super::{file_log_rule as file, read::Reader, yaml::Node};
use crate::{DefinitionName, limit, log_rule::LogRule};

impl Reader<'_, '_> {
    pub(super) fn log_rule(&mut self, node: &Node) -> Option<LogRule> {
        let mut fields = self.fields::<file::LogRuleFile>(node, "a log rule");
        let name: Option<DefinitionName> = self.name(&mut fields, "log_rule");
        let title = self.get(&mut fields, "title").and_then(|n| self.short_text(n, "title", limit::TITLE_BYTES));
        self.done(fields);
        Some(LogRule { name: name?, title })
    }
}
