//! Texts that differ only in numbers are one text.

/// Longer texts are alike when they begin alike.
const CHARACTERS: usize = 300;
/// Digits and letters a to f, this many together and with a digit among them, are a number: ids, addresses, hashes.
const HEX: usize = 8;
/// Characters of a UUID.
const UUID: usize = 36;

/// The text with each number, and what looks like an id, replaced by `#`, and with single blanks.
pub fn normalised(text: &str) -> String {
    let mut normal = String::with_capacity(text.len().min(CHARACTERS));
    let mut count = 0;
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        if count == CHARACTERS {
            break;
        }
        let taken = if is_uuid(rest) {
            normal.push('#');
            count += 1;
            UUID
        } else if first.is_ascii_alphanumeric() {
            let word = word(rest);
            count += put_word(&mut normal, word, CHARACTERS - count);
            word.len()
        } else if first.is_whitespace() {
            normal.push(' ');
            count += 1;
            rest.len() - rest.trim_start().len()
        } else {
            normal.push(first);
            count += 1;
            first.len_utf8()
        };
        rest = &rest[taken..];
    }
    normal
}

/// `8-4-4-4-12` hex digits: some of these words have no digit in them.
fn is_uuid(text: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    let fits = |(at, byte): (usize, &u8)| if dashes.contains(&at) { *byte == b'-' } else { byte.is_ascii_hexdigit() };
    text.as_bytes().get(..UUID).is_some_and(|bytes| bytes.iter().enumerate().all(fits))
}

fn word(text: &str) -> &str {
    let end = text.bytes().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(text.len());
    &text[..end]
}

/// Puts a word of ASCII letters and digits; says how many characters it took.
fn put_word(normal: &mut String, word: &str, room: usize) -> usize {
    let before = normal.len();
    let is_hex = word.len() >= HEX
        && word.bytes().all(|byte| byte.is_ascii_hexdigit())
        && word.bytes().any(|byte| byte.is_ascii_digit());
    let hex_after_0x = word.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    if is_hex || hex_after_0x {
        normal.push('#');
    } else {
        let mut in_number = false;
        for byte in word.bytes() {
            if normal.len() - before == room {
                break;
            }
            match (byte.is_ascii_digit(), in_number) {
                (true, true) => {}
                (true, false) => normal.push('#'),
                (false, _) => normal.push(char::from(byte)),
            }
            in_number = byte.is_ascii_digit();
        }
    }
    normal.len() - before
}
