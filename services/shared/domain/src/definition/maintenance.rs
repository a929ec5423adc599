//! Reads a `maintenance:` document.

use super::{file_rule as file, read::Reader, yaml::Node};
use crate::{DefinitionName, alert::Maintenance, limit};

impl Reader<'_, '_> {
    pub(super) fn maintenance(&mut self, node: &Node) -> Option<Maintenance> {
        let mut fields = self.fields::<file::MaintenanceFile>(node, "a maintenance");
        let name: Option<DefinitionName> = self.name(&mut fields, "maintenance");
        let title = self.get(&mut fields, "title").and_then(|n| self.short_text(n, "title", limit::TITLE_BYTES));
        self.done(fields);
        Some(Maintenance { name: name?, title })
    }
}
