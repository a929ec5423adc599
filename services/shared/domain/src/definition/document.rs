//! A file: its documents, what each defines, and the top of a workflow and of a lock.

use super::{
    file,
    item::{Compiled, Definition, Item},
    nearest,
    problem::{Problem, Problems},
    read::{Fields, Reader},
    step,
    yaml::{self, Content, Node},
};
use crate::{
    ContentHash, LockName, WorkflowName,
    catalog::CatalogDefinition,
    limit,
    lock::LockDefinition,
    workflow::{LateAction, LatePolicy, Workflow},
};
use std::collections::BTreeSet;

/// Reads and checks one file by itself: a definition, or several, divided by `---` lines. All problems of the file, or what
/// it says.
pub fn read(file_name: &str, text: &str) -> Result<Compiled, Vec<Problem>> {
    if text.len() > limit::DEFINITION_BYTES {
        let message = format!("the file is {} bytes; the limit is {}", text.len(), limit::DEFINITION_BYTES);
        let mut problems = Problems::new(file_name, "");
        problems.add(&(0..0), message);
        return Err(problems.list);
    }
    read_text(file_name, text)
}

/// The same for a text of any size: the bodies of its definitions have their own limit.
pub(super) fn read_text(file_name: &str, text: &str) -> Result<Compiled, Vec<Problem>> {
    let mut problems = Problems::new(file_name, text);
    let (documents, broken) = yaml::documents(text);
    let is_whole = broken.is_none();
    let mut compiled = Compiled::default();
    for document in documents.iter().filter(|d| !d.is_null()) {
        let found = problems.list.len();
        let item = document_item(&mut problems, document);
        if problems.list.len() == found {
            compiled.items.extend(item);
        }
    }
    if let Some(broken) = broken {
        match broken.help {
            Some(help) => problems.help(&broken.at, broken.message, help),
            None => problems.add(&broken.at, broken.message),
        }
    }
    if is_whole && problems.list.is_empty() && compiled.items.is_empty() {
        problems.help(&(0..0), "the file defines nothing", begin_with());
    }
    if problems.list.is_empty() {
        return Ok(compiled);
    }
    problems.list.sort_by_key(|p| (p.line, p.column));
    problems.list.dedup();
    Err(problems.list)
}

type ReadAs = fn(&mut Reader<'_, '_>, &Node) -> Option<Definition>;

/// What a definition can be, by its field that says so, and how it is read.
const KINDS: [(&str, ReadAs); 7] = [
    ("workflow", |reader, node| reader.workflow(node).map(Definition::Workflow)),
    ("lock", |reader, node| reader.lock(node).map(Definition::Lock)),
    ("schedule", |reader, node| catalog(reader.schedule(node).map(CatalogDefinition::Schedule))),
    ("rule", |reader, node| catalog(reader.rule(node).map(CatalogDefinition::Rule))),
    ("maintenance", |reader, node| catalog(reader.maintenance(node).map(CatalogDefinition::Maintenance))),
    ("log_rule", |reader, node| catalog(reader.log_rule(node).map(CatalogDefinition::LogRule))),
    ("retention", |reader, node| catalog(reader.retention(node).map(CatalogDefinition::Retention))),
];

fn catalog(definition: Option<CatalogDefinition>) -> Option<Definition> {
    definition.map(Definition::Catalog)
}

fn begin_with() -> String {
    let kinds: Vec<String> = KINDS.iter().map(|(kind, _)| format!("`{kind}: NAME`")).collect();
    format!("begin with one of {}", kinds.join(", "))
}

fn document_item(problems: &mut Problems<'_>, node: &Node) -> Option<Item> {
    let file = problems.file.to_owned();
    let mut reader = Reader::new(problems);
    let Content::Map(entries) = &node.content else {
        reader.problems.help(&node.at, format!("a definition is a map, not {}", node.what()), begin_with());
        return None;
    };
    let first = |name: &str| entries.iter().any(|(k, _)| k.text() == Some(name));
    // From behind: a schedule names a workflow, too.
    let Some((_, read_as)) = KINDS.iter().rev().find(|(kind, _)| first(kind)) else {
        let (key, _) = entries.first()?;
        let near = key.text().and_then(|text| nearest(text, KINDS.iter().map(|(kind, _)| *kind)));
        let help = near.map_or_else(begin_with, |near| format!("did you mean {near}?"));
        reader.problems.help(&key.at, "this is no kind of definition", help);
        return None;
    };
    let definition = read_as(&mut reader, node)?;
    let (scripts, uses) = (reader.scripts, reader.uses);
    let body = definition.body().ok()?;
    if body.len() > limit::DEFINITION_BYTES {
        let message =
            format!("the definition is {} bytes as JSON; the limit is {}", body.len(), limit::DEFINITION_BYTES);
        problems.add(&node.at, message);
        return None;
    }
    let hash = ContentHash::of(&body);
    Some(Item { file, definition, body, hash, scripts, uses })
}

impl Reader<'_, '_> {
    fn lock(&mut self, node: &Node) -> Option<LockDefinition> {
        let mut fields = self.fields::<file::LockFile>(node, "a lock");
        let name: Option<LockName> = self.name(&mut fields, "lock");
        let title = self.get(&mut fields, "title").and_then(|n| self.short_text(n, "title", limit::TITLE_BYTES));
        let capacity =
            self.required(&mut fields, "capacity", "add capacity: N, the sum of the weights that may be held");
        let capacity = capacity.and_then(|n| self.whole(n, "capacity", 1..=u32::MAX));
        self.done(fields);
        Some(LockDefinition { name: name?, title, capacity: capacity? })
    }

    pub(super) fn name<T: std::str::FromStr<Err = crate::InvalidId>>(
        &mut self,
        fields: &mut Fields<'_>,
        field: &'static str,
    ) -> Option<T> {
        let node = self.get(fields, field)?;
        self.uses.name = self.problems.place(&node.at);
        self.id(node, field)
    }

    fn workflow(&mut self, node: &Node) -> Option<Workflow> {
        let mut fields = self.fields::<file::WorkflowFile>(node, "a workflow");
        let name: Option<WorkflowName> = self.name(&mut fields, "workflow");
        let title = self.get(&mut fields, "title").and_then(|n| self.short_text(n, "title", limit::TITLE_BYTES));
        let folder = self.get(&mut fields, "folder").and_then(|n| self.folder(n));
        let tags = self.get(&mut fields, "tags").map(|n| self.tags(n)).unwrap_or_default();
        let zone = self.get(&mut fields, "zone").and_then(|n| self.zone(n));
        let priority = self.get(&mut fields, "priority").and_then(|n| self.whole(n, "priority", i16::MIN..=i16::MAX));
        let late = self.get(&mut fields, "late").map(|n| self.late(n)).unwrap_or_default();
        let parameters = self.get(&mut fields, "parameters").map(|n| self.parameters(n)).unwrap_or_default();
        if let Some(node) = self.get(&mut fields, "defaults") {
            self.read_defaults(node);
        }
        let steps = match self.required(&mut fields, "steps", "add steps: with a line `- job: NAME` for each job") {
            Some(steps) => {
                step::find_labels(steps, &mut self.given, &mut self.names.elsewhere);
                self.steps(steps, "steps")
            }
            None => Vec::new(),
        };
        self.done(fields);
        let priority = priority.unwrap_or(0);
        Some(Workflow { name: name?, title, folder, tags, zone, priority, late, parameters, steps })
    }

    fn folder(&mut self, node: &Node) -> Option<String> {
        let text = self.short_text(node, "folder", limit::FOLDER_BYTES)?;
        let good = text.split('/').all(|part| !part.trim().is_empty() && part != "." && part != "..");
        if !good {
            self.problems.help(
                &node.at,
                format!("folder {text:?} has an empty part, `.` or `..`"),
                "write it like finance/sales",
            );
        }
        good.then_some(text)
    }

    pub(super) fn tags(&mut self, node: &Node) -> BTreeSet<String> {
        let items = self.list(node, "tags");
        if items.len() > limit::TAGS {
            self.problems.add(&node.at, format!("{} tags; the limit is {}", items.len(), limit::TAGS));
        }
        items.iter().filter_map(|item| self.short_text(item, "a tag", limit::TITLE_BYTES)).collect()
    }

    pub(super) fn zone(&mut self, node: &Node) -> Option<chrono_tz::Tz> {
        let text = self.text(node, "zone")?;
        if let Ok(zone) = text.parse() {
            return Some(zone);
        }
        let help = match nearest(text, chrono_tz::TZ_VARIANTS.iter().map(|z| z.name())) {
            Some(near) => format!("did you mean {near}?"),
            None => "an IANA name such as Europe/Berlin or UTC".to_owned(),
        };
        self.problems.help(&node.at, format!("{text:?} is not a known time zone"), help);
        None
    }

    pub(super) fn late(&mut self, node: &Node) -> LatePolicy {
        let mut fields = self.fields::<file::Late>(node, "late");
        let grace = self.get(&mut fields, "grace").and_then(|n| self.span(n, "grace"));
        let then = self.get(&mut fields, "then").and_then(|n| self.word(n, "then", &["run", "skip", "fail"]));
        self.done(fields);
        LatePolicy { grace, then: then.unwrap_or(LateAction::Run) }
    }
}
