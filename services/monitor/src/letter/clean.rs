//! Text that others wrote, made harmless for a subject, a page and a terminal into which somebody pastes it.

/// One line without anything that could be taken for a command, a line end, or a turn of the direction of reading. Colours
/// of terminals vanish, other control characters are shown escaped.
pub fn line(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\t' => clean.push_str("    "),
            '\n' | '\r' => clean.push(' '),
            '\x1b' if chars.peek() == Some(&'[') => {
                chars.next();
                // ESC [ … letter: parameters are digits and a few marks. What never ends is not a sequence.
                while chars.peek().is_some_and(|c| matches!(c, '\x20'..='\x3f')) {
                    chars.next();
                }
                if chars.peek().is_some_and(|c| matches!(c, '\x40'..='\x7e')) {
                    chars.next();
                }
            }
            c if is_dangerous(c) => clean.extend(c.escape_default()),
            c => clean.push(c),
        }
    }
    clean
}

/// [`line()`], cut to so many characters with … where something is missing.
pub fn short(text: &str, most: usize) -> String {
    let clean = line(text);
    let clean = clean.trim();
    if clean.chars().count() <= most {
        return clean.to_owned();
    }
    let cut: String = clean.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// The last lines of what a job printed, each cut to `width`. Of a line that was written over (progress bars) the last
/// state counts.
pub fn tail(text: &str, lines: usize, width: usize) -> Vec<String> {
    let last = |line: &str| {
        let line = line.trim_end_matches('\r');
        let shown = line.rsplit('\r').find(|part| !part.trim().is_empty()).unwrap_or("");
        short_kept(shown, width)
    };
    let all: Vec<&str> = text.trim_end().split('\n').collect();
    all[all.len().saturating_sub(lines)..].iter().map(|l| last(l)).collect()
}

/// As [`short`], with blanks at the beginning kept: programs indent.
fn short_kept(text: &str, most: usize) -> String {
    let clean = line(text);
    let clean = clean.trim_end();
    if clean.chars().count() <= most {
        return clean.to_owned();
    }
    format!("{}…", clean.chars().take(most.saturating_sub(1)).collect::<String>())
}

fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
