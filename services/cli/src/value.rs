//! `name=value` as typed by the workflow's parameters.

use ordo_domain::{Kind, Value, VariableName, WorkflowName, definition::nearest, workflow::Parameter};
use std::collections::BTreeMap;

/// Parameters of a workflow as it declares them.
pub type Parameters = BTreeMap<VariableName, Parameter>;

/// `day=2026-11-22` into the value that the parameter takes. Errors say what would be right.
pub fn parse_assignment(
    workflow: &WorkflowName,
    parameters: &Parameters,
    text: &str,
) -> Result<(VariableName, Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is no NAME=VALUE: write -p {text}=… (nothing after = is an empty text)"))?;
    let Some((key, parameter)) = parameters.get_key_value(name.trim()) else {
        return Err(unknown(workflow, parameters, name.trim()));
    };
    let value = parse(parameter, value).map_err(|why| format!("parameter {key} of workflow {workflow}: {why}"))?;
    Ok((key.clone(), value))
}

fn unknown(workflow: &WorkflowName, parameters: &Parameters, name: &str) -> String {
    if parameters.is_empty() {
        return format!("workflow {workflow} has no parameter {name:?}; it has none at all");
    }
    let known = || parameters.keys().map(VariableName::as_str);
    match nearest(name, known()) {
        Some(near) => format!("workflow {workflow} has no parameter {name:?}; did you mean {near}?"),
        None => {
            format!("workflow {workflow} has no parameter {name:?}; it has {}", known().collect::<Vec<_>>().join(", "))
        }
    }
}

fn parse(parameter: &Parameter, text: &str) -> Result<Value, String> {
    match parameter.kind {
        Kind::List => parse_list(parameter.items, text),
        kind => parse_kind(kind, text),
    }
}

fn parse_kind(kind: Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::String => Ok(Value::String(text.to_owned())),
        Kind::Number => text
            .trim()
            .parse::<serde_json::Number>()
            .map(Value::Number)
            .map_err(|_| format!("{text:?} is not a number, such as 42, -1 or 2.5")),
        Kind::Boolean => match text.trim() {
            "true" => Ok(Value::Boolean(true)),
            "false" => Ok(Value::Boolean(false)),
            _ => Err(format!("{text:?} is not true or false")),
        },
        Kind::Map => match serde_json::from_str(text) {
            Ok(value @ Value::Map(_)) => Ok(value),
            Ok(other) => {
                Err(format!("must be a map, not a {}; write it as JSON: {{\"key\": \"value\"}}", other.kind()))
            }
            Err(error) => Err(format!("{text:?} is no JSON map ({error}); write {{\"key\": \"value\"}}")),
        },
        Kind::List => parse_list(None, text),
        Kind::Secret => Err("is a secret: it is not given, the agent has it in its secrets folder".to_owned()),
    }
}

/// JSON, or items between commas.
fn parse_list(items: Option<Kind>, text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('[') {
        return match serde_json::from_str(text) {
            Ok(value @ Value::List(_)) => Ok(value),
            Ok(other) => Err(format!("must be a list, not a {}", other.kind())),
            Err(error) => Err(format!("{text:?} is no JSON list ({error}); write [\"a\", \"b\"] or a,b")),
        };
    }
    if text.is_empty() {
        return Ok(Value::List(Vec::new()));
    }
    let kind = items.unwrap_or(Kind::String);
    let parts: Result<Vec<Value>, String> = text.split(',').map(|item| parse_kind(kind, item.trim())).collect();
    parts.map(Value::List).map_err(|why| format!("item {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Parameters {
        let of = |kind, items| Parameter { kind, items, default: None, from: None, title: None };
        [
            ("day", of(Kind::String, None)),
            ("rows", of(Kind::Number, None)),
            ("full", of(Kind::Boolean, None)),
            ("regions", of(Kind::List, Some(Kind::String))),
            ("limits", of(Kind::List, Some(Kind::Number))),
            ("labels", of(Kind::Map, None)),
            ("db", of(Kind::Secret, None)),
        ]
        .into_iter()
        .map(|(name, parameter)| (VariableName::new(name).unwrap(), parameter))
        .collect()
    }

    fn assign(text: &str) -> Result<String, String> {
        let workflow = WorkflowName::new("sales").unwrap();
        parse_assignment(&workflow, &parameters(), text).map(|(_, value)| serde_json::to_string(&value).unwrap())
    }

    #[test]
    fn values_take_the_type_of_the_parameter() {
        for (text, json) in [
            ("day=012", r#""012""#),
            ("day=", r#""""#),
            ("day=a=b", r#""a=b""#),
            ("rows=12", "12"),
            ("full=true", "true"),
            ("regions=east, west", r#"["east","west"]"#),
            ("regions=[\"a,b\"]", r#"["a,b"]"#),
            ("limits=1,2.5", "[1,2.5]"),
            ("labels={\"a\":1}", r#"{"a":1}"#),
        ] {
            assert_eq!(assign(text).as_deref(), Ok(json), "{text}");
        }
    }

    #[test]
    fn a_wrong_value_is_refused_with_what_would_be_right() {
        for (text, expected) in [
            ("rows=many", "is not a number, such as 42"),
            ("full=yes", "is not true or false"),
            ("limits=1,x", "item \"x\" is not a number"),
            ("labels=[]", "must be a map, not a list"),
            ("db=geheim", "is a secret"),
            ("regoins=a", "did you mean regions?"),
            ("zzz=1", "it has day, db, full, labels, limits, regions, rows"),
            ("day", "write -p day=…"),
        ] {
            let message = assign(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
