//! The kind of an expression, from declared names, without evaluating it.

use super::{
    Names,
    function::{Function, Takes},
    guard,
    syntax::{self, Macro, MacroKind, Node, Operator, Tree},
    template,
};
use crate::{Kind, definition::nearest};
use std::collections::BTreeMap;

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

/// The kind of the expression's value. `Any` where it depends on values.
pub fn check(expression: &str, names: &Names) -> Result<KindOrAny, CheckError> {
    let tree = syntax::parse(expression)?;
    Checker { names, locals: Vec::new() }.kind(&tree).map(|t| t.public())
}

/// All that is wrong in the `${ }` of a template; the kind where it is nothing but one `${ }`.
pub fn check_template(text: &str, names: &Names) -> Result<Option<KindOrAny>, Vec<CheckError>> {
    let whole = template::whole(text).is_some();
    let mut errors = Vec::new();
    let mut kind = None;
    for part in template::parts(text).map_err(|e| vec![e])? {
        if let template::Part::Expression { at, text } = part {
            match check(text, names) {
                Ok(found) => kind = whole.then_some(found),
                Err(e) => errors.push(CheckError { offset: at + e.offset, ..e }),
            }
        }
    }
    if errors.is_empty() { Ok(kind) } else { Err(errors) }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    Any,
    Null,
    Boolean,
    Number,
    Text,
    List(Box<Type>),
    Map(Box<Type>),
    /// With exactly these fields, or values that are only known later.
    Record(BTreeMap<String, Type>),
}

impl Type {
    pub fn list(item: Type) -> Type {
        Type::List(Box::new(item))
    }

    fn of(kind: Kind, items: Option<Kind>) -> Type {
        match kind {
            Kind::String => Type::Text,
            Kind::Number => Type::Number,
            Kind::Boolean => Type::Boolean,
            Kind::List => Type::list(items.map_or(Type::Any, |k| Type::of(k, None))),
            Kind::Map => Type::Map(Box::new(Type::Any)),
            Kind::Secret => Type::Any,
        }
    }

    fn public(&self) -> KindOrAny {
        KindOrAny::Kind(match self {
            Type::Any | Type::Null => return KindOrAny::Any,
            Type::Boolean => Kind::Boolean,
            Type::Number => Kind::Number,
            Type::Text => Kind::String,
            Type::List(_) => Kind::List,
            Type::Map(_) | Type::Record(_) => Kind::Map,
        })
    }

    fn what(&self) -> &'static str {
        match self {
            Type::Any => "anything",
            Type::Null => "null",
            Type::Boolean => "a boolean",
            Type::Number => "a number",
            Type::Text => "a string",
            Type::List(_) => "a list",
            Type::Map(_) | Type::Record(_) => "a map",
        }
    }

    /// Whether values of the two can be equal.
    fn comparable(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Any | Type::Null, _) | (_, Type::Any | Type::Null) => true,
            (Type::List(a), Type::List(b)) => a.comparable(b),
            (Type::Map(_) | Type::Record(_), Type::Map(_) | Type::Record(_)) => true,
            _ => self == other,
        }
    }

    /// What holds for both.
    fn join(self, other: Type) -> Type {
        match (self, other) {
            (Type::List(a), Type::List(b)) => Type::list(a.join(*b)),
            (a, b) if a == b => a,
            _ => Type::Any,
        }
    }
}

struct Checker<'a> {
    names: &'a Names,
    locals: Vec<(String, Type)>,
}

fn wrong(tree: &Tree, message: impl Into<String>) -> CheckError {
    guard::error(tree.start, tree.end.saturating_sub(tree.start), message)
}

impl Checker<'_> {
    fn kind(&mut self, tree: &Tree) -> Result<Type, CheckError> {
        match &tree.node {
            Node::Null => Ok(Type::Null),
            Node::Boolean(_) => Ok(Type::Boolean),
            Node::Whole(_) | Node::Float(_) => Ok(Type::Number),
            Node::Text(_) => Ok(Type::Text),
            Node::Name(name) => self.name(tree, name),
            Node::Field(operand, field) => self.field(operand, field, tree),
            Node::Has(operand, field) => self.field(operand, field, tree).map(|_| Type::Boolean),
            Node::Index(operand, key) => self.index(operand, key),
            Node::List(items) => {
                let kinds = items.iter().map(|item| self.kind(item)).collect::<Result<Vec<_>, _>>()?;
                Ok(Type::list(kinds.into_iter().reduce(Type::join).unwrap_or(Type::Any)))
            }
            Node::Map(entries) => {
                let mut value = None;
                for (k, v) in entries {
                    self.expect(k, &Type::Text, "the keys of a map are strings")?;
                    let kind = self.kind(v)?;
                    value = Some(value.map_or(kind.clone(), |known: Type| known.join(kind)));
                }
                Ok(Type::Map(Box::new(value.unwrap_or(Type::Any))))
            }
            Node::Not(a) => self.expect(a, &Type::Boolean, "! takes a boolean").map(|()| Type::Boolean),
            Node::Negate(a) => self.expect(a, &Type::Number, "- takes a number").map(|()| Type::Number),
            Node::And(a, b) | Node::Or(a, b) => {
                let sign = if matches!(tree.node, Node::And(..)) { "&&" } else { "||" };
                for side in [a, b] {
                    self.expect(side, &Type::Boolean, &format!("{sign} takes booleans"))?;
                }
                Ok(Type::Boolean)
            }
            Node::Choose(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                self.expect(condition, &Type::Boolean, "? takes a boolean")?;
                Ok(self.kind(then)?.join(self.kind(otherwise)?))
            }
            Node::Binary(operator, a, b) => self.binary(*operator, a, b, tree),
            Node::Call(function, arguments) => self.call(function, arguments),
            Node::Macro(m) => self.comprehension(m),
        }
    }

    fn expect(&mut self, tree: &Tree, wanted: &Type, rule: &str) -> Result<(), CheckError> {
        let found = self.kind(tree)?;
        if found == Type::Any || found == *wanted {
            return Ok(());
        }
        Err(wrong(tree, format!("{rule}, not {}", found.what())))
    }

    fn name(&self, tree: &Tree, name: &str) -> Result<Type, CheckError> {
        if let Some((_, kind)) = self.locals.iter().rev().find(|(local, _)| local == name) {
            return Ok(kind.clone());
        }
        match name {
            "order" => return Ok(order()),
            "error" if self.names.error => return Ok(error()),
            "error" => {
                return Err(
                    wrong(tree, "there is no error here").help("error is known in catch and in the if of retry")
                );
            }
            _ => {}
        }
        if let Some((kind, items)) = self.names.parameters.get(name) {
            return match kind {
                Kind::Secret => Err(wrong(tree, format!("{name} is a secret: expressions cannot read it"))
                    .help(format!("give it to the job in env, as a whole value: \"${{ {name} }}\""))),
                _ => Ok(Type::of(*kind, *items)),
            };
        }
        match self.names.step(name) {
            Some((_, results)) => {
                let mut fields: BTreeMap<String, Type> =
                    results.iter().map(|(name, kind)| (name.to_string(), Type::of(*kind, None))).collect();
                fields.insert("returnCode".into(), Type::Number);
                Ok(Type::Record(fields))
            }
            None => Err(self.unknown(tree, name)),
        }
    }

    fn unknown(&self, tree: &Tree, name: &str) -> CheckError {
        let written = |label: &str| label.replace('-', "_");
        let parameters: Vec<String> = self.names.parameters.keys().map(ToString::to_string).collect();
        let steps: Vec<String> = self.names.steps.keys().map(|l| written(l.as_str())).collect();
        let all = parameters.iter().chain(&steps).map(String::as_str).chain(["order", "error"]);
        let message = format!("{name} is not known here: no parameter and no job of that name");
        if let Some(label) = self.names.elsewhere.iter().find(|l| written(l.as_str()) == name) {
            let error = wrong(tree, format!("the job {label} has not ended before this step"));
            return error.help("an expression names jobs that come before it, not beside or after it");
        }
        let dashed = self.names.steps.keys().find(|l| l.as_str().split('-').next() == Some(name) && l.as_str() != name);
        let help = match (dashed, nearest(name, all)) {
            (Some(label), _) => format!("the job {label} is written {} in expressions", written(label.as_str())),
            (None, Some(near)) => format!("did you mean {near}?"),
            (None, None) => {
                let list = |what: &str, of: &[String]| match of.is_empty() {
                    true => String::new(),
                    false => format!("{what} {}; ", of.iter().take(20).cloned().collect::<Vec<_>>().join(", ")),
                };
                format!("known: {}{}order", list("parameters", &parameters), list("jobs", &steps))
            }
        };
        wrong(tree, message).help(help)
    }

    fn field(&mut self, operand: &Tree, field: &str, tree: &Tree) -> Result<Type, CheckError> {
        match self.kind(operand)? {
            Type::Any => Ok(Type::Any),
            Type::Map(value) => Ok(*value),
            Type::Record(fields) => match fields.get(field) {
                Some(kind) => Ok(kind.clone()),
                None => {
                    let known: Vec<&str> = fields.keys().map(String::as_str).collect();
                    let length = field.len();
                    let owner = match &operand.node {
                        Node::Name(name) => name.as_str(),
                        _ => "it",
                    };
                    let error =
                        guard::error(tree.end.saturating_sub(length), length, format!("{owner} has no {field}"));
                    Err(error.help(match nearest(field, known.iter().copied()) {
                        Some(near) => format!("did you mean {owner}.{near}?"),
                        None => {
                            format!("it has: {} (a job's results are declared by its `results:`)", known.join(", "))
                        }
                    }))
                }
            },
            other => Err(wrong(operand, format!("{} has no field {field}", other.what()))),
        }
    }

    fn index(&mut self, operand: &Tree, key: &Tree) -> Result<Type, CheckError> {
        match self.kind(operand)? {
            Type::Any => self.kind(key).map(|_| Type::Any),
            Type::List(item) => self.expect(key, &Type::Number, "a list is indexed by a number").map(|()| *item),
            Type::Map(value) => self.expect(key, &Type::Text, "a map is indexed by a string").map(|()| *value),
            Type::Record(_) => self.expect(key, &Type::Text, "a map is indexed by a string").map(|()| Type::Any),
            other => Err(wrong(operand, format!("{} has no items", other.what()))),
        }
    }

    fn binary(&mut self, operator: Operator, a: &Tree, b: &Tree, tree: &Tree) -> Result<Type, CheckError> {
        let (x, y) = (self.kind(a)?, self.kind(b)?);
        let sign = operator.sign();
        match operator {
            Operator::Equal | Operator::Unequal if x.comparable(&y) => Ok(Type::Boolean),
            Operator::Equal | Operator::Unequal => {
                let always = if operator == Operator::Equal { "false" } else { "true" };
                let message = format!("{} {sign} {} is always {always}", x.what(), y.what());
                Err(wrong(tree, message).help(conversion(&x, &y)))
            }
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
                let ordered = |t: &Type| matches!(t, Type::Any | Type::Number | Type::Text);
                if ordered(&x) && ordered(&y) && x.comparable(&y) {
                    return Ok(Type::Boolean);
                }
                Err(wrong(tree, format!("{} {sign} {} cannot be compared", x.what(), y.what()))
                    .help(conversion(&x, &y)))
            }
            Operator::In => match &y {
                Type::Any | Type::Map(_) | Type::Record(_) => Ok(Type::Boolean),
                Type::List(item) if item.comparable(&x) => Ok(Type::Boolean),
                Type::List(item) => {
                    Err(wrong(tree, format!("{} in a list with {}: always false", x.what(), item.what())))
                }
                other => Err(wrong(b, format!("in takes a list or a map, not {}", other.what()))),
            },
            Operator::Add => match (&x, &y) {
                (Type::Any, other) | (other, Type::Any) if addable(other) => Ok(other.clone()),
                (Type::Number, Type::Number) => Ok(Type::Number),
                (Type::Text, Type::Text) => Ok(Type::Text),
                (Type::List(_), Type::List(_)) => Ok(x.join(y)),
                _ => {
                    Err(wrong(tree, format!("{} + {} cannot be computed", x.what(), y.what())).help(conversion(&x, &y)))
                }
            },
            Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
                for (side, kind) in [(a, &x), (b, &y)] {
                    if !matches!(kind, Type::Any | Type::Number) {
                        return Err(self.not_a_number(side, kind, sign));
                    }
                }
                Ok(Type::Number)
            }
        }
    }

    /// `publish-web` is read as a subtraction: the commonest reason for a wrong kind on its sides.
    fn not_a_number(&self, side: &Tree, kind: &Type, sign: &str) -> CheckError {
        let error = wrong(side, format!("{sign} takes numbers, not {}", kind.what()));
        if sign == "-" { error.help("a `-` in a job's name is written `_` in expressions") } else { error }
    }

    fn call(&mut self, function: &Function, arguments: &[Tree]) -> Result<Type, CheckError> {
        let kinds = arguments.iter().map(|a| self.kind(a)).collect::<Result<Vec<_>, _>>()?;
        for (i, (tree, kind)) in arguments.iter().zip(&kinds).enumerate() {
            let takes = function.takes.get(i).or(function.takes.last()).copied().unwrap_or(Takes::Any);
            let (fits, what) = match takes {
                Takes::Any => (true, "anything"),
                Takes::Text => (*kind == Type::Text, "a string"),
                Takes::Number => (*kind == Type::Number, "a number"),
                Takes::List => (matches!(kind, Type::List(_)), "a list"),
                Takes::Sized => (
                    matches!(kind, Type::Text | Type::List(_) | Type::Map(_) | Type::Record(_)),
                    "a string, a list or a map",
                ),
            };
            if !fits && *kind != Type::Any {
                let message = format!("{}() takes {what} here, not {}", function.name, kind.what());
                return Err(wrong(tree, message).help(function.usage));
            }
        }
        Ok(function.gives.kind(&kinds))
    }

    fn comprehension(&mut self, m: &Macro) -> Result<Type, CheckError> {
        let item = match self.kind(&m.range)? {
            Type::Any => Type::Any,
            Type::List(item) => *item,
            Type::Map(_) | Type::Record(_) => Type::Text,
            other => return Err(wrong(&m.range, format!("{} has no items", other.what()))),
        };
        self.locals.push((m.variable.clone(), item.clone()));
        let rule = "the condition is a boolean";
        let kind = match &m.kind {
            MacroKind::All(p) | MacroKind::Exists(p) | MacroKind::ExistsOne(p) => {
                self.expect(p, &Type::Boolean, rule).map(|()| Type::Boolean)
            }
            MacroKind::Collect { when, transform } => {
                let when = when.as_ref().map_or(Ok(()), |p| self.expect(p, &Type::Boolean, rule));
                when.and_then(|()| transform.as_ref().map_or(Ok(item), |t| self.kind(t))).map(Type::list)
            }
        };
        self.locals.pop();
        kind
    }
}

fn addable(kind: &Type) -> bool {
    matches!(kind, Type::Any | Type::Number | Type::Text | Type::List(_))
}

fn conversion(a: &Type, b: &Type) -> &'static str {
    match (a, b) {
        (Type::Number, Type::Text) | (Type::Text, Type::Number) => {
            "convert one: int(text), double(text) or string(number)"
        }
        (Type::Boolean, Type::Text) | (Type::Text, Type::Boolean) => "true and false are written without quotes",
        (Type::Text, _) | (_, Type::Text) => "string(…) makes a string of anything",
        _ => "both sides need the same kind",
    }
}

fn record<const N: usize>(fields: [(&str, Type); N]) -> Type {
    Type::Record(fields.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect())
}

fn order() -> Type {
    record([
        ("id", Type::Text),
        ("workflow", Type::Text),
        ("title", Type::Text),
        ("business_day", Type::Text),
        ("attempt", Type::Number),
    ])
}

fn error() -> Type {
    record([("message", Type::Text), ("code", Type::Text), ("label", Type::Text), ("returnCode", Type::Number)])
}
