//! Reads a `schedule:` document.

use super::{file_schedule as file, read::Reader, yaml::Node};
use crate::{DefinitionName, limit, plan::Schedule};

impl Reader<'_, '_> {
    pub(super) fn schedule(&mut self, node: &Node) -> Option<Schedule> {
        let mut fields = self.fields::<file::ScheduleFile>(node, "a schedule");
        let name: Option<DefinitionName> = self.name(&mut fields, "schedule");
        let title = self.get(&mut fields, "title").and_then(|n| self.short_text(n, "title", limit::TITLE_BYTES));
        self.done(fields);
        Some(Schedule { name: name?, title })
    }
}
