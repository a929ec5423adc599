//! `schemas/`: what crosses a border, generated from the types. `make schemas` writes it anew.

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Folders in which every file is generated.
const FOLDERS: [&str; 5] = ["definition", "event", "command", "report", "config"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas")
}

fn pretty(schema: &Schema) -> String {
    format!("{}\n", serde_json::to_string_pretty(schema).unwrap())
}

fn schema<T: JsonSchema>() -> String {
    pretty(&SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>())
}

/// Every generated file with its text.
fn files() -> BTreeMap<String, String> {
    use ordo_contract::{
        command::CommandMessage, commit::Commit, heartbeat::Heartbeat, job, log::LogRecord, notice::Notice,
        report::ReportMessage,
    };
    use ordo_domain::definition::{
        file::{self, LockFile, WorkflowFile},
        file_log_rule::LogRuleFile,
        file_retention::RetentionFile,
        file_rule::{MaintenanceFile, RuleFile},
        file_schedule::ScheduleFile,
    };
    let mut files = BTreeMap::new();
    let mut add = |name: &str, text: String| files.insert(format!("{name}.schema.json"), text);
    add("definition/workflow", pretty(&file::schema::<WorkflowFile>()));
    add("definition/lock", pretty(&file::schema::<LockFile>()));
    add("definition/schedule", pretty(&file::schema::<ScheduleFile>()));
    add("definition/rule", pretty(&file::schema::<RuleFile>()));
    add("definition/maintenance", pretty(&file::schema::<MaintenanceFile>()));
    add("definition/log_rule", pretty(&file::schema::<LogRuleFile>()));
    add("definition/retention", pretty(&file::schema::<RetentionFile>()));
    add("event/event", schema::<ordo_domain::Event>());
    add("event/commit", schema::<Commit>());
    add("command/command", schema::<CommandMessage>());
    add("command/job", schema::<job::JobMessage>());
    add("command/kill", schema::<job::KillMessage>());
    add("report/report", schema::<ReportMessage>());
    add("report/heartbeat", schema::<Heartbeat>());
    add("report/log", schema::<LogRecord>());
    add("report/notice", schema::<Notice>());
    add("config/controller", schema::<ordo_controller::Config>());
    add("config/proxy", schema::<ordo_proxy::Config>());
    add("config/history", schema::<ordo_history::Config>());
    add("config/daily-plan", schema::<ordo_daily_plan::Config>());
    add("config/monitor", schema::<ordo_monitor::Config>());
    add("config/cleanup", schema::<ordo_cleanup::Config>());
    add("config/log-notification", schema::<ordo_log_notification::Config>());
    files
}

/// With `ORDO_WRITE_SCHEMAS` it writes the files instead; they are fresh afterwards too.
#[test]
fn schemas_are_fresh() {
    let files = files();
    if std::env::var_os("ORDO_WRITE_SCHEMAS").is_some() {
        for (name, text) in &files {
            let path = root().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        for stray in strays(&files) {
            std::fs::remove_file(root().join(stray)).unwrap();
        }
    }
    for (name, text) in &files {
        let found = std::fs::read_to_string(root().join(name)).unwrap_or_default();
        assert!(found == *text, "schemas/{name} is not what the types say: run `make schemas`");
    }
    let strays = strays(&files);
    assert!(strays.is_empty(), "nothing generates {strays:?} in schemas/: run `make schemas`");
}

/// Files in the generated folders that nothing generates.
fn strays(files: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in FOLDERS {
        let Ok(entries) = std::fs::read_dir(root().join(folder)) else { continue };
        for entry in entries {
            found.insert(format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy()));
        }
    }
    found.retain(|name| !files.contains_key(name));
    found
}

#[test]
fn a_file_that_nothing_generates_is_seen() {
    let mut files = files();
    assert!(strays(&files).is_empty());
    files.remove("event/event.schema.json");
    assert_eq!(strays(&files), BTreeSet::from(["event/event.schema.json".to_owned()]));
}

/// Each part of a schema says what it is for: editors show it.
#[test]
fn schemas_of_definitions_describe_every_step() {
    let schema: serde_json::Value = serde_json::from_str(&files()["definition/workflow.schema.json"]).unwrap();
    let parts = schema["$defs"].as_object().unwrap();
    for step in ["JobStep", "IfStep", "ForkStep", "TryStep", "CallStep", "FailStep", "FinishStep"] {
        assert!(parts[step]["description"].is_string(), "{step}");
        assert_eq!(parts[step]["additionalProperties"], false, "{step}");
    }
}
