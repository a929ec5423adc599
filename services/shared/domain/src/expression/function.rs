//! The listed functions: how each is written, what it takes and gives, what it does.

use super::{check::Type, datum::Datum, evaluate::Fuel, evaluate::sum};
use std::cmp::Ordering;

/// What a function takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Takes {
    Text,
    Number,
    List,
    /// A text, a list or a map.
    Sized,
    Any,
}

/// What a function gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Gives {
    Boolean,
    Number,
    Text,
    Texts,
    /// The kind of the items of a list, or of the arguments.
    Item,
}

#[derive(Debug)]
pub(super) struct Function {
    pub name: &'static str,
    /// `x.name(y)`
    receiver: bool,
    /// `name(x, y)`
    global: bool,
    /// The last may be repeated or left out as `arity` says.
    pub takes: &'static [Takes],
    arity: (usize, usize),
    pub gives: Gives,
    /// How it is written, for help.
    pub usage: &'static str,
    pub apply: fn(&[Datum], &mut Fuel) -> Result<Datum, String>,
}

const MANY: usize = usize::MAX;

macro_rules! functions {
    ($($name:literal $form:ident [$($takes:ident),*] $min:literal..=$max:expr => $gives:ident, $usage:literal, $apply:expr;)*) => {
        &[$(Function {
            name: $name,
            receiver: matches!(Form::$form, Form::Receiver | Form::Both),
            global: matches!(Form::$form, Form::Global | Form::Both),
            takes: &[$(Takes::$takes),*],
            arity: ($min, $max),
            gives: Gives::$gives,
            usage: $usage,
            apply: $apply,
        }),*]
    };
}

enum Form {
    Receiver,
    Global,
    Both,
}

static FUNCTIONS: &[Function] = functions! {
    "size" Both [Sized] 1..=1 => Number, "size(text, list or map)", size;
    "contains" Receiver [Text, Text] 2..=2 => Boolean, "text.contains(part)", |a, _| test(a, |text, part| text.contains(part));
    "startsWith" Receiver [Text, Text] 2..=2 => Boolean, "text.startsWith(part)", |a, _| test(a, |text, part| text.starts_with(part));
    "endsWith" Receiver [Text, Text] 2..=2 => Boolean, "text.endsWith(part)", |a, _| test(a, |text, part| text.ends_with(part));
    "matches" Receiver [Text, Text] 2..=2 => Boolean, "text.matches(regular expression)", matches;
    "lowerAscii" Receiver [Text] 1..=1 => Text, "text.lowerAscii()", |a, _| change(a, str::to_ascii_lowercase);
    "upperAscii" Receiver [Text] 1..=1 => Text, "text.upperAscii()", |a, _| change(a, str::to_ascii_uppercase);
    "trim" Receiver [Text] 1..=1 => Text, "text.trim()", |a, _| change(a, |text| text.trim().to_owned());
    "replace" Receiver [Text, Text, Text] 3..=3 => Text, "text.replace(old, new)", replace;
    "substring" Receiver [Text, Number, Number] 2..=3 => Text, "text.substring(from) or text.substring(from, to)", substring;
    "split" Receiver [Text, Text] 2..=2 => Texts, "text.split(separator)", split;
    "join" Receiver [List, Text] 1..=2 => Text, "list.join() or list.join(separator)", join;
    "int" Global [Any] 1..=1 => Number, "int(number or text)", int;
    "double" Global [Any] 1..=1 => Number, "double(number or text)", double;
    "string" Global [Any] 1..=1 => Text, "string(anything)", |a, _| a[0].clone().into_text().map(Datum::text);
    "bool" Global [Any] 1..=1 => Boolean, "bool(text)", boolean;
    "sum" Global [List] 1..=1 => Number, "sum(list of numbers)", |a, _| sum(items(&a[0])?);
    "min" Global [Any] 1..=MANY => Item, "min(list) or min(a, b, …)", |a, _| extreme(a, Ordering::Less);
    "max" Global [Any] 1..=MANY => Item, "max(list) or max(a, b, …)", |a, _| extreme(a, Ordering::Greater);
};

/// Written like functions, and part of the language.
const MACROS: &[(&str, &str)] = &[
    ("has", "has(step.result)"),
    ("all", "list.all(x, x > 0)"),
    ("exists", "list.exists(x, x > 0)"),
    ("exists_one", "list.exists_one(x, x > 0)"),
    ("map", "list.map(x, x + 1) or list.map(x, x > 0, x + 1)"),
    ("filter", "list.filter(x, x > 0)"),
];

/// How every function is written, macros included: all that there are.
pub fn functions() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|f| f.usage).chain(MACROS.iter().map(|(_, usage)| *usage))
}

/// The function of a call, or message and help.
pub(super) fn find(
    name: &str,
    receiver: bool,
    arguments: usize,
) -> Result<&'static Function, (String, Option<String>)> {
    if let Some((_, usage)) = MACROS.iter().find(|(n, _)| *n == name) {
        return Err((format!("{name}() is written otherwise"), Some((*usage).to_owned())));
    }
    let Some(function) = FUNCTIONS.iter().find(|f| f.name == name) else {
        let names = FUNCTIONS.iter().map(|f| f.name).chain(MACROS.iter().map(|(n, _)| *n));
        let all: Vec<&str> = names.collect();
        let help = match crate::definition::nearest(name, all.iter().copied()) {
            Some(near) => format!("did you mean {near}()?"),
            None => format!("known: {}", all.join(", ")),
        };
        return Err((format!("there is no function {name}()"), Some(help)));
    };
    let (least, most) = function.arity;
    let fits = (receiver && function.receiver || !receiver && function.global) && (least..=most).contains(&arguments);
    if fits { Ok(function) } else { Err((format!("{name}() is written otherwise"), Some(function.usage.to_owned()))) }
}

impl Gives {
    pub fn kind(self, arguments: &[Type]) -> Type {
        match self {
            Gives::Boolean => Type::Boolean,
            Gives::Number => Type::Number,
            Gives::Text => Type::Text,
            Gives::Texts => Type::list(Type::Text),
            Gives::Item => match arguments {
                [Type::List(item)] => item.as_ref().clone(),
                [first, ..] => first.clone(),
                [] => Type::Any,
            },
        }
    }
}

fn text(datum: &Datum) -> Result<&str, String> {
    match datum {
        Datum::Text(text) => Ok(text),
        other => Err(format!("takes a string, not {}", other.what())),
    }
}

fn items(datum: &Datum) -> Result<&[Datum], String> {
    match datum {
        Datum::List(items) => Ok(&items.inner),
        other => Err(format!("takes a list, not {}", other.what())),
    }
}

fn test(a: &[Datum], f: impl Fn(&str, &str) -> bool) -> Result<Datum, String> {
    Ok(Datum::Boolean(f(text(&a[0])?, text(&a[1])?)))
}

fn change(a: &[Datum], f: impl Fn(&str) -> String) -> Result<Datum, String> {
    Ok(Datum::text(f(text(&a[0])?)))
}

fn size(a: &[Datum], _: &mut Fuel) -> Result<Datum, String> {
    let size = match &a[0] {
        Datum::Text(text) => text.chars().count(),
        Datum::List(items) => items.len(),
        Datum::Map(entries) => entries.len(),
        other => return Err(format!("takes a string, a list or a map, not {}", other.what())),
    };
    Ok(Datum::Whole(size as i64))
}

/// Anywhere in the text, as in CEL. The engine is linear in the text; the size of the compiled expression is limited.
fn matches(a: &[Datum], fuel: &mut Fuel) -> Result<Datum, String> {
    let (text, pattern) = (text(&a[0])?, text(&a[1])?);
    fuel.spend(10 + text.len() as u64)?;
    if let Some((known, regex)) = &fuel.last_regex
        && known == pattern
    {
        return Ok(Datum::Boolean(regex.is_match(text)));
    }
    fuel.spend(2_000)?;
    let built = regex::RegexBuilder::new(pattern).size_limit(64 * 1024).nest_limit(20).build();
    let regex = built.map_err(|e| match e {
        regex::Error::CompiledTooBig(_) => format!("{pattern:?} is too large"),
        _ => format!("{pattern:?} is no regular expression"),
    })?;
    let found = regex.is_match(text);
    fuel.last_regex = Some((pattern.to_owned(), regex));
    Ok(Datum::Boolean(found))
}

fn replace(a: &[Datum], fuel: &mut Fuel) -> Result<Datum, String> {
    let (text, old, new) = (text(&a[0])?, text(&a[1])?, text(&a[2])?);
    let found = if old.is_empty() { text.len() + 1 } else { text.matches(old).count() };
    fuel.spend(found as u64 * (1 + new.len() as u64 / 8))?;
    Ok(Datum::text(text.replace(old, new)))
}

fn substring(a: &[Datum], _: &mut Fuel) -> Result<Datum, String> {
    let text = text(&a[0])?;
    let length = text.chars().count();
    let place = |datum: &Datum| {
        let n = datum.as_whole().ok_or_else(|| format!("takes whole numbers, not {}", datum.what()))?;
        usize::try_from(n).ok().filter(|n| *n <= length).ok_or_else(|| format!("{n} is not within 0 and {length}"))
    };
    let from = place(&a[1])?;
    let to = a.get(2).map_or(Ok(length), place)?;
    if from > to {
        return Err(format!("begins at {from} and ends before, at {to}"));
    }
    Ok(Datum::text(text.chars().skip(from).take(to - from).collect::<String>()))
}

fn split(a: &[Datum], fuel: &mut Fuel) -> Result<Datum, String> {
    let (text, separator) = (text(&a[0])?, text(&a[1])?);
    fuel.spend(text.len() as u64)?;
    let parts = match separator {
        "" => text.chars().map(|c| Datum::text(c.to_string())).collect(),
        _ => text.split(separator).map(Datum::text).collect(),
    };
    Ok(Datum::list(parts))
}

fn join(a: &[Datum], fuel: &mut Fuel) -> Result<Datum, String> {
    let separator = a.get(1).map_or(Ok(""), text)?;
    let items = items(&a[0])?;
    fuel.spend(items.len() as u64 * (1 + separator.len() as u64 / 8))?;
    let parts = items.iter().map(|item| item.clone().into_text()).collect::<Result<Vec<_>, _>>()?;
    Ok(Datum::text(parts.join(separator)))
}

fn int(a: &[Datum], _: &mut Fuel) -> Result<Datum, String> {
    match &a[0] {
        Datum::Whole(n) => Ok(Datum::Whole(*n)),
        Datum::Float(n) if n.abs() < 9.2e18 => Ok(Datum::Whole(*n as i64)),
        Datum::Text(text) => match text.trim().parse() {
            Ok(n) => Ok(Datum::Whole(n)),
            Err(_) => Err(format!("{:?} is no whole number", shortened(text))),
        },
        other => Err(format!("takes a number or a string, not {}", other.what())),
    }
}

fn double(a: &[Datum], _: &mut Fuel) -> Result<Datum, String> {
    match &a[0] {
        Datum::Text(text) => match text.trim().parse::<f64>() {
            Ok(n) if n.is_finite() => Ok(Datum::Float(n)),
            _ => Err(format!("{:?} is no number", shortened(text))),
        },
        other => other
            .as_float()
            .map(Datum::Float)
            .ok_or_else(|| format!("takes a number or a string, not {}", other.what())),
    }
}

fn boolean(a: &[Datum], _: &mut Fuel) -> Result<Datum, String> {
    match &a[0] {
        Datum::Boolean(b) => Ok(Datum::Boolean(*b)),
        Datum::Text(text) => match text.trim() {
            "true" => Ok(Datum::Boolean(true)),
            "false" => Ok(Datum::Boolean(false)),
            other => Err(format!("{:?} is neither true nor false", shortened(other))),
        },
        other => Err(format!("takes a string, not {}", other.what())),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

fn extreme(a: &[Datum], wanted: Ordering) -> Result<Datum, String> {
    let items = match a {
        [Datum::List(items)] => &items.inner,
        _ => a,
    };
    let Some((first, rest)) = items.split_first() else {
        return Err("the list is empty".into());
    };
    let mut best = first;
    for item in rest {
        match item.order(best) {
            Some(order) if order == wanted => best = item,
            Some(_) => {}
            None => return Err(format!("{} and {} cannot be compared", best.what(), item.what())),
        }
    }
    Ok(best.clone())
}
