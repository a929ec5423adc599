//! What is wrong in a file, in words, at its place.

use super::yaml::Node;
use std::{fmt, ops::Range};

/// A stretch of one line of a file: line and column from 1, column and length in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    pub length: usize,
}

/// Something wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Problem {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// In characters, at least 1.
    pub length: usize,
    /// What is true.
    pub message: String,
    /// What would be right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Problem {
    pub(super) fn at(file: &str, place: Place, message: impl Into<String>, help: Option<String>) -> Self {
        let Place { line, column, length } = place;
        Self { file: file.to_owned(), line, column, length, message: message.into(), help }
    }

    /// With the line of the text and a mark under the place, for a terminal without colours.
    pub fn render(&self, text: &str) -> String {
        let line = text.lines().nth(self.line - 1).unwrap_or("");
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let shown: String =
            line.chars().take(self.column + self.length + 80).map(|c| if c == '\t' { ' ' } else { c }).collect();
        let marks = format!("{}{}", blank(line, self.column - 1), "^".repeat(self.length.clamp(1, 200)));
        let help = self.help.as_ref().map(|help| format!("{gutter} = help: {help}\n")).unwrap_or_default();
        format!("{self}\n{gutter} |\n{number} | {shown}\n{gutter} | {marks}\n{help}")
    }
}

/// Blanks as wide as the first characters of the line: CJK characters take two columns.
fn blank(line: &str, characters: usize) -> String {
    line.chars().take(characters).map(|c| if ('\u{1100}'..'\u{ffe7}').contains(&c) { "  " } else { " " }).collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

/// Collects the problems of one file.
pub(super) struct Problems<'t> {
    pub file: &'t str,
    pub text: &'t str,
    lines: Vec<usize>,
    pub list: Vec<Problem>,
}

impl<'t> Problems<'t> {
    pub fn new(file: &'t str, text: &'t str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        Self { file, text, lines: std::iter::once(0).chain(starts).collect(), list: Vec::new() }
    }

    /// The part of the range on its first line.
    pub fn place(&self, at: &Range<usize>) -> Place {
        let boundary = |mut i: usize| {
            i = i.min(self.text.len());
            while !self.text.is_char_boundary(i) {
                i -= 1;
            }
            i
        };
        let start = boundary(at.start);
        let line = self.lines.partition_point(|s| *s <= start);
        let line_start = self.lines[line - 1];
        let line_end = self.text[start..].find(['\n', '\r']).map_or(self.text.len(), |n| start + n);
        let end = boundary(at.end).clamp(start, line_end);
        Place {
            line,
            column: self.text[line_start..start].chars().count() + 1,
            length: self.text[start..end].chars().count().max(1),
        }
    }

    pub fn add(&mut self, at: &Range<usize>, message: impl Into<String>) {
        self.list.push(Problem::at(self.file, self.place(at), message, None));
    }

    pub fn help(&mut self, at: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.list.push(Problem::at(self.file, self.place(at), message, Some(help.into())));
    }

    /// Where a part of a scalar's text is written. Found by its words, as folding and escapes move it.
    pub fn within(&self, node: &Node, offset: usize, length: usize) -> Range<usize> {
        let value = node.text().unwrap_or("");
        let source = self.text.get(node.at.clone()).unwrap_or("").trim_end();
        let (offset, length) = (offset.min(value.len()), length.min(value.len().saturating_sub(offset)));
        let whole = node.at.start..node.at.start + source.len();
        if let Some(begin) = source.find(value).filter(|_| !value.is_empty()) {
            let start = whole.start + begin + offset;
            return start..start + length;
        }
        let Some(part) = value.get(offset..offset + length) else { return whole };
        let part = part.lines().next().unwrap_or("");
        if part.is_empty() {
            return whole;
        }
        let before = value.get(..offset).unwrap_or("").matches(part).count();
        match source.match_indices(part).nth(before) {
            Some((i, _)) => whole.start + i..whole.start + i + part.len(),
            None => whole,
        }
    }
}
