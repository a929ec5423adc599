//! Reads a `retention:` document.

use super::{file_retention as file, read::Reader, yaml::Node};
use crate::{DefinitionName, limit, retention::Retention};

impl Reader<'_, '_> {
    pub(super) fn retention(&mut self, node: &Node) -> Option<Retention> {
        let mut fields = self.fields::<file::RetentionFile>(node, "a retention");
        let name: Option<DefinitionName> = self.name(&mut fields, "retention");
        let title = self.get(&mut fields, "title").and_then(|n| self.short_text(n, "title", limit::TITLE_BYTES));
        self.done(fields);
        Some(Retention { name: name?, title })
    }
}
