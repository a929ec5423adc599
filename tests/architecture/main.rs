//! Who may use what. Each crate's dependencies and words stand on an allow-list: a new one is a decision, made here and
//! explained in an ADR.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Folder, and what it may depend on outside tests.
const ALLOWED: &[(&str, &[&str])] = &[
    ("services/shared/domain", &["cel", "chrono", "chrono-tz", "regex", "schemars", "serde", "serde-saphyr", "serde_json", "sha2", "thiserror"]),
    ("services/shared/contract", &["ordo-domain", "chrono", "schemars", "serde", "serde_json", "sha2", "thiserror"]),
    (
        "services/shared/journal",
        &[
            "ordo-contract", "ordo-domain", "async-nats", "bytes", "chrono", "futures", "nix", "rand", "serde", "serde_json", "sha2",
            "thiserror", "tokio", "tokio-util", "tracing", "zstd",
        ],
    ),
    (
        "services/shared/store",
        &[
            "ordo-contract", "ordo-domain", "chrono", "deadpool-postgres", "futures", "postgres", "rustls", "serde", "serde_json",
            "sha2", "thiserror", "tokio", "tokio-postgres", "tokio-postgres-rustls", "tracing", "zstd",
        ],
    ),
    (
        "services/shared/runtime",
        &[
            "anyhow", "chrono", "clap", "nix", "rand", "schemars", "serde", "serde_json", "thiserror", "tokio", "tokio-util", "toml",
            "tracing", "tracing-subscriber",
        ],
    ),
    (
        "services/shared/servers",
        &[
            "ordo-contract", "anyhow", "data-encoding", "nix", "nkeys", "rand", "serde", "serde_json", "sha2", "thiserror", "tokio",
            "tokio-postgres", "tracing",
        ],
    ),
    ("services/controller", SERVICE),
    ("services/agent", SERVICE),
    ("services/proxy", SERVICE),
    ("services/history", HISTORY),
    ("services/cli", CLI),
];

/// Services meet in `contract`, over the bus: none uses another, and only history uses the store.
const SERVICE: &[&str] = &[
    "ordo-domain", "ordo-contract", "ordo-journal", "ordo-runtime", "anyhow", "bytes", "chrono", "chrono-tz", "futures", "libc", "nix",
    "rand", "schemars", "serde", "serde_json", "sha2", "thiserror", "tokio", "tokio-util", "tracing", "zstd",
];
const HISTORY: &[&str] = &[
    "ordo-domain", "ordo-contract", "ordo-journal", "ordo-store", "ordo-runtime", "anyhow", "bytes", "chrono", "futures", "rand",
    "schemars", "serde", "serde_json", "thiserror", "tokio", "tokio-util", "tracing", "zstd",
];
const CLI: &[&str] = &[
    "ordo-domain", "ordo-contract", "ordo-journal", "ordo-runtime", "anyhow", "bytes", "chrono", "chrono-tz", "clap", "futures", "miette",
    "rand", "serde", "serde_json", "terminal_size", "thiserror", "tokio", "tracing", "unicode-width",
];

/// A word, the folders whose sources may hold it, and why.
const WORDS: &[(&str, &[&str], &str)] = &[
    ("async_nats::jetstream", &["services/shared/journal", "services/shared/testkit", "tests"], "errors and types of the bus stay in journal"),
    ("tokio_postgres", &["services/shared/store", "services/shared/servers", "services/shared/testkit", "tests"], "SQL stays in store"),
    ("postgres::Client", &["services/shared/store", "services/shared/testkit", "tests"], "SQL stays in store"),
];

/// What the pure core must not name: clocks, chance, threads, files, unordered iteration.
const IMPURE: &[&str] = &[
    "SystemTime", "std::time::Instant", "Utc::now", "HashMap", "HashSet", "std::thread", "std::fs", "std::net", "std::env", "rand::",
    "tokio::", "tracing::", "println!",
];

/// The keys of `[dependencies]`, by a reading of the lines that is enough for our own files.
fn dependencies(manifest: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(manifest).unwrap();
    let section = text.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1).take_while(|line| !line.trim_start().starts_with('['));
    let keys = section.filter(|line| !line.trim_start().starts_with('#')).filter_map(|line| line.split(['.', '=', ' ']).next());
    keys.filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The lines of a source that are code.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    lines.map(|(number, line)| (number + 1, line.to_owned())).collect()
}

#[test]
fn each_crate_uses_only_what_it_may() {
    let mut wrong = BTreeMap::new();
    for (folder, allowed) in ALLOWED {
        let used = dependencies(&root().join(folder).join("Cargo.toml"));
        let beyond: Vec<String> = used.into_iter().filter(|name| !allowed.contains(&name.as_str())).collect();
        if !beyond.is_empty() {
            wrong.insert(*folder, beyond);
        }
    }
    assert!(wrong.is_empty(), "not on the allow-list of tests/architecture/main.rs: {wrong:?}");
}

#[test]
fn every_crate_stands_on_the_list_or_is_a_place_where_all_meet() {
    let meeting: [&str; 3] = ["services/ordo", "services/shared/testkit", "tests"];
    let mut folders = Vec::new();
    for parent in ["services", "services/shared"] {
        let entries = fs::read_dir(root().join(parent)).unwrap().flatten();
        folders.extend(entries.map(|entry| format!("{parent}/{}", entry.file_name().to_string_lossy())));
    }
    folders.retain(|folder| root().join(folder).join("Cargo.toml").is_file());
    for folder in folders {
        let known = ALLOWED.iter().any(|(listed, _)| *listed == folder) || meeting.contains(&folder.as_str());
        assert!(known, "{folder} is a new crate: give it a list in tests/architecture/main.rs and an ADR");
    }
}

#[test]
fn words_of_the_bus_and_of_sql_stay_where_they_belong() {
    let mut files = Vec::new();
    sources(&root().join("services"), &mut files);
    sources(&root().join("tests"), &mut files);
    assert!(files.len() > 20, "no sources found");
    for file in files {
        let relative = file.strip_prefix(root()).unwrap().display().to_string();
        if relative.starts_with("tests/architecture") {
            continue;
        }
        for (number, line) in code(&file) {
            for (word, folders, why) in WORDS {
                let allowed = folders.iter().any(|folder| relative.starts_with(folder));
                assert!(allowed || !line.contains(word), "{relative}:{number} names {word}: {why}");
            }
        }
    }
}

#[test]
fn the_core_is_pure() {
    let mut files = Vec::new();
    sources(&root().join("services/shared/domain/src"), &mut files);
    assert!(!files.is_empty());
    for file in files.iter().filter(|file| !file.display().to_string().contains("test")) {
        for (number, line) in code(file) {
            if line.contains("#[cfg(test)]") {
                break;
            }
            for word in IMPURE {
                assert!(!line.contains(word), "{}:{number} names {word}: time, chance and order are arguments", file.display());
            }
        }
    }
}

#[test]
fn the_places_where_to_read_first_exist() {
    let readme = fs::read_to_string(root().join("services/README.md")).unwrap();
    let table = readme.lines().filter(|line| line.starts_with("| ") && line.contains('`')).take(3);
    let paths: Vec<String> = table.flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned)).filter(|word| word.contains('/')).collect();
    assert!(paths.len() >= 3, "services/README.md opens with the table of where a step is decided, persisted and shown");
    for path in paths {
        assert!(root().join(&path).exists() || root().join("services").join(&path).exists(), "services/README.md names {path}, which is not there");
    }
}
