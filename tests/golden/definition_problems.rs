//! Definitions with mistakes, and what is said of them: `definition/<name>.yaml` and `.txt`. `UPDATE_GOLDEN=1` writes the
//! texts anew.

use ordo_domain::{
    AgentName, LockName, WorkflowName,
    definition::{self, Known, KnownWorkflow},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/definition")
}

/// A site with the agents `local` and `etl`, the lock `sales-db` of 4, and the workflow `cleanup`.
fn known() -> Known {
    let cleanup = "workflow: cleanup\nparameters: { rows: { type: number }, day: { type: string, default: x } }\nsteps: [{ call: archive }]\n";
    let cleanup = match &definition::read("cleanup.yaml", cleanup).unwrap().items[0].definition {
        definition::Definition::Workflow(workflow) => KnownWorkflow::from(workflow),
        definition::Definition::Lock(_) | definition::Definition::Catalog(_) => unreachable!(),
    };
    Known {
        workflows: BTreeMap::from([(WorkflowName::new("cleanup").unwrap(), cleanup)]),
        locks: BTreeMap::from([(LockName::new("sales-db").unwrap(), 4)]),
        agents: Some(["local", "etl"].map(|name| AgentName::new(name).unwrap()).into()),
    }
}

/// As `ordo deploy` says it.
fn said(name: &str, text: &str) -> String {
    said_with(name, text, &known())
}

fn said_with(name: &str, text: &str, known: &Known) -> String {
    let problems = match definition::read(name, text) {
        Ok(compiled) => definition::check_together(&compiled.items, known),
        Err(problems) => problems,
    };
    problems.iter().map(|p| p.render(text) + "\n").collect()
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    files
}

#[test]
fn problems_of_definitions_are_said_as_before() {
    let files = yaml_files(&folder());
    assert!(files.len() >= 10, "{files:?}");
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let said = said(name, &std::fs::read_to_string(&path).unwrap());
        assert!(!said.is_empty(), "{name} has no problem");
        let kept = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&kept, &said).unwrap();
        }
        let expected = std::fs::read_to_string(&kept).unwrap_or_default();
        assert!(said == expected, "{name}: review this, then UPDATE_GOLDEN=1\n{said}");
    }
}

/// What is shipped can be deployed to a site with the agent `local`.
#[test]
fn examples_are_without_problems() {
    let files = yaml_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/examples"));
    assert!(files.len() >= 2, "{files:?}");
    let texts = files.into_iter().map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap()));
    let texts: Vec<(String, String)> = texts.collect();
    let mut known = known();
    // Schedules name workflows of other files.
    for item in texts.iter().flat_map(|(name, text)| definition::read(name, text).unwrap().items) {
        if let definition::Definition::Workflow(workflow) = &item.definition {
            known.workflows.insert(workflow.name.clone(), KnownWorkflow::from(workflow));
        }
    }
    for (name, text) in &texts {
        assert_eq!(said_with(name, text, &known), "");
    }
}
