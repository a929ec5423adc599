//! Values as PostgreSQL takes them.

use bytes::{BufMut, BytesMut};
use serde::Serialize;
use std::borrow::Cow;
use std::error::Error;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// JSON text for a `json` or `jsonb` column, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonText<'a>(pub(crate) Cow<'a, str>);

impl ToSql for JsonText<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        if *ty == Type::JSONB {
            out.put_u8(1);
        }
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSON || *ty == Type::JSONB
    }

    to_sql_checked!();
}

/// For a `jsonb` column, which cannot hold the character 0: it becomes the replacement character. The verbatim event
/// keeps it.
pub(crate) fn jsonb(value: &impl Serialize) -> JsonText<'static> {
    let text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    JsonText(Cow::Owned(if text.contains("\\u0000") { without_zero(&text) } else { text }))
}

/// JSON without the escape of the character 0. A backslash behind a backslash begins no escape.
fn without_zero(json: &str) -> String {
    let mut clean = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let escape = &rest[at..];
        let (length, kept) = if escape.starts_with("\\u0000") { (6, "\\ufffd") } else { (2, &escape[..2]) };
        clean.push_str(&rest[..at]);
        clean.push_str(kept);
        rest = &escape[length..];
    }
    clean + rest
}

/// For a `text` column, which cannot hold the character 0 either.
pub(crate) fn clean(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::jsonb;

    #[test]
    fn only_the_character_zero_is_replaced_not_the_text_that_looks_like_it() {
        let value = ["a\0b", "\\u0000", "\\\0", "\"\0\""];
        let back: Vec<String> = serde_json::from_str(&jsonb(&value).0).unwrap();
        assert_eq!(back, ["a\u{fffd}b", "\\u0000", "\\\u{fffd}", "\"\u{fffd}\""]);
    }
}
