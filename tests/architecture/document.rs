//! What documents and the stack promise.

use super::{assert_none, entries, name, root};
use std::fs;

/// The records of decisions have these parts, in this order.
const PARTS: [&str; 3] = ["## Context", "## Decision", "## Consequence"];
/// One page.
const PAGE: usize = 60;

/// Words in back-ticks that look like a path of the checkout and are none.
fn missing_paths(text: &str, base: &str) -> Vec<String> {
    let words = text.split('`').skip(1).step_by(2);
    let paths = words.filter(|word| is_path(word));
    let exists = |path: &str| root().join(path).exists() || root().join(base).join(path).exists();
    paths
        .filter(|path| !exists(path.trim_end_matches("()")))
        .map(|path| format!("{base} names {path}, which is not there"))
        .collect()
}

fn is_path(word: &str) -> bool {
    let first = word.split('/').next().unwrap_or_default();
    let known = [
        "services",
        "shared",
        "schemas",
        "compose",
        "tests",
        "adr",
        "controller",
        "agent",
        "proxy",
        "history",
        "cli",
        "ordo",
    ];
    word.contains('/') && known.contains(&first) && !word.contains([' ', '<', '*', '{', '…'])
}

fn adr(file: &str, number: usize, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !file.starts_with(&format!("{number:04}-")) {
        found.push(format!("{file} should be number {number:04}: numbers have no gaps"));
    }
    let at: Vec<Option<usize>> = PARTS.iter().map(|part| text.lines().position(|line| line == *part)).collect();
    if at.iter().any(Option::is_none) || !at.is_sorted() {
        found.push(format!("{file} wants the parts {PARTS:?}, in this order"));
    }
    if text.lines().count() > PAGE {
        found.push(format!("{file} is longer than one page ({PAGE} lines)"));
    }
    found
}

/// Images by their full tag, and nothing that would be fetched besides them.
fn pins(file: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(n, line)| (n + 1, line.trim())) {
        if line.to_lowercase().starts_with("# syntax=") {
            found.push(format!("{file}:{number} pulls a front end for the build"));
        }
        let image =
            ["image:", "FROM ", "ARG ", "NATS_IMAGE=", "POSTGRES_IMAGE="].iter().any(|begin| line.starts_with(begin));
        if image && line.contains(":latest") {
            found.push(format!("{file}:{number} is not pinned: {line}"));
        }
    }
    found
}

#[test]
fn the_places_that_the_readmes_name_exist() {
    assert_eq!(missing_paths("| decided | `services/shared/domain/src/nowhere.rs` |", "services").len(), 1);
    assert_none(&missing_paths("`a | b` and `ordo run <role>` and `nats/…` and `services/README.md`", "services"));
    let readme = fs::read_to_string(root().join("services/README.md")).unwrap();
    let first_table: Vec<&str> = readme.lines().filter(|line| line.starts_with('|')).take(5).collect();
    for word in ["decided", "persisted", "shown"] {
        assert!(
            first_table.iter().any(|line| line.contains(word)),
            "services/README.md opens with where a step is {word}"
        );
    }
    let mut found = missing_paths(&readme, "services");
    found.extend(missing_paths(&fs::read_to_string(root().join("README.md")).unwrap(), ""));
    for file in entries(&root().join("services/adr")) {
        found.extend(missing_paths(&fs::read_to_string(file).unwrap(), "services/adr"));
    }
    assert_none(&found);
}

#[test]
fn decisions_are_recorded_in_one_page_each() {
    let good = "# 1. T\n\n## Context\nx\n\n## Decision\ny\n\n## Consequence\nz\n";
    assert_none(&adr("0001-t.md", 1, good));
    assert_eq!(adr("0003-t.md", 2, good).len(), 1);
    assert_eq!(adr("0001-t.md", 1, "# 1. T\n\n## Decision\ny\n\n## Context\nx\n").len(), 1);
    assert_eq!(adr("0001-t.md", 1, &format!("{good}{}", "more\n".repeat(PAGE))).len(), 1);
    let files = entries(&root().join("services/adr"));
    assert!(files.len() >= 7, "the records of decisions are gone");
    let found: Vec<String> = files
        .iter()
        .enumerate()
        .flat_map(|(n, file)| adr(&name(file), n + 1, &fs::read_to_string(file).unwrap()))
        .collect();
    assert_none(&found);
}

#[test]
fn the_stack_is_pinned() {
    assert_eq!(pins("Dockerfile", "# syntax=docker/dockerfile:1\nFROM debian:latest\n").len(), 2);
    let mut found = Vec::new();
    for file in ["compose/Dockerfile", "compose/compose.yaml", "compose/.env"] {
        found.extend(pins(file, &fs::read_to_string(root().join(file)).unwrap()));
    }
    assert_none(&found);
}

/// The first line of a block of YAML that the file does not hold, in its order.
fn invented_line<'a>(block: &'a str, file: &str) -> Option<&'a str> {
    let mut lines = file.lines();
    block.lines().filter(|line| !line.trim().is_empty()).find(|line| !lines.any(|real| real == *line))
}

#[test]
fn the_readme_shows_the_first_example_as_it_is() {
    assert_eq!(invented_line("a: 1\nc: 3\n", "a: 1\nb: 2\nc: 3\n"), None);
    assert_eq!(invented_line("c: 3\na: 1\n", "a: 1\nb: 2\nc: 3\n"), Some("a: 1"));
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let block = readme
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("the README shows an example");
    let example = fs::read_to_string(root().join("schemas/examples/backup.yaml")).unwrap();
    assert_eq!(invented_line(block, &example), None, "the README shows a line that the example does not hold");
}

/// Files that sources take in by name and that the image's build would not see.
fn unseen_by_the_image(source: &super::Source, admitted: &[&str]) -> Vec<String> {
    let named = source.text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let resolved = named.map(|name| {
        let mut parts: Vec<&str> = folder.split('/').collect();
        name.split('/').for_each(|part| {
            if part == ".." { parts.truncate(parts.len().saturating_sub(1)) } else { parts.push(part) }
        });
        parts.join("/")
    });
    let unseen =
        resolved.filter(|path| !admitted.iter().any(|seen| path == seen || path.starts_with(&format!("{seen}/"))));
    unseen
        .map(|path| format!("{} takes in {path}, which compose/Dockerfile.dockerignore leaves out", source.path))
        .collect()
}

#[test]
fn the_image_is_built_from_all_that_sources_take_in() {
    let planted =
        super::Source::planted("services/a/src/lib.rs", "const X: &str = include_str!(\"../../../compose/x.txt\");");
    assert_eq!(unseen_by_the_image(&planted, &["services", "compose/init.sh"]).len(), 1);
    assert_none(&unseen_by_the_image(&planted, &["services", "compose/x.txt"]));
    let ignore = fs::read_to_string(root().join("compose/Dockerfile.dockerignore")).unwrap();
    let admitted: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let found: Vec<String> =
        super::sources(&["services"]).iter().flat_map(|source| unseen_by_the_image(source, &admitted)).collect();
    assert_none(&found);
}
