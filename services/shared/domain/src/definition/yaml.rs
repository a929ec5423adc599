//! YAML as a tree with places. Read with the parser under `serde-saphyr`, because its deserializer stops at the first
//! error and forgets whether `012` was quoted.
//!
//! Scalars follow YAML 1.2, narrower than its core schema: plain `null`, `~` and nothing are null, `true` and `false` are
//! booleans, what JSON would read as a number is one. All else is text: `no`, `26:30`, `012`, `0x1F`, `.inf`.

use crate::Value;
use serde_saphyr::granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError};
use std::{borrow::Cow, collections::BTreeMap, ops::Range};

/// Of nodes in a file, those of aliases counted where they are used: an alias bomb ends here.
const NODES: usize = 50_000;
/// Lists and maps inside each other.
const DEPTH: usize = 100;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// Bytes in the file. Of lists and maps only the beginning.
    pub at: Range<usize>,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Null,
    /// Its value and its text as written.
    Boolean(bool, String),
    Number(serde_json::Number, String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// Why a file is not read any further.
#[derive(Debug)]
pub(super) struct Broken {
    pub at: Range<usize>,
    pub message: String,
    pub help: Option<String>,
}

impl Node {
    /// With its article, for messages.
    pub fn what(&self) -> &'static str {
        match &self.content {
            Content::Null => "nothing",
            Content::Boolean(..) => "a boolean",
            Content::Number(..) => "a number",
            Content::Text(_) => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }

    /// The text of a scalar as written; `env: { DAYS: 7 }` means "7".
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) | Content::Boolean(_, text) | Content::Number(_, text) => Some(text),
            Content::Null | Content::List(_) | Content::Map(_) => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.content == Content::Null
    }

    /// As a value; None where there is a null in it.
    pub fn value(&self) -> Option<Value> {
        Some(match &self.content {
            Content::Null => return None,
            Content::Boolean(b, _) => Value::Boolean(*b),
            Content::Number(n, _) => Value::Number(n.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => Value::List(items.iter().map(Node::value).collect::<Option<_>>()?),
            Content::Map(entries) => {
                let entry = |(k, v): &(Node, Node)| Some((k.text()?.to_owned(), v.value()?));
                Value::Map(entries.iter().map(entry).collect::<Option<_>>()?)
            }
        })
    }
}

/// The documents of a file, those before an error too.
pub(super) fn documents(text: &str) -> (Vec<Node>, Option<Broken>) {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.disallow_directives = true;
    options.block_nesting_limit = DEPTH;
    options.flow_nesting_limit = DEPTH;
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let result = match event {
            Ok((event, span)) => {
                let start = span.start.byte_offset().unwrap_or(0);
                let tag = span.tag_start.and_then(|m| m.byte_offset()).map(|at| at..start.max(at));
                no_tag(&event, tag)
                    .and_then(|()| builder.event(event, start..span.end.byte_offset().unwrap_or(start).max(start)))
            }
            Err(e) => Err(broken(text, &e)),
        };
        if let Err(broken) = result {
            return (builder.documents, Some(broken));
        }
    }
    (builder.documents, None)
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

struct Open {
    at: Range<usize>,
    anchor: usize,
    is_map: bool,
    /// Of a map: keys and values in turn.
    children: Vec<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, at: Range<usize>) -> Result<(), Broken> {
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, _) => {
                let content = match style {
                    ScalarStyle::Plain => plain(text),
                    _ => Content::Text(text.into_owned()),
                };
                self.finish(Node { at, content }, anchor)?;
            }
            Event::SequenceStart(_, anchor, _) => self.open(at, anchor, false),
            Event::MappingStart(_, anchor, _) => self.open(at, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let content = if open.is_map { map(open.children) } else { Content::List(open.children) };
                    self.finish(Node { at: open.at, content }, open.anchor)?;
                }
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Broken { at, message: "an alias inside of what it stands for".into(), help: None });
                };
                self.nodes += count(&node);
                self.finish(Node { at, content: node.content }, 0)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, at: Range<usize>, anchor: usize, is_map: bool) {
        self.open.push(Open { at, anchor, is_map, children: Vec::new() });
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Broken> {
        self.nodes += 1;
        if self.nodes > NODES {
            let message = format!("more than {NODES} values in one file, those of aliases counted where they are used");
            return Err(Broken { at: node.at, message, help: None });
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            Some(open) => open.children.push(node),
            None => self.documents.push(node),
        }
        Ok(())
    }
}

fn map(children: Vec<Node>) -> Content {
    let mut entries = Vec::with_capacity(children.len() / 2);
    let mut children = children.into_iter();
    while let (Some(key), Some(value)) = (children.next(), children.next()) {
        entries.push((key, value));
    }
    Content::Map(entries)
}

fn count(node: &Node) -> usize {
    1 + match &node.content {
        Content::List(items) => items.iter().map(count).sum(),
        Content::Map(entries) => entries.iter().map(|(k, v)| count(k) + count(v)).sum(),
        _ => 0,
    }
}

fn no_tag(event: &Event<'_>, at: Option<Range<usize>>) -> Result<(), Broken> {
    match event.tag() {
        None => Ok(()),
        Some(tag) => Err(Broken {
            at: at.unwrap_or(0..0),
            message: format!("the tag {} is not known", tag.original()),
            help: Some("values are written without tags; put a text in quotes to keep it one".into()),
        }),
    }
}

fn plain(text: Cow<'_, str>) -> Content {
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => Content::Null,
        "true" | "True" | "TRUE" => Content::Boolean(true, text.into_owned()),
        "false" | "False" | "FALSE" => Content::Boolean(false, text.into_owned()),
        number if number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
            match serde_json::from_str::<serde_json::Number>(number) {
                Ok(n) => Content::Number(n, text.into_owned()),
                Err(_) => Content::Text(text.into_owned()),
            }
        }
        _ => Content::Text(text.into_owned()),
    }
}

/// What people do wrong most, said so that they see it.
fn broken(text: &str, e: &ScanError) -> Broken {
    let start = e.marker().byte_offset().unwrap_or(0).min(text.len());
    let (message, help) = match e.kind() {
        ErrorKind::MappingValueNotAllowed => (
            "`: ` is not allowed here".to_owned(),
            Some("put a text that contains `: ` in quotes, and check the indentation of this line"),
        ),
        ErrorKind::TabInBlockIndentation => ("a tab in the indentation".to_owned(), Some("indent with spaces")),
        ErrorKind::UnexpectedCharacter { character } => {
            (format!("a value cannot begin with {character:?}"), Some("put the text in quotes"))
        }
        ErrorKind::DirectiveDisallowed => {
            ("`%` directives are not known".to_owned(), Some("files are YAML 1.2 always"))
        }
        _ => (format!("this is not YAML: {}", e.info()), None),
    };
    Broken { at: start..start, message, help: help.map(str::to_owned) }
}
