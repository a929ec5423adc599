//! What is checked of an expression before the parser is called: its size, its brackets, and how deep its tree can become.
//! The parser recurses, so that a text of a kilobyte could otherwise exhaust a small stack.

use super::CheckError;
use crate::limit::{EXPRESSION_BYTES, EXPRESSION_DEPTH};

/// Operators, dots and brackets inside each other and in a row: each may become a level of the tree.
pub(super) const TREE_DEPTH: usize = 2 * EXPRESSION_DEPTH;

/// An error at a stretch of an expression.
pub(super) fn error(offset: usize, length: usize, message: impl Into<String>) -> CheckError {
    CheckError { offset, length: length.max(1), message: message.into(), help: None }
}

impl CheckError {
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The end of the string literal that begins at `start`, or None where it is not closed.
pub(super) fn literal_end(text: &str, start: usize, raw: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    let quote = bytes[start];
    let triple = bytes[start..].starts_with(&[quote; 3]);
    let mut i = start + if triple { 3 } else { 1 };
    while i < bytes.len() {
        match bytes[i] {
            b'\\' if !raw => i += 2,
            b'\n' | b'\r' if !triple => return None,
            b if b == quote && triple => {
                if bytes[i..].starts_with(&[quote; 3]) {
                    return Some(i + 3);
                }
                i += 1;
            }
            b if b == quote => return Some(i + 1),
            _ => i += 1,
        }
    }
    None
}

struct Level {
    at: usize,
    open: u8,
    /// Operators since the last comma.
    operators: usize,
}

/// Whether the text may be given to the parser.
pub(super) fn pass(text: &str) -> Result<(), CheckError> {
    if text.len() > EXPRESSION_BYTES {
        let message = format!("the expression is {} bytes; the limit is {EXPRESSION_BYTES}", text.len());
        return Err(error(0, text.trim_end().len(), message).help("compute it in a job and use its result"));
    }
    if text.trim().is_empty() {
        return Err(error(0, text.len(), "the expression is empty"));
    }
    let bytes = text.as_bytes();
    let mut levels = vec![Level { at: 0, open: 0, operators: 0 }];
    let mut i = 0;
    while i < bytes.len() {
        let b = bytes[i];
        let start = i;
        i += 1;
        match b {
            b'"' | b'\'' => i = string(text, start)?,
            b'/' if bytes.get(i) == Some(&b'/') => {
                i = bytes[i..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| i + n);
            }
            b'(' | b'[' | b'{' => {
                levels.push(Level { at: start, open: b, operators: 0 });
                if levels.len() - 1 > EXPRESSION_DEPTH {
                    return Err(error(start, 1, format!("brackets more than {EXPRESSION_DEPTH} deep")));
                }
            }
            b')' | b']' | b'}' => close(&mut levels, start, b)?,
            b',' => levels.last_mut().into_iter().for_each(|l| l.operators = 0),
            b'=' if bytes.get(i) != Some(&b'=')
                && !(start > 0 && matches!(bytes[start - 1], b'=' | b'!' | b'<' | b'>')) =>
            {
                return Err(error(start, 1, "`=` is no operator").help("compare with =="));
            }
            b'+' | b'-' | b'*' | b'/' | b'%' | b'!' | b'<' | b'>' | b'=' | b'&' | b'|' | b'?' | b'.' => {
                if matches!(b, b'=' | b'&' | b'|' | b'<' | b'>' | b'!')
                    && matches!(bytes.get(i), Some(b'=' | b'&' | b'|'))
                {
                    i += 1;
                }
                count(&mut levels, start)?;
            }
            _ if b.is_ascii_alphanumeric() || b == b'_' => {
                i = bytes[i..]
                    .iter()
                    .position(|b| !(b.is_ascii_alphanumeric() || *b == b'_'))
                    .map_or(bytes.len(), |n| i + n);
                if bytes.get(i).is_some_and(|b| matches!(b, b'"' | b'\'')) {
                    prefix(&text[start..i], start)?;
                    i = string_after(text, start, i)?;
                } else {
                    word(&text[start..i], start)?;
                    if &text[start..i] == "in" {
                        count(&mut levels, start)?;
                    }
                }
            }
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b':' => {}
            _ => {
                let c = text[start..].chars().next().unwrap_or('?');
                return Err(error(start, c.len_utf8(), format!("{c:?} has no meaning outside of a string")));
            }
        }
    }
    match levels.last() {
        Some(l) if l.open != 0 => Err(error(l.at, 1, format!("`{}` is not closed", l.open as char))),
        _ => Ok(()),
    }
}

fn count(levels: &mut [Level], at: usize) -> Result<(), CheckError> {
    if let Some(level) = levels.last_mut() {
        level.operators += 1;
    }
    let depth: usize = levels.iter().map(|l| 1 + l.operators).sum();
    if depth > TREE_DEPTH {
        let message = format!("more than {TREE_DEPTH} operators and brackets in a row or inside each other");
        return Err(error(at, 1, message).help("compute it in a job and use its result"));
    }
    Ok(())
}

fn close(levels: &mut Vec<Level>, at: usize, b: u8) -> Result<(), CheckError> {
    let wanted = match levels.last().map(|l| l.open) {
        Some(b'(') => b')',
        Some(b'[') => b']',
        Some(b'{') => b'}',
        _ => return Err(error(at, 1, format!("`{}` closes nothing", b as char))),
    };
    if b != wanted {
        return Err(error(at, 1, format!("`{}` where `{}` closes the bracket", b as char, wanted as char)));
    }
    levels.pop();
    Ok(())
}

fn string(text: &str, start: usize) -> Result<usize, CheckError> {
    literal_end(text, start, false).ok_or_else(|| error(start, 1, "the string is not closed"))
}

fn string_after(text: &str, prefix: usize, quote: usize) -> Result<usize, CheckError> {
    let raw = text[prefix..quote].eq_ignore_ascii_case("r");
    literal_end(text, quote, raw).ok_or_else(|| error(quote, 1, "the string is not closed"))
}

fn prefix(word: &str, at: usize) -> Result<(), CheckError> {
    if word.eq_ignore_ascii_case("r") {
        return Ok(());
    }
    Err(error(at, word.len(), format!("`{word}` before a string")).help("only r\"…\" (no escapes) is known"))
}

/// Words that other languages have.
fn word(word: &str, at: usize) -> Result<(), CheckError> {
    let instead = match word {
        "and" | "AND" => "&&",
        "or" | "OR" => "||",
        "not" | "NOT" => "!",
        "True" | "TRUE" | "yes" => "true",
        "False" | "FALSE" | "no" => "false",
        "None" | "nil" => "null",
        _ => return Ok(()),
    };
    Err(error(at, word.len(), format!("`{word}` is not known")).help(format!("write {instead}")))
}
