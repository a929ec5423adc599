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
    JsonText(Cow::Owned(if text.contains("\\u0000") { text.replace("\\u0000", "\\ufffd") } else { text }))
}

/// For a `text` column, which cannot hold the character 0 either.
pub(crate) fn clean(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() }
}
