//! A page as plain text: what a terminal, a pager and a screen reader show.

use super::{Page, Tone};

/// Columns; lines of others are not broken, so that they can be copied.
const WIDTH: usize = 72;
/// Of the labels of facts.
const LABEL: usize = 10;

pub(super) fn glyph(tone: Tone) -> &'static str {
    match tone {
        Tone::Bad => "✖",
        Tone::Warning => "◐",
        Tone::Good => "●",
        Tone::Plain => "○",
    }
}

pub(super) fn render(page: &Page) -> String {
    let mut text = format!("{} {}\n\n", glyph(page.tone), page.lead);
    text.push_str(&format!("{}\n", page.heading));
    if !page.summary.is_empty() {
        text.push_str(&format!("{}\n", page.summary));
    }
    if !page.facts.is_empty() {
        text.push('\n');
    }
    for fact in &page.facts {
        let mut label = fact.label;
        for value in fact.value.split('\n') {
            text.push_str(&format!("{label:<LABEL$}{value}\n"));
            label = "";
        }
    }
    for group in &page.groups {
        text.push_str(&format!("\n{}\n", group.heading));
        text.push_str(&wrapped(&group.names));
    }
    if let Some(log) = &page.log {
        text.push_str(&format!("\n{}\n", log_heading(log)));
        for line in &log.lines {
            text.push_str(&format!("  | {line}\n"));
        }
    }
    if let Some(action) = &page.action {
        text.push_str(&format!("\n{}\n\n    {}\n", action.what, action.command));
    }
    // RFC 3676: mail programs set the rest apart from what was written.
    text.push_str("\n-- \n");
    for note in &page.notes {
        text.push_str(&format!("{note}\n"));
    }
    text
}

pub(super) fn log_heading(log: &super::LogTail) -> String {
    match (log.lines.len(), log.cut) {
        (1, _) => format!("Last line of {}", log.of),
        (n, true) => format!("Last {n} lines of {}", log.of),
        (_, false) => format!("Log of {}", log.of),
    }
}

fn wrapped(names: &[String]) -> String {
    let mut text = String::new();
    let mut line = String::from("  ");
    for (n, name) in names.iter().enumerate() {
        let comma = if n + 1 < names.len() { "," } else { "" };
        if line.len() > 2 && line.len() + name.len() + 2 > WIDTH {
            text.push_str(line.trim_end());
            text.push('\n');
            line = String::from("  ");
        }
        line.push_str(&format!("{name}{comma} "));
    }
    text.push_str(line.trim_end());
    text.push('\n');
    text
}
