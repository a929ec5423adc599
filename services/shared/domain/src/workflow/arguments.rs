//! The arguments of an order: what was given, checked against the parameters, and the defaults.

use super::{Parameter, Workflow};
use crate::{
    Arguments, Kind, Refusal, SecretName, Value, VariableName,
    expression::{self, OrderFacts, Scope},
    limit,
};
use std::collections::BTreeMap;

/// Given arguments with the defaults of the others. Defaults may name `order` and other parameters, in any order.
pub(crate) fn complete(workflow: &Workflow, given: &Arguments, order: OrderFacts<'_>) -> Result<Arguments, Refusal> {
    let mut arguments = Arguments::new();
    for (name, value) in given {
        let parameter = workflow.parameters.get(name).ok_or_else(|| unknown(workflow, name))?;
        check(workflow, name, parameter, value)?;
        arguments.insert(name.clone(), value.clone());
    }
    fill_defaults(workflow, &mut arguments, order)?;
    let bytes = limit::json_bytes(&arguments);
    if bytes > limit::ORDER_VARIABLES_BYTES {
        let what = format!("arguments of an order of workflow {}", workflow.name);
        return Err(Refusal::TooLarge { what, bytes: bytes as u64, limit: limit::ORDER_VARIABLES_BYTES as u64 });
    }
    Ok(arguments)
}

fn fill_defaults(workflow: &Workflow, arguments: &mut Arguments, order: OrderFacts<'_>) -> Result<(), Refusal> {
    let mut open: Vec<(&VariableName, &Parameter, &Value)> = vec![];
    for (name, parameter) in &workflow.parameters {
        if parameter.kind == Kind::Secret || arguments.contains_key(name) {
            continue;
        }
        let Some(default) = &parameter.default else {
            return Err(Refusal::ParameterMissing { workflow: workflow.name.clone(), parameter: name.clone() });
        };
        open.push((name, parameter, default));
    }
    // A default that names a parameter without a value yet waits for the next round.
    while !open.is_empty() {
        let mut waiting = vec![];
        let mut last = None;
        let before = open.len();
        for (name, parameter, default) in open {
            match render(arguments, default, order) {
                Ok(value) => {
                    check(workflow, name, parameter, &value)?;
                    arguments.insert(name.clone(), value);
                }
                Err(failure) => {
                    last = Some((name, failure));
                    waiting.push((name, parameter, default));
                }
            }
        }
        if let Some((name, failure)) = last.filter(|_| waiting.len() == before) {
            return Err(invalid(workflow, name, format!("its default: {failure}")));
        }
        open = waiting;
    }
    Ok(())
}

fn render(arguments: &Arguments, default: &Value, order: OrderFacts<'_>) -> Result<Value, crate::Failure> {
    let (secrets, results) = (BTreeMap::new(), BTreeMap::new());
    let scope = Scope { order, arguments, secrets: &secrets, results: &results, error: None };
    expression::render_value(default, &scope)
}

fn check(workflow: &Workflow, name: &VariableName, parameter: &Parameter, value: &Value) -> Result<(), Refusal> {
    if parameter.kind == Kind::Secret {
        let file = secret_name(name, parameter);
        let reason =
            format!("it is a secret: agents read it from the file {file} of their secrets folder, nobody gives it");
        return Err(invalid(workflow, name, reason));
    }
    if value.is_deeper_than(limit::VALUE_DEPTH) {
        let reason = format!("lists and maps inside each other, more than {} levels", limit::VALUE_DEPTH);
        return Err(invalid(workflow, name, reason));
    }
    let refuse = |expected: String, found: String| Refusal::ParameterType {
        workflow: workflow.name.clone(),
        parameter: name.clone(),
        expected,
        found,
    };
    if value.kind() != parameter.kind {
        return Err(refuse(parameter.kind.to_string(), value.kind().to_string()));
    }
    if let (Some(kind), Value::List(items)) = (parameter.items, value)
        && let Some((i, item)) = items.iter().enumerate().find(|(_, item)| item.kind() != kind)
    {
        return Err(refuse(format!("list of {kind}"), format!("list with a {} as item {}", item.kind(), i + 1)));
    }
    Ok(())
}

fn unknown(workflow: &Workflow, name: &VariableName) -> Refusal {
    let known: Vec<&str> = workflow.parameters.keys().map(VariableName::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Refusal::ParameterUnknown { workflow: workflow.name.clone(), parameter: name.clone(), known }
}

fn invalid(workflow: &Workflow, name: &VariableName, reason: String) -> Refusal {
    Refusal::ParameterInvalid { workflow: workflow.name.clone(), parameter: name.clone(), reason }
}

/// The secrets that templates may name.
pub(crate) fn secrets(workflow: &Workflow) -> BTreeMap<VariableName, SecretName> {
    let secrets = workflow.parameters.iter().filter(|(_, p)| p.kind == Kind::Secret);
    secrets.filter_map(|(name, p)| Some((name.clone(), SecretName::new(secret_name(name, p)).ok()?))).collect()
}

fn secret_name(name: &VariableName, parameter: &Parameter) -> String {
    parameter.from.as_ref().map_or_else(|| name.to_string(), SecretName::to_string)
}
