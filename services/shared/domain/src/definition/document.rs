//! A file: its documents, and the top of a workflow and of a lock.

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
    ContentHash, LockName, WorkflowName, limit,
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
        problems.help(&(0..0), "the file defines nothing", "begin with `workflow: NAME` or `lock: NAME`");
    }
    if problems.list.is_empty() {
        return Ok(compiled);
    }
    problems.list.sort_by_key(|p| (p.line, p.column));
    problems.list.dedup();
    Err(problems.list)
}

fn document_item(problems: &mut Problems<'_>, node: &Node) -> Option<Item> {
    let file = problems.file.to_owned();
    let mut reader = Reader::new(problems);
    let Content::Map(entries) = &node.content else {
        reader.problems.help(
            &node.at,
            format!("a definition is a map, not {}", node.what()),
            "begin with `workflow: NAME` or `lock: NAME`",
        );
        return None;
    };
    let first = |name: &str| entries.iter().find(|(k, _)| k.text() == Some(name));
    let definition = if first("workflow").is_some() {
        reader.workflow(node).map(Definition::Workflow)
    } else if first("lock").is_some() {
        reader.lock(node).map(Definition::Lock)
    } else {
        let (key, _) = entries.first()?;
        let near = key.text().and_then(|text| nearest(text, ["workflow", "lock"]));
        let help = match near {
            Some(near) => format!("did you mean {near}?"),
            None => "begin with `workflow: NAME` or `lock: NAME`".to_owned(),
        };
        reader.problems.help(&key.at, "this is neither a workflow nor a lock", help);
        None
    }?;
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

    fn name<T: std::str::FromStr<Err = crate::InvalidId>>(
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

    fn tags(&mut self, node: &Node) -> BTreeSet<String> {
        let items = self.list(node, "tags");
        if items.len() > limit::TAGS {
            self.problems.add(&node.at, format!("{} tags; the limit is {}", items.len(), limit::TAGS));
        }
        items.iter().filter_map(|item| self.short_text(item, "a tag", limit::TITLE_BYTES)).collect()
    }

    fn zone(&mut self, node: &Node) -> Option<chrono_tz::Tz> {
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

    fn late(&mut self, node: &Node) -> LatePolicy {
        let mut fields = self.fields::<file::Late>(node, "late");
        let grace = self.get(&mut fields, "grace").and_then(|n| self.span(n, "grace"));
        let then = self.get(&mut fields, "then").and_then(|n| self.word(n, "then", &["run", "skip", "fail"]));
        self.done(fields);
        LatePolicy { grace, then: then.unwrap_or(LateAction::Run) }
    }
}
