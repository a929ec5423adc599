//! Reading maps and scalars of a document with every problem noted: what is wrong leaves a harmless value behind, and a
//! file with problems is never used.

use super::{
    file,
    item::Uses,
    job::JobDefaults,
    nearest,
    problem::Problems,
    yaml::{Content, Node},
};
use crate::{
    ContentHash, InvalidId, Label, Span, Value,
    expression::{self, KindOrAny, Names},
    workflow::{Expression, Template},
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::{
    any::TypeId,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    ops::{Range, RangeInclusive},
    rc::Rc,
    str::FromStr,
};

/// Lists and maps inside each other in a value: bodies are read as JSON, whose readers have a limit.
const VALUE_DEPTH: usize = 16;

/// Reads one document.
pub(super) struct Reader<'p, 't> {
    pub problems: &'p mut Problems<'t>,
    /// What an expression at this point may name.
    pub names: Names,
    pub defaults: JobDefaults,
    /// Labels by how expressions write them, and where each is.
    pub labels: BTreeMap<String, (Label, Range<usize>)>,
    /// Labels that the file gives, so that none is made twice.
    pub given: BTreeSet<String>,
    /// Made labels, by kind of step.
    pub made: BTreeMap<&'static str, usize>,
    pub steps: usize,
    /// Steps, and forks and calls, that the present step is inside of.
    pub depth: usize,
    pub nesting: usize,
    /// Length of the position before the label.
    pub path: usize,
    pub scripts: BTreeMap<ContentHash, String>,
    pub uses: Uses,
}

/// A map with known fields.
pub(super) struct Fields<'n> {
    pub node: &'n Node,
    pub what: &'static str,
    pub entries: BTreeMap<&'n str, (&'n Node, &'n Node)>,
    known: Rc<Vec<String>>,
    asked: BTreeSet<&'static str>,
}

thread_local! {
    /// Known fields by type: making a schema takes longer than reading a file.
    static KNOWN: RefCell<BTreeMap<TypeId, Rc<Vec<String>>>> = const { RefCell::new(BTreeMap::new()) };
}

pub(super) fn known_fields<T: JsonSchema + 'static>() -> Rc<Vec<String>> {
    KNOWN.with_borrow_mut(|known| {
        Rc::clone(known.entry(TypeId::of::<T>()).or_insert_with(|| Rc::new(file::fields::<T>())))
    })
}

impl<'n> Fields<'n> {
    /// Where the map begins, or the value of its first field.
    pub fn at(&self) -> Range<usize> {
        let key = match &self.node.content {
            Content::Map(entries) => entries.first().map(|(key, _)| key.at.clone()),
            _ => None,
        };
        key.unwrap_or_else(|| self.node.at.clone())
    }
}

impl<'p, 't> Reader<'p, 't> {
    pub fn new(problems: &'p mut Problems<'t>) -> Self {
        Self {
            problems,
            names: Names::default(),
            defaults: JobDefaults::default(),
            labels: BTreeMap::new(),
            given: BTreeSet::new(),
            made: BTreeMap::new(),
            steps: 0,
            depth: 0,
            nesting: 0,
            path: 0,
            scripts: BTreeMap::new(),
            uses: Uses::default(),
        }
    }

    /// The entries of a map, each key once.
    pub fn entries<'n>(&mut self, node: &'n Node, what: &str) -> Vec<(&'n str, &'n Node, &'n Node)> {
        let Content::Map(entries) = &node.content else {
            self.problems.add(&node.at, format!("{what} is a map (`name: value` lines), not {}", node.what()));
            return Vec::new();
        };
        let mut seen: BTreeMap<&str, &Node> = BTreeMap::new();
        let mut unique = Vec::new();
        for (key, value) in entries {
            let Some(text) = key.text() else {
                self.problems.add(&key.at, format!("a name in {what} is a text, not {}", key.what()));
                continue;
            };
            if let Some(first) = seen.insert(text, key) {
                let line = self.problems.place(&first.at).line;
                self.problems.help(
                    &key.at,
                    format!("{text} is there twice"),
                    format!("it is given in line {line} already"),
                );
                continue;
            }
            unique.push((text, key, value));
        }
        unique
    }

    /// A map with the fields of T. Unknown ones are problems.
    pub fn fields<'n, T: JsonSchema + 'static>(&mut self, node: &'n Node, what: &'static str) -> Fields<'n> {
        let known = known_fields::<T>();
        let mut entries = BTreeMap::new();
        for (name, key, value) in self.entries(node, what) {
            if known.iter().any(|k| k == name) {
                entries.insert(name, (key, value));
                continue;
            }
            let help = match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None if name == "<<" => "merge keys are no part of YAML 1.2".to_owned(),
                None => format!("{what} has: {}", known.join(", ")),
            };
            self.problems.help(&key.at, format!("{name} is not known in {what}"), help);
        }
        Fields { node, what, entries, known, asked: BTreeSet::new() }
    }

    /// The value of a field. An empty one is a problem.
    pub fn get<'n>(&mut self, fields: &mut Fields<'n>, name: &'static str) -> Option<&'n Node> {
        let (key, value) = *self.raw(fields, name)?;
        if value.is_null() {
            self.problems.help(&key.at, format!("{name} is empty"), "give it a value, or leave the line out");
            return None;
        }
        Some(value)
    }

    pub fn raw<'f, 'n>(&self, fields: &'f mut Fields<'n>, name: &'static str) -> Option<&'f (&'n Node, &'n Node)> {
        debug_assert!(fields.known.iter().any(|k| k == name), "{name} is no field of {}", fields.what);
        fields.asked.insert(name);
        fields.entries.get(name)
    }

    /// A field that must be there.
    pub fn required<'n>(&mut self, fields: &mut Fields<'n>, name: &'static str, help: &str) -> Option<&'n Node> {
        if !fields.entries.contains_key(name) {
            let at = fields.at();
            self.problems.help(&at, format!("{} has no {name}", fields.what), help);
        }
        self.get(fields, name)
    }

    /// Every field was asked for: a new one of the file's types cannot be forgotten here.
    pub fn done(&self, fields: Fields<'_>) {
        debug_assert!(
            fields.known.iter().all(|k| fields.asked.contains(k.as_str())),
            "{} has fields that are not read: {:?}",
            fields.what,
            fields.known.iter().filter(|k| !fields.asked.contains(k.as_str())).collect::<Vec<_>>()
        );
    }

    pub fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.content {
            Content::List(items) => items,
            _ => {
                self.problems.help(
                    &node.at,
                    format!("{what} is a list, not {}", node.what()),
                    "write [a, b], or a line `- …` for each",
                );
                &[]
            }
        }
    }

    pub fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        let text = node.text();
        if text.is_none() {
            self.problems.add(&node.at, format!("{what} is a text, not {}", node.what()));
        }
        text
    }

    /// A text of at most so many bytes, without control characters.
    pub fn short_text(&mut self, node: &Node, what: &str, limit: usize) -> Option<String> {
        let text = self.text(node, what)?.trim();
        if text.is_empty() {
            self.problems.help(&node.at, format!("{what} is empty"), "give it a value, or leave the line out");
            return None;
        }
        if text.len() > limit {
            self.problems.add(&node.at, format!("{what} is {} bytes; the limit is {limit}", text.len()));
            return None;
        }
        if text.chars().any(char::is_control) {
            self.problems.add(&node.at, format!("{what} is one line without control characters"));
            return None;
        }
        Some(text.to_owned())
    }

    /// A name or an id.
    pub fn id<T: FromStr<Err = InvalidId>>(&mut self, node: &Node, what: &str) -> Option<T> {
        let text = self.text(node, what)?;
        match text.parse() {
            Ok(id) => Some(id),
            Err(InvalidId { what, text, rule }) => {
                self.problems.help(&node.at, format!("{text:?} is not a valid {what}"), rule);
                None
            }
        }
    }

    pub fn span(&mut self, node: &Node, what: &str) -> Option<Span> {
        let text = self.text(node, what)?;
        match text.parse() {
            Ok(span) => Some(span),
            Err(_) => {
                let help = "write a number with a unit, such as 250ms, 10s, 1m30s, 2h or 7d (at most 3650d)";
                self.problems.help(&node.at, format!("{what}: {text:?} is not a duration"), help);
                None
            }
        }
    }

    pub fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        if let Content::Boolean(b, _) = node.content {
            return Some(b);
        }
        self.problems.help(
            &node.at,
            format!("{what} is true or false, not {}", self.shown(node)),
            "write true or false, without quotes",
        );
        None
    }

    pub fn whole<N>(&mut self, node: &Node, what: &str, range: RangeInclusive<N>) -> Option<N>
    where
        N: TryFrom<i64> + PartialOrd + Display,
    {
        if let Content::Number(n, _) = &node.content
            && let Some(n) = n.as_i64().and_then(|n| N::try_from(n).ok()).filter(|n| range.contains(n))
        {
            return Some(n);
        }
        let (least, most) = (range.start(), range.end());
        self.problems
            .add(&node.at, format!("{what} is a whole number from {least} to {most}, not {}", self.shown(node)));
        None
    }

    fn shown(&self, node: &Node) -> String {
        match &node.content {
            Content::Text(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
            Content::Number(_, text) => text.clone(),
            _ => node.what().to_owned(),
        }
    }

    /// One of a few words.
    pub fn word<T: DeserializeOwned>(&mut self, node: &Node, what: &str, words: &[&str]) -> Option<T> {
        let text = self.text(node, what)?;
        if let Ok(value) = serde_json::from_value(serde_json::Value::String(text.to_owned())) {
            return Some(value);
        }
        let help = match nearest(text, words.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("one of: {}", words.join(", ")),
        };
        self.problems.help(
            &node.at,
            format!("{what} {:?} is not known", text.chars().take(40).collect::<String>()),
            help,
        );
        None
    }

    /// A condition in CEL, bare.
    pub fn condition(&mut self, node: &Node, what: &str) -> Option<Expression> {
        let text = self.text(node, what)?;
        if text.trim_start().starts_with("${") {
            self.problems.help(&node.at, format!("{what} is an expression by itself"), "write it without ${ }");
            return None;
        }
        match expression::check(text, &self.names) {
            Ok(KindOrAny::Any | KindOrAny::Kind(crate::Kind::Boolean)) => {}
            Ok(KindOrAny::Kind(kind)) => {
                self.problems.help(
                    &node.at,
                    format!("{what} is true or false, not a {kind}"),
                    "compare it: such as x == 0",
                );
                return None;
            }
            Err(e) => {
                self.expression_problem(node, &e);
                return None;
            }
        }
        Some(Expression(text.trim().to_owned()))
    }

    fn expression_problem(&mut self, node: &Node, e: &expression::CheckError) {
        let at = self.problems.within(node, e.offset, e.length);
        match &e.help {
            Some(help) => self.problems.help(&at, e.message.clone(), help.clone()),
            None => self.problems.add(&at, e.message.clone()),
        }
    }

    /// A text with `${ }`.
    pub fn template(&mut self, node: &Node, what: &str) -> Option<Template> {
        let text = self.text(node, what)?;
        if text.contains('\0') {
            self.problems.add(&node.at, format!("{what} has a NUL character in it"));
            return None;
        }
        self.check_template(node, text);
        Some(Template(text.to_owned()))
    }

    fn check_template(&mut self, node: &Node, text: &str) -> Option<KindOrAny> {
        match expression::check_template(text, &self.names) {
            Ok(kind) => kind,
            Err(errors) => {
                errors.iter().for_each(|e| self.expression_problem(node, e));
                Some(KindOrAny::Any)
            }
        }
    }

    /// A value whose strings may have `${ }`, and its kind.
    pub fn value(&mut self, node: &Node, what: &str) -> Option<(Value, KindOrAny)> {
        let value = match node.value() {
            Some(value) if depth(&value) <= VALUE_DEPTH => value,
            Some(_) => {
                self.problems.add(&node.at, format!("{what} has lists and maps more than {VALUE_DEPTH} deep"));
                return None;
            }
            None => {
                self.problems.help(
                    &node.at,
                    format!("{what} has an empty value in it"),
                    "there is no null: leave it out",
                );
                return None;
            }
        };
        let kind = self.check_value(node);
        Some((value, kind))
    }

    fn check_value(&mut self, node: &Node) -> KindOrAny {
        match &node.content {
            Content::Text(text) => self.check_template(node, text).unwrap_or(KindOrAny::Kind(crate::Kind::String)),
            Content::Boolean(..) => KindOrAny::Kind(crate::Kind::Boolean),
            Content::Number(..) => KindOrAny::Kind(crate::Kind::Number),
            Content::List(items) => {
                for item in items {
                    self.check_value(item);
                }
                KindOrAny::Kind(crate::Kind::List)
            }
            Content::Map(entries) => {
                for (_, value) in entries {
                    self.check_value(value);
                }
                KindOrAny::Kind(crate::Kind::Map)
            }
            Content::Null => KindOrAny::Any,
        }
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
