//! The allow-list. A new line here is a decision: it keeps something out of the rest or lets it in, and an ADR says why.

use super::{assert_none, entries, name, root};
use std::collections::BTreeSet;
use std::fs;

/// Folder of the crate, and what it may depend on outside tests.
const ALLOWED: &[(&str, &[&str])] = &[
    // Pure: no runtime, no tracing, no bus, no SQL, no chance.
    (
        "services/shared/domain",
        &[
            "cel",
            "chrono",
            "chrono-tz",
            "regex",
            "schemars",
            "serde",
            "serde-saphyr",
            "serde_json",
            "sha2",
            "thiserror",
        ],
    ),
    ("services/shared/contract", &["ordo-domain", "chrono", "schemars", "serde", "serde_json", "sha2", "thiserror"]),
    (
        "services/shared/journal",
        &[
            "ordo-contract",
            "ordo-domain",
            "async-nats",
            "bytes",
            "chrono",
            "futures",
            "nix",
            "rand",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "tokio",
            "tokio-util",
            "tracing",
            "zstd",
        ],
    ),
    (
        "services/shared/store",
        &[
            "ordo-contract",
            "ordo-domain",
            "bytes",
            "chrono",
            "chrono-tz",
            "deadpool-postgres",
            "futures",
            "postgres",
            "rustls",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "tokio",
            "tokio-postgres",
            "tokio-postgres-rustls",
            "tracing",
            "zstd",
        ],
    ),
    (
        "services/shared/runtime",
        &[
            "anyhow",
            "chrono",
            "clap",
            "nix",
            "rand",
            "schemars",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "tokio-util",
            "toml",
            "tracing",
            "tracing-subscriber",
        ],
    ),
    (
        "services/shared/servers",
        &[
            "ordo-contract",
            "anyhow",
            "data-encoding",
            "nix",
            "nkeys",
            "rand",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "tokio",
            "tokio-postgres",
            "tracing",
        ],
    ),
    (
        "services/shared/service",
        &[
            "ordo-domain",
            "ordo-contract",
            "ordo-journal",
            "ordo-store",
            "ordo-runtime",
            "anyhow",
            "bytes",
            "chrono",
            "futures",
            "rand",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "tokio-util",
            "tracing",
        ],
    ),
    ("services/controller", SERVICE),
    ("services/agent", AGENT),
    ("services/proxy", SERVICE),
    ("services/history", LEASED),
    ("services/daily-plan", DAILY_PLAN),
    ("services/monitor", MONITOR),
    ("services/cleanup", LEASED),
    ("services/log-notification", LOG_NOTIFICATION),
    ("services/cli", CLI),
];

/// Services meet in `contract`, over the bus: none uses another, and who decides about orders knows no database.
const SERVICE: &[&str] = &[
    "ordo-domain",
    "ordo-contract",
    "ordo-journal",
    "ordo-runtime",
    "anyhow",
    "bytes",
    "chrono",
    "chrono-tz",
    "futures",
    "rand",
    "schemars",
    "serde",
    "serde_json",
    "sha2",
    "thiserror",
    "tokio",
    "tokio-util",
    "tracing",
    "zstd",
];
/// It alone handles processes.
const AGENT: &[&str] = &[
    "ordo-domain",
    "ordo-contract",
    "ordo-journal",
    "ordo-runtime",
    "anyhow",
    "bytes",
    "chrono",
    "futures",
    "libc",
    "memchr",
    "nix",
    "rand",
    "schemars",
    "serde",
    "serde_json",
    "sha2",
    "thiserror",
    "tokio",
    "tokio-util",
    "tracing",
];
/// Active once, by lease, with rows of its own: what is not its own rules comes from `ordo-service`.
const LEASED: &[&str] = &[
    "ordo-domain",
    "ordo-contract",
    "ordo-journal",
    "ordo-store",
    "ordo-service",
    "ordo-runtime",
    "anyhow",
    "bytes",
    "chrono",
    "futures",
    "rand",
    "schemars",
    "serde",
    "serde_json",
    "thiserror",
    "tokio",
    "tokio-util",
    "tracing",
    "zstd",
];
/// As [`LEASED`], and days have zones.
const DAILY_PLAN: &[&str] = &[
    "ordo-domain",
    "ordo-contract",
    "ordo-journal",
    "ordo-store",
    "ordo-service",
    "ordo-runtime",
    "anyhow",
    "bytes",
    "chrono",
    "chrono-tz",
    "schemars",
    "serde",
    "serde_json",
    "tokio",
    "tokio-util",
    "tracing",
];
/// It alone speaks to mail servers.
const MONITOR: &[&str] = &[
    "ordo-domain",
    "ordo-contract",
    "ordo-journal",
    "ordo-store",
    "ordo-runtime",
    "ordo-service",
    "anyhow",
    "bytes",
    "chrono",
    "chrono-tz",
    "futures",
    "lettre",
    "rustls",
    "schemars",
    "serde",
    "serde_json",
    "thiserror",
    "tokio",
    "tokio-util",
    "tracing",
];
/// It alone reads syslog, from sockets.
const LOG_NOTIFICATION: &[&str] = &[
    "ordo-domain",
    "ordo-contract",
    "ordo-journal",
    "ordo-runtime",
    "ordo-service",
    "ordo-store",
    "anyhow",
    "bytes",
    "chrono",
    "futures",
    "memchr",
    "nix",
    "rand",
    "schemars",
    "serde",
    "serde_json",
    "syslog_loose",
    "thiserror",
    "tokio",
    "tokio-util",
    "tracing",
];
const CLI: &[&str] = &[
    "ordo-domain",
    "ordo-contract",
    "ordo-journal",
    "ordo-runtime",
    "anyhow",
    "bytes",
    "chrono",
    "chrono-tz",
    "clap",
    "futures",
    "miette",
    "rand",
    "serde",
    "serde_json",
    "terminal_size",
    "thiserror",
    "tokio",
    "tokio-util",
    "tracing",
    "unicode-width",
];

/// Where all meet: the binary, and what only tests use.
const MEETING_PLACES: [&str; 3] = ["services/ordo", "services/shared/testkit", "tests"];
/// What a crate's own tests may use besides.
const IN_TESTS: [&str; 8] =
    ["ordo-testkit", "ordo-servers", "async-nats", "postgres", "tokio-postgres", "futures", "tokio", "serde_json"];

/// The keys of `[dependencies]`, of `[build-dependencies]` and of those for one platform; with `tests` those for tests.
fn dependencies(manifest: &str, tests: bool) -> BTreeSet<String> {
    let manifest: toml::Table = manifest.parse().unwrap();
    let sections: &[&str] = if tests { &["dev-dependencies"] } else { &["dependencies", "build-dependencies"] };
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = std::iter::once(&manifest)
        .chain(targets.into_iter().flat_map(|t| t.values()).filter_map(toml::Value::as_table));
    let found = tables.flat_map(|table| sections.iter().filter_map(|section| table.get(*section)?.as_table()));
    found.flat_map(|section| section.keys().cloned()).collect()
}

/// What a crate uses and may not.
fn complaints(folder: &str, manifest: &str) -> Vec<String> {
    if MEETING_PLACES.contains(&folder) {
        return Vec::new();
    }
    let Some((_, allowed)) = ALLOWED.iter().find(|(listed, _)| *listed == folder) else {
        return vec![format!(
            "{folder} is a new crate: give it a list in tests/architecture/dependency.rs, and an ADR"
        )];
    };
    let used = dependencies(manifest, false).into_iter().filter(|used| !allowed.contains(&used.as_str()));
    let tests = dependencies(manifest, true)
        .into_iter()
        .filter(|used| !allowed.contains(&used.as_str()) && !IN_TESTS.contains(&used.as_str()));
    used.chain(tests)
        .map(|used| format!("{folder} uses {used}, which is not on its list in tests/architecture/dependency.rs"))
        .collect()
}

#[test]
fn each_crate_uses_only_what_stands_on_its_list() {
    let planted = "[dependencies]\nserde.workspace = true\ntokio = \"1\"\n[target.'cfg(unix)'.dependencies]\nrand.workspace = true\n";
    let found = complaints("services/shared/domain", planted);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(complaints("services/proxy", "[dependencies]\nordo-controller.workspace = true\n").len(), 1);
    assert_eq!(complaints("services/controller", "[dependencies]\nordo-store.workspace = true\n").len(), 1);
    assert_eq!(complaints("services/controller", "[dev-dependencies]\nordo-agent.workspace = true\n").len(), 1);
    assert_eq!(complaints("services/scheduler", "[dependencies]\n").len(), 1, "an unknown crate");

    let mut found = Vec::new();
    let mut seen = 0;
    for parent in ["services", "services/shared"] {
        for folder in entries(&root().join(parent)) {
            if let Ok(manifest) = fs::read_to_string(folder.join("Cargo.toml")) {
                seen += 1;
                found.extend(complaints(&format!("{parent}/{}", name(&folder)), &manifest));
            }
        }
    }
    assert!(seen >= ALLOWED.len(), "only {seen} crates found");
    assert_none(&found);
}

#[test]
fn a_crate_is_called_after_its_folder() {
    let wrong = |folder: &str, manifest: &str| {
        let manifest: toml::Table = manifest.parse().unwrap();
        let name = manifest["package"]["name"].as_str().unwrap_or_default().to_owned();
        name != folder && name != format!("ordo-{folder}")
    };
    assert!(wrong("proxy", "[package]\nname = \"ordo-gateway\"\n"));
    for parent in ["services", "services/shared"] {
        for folder in entries(&root().join(parent)) {
            if let Ok(manifest) = fs::read_to_string(folder.join("Cargo.toml")) {
                assert!(!wrong(&name(&folder), &manifest), "{} is called otherwise than its folder", folder.display());
            }
        }
    }
}
