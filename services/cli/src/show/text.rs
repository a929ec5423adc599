//! Text that others wrote, made harmless, and its width on a terminal.

use unicode_width::UnicodeWidthChar;

/// The text with everything escaped that a terminal could take for a command or that hides or turns what is read:
/// control characters, bidirectional controls, invisible ones. Tabs become blanks.
pub fn harmless(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => clean.push_str("    "),
            '\n' => clean.push_str("\\n"),
            '\r' => clean.push_str("\\r"),
            c if is_dangerous(c) => clean.push_str(&c.escape_default().to_string()),
            c => clean.push(c),
        }
    }
    clean
}

/// Line by line: line breaks stay.
pub fn harmless_lines(text: &str) -> String {
    text.split('\n').map(|line| harmless(line.strip_suffix('\r').unwrap_or(line))).collect::<Vec<_>>().join("\n")
}

fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Columns on a terminal; our own colour sequences count nothing.
pub fn width(text: &str) -> usize {
    let mut columns = 0;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            chars.by_ref().find(|c| c.is_ascii_alphabetic());
        } else {
            columns += c.width().unwrap_or(0);
        }
    }
    columns
}

/// Cut to so many columns, with … at the end where something is missing. For text without colours.
pub fn shorten(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let (mut short, mut used) = (String::new(), 0);
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > columns {
            break;
        }
        short.push(c);
        used += w;
    }
    short.push('…');
    short
}

/// Every line moved to the right.
pub fn indent(text: &str, by: usize) -> String {
    text.lines()
        .map(|line| if line.is_empty() { String::new() } else { format!("{}{line}", " ".repeat(by)) })
        .collect::<Vec<_>>()
        .join("\n")
}

/// `1 order`, `2 orders`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// `10,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `3.2 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let (mut value, mut unit) = (count as f64 / 1024.0, 0);
    while value >= 1024.0 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(harmless("a\x1b[31mred\x07"), "a\\u{1b}[31mred\\u{7}");
        assert_eq!(harmless("\u{9b}2J"), "\\u{9b}2J");
        assert_eq!(harmless("x\u{202e}gpj.exe"), "x\\u{202e}gpj.exe");
        assert_eq!(harmless("one\r\ntwo"), "one\\r\\ntwo");
        assert_eq!(harmless_lines("one\r\ntwo\x08\n"), "one\ntwo\\u{8}\n");
        assert_eq!(harmless("売上の夜間集計 é"), "売上の夜間集計 é");
    }

    #[test]
    fn wide_characters_count_two_columns_and_colours_none() {
        assert_eq!(width("売上"), 4);
        assert_eq!(width("\x1b[31m✖ failed\x1b[0m"), 8);
        assert_eq!(shorten("売上の夜間集計", 6), "売上…");
        assert_eq!(shorten("short", 5), "short");
    }

    #[test]
    fn numbers_are_read_at_a_glance() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(counted(1, "order", "orders"), "1 order");
        assert_eq!(bytes(3_400_000), "3.2 MiB");
    }
}
