//! Sizes, names and folders.

use super::{Source, assert_none, entries, name, root, sources};
use std::fs;

/// A longer file has a reason, written at its top with these words.
const LINES: usize = 600;
const REASON: &str = "longer than";

/// All that may lie at the top, beside what is never committed.
const TOP: [&str; 13] = [
    "README.md",
    "LICENSE",
    "Makefile",
    "Cargo.toml",
    "Cargo.lock",
    "services",
    "schemas",
    "compose",
    "tests",
    ".ci",
    ".gitignore",
    ".rustfmt.toml",
    ".clippy.toml",
];
const NEVER_COMMITTED: [&str; 3] = [".git", "target", ".servers"];
const SERVICES: [&str; 8] = ["README.md", "adr", "shared", "controller", "agent", "proxy", "history", "cli"];
const SHARED: [&str; 8] = ["domain", "contract", "journal", "store", "service", "runtime", "servers", "testkit"];
const TIERS: [&str; 11] = [
    "Cargo.toml",
    "architecture",
    "golden",
    "simulation",
    "integration",
    "e2e",
    "chaos",
    "soak",
    "bench",
    "fixtures",
    "support",
];
const SCHEMAS: [&str; 8] = ["README.md", "definition", "event", "command", "report", "config", "postgres", "examples"];

/// Names that say nothing about what is inside.
const EMPTY_WORDS: [&str; 9] = ["util", "utils", "helper", "helpers", "common", "misc", "manager", "types", "stuff"];

fn size(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let header = source.text.lines().take_while(|line| line.starts_with("//!")).any(|line| line.contains(REASON));
    if lines <= LINES || header {
        return Vec::new();
    }
    vec![format!("{} has {lines} lines: split it, or say in its header why it is {REASON} {LINES}", source.path)]
}

fn naming(path: &str) -> Vec<String> {
    let stems = path.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part));
    let empty = stems
        .filter(|stem| EMPTY_WORDS.contains(stem))
        .map(|stem| format!("{path}: {stem:?} says nothing about what is inside"));
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders).split('/');
    // Modules of Rust carry underscores, all other folders hyphens.
    let outside = folders.take_while(|folder| *folder != "src" && *folder != "tests");
    let loud = outside.filter(|folder| folder.contains('_') || folder.chars().any(char::is_uppercase));
    let loud = loud.map(|folder| format!("{path}: the folder {folder} is not in kebab-case"));
    empty.chain(loud).collect()
}

fn beyond(found: &[String], allowed: &[&str], place: &str) -> Vec<String> {
    found
        .iter()
        .filter(|name| !allowed.contains(&name.as_str()))
        .map(|name| format!("{place} holds {name}, which has no place there"))
        .collect()
}

fn listing(folder: &str) -> Vec<String> {
    entries(&root().join(folder)).iter().map(|path| name(path)).collect()
}

/// Every crate opens with what it owns and where things are.
fn header(source: &Source) -> Vec<String> {
    let begins = source.text.starts_with("//! ");
    let layout =
        source.text.lines().take_while(|line| line.starts_with("//!")).any(|line| line.trim() == "//! # Layout");
    if begins && layout {
        return Vec::new();
    }
    vec![format!("{} does not open with what the crate owns and a `# Layout`", source.path)]
}

#[test]
fn files_are_short_or_say_why_not() {
    let long = "let x = 1;\n".repeat(LINES + 1);
    assert_eq!(size(&Source::planted("services/a/src/lib.rs", &long)).len(), 1);
    assert_none(&size(&Source::planted(
        "services/a/src/lib.rs",
        &format!("//! It is longer than most: one table.\n{long}"),
    )));
    let found: Vec<String> = sources(&["services", "tests"]).iter().flat_map(size).collect();
    assert_none(&found);
}

#[test]
fn names_say_what_is_inside() {
    assert_eq!(naming("services/proxy/src/util.rs").len(), 1);
    assert_eq!(naming("services/common/src/lib.rs").len(), 1);
    assert_eq!(naming("services/dailyPlan/src/lib.rs").len(), 1);
    assert_eq!(naming("services/daily_plan/src/lib.rs").len(), 1);
    assert_none(&naming("services/agent/src/process_table.rs"));
    let found: Vec<String> = sources(&["services", "tests"]).iter().flat_map(|source| naming(&source.path)).collect();
    assert_none(&found);
}

#[test]
fn everything_lies_where_it_belongs() {
    let top: Vec<&str> = TOP.into_iter().chain(NEVER_COMMITTED).collect();
    assert_eq!(beyond(&["README.md".into(), "scripts".into(), "NOTES.md".into()], &top, "the top").len(), 2);
    let mut found = beyond(&listing(""), &top, "the top of the repository");
    let services: Vec<&str> = SERVICES
        .into_iter()
        .chain(["ordo", "daily-plan", "cleanup", "monitor", "log-notification", "cockpit"])
        .collect();
    found.extend(beyond(&listing("services"), &services, "services/"));
    found.extend(beyond(&listing("services/shared"), &SHARED, "services/shared/"));
    found.extend(beyond(&listing("tests"), &TIERS, "tests/"));
    found.extend(beyond(&listing("schemas"), &SCHEMAS, "schemas/"));
    assert_none(&found);
}

#[test]
fn every_crate_says_what_it_owns() {
    assert_eq!(header(&Source::planted("services/a/src/lib.rs", "pub mod x;\n")).len(), 1);
    assert_eq!(
        header(&Source::planted("services/a/src/lib.rs", "//! What it owns.\n\npub mod x;\n//! # Layout\n")).len(),
        1
    );
    let mut found = Vec::new();
    for folder in listing("services")
        .iter()
        .map(|f| format!("services/{f}"))
        .chain(SHARED.iter().map(|f| format!("services/shared/{f}")))
    {
        let candidates = ["lib.rs", "main.rs"].map(|file| format!("{folder}/src/{file}"));
        if let Some(path) = candidates.into_iter().find(|path| root().join(path).is_file()) {
            let text = fs::read_to_string(root().join(&path)).unwrap();
            found.extend(header(&Source { path, text }));
        }
    }
    assert_none(&found);
}
