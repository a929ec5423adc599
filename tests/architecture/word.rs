//! Words that may stand in some places only.

use super::{Source, assert_none, sources};

/// A word, the folders whose sources may hold it, and why.
const WORDS: &[(&str, &[&str], &str)] = &[
    (
        "async_nats",
        &["services/shared/journal", "services/shared/testkit", "tests"],
        "errors and types of the bus stay in journal",
    ),
    (
        "tokio_postgres",
        &["services/shared/store", "services/shared/servers", "services/shared/testkit", "tests"],
        "the database stays in store",
    ),
    ("postgres::Client", &["services/shared/store", "services/shared/testkit", "tests"], "the database stays in store"),
];

/// What the pure core must not name: clocks, chance, threads, files, unordered iteration.
const IMPURE: &[&str] = &[
    "SystemTime",
    "std::time::Instant",
    "Instant::now",
    "Utc::now",
    "Local::now",
    "HashMap",
    "HashSet",
    "std::thread",
    "std::fs",
    "std::net",
    "std::env::",
    "std::process",
    "rand::",
    "tokio::",
    "tracing::",
    "println!",
];
/// What the contract must not name: it is a language, not an actor.
const ACTING: &[&str] =
    &["SystemTime", "Instant::now", "Utc::now", "Local::now", "std::fs", "std::net", "std::env::", "tokio::", "rand::"];

/// How statements begin; each with a word that must follow on the same line.
const SQL: &[(&str, &str)] = &[
    ("SELECT ", " FROM "),
    ("INSERT INTO ", ""),
    ("UPDATE ", " SET "),
    ("DELETE FROM ", ""),
    ("CREATE TABLE ", ""),
    ("ALTER TABLE ", ""),
];
/// `servers` makes roles and databases, never tables; `testkit` looks into them.
const SQL_MAY_STAND_IN: &[&str] =
    &["services/shared/store", "services/shared/servers", "services/shared/testkit", "tests"];

fn words(source: &Source) -> Vec<String> {
    let misplaced =
        WORDS.iter().filter(|(_, folders, _)| !folders.iter().any(|folder| source.path.starts_with(folder)));
    let mut found = Vec::new();
    for (word, _, why) in misplaced {
        let lines = source.code().filter(|(_, line)| line.contains(word) && !is_name_of_a_target(line, word));
        found.extend(lines.map(|(number, _)| format!("{}:{number} names {word}: {why}", source.path)));
    }
    found
}

/// The name of the library as a tracing target is a word about log lines, not a use of the library.
fn is_name_of_a_target(line: &str, word: &str) -> bool {
    line.contains(&format!("\"{word}")) && !line.contains(&format!("{word}::"))
}

fn sql(source: &Source) -> Vec<String> {
    if SQL_MAY_STAND_IN.iter().any(|folder| source.path.starts_with(folder)) {
        return Vec::new();
    }
    let is_sql =
        |line: &str| SQL.iter().any(|(begin, then)| line.find(begin).is_some_and(|at| line[at..].contains(then)));
    let lines = source.code().filter(|(_, line)| is_sql(line));
    lines.map(|(number, _)| format!("{}:{number} holds SQL: it stays in services/shared/store", source.path)).collect()
}

fn impure(source: &Source) -> Vec<String> {
    let words = match () {
        () if source.is_test() => &[],
        () if source.path.starts_with("services/shared/domain/") => IMPURE,
        () if source.path.starts_with("services/shared/contract/") => ACTING,
        () => &[],
    };
    let mut found = Vec::new();
    for (number, line) in source.code() {
        for word in words.iter().filter(|word| line.contains(**word)) {
            found.push(format!("{}:{number} names {word}: time, chance and order are arguments", source.path));
        }
    }
    found
}

fn unwraps(source: &Source) -> Vec<String> {
    if source.is_test() {
        return Vec::new();
    }
    let lines = source.code().filter(|(_, line)| line.contains(".unwrap()"));
    lines.map(|(number, _)| format!("{}:{number} unwraps: say what was attempted instead", source.path)).collect()
}

fn check(rule: fn(&Source) -> Vec<String>, offences: &[(&str, &str)], innocent: &[(&str, &str)]) {
    for (path, text) in offences {
        assert_eq!(rule(&Source::planted(path, text)).len(), 1, "this offence was not seen: {path}: {text}");
    }
    for (path, text) in innocent {
        assert_none(&rule(&Source::planted(path, text)));
    }
    let found: Vec<String> = sources(&["services", "tests"])
        .iter()
        .filter(|s| !s.path.starts_with("tests/architecture/"))
        .flat_map(rule)
        .collect();
    assert_none(&found);
}

#[test]
fn the_bus_and_the_database_are_named_in_one_crate_each() {
    check(
        words,
        &[
            ("services/proxy/src/lib.rs", "use async_nats::Client;"),
            ("services/history/src/lib.rs", "fn f(row: &tokio_postgres::Row) {}"),
            ("services/ordo/src/db.rs", "let c = postgres::Client::connect(url, NoTls);"),
        ],
        &[
            ("services/proxy/src/lib.rs", "// async_nats\nif target.starts_with(\"async_nats\") {}"),
            ("services/shared/journal/src/bus.rs", "use async_nats::Client;"),
        ],
    );
}

#[test]
fn sql_stands_in_the_store_only() {
    check(
        sql,
        &[
            ("services/history/src/lib.rs", "client.query(\"SELECT id FROM orders\")"),
            ("services/proxy/src/lib.rs", "\"UPDATE orders SET state = 1\""),
        ],
        &[
            ("services/proxy/src/lib.rs", "\"SELECT one, or UPDATE it\""),
            ("services/shared/store/src/read.rs", "\"SELECT id FROM orders\""),
        ],
    );
}

#[test]
fn the_core_is_pure() {
    check(
        impure,
        &[
            ("services/shared/domain/src/site.rs", "orders: HashMap<OrderId, Order>,"),
            ("services/shared/domain/src/ctx.rs", "let now = Utc::now();"),
            ("services/shared/contract/src/commit.rs", "let at = std::time::SystemTime::now();"),
        ],
        &[
            ("services/shared/domain/src/site.rs", "/// no HashMap\norders: BTreeMap<OrderId, Order>,"),
            ("services/shared/domain/src/site.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}"),
            ("services/shared/domain/src/order/tests.rs", "let now = Utc::now();"),
        ],
    );
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    check(
        unwraps,
        &[
            ("services/proxy/src/lib.rs", "let x = y.unwrap();"),
            ("services/proxy/src/lib.rs", "#[cfg(test)]\nmod tests;\nlet x = y.unwrap();"),
        ],
        &[
            ("services/proxy/src/tests.rs", "y.unwrap();"),
            ("services/proxy/src/lib.rs", "#[cfg(test)]\nmod tests {\n    fn f() { y.unwrap(); }\n}"),
        ],
    );
}
