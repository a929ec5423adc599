//! `make sabotage`: plants the bugs of `plants.rs` in a copy of the core and looks whether the simulation finds each, by
//! the invariant that should. A checker that cannot fail proves nothing. `ordo-sabotage NAME…` tries only those whose name
//! contains one of these.
//!
//! The copy is built once, with all bugs in it; a run switches one of them on.

mod plants;

use anyhow::{Context, ensure};
use plants::{PLANTS, Plant, WITHOUT};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
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
/// Of each plant; a run ends with the first that finds it.
const SEEDS: &str = "60";
/// Which bug is switched on.
const SWITCH: &str = "ORDO_PLANTED";

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests have a parent folder")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let copy = target.join("sabotage").join("source");
    prepare(root, &copy)?;
    let program = build(&copy)?;
    let (_, broken) = simulate(&program, None)?;
    ensure!(broken.is_empty(), "with no bug switched on these do not hold: {broken:?}");
    println!("no bug: every invariant holds");
    let mut missed = Vec::new();
    for plant in PLANTS.iter().filter(|p| wanted.is_empty() || wanted.iter().any(|w| p.name.contains(w.as_str()))) {
        let begin = Instant::now();
        let (seeds, broken) = simulate(&program, Some(plant))?;
        let seconds = begin.elapsed().as_secs_f64();
        if broken.contains(plant.breaks) {
            println!("{}: {} is broken ({seeds} seeds, {seconds:.1} s)", plant.name, plant.breaks);
        } else {
            println!("{}: {} HOLDS ({seconds:.1} s); broken are {broken:?}", plant.name, plant.breaks);
            missed.push(plant.name);
        }
    }
    for (invariant, why) in WITHOUT {
        println!("{invariant}: no bug, {why}");
    }
    ensure!(missed.is_empty(), "not found: {}", missed.join(", "));
    Ok(())
}

/// The file with all bugs that belong into it, each behind its switch.
fn planted(file: &Path, sound: String) -> anyhow::Result<String> {
    PLANTS.iter().filter(|plant| Path::new(plant.file) == file).try_fold(sound, |text, plant| {
        ensure!(text.matches(plant.find).count() == 1, "{}: its text does not stand once in {}", plant.name, plant.file);
        let switch = format!(
            "{{ static ON: std::sync::OnceLock<bool> = std::sync::OnceLock::new(); *ON.get_or_init(|| std::env::var({SWITCH:?}).as_deref() == Ok({:?})) }}",
            plant.name
        );
        Ok(text.replace(plant.find, &plant.replace.replace("PLANTED", &switch)))
    })
}

/// The simulation's program.
fn build(copy: &Path) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["test", "--quiet", "--package", "simulation", "--test", "simulation", "--no-run"])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", copy.with_file_name("target"))
        .stderr(Stdio::inherit())
        .output()
        .context("cargo runs")?;
    ensure!(output.status.success(), "the copy does not compile");
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    programs.next_back().context("a program was built")
}

/// How many seeds found something, and the invariants that they found broken.
fn simulate(program: &Path, plant: Option<&Plant>) -> anyhow::Result<(usize, BTreeSet<String>)> {
    let output = Command::new(program)
        .args(["every_seed", "--nocapture"])
        .env("SEEDS", SEEDS)
        .env("RUST_BACKTRACE", "0")
        .env(SWITCH, plant.map_or("", |p| p.name))
        .env("UNTIL", plant.map_or("", |p| p.breaks))
        .output()
        .context("the simulation runs")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let broken = said.lines().filter_map(|line| line.strip_prefix("seed ")?.split(": ").nth(1).map(str::to_owned));
    let broken: Vec<String> = broken.collect();
    ensure!(!broken.is_empty() || plant.is_some() || said.contains(" seeds, "), "the simulation did not end:\n{said}");
    Ok((broken.len(), broken.into_iter().collect()))
}

fn prepare(root: &Path, copy: &Path) -> anyhow::Result<()> {
    let mut files = BTreeMap::new();
    for folder in CRATES {
        collect(root, Path::new(folder), Path::new(folder), &mut files)?;
    }
    collect(root, Path::new("tests/simulation"), Path::new("simulation"), &mut files)?;
    files.insert("Cargo.lock".into(), fs::read_to_string(root.join("Cargo.lock"))?);
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let members = CRATES.iter().chain(&["simulation"]).map(|c| format!("{c:?}")).collect::<Vec<_>>().join(", ");
    let manifest = manifest.lines().map(|line| match line.starts_with("members = ") {
        true => format!("members = [{members}]"),
        false => line.to_owned(),
    });
    files.insert("Cargo.toml".into(), manifest.collect::<Vec<_>>().join("\n"));
    let mut own = "[package]\nname = \"simulation\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[[test]]\nname = \"simulation\"\npath = \"main.rs\"\n\n[lib]\npath = \"nothing.rs\"\n\n[dependencies]\nserde_json.workspace = true\n".to_owned();
    for dependency in DEPENDENCIES {
        own.push_str(&format!("{dependency}.workspace = true\n"));
    }
    files.insert("simulation/Cargo.toml".into(), own);
    files.insert("simulation/nothing.rs".into(), String::new());
    if copy.exists() {
        remove_others(copy, copy, &files)?;
    }
    files.iter().try_for_each(|(file, text)| write(&copy.join(file), text))
}

/// The files of a folder with the bugs in them, by their place in the copy.
fn collect(root: &Path, from: &Path, to: &Path, files: &mut BTreeMap<PathBuf, String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(root.join(from)).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (from, to) = (from.join(entry.file_name()), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            collect(root, &from, &to, files)?;
        } else {
            files.insert(to, planted(&from, fs::read_to_string(entry.path())?)?);
        }
    }
    Ok(())
}

/// What an earlier copy had and this one has not.
fn remove_others(copy: &Path, folder: &Path, files: &BTreeMap<PathBuf, String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(copy, &path, files)?;
        } else if !files.contains_key(path.strip_prefix(copy)?) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Leaves alone what is the same: only what has changed since the last time is built again.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if fs::read_to_string(file).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, text).with_context(|| file.display().to_string())
}
