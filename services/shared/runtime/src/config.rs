//! Configuration in layers: defaults < TOML file < environment `ORDO_…` < flags.
//!
//! The keys are those of the serialised default (so every field must serialise, `None` included): the leaf
//! `nats.url` is `url` in `[nats]` of the file, `ORDO_NATS_URL` in the environment and `nats.url=…` among the flags.
//! A key that the default does not have is refused in the file and among the flags, with the nearest one that it has;
//! an unknown environment variable is not, because a shell holds `ORDO_…` variables of other programs too.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a value came from; printed by `--print-config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The TOML file.
    File,
    /// This environment variable.
    Environment(String),
    /// The command line.
    Flag,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File => f.write_str("file"),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag => f.write_str("flag"),
        }
    }
}

/// A role's configuration and where each value came from.
#[derive(Debug)]
pub struct Loaded<T> {
    /// What to run with.
    pub config: T,
    tree: Value,
    origins: BTreeMap<String, Origin>,
}

/// Why a configuration was refused. Each says the key, where it stood and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("cannot read the configuration file {path}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path} is not TOML: {reason}")]
    NotToml {
        /// Which.
        path: PathBuf,
        /// The parser's words, with line and column.
        reason: String,
    },
    /// A key that this role does not have.
    #[error("unknown key {key} in {origin}{hint}")]
    UnknownKey {
        /// Dotted key.
        key: String,
        /// Where it stood.
        origin: Origin,
        /// `; did you mean …?` or the list of keys.
        hint: String,
    },
    /// A value of the wrong kind.
    #[error("{role}: {reason}")]
    Invalid {
        /// Which role's configuration.
        role: String,
        /// Which key, which value, what is wanted.
        reason: String,
    },
}

/// Loads a role's configuration from the process environment. `flags` are dotted keys with their text, in order.
///
/// # Errors
/// See [`ConfigError`]; nothing is ever guessed or passed over.
pub fn load_config<T>(role: &str, file: Option<&Path>, flags: &[(String, String)]) -> Result<Loaded<T>, ConfigError>
where
    T: Serialize + DeserializeOwned + Default,
{
    let environment = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    load_from(role, file, &environment, flags)
}

/// [`load_config`] with the environment as an argument.
///
/// # Errors
/// See [`ConfigError`].
pub fn load_from<T>(
    role: &str,
    file: Option<&Path>,
    environment: &BTreeMap<String, String>,
    flags: &[(String, String)],
) -> Result<Loaded<T>, ConfigError>
where
    T: Serialize + DeserializeOwned + Default,
{
    let invalid = |reason: String| ConfigError::Invalid { role: role.to_owned(), reason };
    let default =
        serde_json::to_value(T::default()).map_err(|error| invalid(format!("default cannot be written: {error}")))?;
    let mut leaves = BTreeMap::new();
    collect_leaves("", &default, &mut leaves);
    let mut origins: BTreeMap<String, Origin> = leaves.keys().map(|key| (key.clone(), Origin::Default)).collect();
    let mut tree = default.clone();

    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let table: Map<String, Value> = toml::from_str(&text)
            .map_err(|error| ConfigError::NotToml { path: path.to_owned(), reason: error.to_string() })?;
        let mut given = BTreeMap::new();
        collect_given("", &Value::Object(table), &leaves, &mut given);
        for (key, value) in given {
            known(&key, &leaves, Origin::File)?;
            set(&mut tree, &key, value);
            origins.insert(key, Origin::File);
        }
    }
    for (key, default) in &leaves {
        let name = environment_name(key);
        if let Some(text) = environment.get(&name) {
            set(
                &mut tree,
                key,
                parse(text, default).map_err(|wanted| invalid(format!("{name} is {text:?}, wanted {wanted}")))?,
            );
            origins.insert(key.clone(), Origin::Environment(name));
        }
    }
    for (key, text) in flags {
        let default = known(key, &leaves, Origin::Flag)?;
        set(
            &mut tree,
            key,
            parse(text, default).map_err(|wanted| invalid(format!("{key} is {text:?}, wanted {wanted}")))?,
        );
        origins.insert(key.clone(), Origin::Flag);
    }
    let config = serde_json::from_value(tree.clone())
        .map_err(|error| invalid(explain(&error.to_string(), &tree, &origins, &default)))?;
    Ok(Loaded { config, tree, origins })
}

impl<T> Loaded<T> {
    /// The whole configuration as TOML with dotted keys, each with its origin; passwords in addresses are masked.
    pub fn print(&self) -> String {
        let mut leaves = BTreeMap::new();
        collect_leaves("", &self.tree, &mut leaves);
        let mut lines = String::new();
        for (key, value) in &leaves {
            let origin = self.origins.get(key).unwrap_or(&Origin::Default);
            match toml_text(value) {
                Some(text) => lines.push_str(&format!("{key} = {}  # {origin}\n", masked(&text))),
                None => lines.push_str(&format!("# {key} is not set  # {origin}\n")),
            }
        }
        lines
    }
}

/// `ORDO_` and the dotted key in capitals.
pub fn environment_name(key: &str) -> String {
    format!("ORDO_{}", key.replace(['.', '-'], "_").to_uppercase())
}

/// The text with the password of every `scheme://user:password@host` replaced, of a list of them, too. A password may hold
/// anything: what might be one is replaced.
pub fn masked(text: &str) -> String {
    if !text.contains("://") {
        return text.to_owned();
    }
    let mut parts: Vec<String> = Vec::new();
    for part in text.split(',') {
        match parts.last_mut() {
            // Behind a comma within a password.
            Some(last)
                if part.contains('@') && !part.contains("://") && last.contains("://") && !last.contains('@') =>
            {
                last.push(',');
                last.push_str(part);
            }
            _ => parts.push(part.to_owned()),
        }
    }
    parts.iter().map(|part| masked_one(part)).collect::<Vec<_>>().join(",")
}

fn masked_one(text: &str) -> String {
    let (before, after) = match text.split_once("://") {
        Some((scheme, after)) => (format!("{scheme}://"), after),
        None => (String::new(), text),
    };
    match after.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{before}{user}:…@{host}"),
            // A name without a password; of NATS it is a token.
            None if before.contains("postgres") => text.to_owned(),
            None if before.is_empty() => text.to_owned(),
            None => format!("{before}…@{host}"),
        },
        None => text.to_owned(),
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

/// An empty map is a leaf: it stands for keys that the user chooses.
fn collect_leaves(prefix: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if prefix.is_empty() || !map.is_empty() => {
            for (key, value) in map {
                collect_leaves(&join(prefix, key), value, into);
            }
        }
        other => {
            into.insert(prefix.to_owned(), other.clone());
        }
    }
}

fn collect_given(prefix: &str, value: &Value, leaves: &BTreeMap<String, Value>, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !leaves.contains_key(prefix) => {
            for (key, value) in map {
                collect_given(&join(prefix, key), value, leaves, into);
            }
        }
        other => {
            into.insert(prefix.to_owned(), other.clone());
        }
    }
}

fn known<'a>(key: &str, leaves: &'a BTreeMap<String, Value>, origin: Origin) -> Result<&'a Value, ConfigError> {
    leaves.get(key).ok_or_else(|| {
        let last = key.rsplit('.').next().unwrap_or(key);
        let near =
            leaves.keys().find(|candidate| distance(candidate, key) <= 2 || candidate.rsplit('.').next() == Some(last));
        let hint = match near {
            Some(near) => format!("; did you mean {near}?"),
            None => format!("; known are {}", leaves.keys().cloned().collect::<Vec<_>>().join(", ")),
        };
        ConfigError::UnknownKey { key: key.to_owned(), origin, hint }
    })
}

/// Levenshtein distance, for the hint.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (corner + usize::from(x != *y)).min(above + 1).min(row[j] + 1);
            corner = above;
        }
    }
    row[b.len()]
}

fn set(tree: &mut Value, key: &str, value: Value) {
    let mut at = tree;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        let Value::Object(map) = at else { return };
        if parts.peek().is_none() {
            map.insert(part.to_owned(), value);
            return;
        }
        at = map.entry(part).or_insert_with(|| Value::Object(Map::new()));
    }
}

/// Text as the kind that the default has. An unset optional takes a number or truth value as such, else text.
fn parse(text: &str, default: &Value) -> Result<Value, &'static str> {
    match default {
        Value::String(_) => Ok(Value::String(text.to_owned())),
        Value::Bool(_) => match text {
            "true" | "1" | "yes" | "on" => Ok(Value::Bool(true)),
            "false" | "0" | "no" | "off" => Ok(Value::Bool(false)),
            _ => Err("true or false"),
        },
        Value::Number(_) => serde_json::from_str::<serde_json::Number>(text).map(Value::Number).map_err(|_| "a number"),
        Value::Array(_) if text.is_empty() => Ok(Value::Array(Vec::new())),
        Value::Array(_) => {
            Ok(Value::Array(text.split(',').map(|part| Value::String(part.trim().to_owned())).collect()))
        }
        Value::Object(_) => serde_json::from_str(text).map_err(|_| "a JSON object"),
        Value::Null if text.is_empty() => Ok(Value::Null),
        Value::Null => Ok(match serde_json::from_str::<Value>(text) {
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
            _ => Value::String(text.to_owned()),
        }),
    }
}

/// serde names no path for a flattened field: add what was given, so that the reader finds it.
fn explain(reason: &str, tree: &Value, origins: &BTreeMap<String, Origin>, default: &Value) -> String {
    let (mut now, mut before) = (BTreeMap::new(), BTreeMap::new());
    collect_leaves("", tree, &mut now);
    collect_leaves("", default, &mut before);
    let suspects: Vec<String> = now
        .iter()
        .filter(|(key, value)| before.get(*key).is_none_or(|was| kind(was) != kind(value) || was != *value))
        .map(|(key, value)| {
            format!("{key} = {} ({})", masked(&value.to_string()), origins.get(key).unwrap_or(&Origin::Default))
        })
        .collect();
    format!("{reason}; given were {}", suspects.join(", "))
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

fn toml_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Object(map) if map.is_empty() => Some("{}".to_owned()),
        other => toml::Value::try_from(other).ok().map(|value| value.to_string()),
    }
}
