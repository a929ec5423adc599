//! Text from outside, made harmless where it comes in: it goes on to terminals, mails and pages.

use std::borrow::Cow;

/// The bytes as text: what is not UTF-8 is replaced.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Without control characters (ANSI escapes and NUL among them), without what turns the direction of reading or cannot
/// be seen: these are written out, `\u{1b}`. A tab becomes a blank. At most `most` characters.
pub fn clean(text: &str, most: usize) -> Cow<'_, str> {
    let end = end_of(text, most);
    let text = &text[..end];
    // Nearly everything: found out at the speed of reading it.
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) || !text.chars().any(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\t' => clean.push(' '),
            '\n' => clean.push_str("\\n"),
            '\r' => clean.push_str("\\r"),
            c if is_dangerous(c) => clean.extend(c.escape_unicode()),
            c => clean.push(c),
        }
    }
    // Written out it may have become longer.
    let end = end_of(&clean, most);
    clean.truncate(end);
    Cow::Owned(clean)
}

fn end_of(text: &str, most: usize) -> usize {
    if text.len() <= most {
        return text.len();
    }
    text.char_indices().nth(most).map_or(text.len(), |(at, _)| at)
}

fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_and_what_hides_is_written_out() {
        assert_eq!(clean("a\x1b[31mred\x07\0", 100), "a\\u{1b}[31mred\\u{7}\\u{0}");
        assert_eq!(clean("one\ttwo\r\nthree", 100), "one two\\r\\nthree");
        assert_eq!(clean("x\u{202e}gpj.exe\u{9b}2J", 100), "x\\u{202e}gpj.exe\\u{9b}2J");
        assert!(matches!(clean("売上 é ~", 100), Cow::Borrowed("売上 é ~")));
        assert_eq!(text(b"a\xff\xfeb"), "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn it_never_becomes_longer_than_wanted() {
        assert_eq!(clean("売上売上", 3), "売上売");
        assert_eq!(clean("\x1b\x1b\x1b", 8), "\\u{1b}\\u");
        assert_eq!(clean("abc", 0), "");
    }
}
