//! Tables: columns aligned by what a terminal shows, no lines, nothing to strip for `awk`.

use super::text::{shorten, width};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Rows under a head. Cells may carry colours, except in the columns that give way.
#[derive(Debug, Clone)]
pub struct Table {
    head: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
    /// These are shortened when the terminal is too narrow, the first one first.
    give_way: Vec<usize>,
}

/// Between columns.
const GAP: usize = 2;
/// Nothing is cut below this.
const LEAST: usize = 8;

impl Table {
    pub fn new<const N: usize>(head: [(&str, Align); N]) -> Self {
        Self {
            head: head.map(|(text, align)| (text.to_owned(), align)).to_vec(),
            rows: Vec::new(),
            give_way: Vec::new(),
        }
    }

    pub fn shortening<const N: usize>(mut self, columns: [usize; N]) -> Self {
        self.give_way = columns.to_vec();
        self
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Columns in which no row says anything are left out.
    pub fn print(&self, columns: usize) -> String {
        let shown: Vec<usize> = (0..self.head.len())
            .filter(|i| self.rows.iter().any(|row| row.get(*i).is_some_and(|c| !c.is_empty())))
            .collect();
        let mut widths: Vec<usize> = shown
            .iter()
            .map(|i| self.rows.iter().map(|row| width(&row[*i])).chain([width(&self.head[*i].0)]).max().unwrap_or(0))
            .collect();
        for column in &self.give_way {
            let total = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
            if let Some(at) = shown.iter().position(|i| i == column) {
                widths[at] = widths[at].saturating_sub(total.saturating_sub(columns)).max(LEAST.min(widths[at]));
            }
        }
        let mut text = String::new();
        let head: Vec<String> = self.head.iter().map(|(text, _)| text.clone()).collect();
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for (n, i) in shown.iter().enumerate() {
                let cell = if self.give_way.contains(i) { shorten(&row[*i], widths[n]) } else { row[*i].clone() };
                let room = " ".repeat(widths[n].saturating_sub(width(&cell)));
                if n > 0 {
                    line.push_str(&" ".repeat(GAP));
                }
                match self.head[*i].1 {
                    Align::Left => line.push_str(&format!("{cell}{room}")),
                    Align::Right => line.push_str(&format!("{room}{cell}")),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table =
            Table::new([("NAME", Align::Left), ("TITLE", Align::Left), ("N", Align::Right), ("EMPTY", Align::Left)])
                .shortening([1]);
        table.row(["sales".into(), "売上の夜間集計".into(), "7".into(), String::new()]);
        table.row(["b".into(), "plain".into(), "1,000".into(), String::new()]);
        table
    }

    #[test]
    fn wide_characters_stay_in_their_column() {
        let expected = "NAME   TITLE               N\nsales  売上の夜間集計      7\nb      plain           1,000\n";
        assert_eq!(sample().print(usize::MAX), expected);
    }

    #[test]
    fn a_narrow_terminal_shortens_the_column_that_gives_way() {
        let text = sample().print(26);
        assert!(text.contains("売上の夜間…"), "{text}");
        assert!(text.lines().all(|line| width(line) <= 26), "{text}");
    }
}
