//! Values of parameters, results and expressions.

use crate::{SecretName, VariableName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// What a parameter or a result may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    String,
    Number,
    Boolean,
    List,
    Map,
    /// A reference that only the agent resolves; expressions cannot read it.
    Secret,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::String => "string",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
            Kind::List => "list",
            Kind::Map => "map",
            Kind::Secret => "secret",
        })
    }
}

/// A value, in JSON as itself. A secret never is a value: see [`EnvValue`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Value {
    Boolean(bool),
    Number(serde_json::Number),
    String(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl Value {
    pub fn kind(&self) -> Kind {
        match self {
            Value::Boolean(_) => Kind::Boolean,
            Value::Number(_) => Kind::Number,
            Value::String(_) => Kind::String,
            Value::List(_) => Kind::List,
            Value::Map(_) => Kind::Map,
        }
    }
}

impl Value {
    /// Lists and maps inside each other: 0 for a plain value. Never follows more than `most + 1` of them.
    pub fn is_deeper_than(&self, most: usize) -> bool {
        match self {
            Value::Boolean(_) | Value::Number(_) | Value::String(_) => false,
            Value::List(_) | Value::Map(_) if most == 0 => true,
            Value::List(items) => items.iter().any(|v| v.is_deeper_than(most - 1)),
            Value::Map(entries) => entries.values().any(|v| v.is_deeper_than(most - 1)),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.into())
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Value::Number(n.into())
    }
}

/// As it appears in a `${ }` template: strings bare, everything else as JSON.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::String(s) => f.write_str(s),
            other => f.write_str(&serde_json::to_string(other).map_err(|_| fmt::Error)?),
        }
    }
}

pub type Arguments = BTreeMap<VariableName, Value>;

/// An environment value of a job: text, or a secret that the agent puts in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum EnvValue {
    Text(String),
    Secret { secret: SecretName },
}
