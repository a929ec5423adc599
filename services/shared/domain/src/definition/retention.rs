//! Reads a `retention:` document.

use super::{
    file_retention as file,
    read::{Fields, Reader},
    yaml::Node,
};
use crate::{
    DefinitionName, limit,
    retention::{BATCH, BATCHES, Day, Keep, Retention, RetentionKind, Time, UnsafeKeep, Window},
};
use std::collections::{BTreeMap, BTreeSet};

impl Reader<'_, '_> {
    pub(super) fn retention(&mut self, node: &Node) -> Option<Retention> {
        let mut fields = self.fields::<file::RetentionFile>(node, "a retention");
        let name: Option<DefinitionName> = self.name(&mut fields, "retention");
        let title = self.get(&mut fields, "title").and_then(|n| self.short_text(n, "title", limit::TITLE_BYTES));
        let window = self.get(&mut fields, "window").map(|n| self.retention_window(n)).unwrap_or_default();
        let batch = self.get(&mut fields, "batch").and_then(|n| self.whole(n, "batch", BATCHES));
        let keep = self.get(&mut fields, "keep").map(|n| self.retention_keep(n)).unwrap_or_default();
        self.done(fields);
        Some(Retention { name: name?, title, window, batch: batch.unwrap_or(BATCH), keep })
    }

    fn retention_window(&mut self, node: &Node) -> Window {
        let mut fields = self.fields::<file::WindowFile>(node, "window");
        let otherwise = Window::default();
        let days = self.get(&mut fields, "days").map(|n| self.retention_days(n));
        let from = self.retention_time(&mut fields, "from");
        let to = self.retention_time(&mut fields, "to");
        let zone = self.get(&mut fields, "zone").and_then(|n| self.zone(n));
        self.done(fields);
        Window {
            days: days.unwrap_or(otherwise.days),
            from: from.unwrap_or(otherwise.from),
            to: to.unwrap_or(otherwise.to),
            zone: zone.unwrap_or(otherwise.zone),
        }
    }

    fn retention_days(&mut self, node: &Node) -> BTreeSet<Day> {
        self.list(node, "days").iter().filter_map(|day| self.word(day, "the day", &Day::WORDS)).collect()
    }

    fn retention_time(&mut self, fields: &mut Fields<'_>, name: &'static str) -> Option<Time> {
        let node = self.get(fields, name)?;
        let text = self.text(node, name)?;
        let time = text.parse().ok();
        if time.is_none() {
            let help = "write it like 01:30, from 00:00 to 23:59";
            self.problems.help(&node.at, format!("{name}: {text:?} is not a time of day"), help);
        }
        time
    }

    fn retention_keep(&mut self, node: &Node) -> BTreeMap<RetentionKind, Keep> {
        let mut fields = self.fields::<file::KeepFile>(node, "keep");
        let mut all = BTreeMap::new();
        for kind in RetentionKind::ALL {
            let keep = self.get(&mut fields, kind.word()).and_then(|n| self.retention_keep_of(n, kind));
            all.extend(keep.map(|keep| (kind, keep)));
        }
        self.done(fields);
        all
    }

    fn retention_keep_of(&mut self, node: &Node, kind: RetentionKind) -> Option<Keep> {
        let text = self.text(node, kind.word())?;
        let Ok(keep) = text.parse() else {
            let help = "write a number with a unit, such as 36h, 90d or 400d (at most 3650d), or forever";
            self.problems.help(&node.at, format!("{kind}: {text:?} is not a time to keep something"), help);
            return None;
        };
        let (message, help) = match kind.check(keep) {
            Ok(()) => return Some(keep),
            Err(error @ UnsafeKeep::TooShort { least, .. }) => (error.to_string(), format!("write {least} or more")),
            Err(error @ UnsafeKeep::TooLong { most, .. }) => (error.to_string(), format!("write {most} or less")),
        };
        self.problems.help(&node.at, message, help);
        None
    }
}
