//! The rules of the house that a machine can check: who may use what, where which word may stand, how things are laid
//! out. Each rule is a function from text to complaints; each test shows it a planted offence first, so that a rule which
//! cannot fail is noticed, and the repository second.
//!
//! # Layout
//! - `dependency.rs`: the allow-list of dependencies per crate
//! - `word.rs`: words that belong into one crate only, the pure core, `unwrap`
//! - `shape.rs`: sizes, names, folders
//! - `document.rs`: the paths that documents name, the records of decisions, the pins of the stack

// All of it is tests, also what clippy does not take for one.
#![allow(clippy::unwrap_used)]

mod dependency;
mod document;
mod shape;
mod word;

use std::fs;
use std::path::{Path, PathBuf};

/// The checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A file of Rust, by its path in the checkout.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn planted(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Beside the code, or in a crate that only tests use.
    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let by_name = name == "tests.rs" || name.ends_with("_tests.rs") || name.starts_with("test_");
        let by_folder = ["tests/", "services/shared/testkit/"].iter().any(|folder| self.path.starts_with(folder));
        by_name || by_folder || self.path.contains("/tests/")
    }

    /// The numbered lines that are code of the product: no comments, and nothing from the first `#[cfg(test)]` that opens
    /// a module on.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let end = lines
            .iter()
            .enumerate()
            .position(|(n, line)| line.trim() == "#[cfg(test)]" && opens_a_module(&lines[n + 1..]));
        let end = end.unwrap_or(lines.len());
        lines
            .into_iter()
            .take(end)
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(n, line)| (n + 1, line))
    }
}

/// `mod tests {`, and not `mod tests;`, behind which more code may follow.
fn opens_a_module(lines: &[&str]) -> bool {
    let next = lines.iter().find(|line| !line.trim_start().starts_with('#'));
    next.is_some_and(|line| line.trim_start().starts_with("mod ") && line.trim_end().ends_with('{'))
}

/// Every file of Rust below these folders.
fn sources(folders: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut paths);
    }
    paths.sort();
    let relative = |path: &Path| path.strip_prefix(root()).unwrap().display().to_string();
    let found: Vec<Source> =
        paths.iter().map(|path| Source { path: relative(path), text: fs::read_to_string(path).unwrap() }).collect();
    assert!(found.len() > 20, "no sources below {folders:?}");
    found
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for path in entries(folder) {
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = found.flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What went wrong, all at once.
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n  {}\n", complaints.join("\n  "));
}
