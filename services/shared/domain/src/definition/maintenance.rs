//! Reads a `maintenance:` document.

use super::{file_rule as file, read::Reader, yaml::Content, yaml::Node};
use crate::{
    DefinitionName,
    alert::{Maintenance, Weekday, Window},
    limit,
};
use chrono::{NaiveDateTime, NaiveTime};
use std::collections::BTreeSet;

const WINDOWS: usize = 50;

/// What `from` and `to` can be.
enum Moment {
    Daily(NaiveTime),
    Once(NaiveDateTime),
}

impl Reader<'_, '_> {
    pub(super) fn maintenance(&mut self, node: &Node) -> Option<Maintenance> {
        let mut fields = self.fields::<file::MaintenanceFile>(node, "a maintenance");
        let name: Option<DefinitionName> = self.name(&mut fields, "maintenance");
        let title = self.get(&mut fields, "title").and_then(|n| self.short_text(n, "title", limit::TITLE_BYTES));
        let scope = self.scope(&mut fields);
        let help = "add windows: with a line `- { weekdays: [sunday], from: 02:00, to: 04:00 }` for each";
        let windows = self.required(&mut fields, "windows", help);
        let windows = windows.map(|n| self.windows(n, help)).unwrap_or_default();
        let zone = self.get(&mut fields, "zone").and_then(|n| self.zone(n));
        self.done(fields);
        Some(Maintenance { name: name?, title, scope, windows, zone })
    }

    fn windows(&mut self, node: &Node, help: &str) -> Vec<Window> {
        let items = self.list(node, "windows");
        if items.is_empty() && matches!(node.content, Content::List(_)) {
            self.problems.help(&node.at, "windows is empty", help);
        }
        if items.len() > WINDOWS {
            self.problems.add(&node.at, format!("{} windows; the limit is {WINDOWS}", items.len()));
        }
        items.iter().filter_map(|item| self.window(item)).collect()
    }

    fn window(&mut self, node: &Node) -> Option<Window> {
        let mut fields = self.fields::<file::WindowFile>(node, "a window");
        let weekdays = self.get(&mut fields, "weekdays");
        let from_node = self.required(&mut fields, "from", "add from: 22:00, or from: 2026-12-24T18:00");
        let to_node = self.required(&mut fields, "to", "add to: 04:00, or to: 2026-12-26T06:00");
        self.done(fields);
        let (from, to) = (from_node.and_then(|n| self.moment(n)), to_node.and_then(|n| self.moment(n)));
        let days = weekdays.map(|n| self.weekdays(n));
        match (from?, to?) {
            (Moment::Daily(from), Moment::Daily(to)) => {
                let weekdays = days.unwrap_or_else(|| Weekday::ALL.into());
                Some(Window::Weekly { weekdays, from, to })
            }
            (Moment::Once(from), Moment::Once(to)) => {
                if let Some(node) = weekdays {
                    let help = "leave them out, or write times of day without a date";
                    self.problems.help(&node.at, "a window between two dates has no weekdays", help);
                }
                if to <= from {
                    self.problems.add(&to_node?.at, "the window ends before it begins");
                    return None;
                }
                Some(Window::Once { from, to })
            }
            _ => {
                let help = "write both as 22:00, or both as 2026-12-24T18:00";
                self.problems.help(&to_node?.at, "from and to are of different kinds", help);
                None
            }
        }
    }

    fn moment(&mut self, node: &Node) -> Option<Moment> {
        let text = self.text(node, "a time")?;
        if let Some(time) = ["%H:%M", "%H:%M:%S"].iter().find_map(|f| NaiveTime::parse_from_str(text, f).ok()) {
            return Some(Moment::Daily(time));
        }
        let blank = text.replacen('T', " ", 1);
        let formats = ["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"];
        if let Some(at) = formats.iter().find_map(|f| NaiveDateTime::parse_from_str(&blank, f).ok()) {
            return Some(Moment::Once(at));
        }
        let shown: String = text.chars().take(40).collect();
        let help = "write a time of day such as 22:00, or 2026-12-24T18:00; its zone is given by zone:";
        self.problems.help(&node.at, format!("{shown:?} is not a time"), help);
        None
    }

    fn weekdays(&mut self, node: &Node) -> BTreeSet<Weekday> {
        let items = self.list(node, "weekdays");
        if items.is_empty() && matches!(node.content, Content::List(_)) {
            self.problems.help(&node.at, "weekdays is empty", "leave it out to mean every day");
        }
        items.iter().filter_map(|item| self.word(item, "weekday", &Weekday::WORDS)).collect()
    }
}
