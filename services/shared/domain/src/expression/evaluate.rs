//! The value of a tree over a scope, within the fuel.

use super::{
    FUEL, Scope,
    datum::Datum,
    syntax::{Macro, MacroKind, Node, Operator, Tree},
};
use std::{collections::BTreeMap, rc::Rc};

/// Units that one evaluation may still use.
pub(super) struct Fuel {
    left: u64,
    /// The regular expression that was compiled last: a filter asks the same of every item. Kept here and not longer, so
    /// that what an evaluation costs does not depend on others.
    pub last_regex: Option<(String, regex::Regex)>,
}

impl Fuel {
    pub fn spend(&mut self, cost: u64) -> Result<(), String> {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err("takes too long: compute it in a job and use its result".into())
            }
        }
    }

    /// Pays for a value that was built.
    pub fn built(&mut self, datum: Datum) -> Result<Datum, String> {
        self.spend(datum.cost())?;
        Ok(datum)
    }
}

pub(super) fn run(tree: &Tree, scope: &Scope<'_>) -> Result<Datum, String> {
    let fuel = Fuel { left: FUEL, last_regex: None };
    Machine { scope, locals: Vec::new(), seen: BTreeMap::new(), fuel }.value(tree)
}

struct Machine<'s> {
    scope: &'s Scope<'s>,
    /// Variables of macros, innermost last.
    locals: Vec<(String, Datum)>,
    /// Names that were looked up in the scope already.
    seen: BTreeMap<String, Datum>,
    fuel: Fuel,
}

impl Machine<'_> {
    fn value(&mut self, tree: &Tree) -> Result<Datum, String> {
        self.fuel.spend(1)?;
        match &tree.node {
            Node::Null => Ok(Datum::Null),
            Node::Boolean(b) => Ok(Datum::Boolean(*b)),
            Node::Whole(n) => Ok(Datum::Whole(*n)),
            Node::Float(n) => Ok(Datum::Float(*n)),
            Node::Text(text) => Ok(Datum::Text(Rc::clone(text))),
            Node::Name(name) => self.name(name),
            Node::Field(operand, field) => self.field(operand, field),
            Node::Has(operand, field) => Ok(Datum::Boolean(self.has(operand, field)?)),
            Node::Index(a, b) => {
                let (a, b) = (self.value(a)?, self.value(b)?);
                index(&a, &b)
            }
            Node::List(items) => {
                let items = items.iter().map(|item| self.value(item)).collect::<Result<_, _>>()?;
                self.fuel.built(Datum::list(items))
            }
            Node::Map(entries) => self.map(entries),
            Node::Not(a) => Ok(Datum::Boolean(!self.boolean(a)?)),
            Node::Negate(a) => match self.value(a)? {
                Datum::Whole(n) => n.checked_neg().map(Datum::Whole).ok_or_else(too_large),
                Datum::Float(n) => Ok(Datum::Float(-n)),
                other => Err(format!("- takes a number, not {}", other.what())),
            },
            Node::And(a, b) => self.decide(a, b, false),
            Node::Or(a, b) => self.decide(a, b, true),
            Node::Choose(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                if self.boolean(condition)? { self.value(then) } else { self.value(otherwise) }
            }
            Node::Binary(operator, a, b) => {
                let (a, b) = (self.value(a)?, self.value(b)?);
                binary(*operator, &a, &b, &mut self.fuel)
            }
            Node::Call(function, arguments) => {
                let arguments = arguments.iter().map(|a| self.value(a)).collect::<Result<Vec<_>, _>>()?;
                self.fuel.spend(arguments.iter().map(Datum::cost).sum())?;
                let result = (function.apply)(&arguments, &mut self.fuel)
                    .map_err(|reason| format!("{}(): {reason}", function.name))?;
                self.fuel.built(result)
            }
            Node::Macro(m) => self.comprehension(m),
        }
    }

    fn boolean(&mut self, tree: &Tree) -> Result<bool, String> {
        match self.value(tree)? {
            Datum::Boolean(b) => Ok(b),
            other => Err(format!("{} where true or false is needed", other.what())),
        }
    }

    /// `&&` (decided by false) and `||` (by true). As in CEL, a side that decides makes a failure of the other not matter.
    fn decide(&mut self, a: &Tree, b: &Tree, by: bool) -> Result<Datum, String> {
        let a = self.boolean(a);
        if a == Ok(by) {
            return Ok(Datum::Boolean(by));
        }
        match self.boolean(b) {
            Ok(b) if b == by => Ok(Datum::Boolean(by)),
            b => a.and(b).map(Datum::Boolean),
        }
    }

    fn name(&mut self, name: &str) -> Result<Datum, String> {
        if let Some((_, datum)) = self.locals.iter().rev().find(|(local, _)| local == name) {
            return Ok(datum.clone());
        }
        if let Some(datum) = self.seen.get(name) {
            return Ok(datum.clone());
        }
        let datum = self.look_up(name)?;
        self.fuel.spend(datum.cost())?;
        self.seen.insert(name.to_owned(), datum.clone());
        Ok(datum)
    }

    fn look_up(&self, name: &str) -> Result<Datum, String> {
        let scope = self.scope;
        if name == "order" {
            return Ok(order(scope));
        }
        if name == "error" {
            return scope.error.as_ref().map(error).ok_or_else(|| "there is no error here".into());
        }
        if let Some(value) = scope.arguments.get(name) {
            return Ok(value.into());
        }
        if scope.secrets.contains_key(name) {
            return Err(format!("{name} is a secret: it can only be a whole value in env, \"${{ {name} }}\""));
        }
        let named = |(label, _): &(&crate::Label, _)| label.as_str().replace('-', "_") == name;
        match scope.results.get(name).or_else(|| scope.results.iter().find(named).map(|(_, r)| r)) {
            Some(result) => Ok(step(result)),
            None => Err(format!("step {name} has not ended here yet, so it has no results")),
        }
    }

    fn is_step(&self, tree: &Tree) -> bool {
        match &tree.node {
            Node::Name(name) => {
                !self.locals.iter().any(|(local, _)| local == name) && !self.scope.arguments.contains_key(name.as_str())
            }
            _ => false,
        }
    }

    fn field(&mut self, operand: &Tree, field: &str) -> Result<Datum, String> {
        match self.value(operand)? {
            Datum::Map(entries) => match entries.get(field) {
                Some(datum) => Ok(datum.clone()),
                None if self.is_step(operand) => Err(format!("{field:?} was not handed back")),
                None => Err(format!("there is no {field:?} in the map")),
            },
            other => Err(format!("{} has no field {field:?}", other.what())),
        }
    }

    /// A step that has not run has nothing; an `error.returnCode` of null is not there.
    fn has(&mut self, operand: &Tree, field: &str) -> Result<bool, String> {
        let operand = match (&operand.node, self.value(operand)) {
            (Node::Name(_), Err(_)) => return Ok(false),
            (_, operand) => operand?,
        };
        match operand {
            Datum::Map(entries) => Ok(!matches!(entries.get(field), None | Some(Datum::Null))),
            other => Err(format!("{} has no fields", other.what())),
        }
    }

    fn map(&mut self, entries: &[(Tree, Tree)]) -> Result<Datum, String> {
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            let Datum::Text(key) = self.value(key)? else { return Err("the keys of a map are strings".into()) };
            let value = self.value(value)?;
            if map.insert(key.as_ref().to_owned(), value).is_some() {
                return Err(format!("the key {key:?} is there twice"));
            }
        }
        self.fuel.built(Datum::map(map))
    }

    fn comprehension(&mut self, m: &Macro) -> Result<Datum, String> {
        let items: Vec<Datum> = match self.value(&m.range)? {
            Datum::List(items) => items.inner.clone(),
            Datum::Map(entries) => entries.keys().map(Datum::text).collect(),
            other => return Err(format!("{} has no items", other.what())),
        };
        self.fuel.spend(1 + items.len() as u64)?;
        self.locals.push((m.variable.clone(), Datum::Null));
        let result = self.each(&m.kind, items);
        self.locals.pop();
        result
    }

    fn bind(&mut self, item: &Datum) {
        if let Some((_, local)) = self.locals.last_mut() {
            *local = item.clone();
        }
    }

    fn each(&mut self, kind: &MacroKind, items: Vec<Datum>) -> Result<Datum, String> {
        match kind {
            MacroKind::All(p) => self.search(p, &items, false),
            MacroKind::Exists(p) => self.search(p, &items, true),
            MacroKind::ExistsOne(p) => {
                let mut count = 0;
                for item in &items {
                    self.bind(item);
                    count += usize::from(self.boolean(p)?);
                }
                Ok(Datum::Boolean(count == 1))
            }
            MacroKind::Collect { when, transform } => {
                let mut collected = Vec::new();
                for item in items {
                    self.bind(&item);
                    if let Some(p) = when
                        && !self.boolean(p)?
                    {
                        continue;
                    }
                    collected.push(match transform {
                        Some(t) => self.value(t)?,
                        None => item,
                    });
                }
                self.fuel.built(Datum::list(collected))
            }
        }
    }

    /// Whether one item decides. As with `&&` and `||`, a failure only matters where none does.
    fn search(&mut self, p: &Tree, items: &[Datum], by: bool) -> Result<Datum, String> {
        let mut failed = None;
        for item in items {
            self.bind(item);
            match self.boolean(p) {
                Ok(b) if b == by => return Ok(Datum::Boolean(by)),
                Ok(_) => {}
                Err(reason) => failed = failed.or(Some(reason)),
            }
        }
        failed.map_or(Ok(Datum::Boolean(!by)), Err)
    }
}

fn fields<const N: usize>(entries: [(&str, Datum); N]) -> Datum {
    Datum::map(entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

fn order(scope: &Scope<'_>) -> Datum {
    let o = &scope.order;
    fields([
        ("id", Datum::text(o.id)),
        ("workflow", Datum::text(o.workflow)),
        ("title", Datum::text(o.title)),
        ("business_day", Datum::text(o.business_day.to_string())),
        ("attempt", Datum::Whole(o.attempt.into())),
    ])
}

fn error(e: &super::ErrorFacts) -> Datum {
    fields([
        ("message", Datum::text(&e.message)),
        ("code", Datum::text(&e.code)),
        ("label", Datum::text(&e.label)),
        ("returnCode", e.return_code.map_or(Datum::Null, |c| Datum::Whole(c.into()))),
    ])
}

fn step(result: &crate::order::state::StepResult) -> Datum {
    let mut entries: BTreeMap<String, Datum> =
        result.values.iter().map(|(name, value)| (name.to_string(), value.into())).collect();
    entries.insert("returnCode".into(), Datum::Whole(result.return_code.into()));
    Datum::map(entries)
}

fn too_large() -> String {
    "the number is too large".into()
}

fn index(operand: &Datum, key: &Datum) -> Result<Datum, String> {
    match (operand, key) {
        (Datum::Map(entries), Datum::Text(key)) => {
            entries.get(key.as_ref()).cloned().ok_or_else(|| format!("there is no {key:?} in the map"))
        }
        (Datum::List(items), key) => {
            let i = key.as_whole().ok_or_else(|| format!("a list is indexed by a whole number, not {}", key.what()))?;
            let item = usize::try_from(i).ok().and_then(|i| items.get(i));
            item.cloned().ok_or_else(|| format!("there is no item {i} in a list of {} (the first is 0)", items.len()))
        }
        (Datum::Map(_), key) => Err(format!("a map is indexed by a string, not {}", key.what())),
        (other, _) => Err(format!("{} has no items", other.what())),
    }
}

fn binary(operator: Operator, a: &Datum, b: &Datum, fuel: &mut Fuel) -> Result<Datum, String> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let order = |allowed: &[std::cmp::Ordering]| match a.order(b) {
        Some(order) => Ok(Datum::Boolean(allowed.contains(&order))),
        None => Err(format!("{} {} {} cannot be compared", a.what(), operator.sign(), b.what())),
    };
    match operator {
        Operator::Equal | Operator::Unequal => {
            fuel.spend(a.cost().min(b.cost()))?;
            Ok(Datum::Boolean(a.equals(b) == (operator == Operator::Equal)))
        }
        Operator::Less => order(&[Less]),
        Operator::LessOrEqual => order(&[Less, Equal]),
        Operator::Greater => order(&[Greater]),
        Operator::GreaterOrEqual => order(&[Greater, Equal]),
        Operator::In => contained(a, b, fuel),
        Operator::Add => add(a, b, fuel),
        Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => arithmetic(operator, a, b),
    }
}

fn contained(a: &Datum, b: &Datum, fuel: &mut Fuel) -> Result<Datum, String> {
    match b {
        Datum::List(items) => {
            for item in items.iter() {
                fuel.spend(1 + item.cost().min(a.cost()))?;
                if a.equals(item) {
                    return Ok(Datum::Boolean(true));
                }
            }
            Ok(Datum::Boolean(false))
        }
        Datum::Map(entries) => match a {
            Datum::Text(key) => Ok(Datum::Boolean(entries.contains_key(key.as_ref()))),
            _ => Ok(Datum::Boolean(false)),
        },
        other => Err(format!("in takes a list or a map, not {}", other.what())),
    }
}

fn add(a: &Datum, b: &Datum, fuel: &mut Fuel) -> Result<Datum, String> {
    match (a, b) {
        (Datum::Text(a), Datum::Text(b)) => {
            fuel.spend(1 + (a.len() + b.len()) as u64 / 8)?;
            Ok(Datum::text([a.as_ref(), b.as_ref()].concat()))
        }
        (Datum::List(x), Datum::List(y)) => {
            fuel.spend(a.cost().saturating_add(b.cost()))?;
            Ok(Datum::list(x.iter().chain(y.iter()).cloned().collect()))
        }
        _ => arithmetic(Operator::Add, a, b),
    }
}

/// Whole numbers stay whole (7 / 2 is 3, as in CEL); with a float on one side it is done in floats.
fn arithmetic(operator: Operator, a: &Datum, b: &Datum) -> Result<Datum, String> {
    if let (Datum::Whole(a), Datum::Whole(b)) = (a, b) {
        if *b == 0 && matches!(operator, Operator::Divide | Operator::Remainder) {
            return Err("division by zero".into());
        }
        let result = match operator {
            Operator::Add => a.checked_add(*b),
            Operator::Subtract => a.checked_sub(*b),
            Operator::Multiply => a.checked_mul(*b),
            Operator::Divide => a.checked_div(*b),
            _ => a.checked_rem(*b),
        };
        return result.map(Datum::Whole).ok_or_else(too_large);
    }
    let (Some(x), Some(y)) = (a.as_float(), b.as_float()) else {
        return Err(format!("{} {} {} cannot be computed", a.what(), operator.sign(), b.what()));
    };
    let result = match operator {
        Operator::Add => x + y,
        Operator::Subtract => x - y,
        Operator::Multiply => x * y,
        Operator::Divide | Operator::Remainder if y == 0.0 => return Err("division by zero".into()),
        Operator::Divide => x / y,
        _ => x % y,
    };
    if result.is_finite() { Ok(Datum::Float(result)) } else { Err(too_large()) }
}

pub(super) fn sum(items: &[Datum]) -> Result<Datum, String> {
    items.iter().try_fold(Datum::Whole(0), |total, item| arithmetic(Operator::Add, &total, item))
}
