//! Values while they are computed. Cheap to clone: texts, lists and maps are shared.

use crate::Value;
use std::{cmp::Ordering, collections::BTreeMap, ops::Deref, rc::Rc};

/// Whole numbers up to here are exact as floats too.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Something with the cost of all that is in it, counted as often as it is there: what is shared in memory is not shared
/// once it is written out.
#[derive(Debug)]
pub(super) struct Weighed<T> {
    pub inner: T,
    weight: u64,
}

impl<T> Deref for Weighed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

#[derive(Debug, Clone)]
pub(super) enum Datum {
    Null,
    Boolean(bool),
    Whole(i64),
    Float(f64),
    Text(Rc<str>),
    List(Rc<Weighed<Vec<Datum>>>),
    Map(Rc<Weighed<BTreeMap<String, Datum>>>),
}

impl From<&Value> for Datum {
    fn from(value: &Value) -> Self {
        match value {
            Value::Boolean(b) => Datum::Boolean(*b),
            Value::Number(n) => match n.as_i64() {
                Some(whole) => Datum::Whole(whole),
                None => Datum::Float(n.as_f64().unwrap_or(0.0)),
            },
            Value::String(text) => Datum::text(text),
            Value::List(items) => Datum::list(items.iter().map(Datum::from).collect()),
            Value::Map(entries) => Datum::map(entries.iter().map(|(k, v)| (k.clone(), v.into())).collect()),
        }
    }
}

impl Datum {
    pub fn text(text: impl AsRef<str>) -> Self {
        Datum::Text(text.as_ref().into())
    }

    pub fn list(inner: Vec<Datum>) -> Self {
        let weight = inner.iter().map(Datum::cost).fold(1, u64::saturating_add);
        Datum::List(Rc::new(Weighed { inner, weight }))
    }

    pub fn map(inner: BTreeMap<String, Datum>) -> Self {
        let weight = inner.iter().map(|(k, v)| 1 + k.len() as u64 / 8 + v.cost()).fold(1, u64::saturating_add);
        Datum::Map(Rc::new(Weighed { inner, weight }))
    }

    /// With its article, for messages.
    pub fn what(&self) -> &'static str {
        match self {
            Datum::Null => "null",
            Datum::Boolean(_) => "a boolean",
            Datum::Whole(_) | Datum::Float(_) => "a number",
            Datum::Text(_) => "a string",
            Datum::List(_) => "a list",
            Datum::Map(_) => "a map",
        }
    }

    /// What it costs to build or to compare, in units of fuel.
    pub fn cost(&self) -> u64 {
        match self {
            Datum::Text(text) => 1 + text.len() as u64 / 8,
            Datum::List(items) => items.weight,
            Datum::Map(entries) => entries.weight,
            _ => 1,
        }
    }

    pub fn into_value(self) -> Result<Value, String> {
        Ok(match self {
            Datum::Null => return Err("is null".into()),
            Datum::Boolean(b) => Value::Boolean(b),
            Datum::Whole(n) => Value::Number(n.into()),
            Datum::Float(n) => Value::Number(number(n)?),
            Datum::Text(text) => Value::String(text.as_ref().to_owned()),
            Datum::List(items) => {
                Value::List(items.iter().cloned().map(Datum::into_value).collect::<Result<_, String>>()?)
            }
            Datum::Map(entries) => {
                let entries = entries.iter().map(|(k, v)| Ok((k.clone(), v.clone().into_value()?)));
                Value::Map(entries.collect::<Result<_, String>>()?)
            }
        })
    }

    /// As it appears in a text.
    pub fn into_text(self) -> Result<String, String> {
        match self {
            Datum::Null => Ok(String::new()),
            Datum::Text(text) => Ok(text.as_ref().to_owned()),
            other => other.into_value().map(|v| v.to_string()),
        }
    }

    pub fn as_float(&self) -> Option<f64> {
        match self {
            Datum::Whole(n) => Some(*n as f64),
            Datum::Float(n) => Some(*n),
            _ => None,
        }
    }

    /// A whole number, also one that is written as a float.
    pub fn as_whole(&self) -> Option<i64> {
        match self {
            Datum::Whole(n) => Some(*n),
            Datum::Float(n) if n.fract() == 0.0 && n.abs() <= EXACT => Some(*n as i64),
            _ => None,
        }
    }

    /// Numbers by value; different kinds are different.
    pub fn equals(&self, other: &Datum) -> bool {
        match (self, other) {
            (Datum::Null, Datum::Null) => true,
            (Datum::Boolean(a), Datum::Boolean(b)) => a == b,
            (Datum::Text(a), Datum::Text(b)) => a == b,
            (Datum::List(a), Datum::List(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.equals(b)),
            (Datum::Map(a), Datum::Map(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|((ka, a), (kb, b))| ka == kb && a.equals(b))
            }
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }

    /// None: not comparable.
    pub fn order(&self, other: &Datum) -> Option<Ordering> {
        match (self, other) {
            (Datum::Whole(a), Datum::Whole(b)) => Some(a.cmp(b)),
            (Datum::Text(a), Datum::Text(b)) => Some(a.cmp(b)),
            _ => self.as_float()?.partial_cmp(&other.as_float()?),
        }
    }
}

/// A float as JSON: without a fraction where it has none.
fn number(n: f64) -> Result<serde_json::Number, String> {
    if n.fract() == 0.0 && n.abs() <= EXACT {
        return Ok((n as i64).into());
    }
    serde_json::Number::from_f64(n).ok_or_else(|| "is not a finite number".into())
}
