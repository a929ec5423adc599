//! CEL expressions and `${ }` templates: checked when deployed, evaluated only while deciding.
//!
//! # Layout
//! [`check`] says what kind an expression has, over declared [`Names`]; [`condition`], [`evaluate`] and the `render…`
//! functions compute over a [`Scope`].

use crate::{
    Arguments, EnvValue, Failure, Kind, Label, SecretName, Value, VariableName,
    order::state::StepResult,
    workflow::{Expression, Template},
};
use chrono::NaiveDate;
use std::collections::BTreeMap;

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

/// The variable `error`: message, code, label, returnCode.
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
    /// Labels of jobs with their declared results.
    pub steps: BTreeMap<Label, BTreeMap<VariableName, Kind>>,
    /// Whether `error` is there: in catch steps and retry conditions.
    pub error: bool,
}

/// What is known of an expression's value before it is evaluated. `Any`: decided only then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindOrAny {
    Kind(Kind),
    Any,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CheckError {
    /// In bytes from the start of the expression.
    pub offset: usize,
    /// Of the wrong part, in bytes; at least 1.
    pub length: usize,
    pub message: String,
    pub help: Option<String>,
}

fn missing(text: &str) -> Failure {
    Failure::Expression { expression: text.to_owned(), reason: "not yet evaluated".into() }
}

/// A boolean, or a failure: nothing else counts as true or false.
pub fn condition(expression: &Expression, _scope: &Scope<'_>) -> Result<bool, Failure> {
    Err(missing(&expression.0))
}

pub fn evaluate(expression: &Expression, _scope: &Scope<'_>) -> Result<Value, Failure> {
    Err(missing(&expression.0))
}

/// The text with the values of its `${ }` in it: strings bare, everything else as JSON.
pub fn render(template: &Template, _scope: &Scope<'_>) -> Result<String, Failure> {
    Err(missing(&template.0))
}

/// Renders every string in the value. One that is nothing but `${ x }` becomes the value of x with its kind.
pub fn render_value(value: &Value, _scope: &Scope<'_>) -> Result<Value, Failure> {
    Err(missing(&value.to_string()))
}

/// Like [`render`]; a template that is nothing but `${ name }` of a secret becomes its reference.
pub fn render_env(template: &Template, _scope: &Scope<'_>) -> Result<EnvValue, Failure> {
    Err(missing(&template.0))
}

/// The kind of the expression's value, checked against the declared names without evaluating it.
pub fn check(_expression: &str, _names: &Names) -> Result<KindOrAny, CheckError> {
    Ok(KindOrAny::Any)
}
