//! CEL expressions and `${ }` templates: checked when deployed, evaluated only while deciding.
//!
//! # Layout
//! - `guard.rs`: size, depth and brackets, before the parser of the `cel` crate sees a text; `syntax.rs`: that parser's
//!   tree made ours, with places; parsed texts are remembered.
//! - `check.rs`: kinds, over declared [`Names`]. `evaluate.rs`: values, over a [`Scope`]. `function.rs`: the listed
//!   functions, for both. `datum.rs`: values while they are computed.
//! - `template.rs`: texts with `${ }` in them.
//!
//! # What differs from CEL
//! JSON does not tell `1` from `1.0`, so neither do expressions: whole numbers and floats are one kind and mix freely;
//! whole results are written without a fraction. Bytes, unsigned numbers, types and timestamps do not exist. Only the
//! functions in [`functions`] exist.
//!
//! # How evaluation is bounded
//! By fuel: every visited node, compared element and 8 bytes of every built text or list cost one of [`FUEL`]; what needs
//! more fails. Nested comprehensions and doubled texts therefore end in milliseconds, whatever they are given.

mod check;
mod datum;
mod evaluate;
mod function;
mod guard;
mod syntax;
mod template;
#[cfg(test)]
mod tests;

use crate::{
    Arguments, EnvValue, Failure, Kind, Label, SecretName, Value, VariableName,
    order::state::StepResult,
    workflow::{Expression, Template},
};
use chrono::NaiveDate;
use std::collections::{BTreeMap, BTreeSet};

pub use check::{CheckError, KindOrAny, check, check_template};
pub use function::functions;

/// What one evaluation may cost.
pub const FUEL: u64 = 200_000;

/// What an expression can see.
pub struct Scope<'a> {
    pub order: OrderFacts<'a>,
    pub arguments: &'a Arguments,
    /// Parameters of kind secret: only a template that is nothing but `${ name }` may name one, and only in `env`.
    pub secrets: &'a BTreeMap<VariableName, SecretName>,
    pub results: &'a BTreeMap<Label, StepResult>,
    /// In catch steps and in retry conditions.
    pub error: Option<ErrorFacts>,
}

/// The variable `order`.
#[derive(Clone, Copy)]
pub struct OrderFacts<'a> {
    pub id: &'a str,
    pub workflow: &'a str,
    pub title: &'a str,
    pub business_day: NaiveDate,
    pub attempt: u32,
}

/// The variable `error`: message, code, label, returnCode (null where the failure has none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorFacts {
    pub message: String,
    pub code: String,
    pub label: String,
    pub return_code: Option<i32>,
}

/// What an expression may name, for [`check`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// With the kind of the items where it is a list.
    pub parameters: BTreeMap<VariableName, (Kind, Option<Kind>)>,
    /// Labels of jobs with their declared results. A label with `-` is named with `_` in its place.
    pub steps: BTreeMap<Label, BTreeMap<VariableName, Kind>>,
    /// Jobs of the workflow that may not have ended where the expression stands: for a clear message.
    pub elsewhere: BTreeSet<Label>,
    /// Whether `error` is there: in catch steps and retry conditions.
    pub error: bool,
}

impl Names {
    /// The job that a name in an expression means.
    pub(crate) fn step(&self, name: &str) -> Option<(&Label, &BTreeMap<VariableName, Kind>)> {
        let written = |(label, _): &(&Label, _)| label.as_str().replace('-', "_") == name;
        self.steps.get_key_value(name).or_else(|| self.steps.iter().find(written))
    }
}

/// The expression of a template that is nothing else.
pub(crate) fn whole_template(text: &str) -> Option<&str> {
    template::whole(text)
}

/// A boolean, or a failure: nothing else counts as true or false.
pub fn condition(expression: &Expression, scope: &Scope<'_>) -> Result<bool, Failure> {
    match evaluate(expression, scope)? {
        Value::Boolean(b) => Ok(b),
        other => Err(failure(&expression.0, format!("is a {}, not true or false", other.kind()))),
    }
}

/// The value of an expression. Null (`error.returnCode` of a failure without one) is a failure.
pub fn evaluate(expression: &Expression, scope: &Scope<'_>) -> Result<Value, Failure> {
    value_of(&expression.0, scope)
}

/// The text with the values of its `${ }` in it: strings bare, null as nothing, everything else as JSON. `$${` is `${`.
pub fn render(template: &Template, scope: &Scope<'_>) -> Result<String, Failure> {
    render_text(&template.0, scope)
}

/// Renders every string in the value. One that is nothing but `${ x }` becomes the value of x with its kind.
pub fn render_value(value: &Value, scope: &Scope<'_>) -> Result<Value, Failure> {
    Ok(match value {
        Value::String(text) => match template::whole(text) {
            Some(expression) => value_of(expression, scope)?,
            None => Value::String(render_text(text, scope)?),
        },
        Value::List(items) => Value::List(items.iter().map(|v| render_value(v, scope)).collect::<Result<_, _>>()?),
        Value::Map(entries) => Value::Map(
            entries.iter().map(|(k, v)| Ok((k.clone(), render_value(v, scope)?))).collect::<Result<_, Failure>>()?,
        ),
        Value::Boolean(_) | Value::Number(_) => value.clone(),
    })
}

/// Like [`render`]; a template that is nothing but `${ name }` of a secret becomes its reference.
pub fn render_env(template: &Template, scope: &Scope<'_>) -> Result<EnvValue, Failure> {
    if let Some(expression) = template::whole(&template.0)
        && let Some(secret) = scope.secrets.get(expression.trim())
    {
        return Ok(EnvValue::Secret { secret: secret.clone() });
    }
    render(template, scope).map(EnvValue::Text)
}

/// The first parts of all names in the `${ }` of a template, and in those of a value: `extract` of `extract.rows`.
/// Empty where the template cannot be read.
pub fn names_in(value: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect_names(value, &mut names);
    names
}

fn collect_names(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            for part in template::parts(text).unwrap_or_default() {
                if let template::Part::Expression { text, .. } = part
                    && let Ok(tree) = syntax::parse(text)
                {
                    tree.collect_names(names);
                }
            }
        }
        Value::List(items) => items.iter().for_each(|v| collect_names(v, names)),
        Value::Map(entries) => entries.values().for_each(|v| collect_names(v, names)),
        Value::Boolean(_) | Value::Number(_) => {}
    }
}

fn value_of(expression: &str, scope: &Scope<'_>) -> Result<Value, Failure> {
    let tree = syntax::parse(expression).map_err(|e| failure(expression, e.message))?;
    evaluate::run(&tree, scope).and_then(datum::Datum::into_value).map_err(|reason| failure(expression, reason))
}

fn render_text(text: &str, scope: &Scope<'_>) -> Result<String, Failure> {
    let mut rendered = String::with_capacity(text.len());
    for part in template::parts(text).map_err(|e| failure(text, e.message))? {
        match part {
            template::Part::Text(text) => rendered.push_str(text),
            template::Part::Expression { text, .. } => {
                let tree = syntax::parse(text).map_err(|e| failure(text, e.message))?;
                let datum = evaluate::run(&tree, scope).map_err(|reason| failure(text, reason))?;
                rendered.push_str(&datum.into_text().map_err(|reason| failure(text, reason))?);
            }
        }
    }
    Ok(rendered)
}

fn failure(expression: &str, reason: impl Into<String>) -> Failure {
    Failure::Expression { expression: expression.trim().chars().take(200).collect(), reason: reason.into() }
}
