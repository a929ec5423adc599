//! Reads a `rule:` document.

use super::{file_rule as file, read::Reader, yaml::Node};
use crate::{DefinitionName, alert::Rule, limit};

impl Reader<'_, '_> {
    pub(super) fn rule(&mut self, node: &Node) -> Option<Rule> {
        let mut fields = self.fields::<file::RuleFile>(node, "a rule");
        let name: Option<DefinitionName> = self.name(&mut fields, "rule");
        let title = self.get(&mut fields, "title").and_then(|n| self.short_text(n, "title", limit::TITLE_BYTES));
        self.done(fields);
        Some(Rule { name: name?, title })
    }
}
