//! `make sabotage`: plants each bug of `plants.rs` in a copy of the core and looks whether the simulation finds it, by
//! the invariant that should. A checker that cannot fail proves nothing.

mod plants;

use anyhow::{Context, ensure};
use plants::{PLANTS, Plant};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The simulation alone: what it needs of the workspace, and what the tests of that need.
const CRATES: [&str; 9] = [
    "services/shared/servers",
    "services/shared/store",
    "services/shared/testkit",
    "services/shared/domain",
    "services/shared/contract",
    "services/shared/journal",
    "services/shared/runtime",
    "services/controller",
    "services/agent",
];
const DEPENDENCIES: [&str; 10] = [
    "ordo-agent",
    "ordo-contract",
    "ordo-controller",
    "ordo-domain",
    "ordo-journal",
    "bytes",
    "chrono",
    "chrono-tz",
    "rand",
    "serde",
];
/// Of each plant.
const SEEDS: &str = "60";

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests have a parent folder")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let copy = target.join("sabotage").join("source");
    prepare(root, &copy)?;
    let sound = simulate(&copy)?;
    ensure!(sound.status.success(), "without a bug the simulation must pass:\n{}", text(&sound));
    println!("without a bug: every invariant holds");
    let mut missed = Vec::new();
    for plant in PLANTS.iter().filter(|p| wanted.is_empty() || wanted.iter().any(|w| p.name.contains(w.as_str()))) {
        let found = try_plant(root, &copy, plant)?;
        match plant.found_by.iter().find(|invariant| found.iter().any(|f| f == **invariant)) {
            Some(invariant) => println!("{}: found by {invariant}", plant.name),
            None => {
                println!("{}: NOT FOUND as it should be, but by {found:?}", plant.name);
                missed.push(plant.name);
            }
        }
    }
    ensure!(missed.is_empty(), "not found: {}", missed.join(", "));
    Ok(())
}

/// The invariants that were broken.
fn try_plant(root: &Path, copy: &Path, plant: &Plant) -> anyhow::Result<Vec<String>> {
    let sound = fs::read_to_string(root.join(plant.file)).with_context(|| plant.file.to_owned())?;
    ensure!(sound.matches(plant.find).count() == 1, "{}: its text does not stand once in {}", plant.name, plant.file);
    fs::write(copy.join(plant.file), sound.replace(plant.find, plant.replace))?;
    let output = simulate(copy);
    fs::write(copy.join(plant.file), sound)?;
    let output = output?;
    let said = text(&output);
    ensure!(!said.contains("could not compile"), "{} does not compile:\n{said}", plant.name);
    let broken = said.lines().filter_map(|line| line.strip_prefix("seed ")?.split(": ").nth(1).map(str::to_owned));
    let mut broken: Vec<String> = broken.collect();
    broken.sort();
    broken.dedup();
    Ok(broken)
}

fn simulate(copy: &Path) -> anyhow::Result<Output> {
    Command::new("cargo")
        .args(["test", "--quiet", "--package", "simulation", "every_seed", "--", "--nocapture"])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", copy.with_file_name("target"))
        .env("SEEDS", SEEDS)
        .env("RUST_BACKTRACE", "0")
        .output()
        .context("cargo runs")
}

fn text(output: &Output) -> String {
    [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat()
}

fn prepare(root: &Path, copy: &Path) -> anyhow::Result<()> {
    if copy.exists() {
        fs::remove_dir_all(copy)?;
    }
    for folder in CRATES {
        copy_folder(&root.join(folder), &copy.join(folder))?;
    }
    copy_folder(&root.join("tests/simulation"), &copy.join("simulation"))?;
    fs::copy(root.join("Cargo.lock"), copy.join("Cargo.lock"))?;
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let members = CRATES.iter().chain(&["simulation"]).map(|c| format!("{c:?}")).collect::<Vec<_>>().join(", ");
    let manifest = manifest.lines().map(|line| match line.starts_with("members = ") {
        true => format!("members = [{members}]"),
        false => line.to_owned(),
    });
    fs::write(copy.join("Cargo.toml"), manifest.collect::<Vec<_>>().join("\n"))?;
    let mut own = "[package]\nname = \"simulation\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[[test]]\nname = \"simulation\"\npath = \"main.rs\"\n\n[lib]\npath = \"nothing.rs\"\n\n[dependencies]\nserde_json.workspace = true\n".to_owned();
    for dependency in DEPENDENCIES {
        own.push_str(&format!("{dependency}.workspace = true\n"));
    }
    fs::write(copy.join("simulation/Cargo.toml"), own)?;
    Ok(fs::write(copy.join("simulation/nothing.rs"), "")?)
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &to.join(entry.file_name()))?,
            false => drop(fs::copy(entry.path(), to.join(entry.file_name()))?),
        }
    }
    Ok(())
}
