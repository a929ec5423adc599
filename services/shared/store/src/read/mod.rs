//! Questions of people, answered from the rows: bounded in size and time, with parameters only.

mod event;
mod log;
mod order;
mod step;

use crate::connect::Store;
use crate::error::StoreError;
use crate::projection::unsigned;
use tokio_postgres::types::ToSql;

/// Lines of an answer where nobody says how many, and the most.
pub(crate) const PAGE: u32 = 100;
pub(crate) const LARGEST_PAGE: u32 = 1_000;

pub(crate) fn page(limit: Option<u32>) -> usize {
    limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE) as usize
}

/// Conditions with their parameters, joined by AND: fixed texts, `?` stands for the parameter.
#[derive(Default)]
pub(crate) struct Conditions {
    texts: Vec<String>,
    values: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Conditions {
    pub(crate) fn and(&mut self, text: &str, value: impl ToSql + Sync + Send + 'static) {
        self.values.push(Box::new(value));
        self.texts.push(text.replace('?', &format!("${}", self.values.len())));
    }

    pub(crate) fn and_plain(&mut self, text: &str) {
        self.texts.push(text.to_owned());
    }

    /// The orders that are `order`, or a branch or called workflow of it, in the column `name`.
    pub(crate) fn and_within(&mut self, name: &str, order: &str) {
        self.and(&format!("({name} = ? OR {name} >= ? || ':' AND {name} < ? || ';')"), order.to_owned());
    }

    pub(crate) fn sql(&self) -> String {
        if self.texts.is_empty() { "true".to_owned() } else { self.texts.join(" AND ") }
    }

    pub(crate) fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|v| &**v as &(dyn ToSql + Sync)).collect()
    }
}

impl Store {
    /// The journal sequence that answers are true at.
    pub(crate) async fn sequence(&self) -> Result<u64, StoreError> {
        let client = self.reader().await?;
        let sql = "SELECT coalesce(max(sequence), 0) FROM projections \
                   WHERE reader = 'history' AND stream LIKE '%-JOURNAL'";
        Ok(unsigned(self.sorted("read the position", client.query_one(sql, &[]).await)?.get(0)))
    }
}

/// A column that was written by us from a checked value; a person may have changed it since.
pub(crate) fn checked<T, E: std::fmt::Display>(value: Result<T, E>) -> Result<T, StoreError> {
    value.map_err(|e| StoreError::Refused { what: format!("a row in the database cannot be read: {e}") })
}

pub(crate) fn from_json<T: serde::de::DeserializeOwned>(
    value: Option<serde_json::Value>,
) -> Result<Option<T>, StoreError> {
    value.map(|v| checked(serde_json::from_value(v))).transpose()
}
