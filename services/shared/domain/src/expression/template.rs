//! Texts with `${ expression }` in them. `$${` stands for `${` itself.

use super::{CheckError, guard};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Part<'a> {
    Text(&'a str),
    /// `at`: where its text begins in the template, in bytes.
    Expression {
        at: usize,
        text: &'a str,
    },
}

/// The parts of a template, in order.
pub(super) fn parts(text: &str) -> Result<Vec<Part<'_>>, CheckError> {
    let mut parts = Vec::new();
    let mut done = 0;
    let mut from = 0;
    while let Some(found) = text[from..].find("${").map(|n| from + n) {
        if found > done && text.as_bytes()[found - 1] == b'$' {
            // The first of the two dollars goes; the rest is text.
            parts.push(Part::Text(&text[done..found - 1]));
            parts.push(Part::Text("${"));
            done = found + 2;
            from = done;
            continue;
        }
        if found > done {
            parts.push(Part::Text(&text[done..found]));
        }
        let at = found + 2;
        let end = closing_brace(text, at).ok_or_else(|| {
            guard::error(found, 2, "`${` is not closed").help("close it with }, or write $${ for the text ${")
        })?;
        parts.push(Part::Expression { at, text: &text[at..end] });
        done = end + 1;
        from = done;
    }
    if done < text.len() {
        parts.push(Part::Text(&text[done..]));
    }
    Ok(parts)
}

/// The expression of a template that is nothing else.
pub(super) fn whole(text: &str) -> Option<&str> {
    let trimmed = text.trim();
    match parts(trimmed).ok()?.as_slice() {
        [Part::Expression { text, .. }] => Some(text),
        _ => None,
    }
}

/// Braces and strings inside of the expression do not end it.
fn closing_brace(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut i) = (0usize, start);
    while i < bytes.len() {
        match bytes[i] {
            b'"' | b'\'' => {
                let raw = i > start && bytes[i - 1].eq_ignore_ascii_case(&b'r');
                i = guard::literal_end(text, i, raw)?;
                continue;
            }
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(i),
            b'}' => depth -= 1,
            _ => {}
        }
        i += 1;
    }
    None
}
