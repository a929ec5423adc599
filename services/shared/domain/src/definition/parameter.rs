//! Parameters of a workflow, and the order in which their defaults are computed.

use super::{file, read::Reader, yaml::Content, yaml::Node};
use crate::{
    Kind, SecretName, Value, VariableName,
    expression::{self, KindOrAny},
    limit,
    workflow::Parameter,
};
use std::collections::{BTreeMap, BTreeSet};

const KINDS: &[&str] = &["string", "number", "boolean", "list", "map", "secret"];
/// What the language has taken: CEL's reserved words, its literals, and our variables.
const RESERVED: &[&str] = &[
    "order",
    "error",
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "and",
    "or",
    "not",
    "yes",
    "no",
];

/// Parameters in an order in which each default comes after those it names. Those in a circle, which a deployed workflow
/// has not, come last.
pub fn default_order(parameters: &BTreeMap<VariableName, Parameter>) -> Vec<&VariableName> {
    let mut waiting: BTreeMap<&VariableName, BTreeSet<String>> = parameters
        .iter()
        .map(|(name, p)| (name, p.default.as_ref().map(expression::names_in).unwrap_or_default()))
        .collect();
    let mut ordered: Vec<&VariableName> = Vec::new();
    while !waiting.is_empty() {
        let ready: Vec<&VariableName> = waiting
            .iter()
            .filter(|(_, needs)| !waiting.keys().any(|other| needs.contains(other.as_str())))
            .map(|(name, _)| *name)
            .collect();
        if ready.is_empty() {
            ordered.extend(waiting.into_keys());
            break;
        }
        for name in ready {
            waiting.remove(name);
            ordered.push(name);
        }
    }
    ordered
}

impl Reader<'_, '_> {
    pub(super) fn parameters(&mut self, node: &Node) -> BTreeMap<VariableName, Parameter> {
        let mut parameters = BTreeMap::new();
        let mut defaults = Vec::new();
        for (text, key, value) in self.entries(node, "parameters") {
            if RESERVED.contains(&text) {
                self.problems.help(&key.at, format!("{text} is a reserved word"), "give the parameter another name");
                continue;
            }
            let Some(name) = self.id::<VariableName>(key, "a parameter") else { continue };
            let mut fields = self.fields::<file::ParameterFile>(value, "a parameter");
            let kind = self.required(&mut fields, "type", "add type: string, number, boolean, list, map or secret");
            let kind: Option<Kind> = kind.and_then(|n| self.word(n, "type", KINDS));
            let items = self.get(&mut fields, "items");
            let default = self.get(&mut fields, "default");
            let from = self.get(&mut fields, "from");
            let title = self.get(&mut fields, "title").and_then(|n| self.short_text(n, "title", limit::TITLE_BYTES));
            self.done(fields);
            let Some(kind) = kind else { continue };
            let parameter = Parameter {
                kind,
                items: items.and_then(|n| self.items(n, kind)),
                default: None,
                from: self.secret_name(&name, kind, from),
                title,
            };
            self.names.parameters.insert(name.clone(), (kind, parameter.items));
            parameters.insert(name.clone(), parameter);
            defaults.extend(default.map(|node| (name, node)));
        }
        for (name, node) in &defaults {
            let Some(parameter) = parameters.get(name).cloned() else { continue };
            let default = self.default(name, &parameter, node);
            parameters.entry(name.clone()).and_modify(|p| p.default = default);
        }
        self.refuse_circles(&parameters, &defaults);
        parameters
    }

    fn items(&mut self, node: &Node, kind: Kind) -> Option<Kind> {
        if kind != Kind::List {
            self.problems.add(&node.at, format!("items are the kind of what is in a list; this is a {kind}"));
            return None;
        }
        let items = self.word(node, "items", &KINDS[..5])?;
        if items == Kind::Secret {
            self.problems.add(&node.at, "a list cannot hold secrets");
            return None;
        }
        Some(items)
    }

    fn secret_name(&mut self, name: &VariableName, kind: Kind, from: Option<&Node>) -> Option<SecretName> {
        match (kind, from) {
            (Kind::Secret, Some(node)) => self.id(node, "from"),
            (Kind::Secret, None) => SecretName::new(name.as_str()).ok(),
            (_, Some(node)) => {
                self.problems.help(
                    &node.at,
                    format!("from names the file of a secret; this is a {kind}"),
                    "type: secret",
                );
                None
            }
            (_, None) => None,
        }
    }

    fn default(&mut self, name: &VariableName, parameter: &Parameter, node: &Node) -> Option<Value> {
        if parameter.kind == Kind::Secret {
            self.problems.help(
                &node.at,
                "a secret has no default",
                "put it into a file in the agent's secrets folder, named by from:",
            );
            return None;
        }
        // Itself is not there yet.
        let own = self.names.parameters.remove(name);
        let read = self.value(node, "the default");
        self.names.parameters.extend(own.map(|own| (name.clone(), own)));
        let (value, kind) = read?;
        // A plain 7 or true is a text where one is wanted.
        if parameter.kind == Kind::String
            && let (Some(text), KindOrAny::Kind(Kind::Number | Kind::Boolean)) = (node.text(), kind)
            && !matches!(node.content, Content::Text(_))
        {
            return Some(Value::String(text.to_owned()));
        }
        if kind != KindOrAny::Any && kind != KindOrAny::Kind(parameter.kind) {
            let KindOrAny::Kind(found) = kind else { return None };
            self.problems.add(&node.at, format!("the default of {name} is a {found}, its type is {}", parameter.kind));
            return None;
        }
        if let (Some(wanted), Content::List(nodes)) = (parameter.items, &node.content) {
            self.list_items(name, wanted, nodes);
        }
        Some(value)
    }

    fn list_items(&mut self, name: &VariableName, wanted: Kind, nodes: &[Node]) {
        for node in nodes {
            let template = node.text().is_some_and(|t| t.contains("${"));
            let found = node.value().map(|v| v.kind());
            if let Some(found) = found.filter(|found| *found != wanted && !template) {
                self.problems.add(&node.at, format!("an item of {name} is a {found}, its items are {wanted}s"));
            }
        }
    }

    fn refuse_circles(&mut self, parameters: &BTreeMap<VariableName, Parameter>, defaults: &[(VariableName, &Node)]) {
        let mut known: BTreeSet<&str> = BTreeSet::new();
        for name in default_order(parameters) {
            let needs =
                parameters.get(name).and_then(|p| p.default.as_ref()).map(expression::names_in).unwrap_or_default();
            let missing = needs.iter().find(|n| parameters.contains_key(n.as_str()) && !known.contains(n.as_str()));
            if let (Some(missing), Some((_, node))) = (missing, defaults.iter().find(|(n, _)| n == name)) {
                self.problems.add(&node.at, format!("the defaults of {name} and {missing} need each other"));
            }
            known.insert(name.as_str());
        }
    }
}
