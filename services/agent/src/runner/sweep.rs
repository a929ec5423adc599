//! What happens to the runs of a runner that died: what is left of their processes is ended, and each gets its end as
//! lost. Whether they did their work nobody knows.

use super::folder::RunFolder;
use super::output;
use super::process_table::{self, Proc};
use super::protocol::EndFacts;
use super::system;
use ordo_domain::{RunId, run::RunEnd, run::RunFacts};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A folder without a `run.json` younger than this may be one that another runner is just filling.
pub const JUST_MADE: Duration = Duration::from_secs(10);

/// Where runners keep their sockets and locks.
pub fn runner_folder(data: &Path) -> PathBuf {
    data.join("runner")
}

pub fn lock_path(data: &Path, runner: &str) -> PathBuf {
    runner_folder(data).join(format!("{runner}.lock"))
}

pub fn socket_path(data: &Path, runner: &str) -> PathBuf {
    runner_folder(data).join(format!("{runner}.sock"))
}

/// Whether a runner lives: it holds its lock as long as it does, and the kernel lets go of it when it dies.
pub fn lives(data: &Path, runner: &str) -> bool {
    match File::open(lock_path(data, runner)) {
        Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    pub lost: Vec<RunId>,
    /// There is a folder of which it is not known yet whose it is.
    pub again: bool,
}

/// Ends the runs of dead runners; returns those that were lost. What `is_mine`, the asking runner holds itself. Also removes what dead runners left behind.
///
/// # Errors
/// When the folder of runs cannot be read. A run whose end cannot be written is left for the next sweep.
pub fn sweep(data: &Path, me: &str, is_mine: impl Fn(&RunId) -> bool) -> io::Result<Swept> {
    let mut alive: BTreeMap<String, bool> = BTreeMap::new();
    let mut is_alive = |runner: &str| {
        runner == me || *alive.entry(runner.to_owned()).or_insert_with(|| !runner.is_empty() && lives(data, runner))
    };
    let boot = process_table::boot_id();
    let others = has_others(data, me);
    let (mut lost, mut again) = (Vec::new(), false);
    for (run, folder) in RunFolder::all(data)? {
        if is_mine(&run) || folder.end().is_some() {
            continue;
        }
        let end = match folder.meta() {
            Some(meta) if is_alive(&meta.runner) => continue,
            Some(meta) if meta.boot == boot => {
                end_leftovers(&folder, &run);
                RunEnd::Lost { reason: "its runner died".to_owned() }
            }
            Some(_) => RunEnd::Lost { reason: "the machine was started anew while it ran".to_owned() },
            None if others && is_young(&folder) => {
                again = true;
                continue;
            }
            None => {
                end_leftovers(&folder, &run);
                RunEnd::Lost { reason: "its runner died while it was started".to_owned() }
            }
        };
        let end = lost_facts(&folder, end);
        match folder.write_end(&end) {
            Ok(()) => {
                tracing::warn!(run_id = %run, "run is lost");
                lost.push(run);
            }
            Err(error) => tracing::warn!(run_id = %run, %error, "end of a lost run not written, trying again later"),
        }
    }
    remove_dead(data, &mut is_alive);
    Ok(Swept { lost, again })
}

/// Whether another runner lives, one that drains.
fn has_others(data: &Path, me: &str) -> bool {
    let locks = fs::read_dir(runner_folder(data)).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut names = locks.filter(|path| path.extension().is_some_and(|e| e == "lock"));
    names.any(|path| {
        path.file_stem()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name != me && name != "active" && lives(data, name))
    })
}

fn is_young(folder: &RunFolder) -> bool {
    let age = fs::metadata(folder.path()).and_then(|found| found.modified()).map(|time| time.elapsed());
    age.is_ok_and(|age| age.is_ok_and(|age| age < JUST_MADE))
}

fn lost_facts(folder: &RunFolder, end: RunEnd) -> EndFacts {
    let (output, head_frames) = output::survey(folder);
    let started_at = folder.main_process().map(|main| main.at);
    let facts = RunFacts {
        end,
        started_at,
        ended_at: system::now(),
        usage: ordo_domain::run::report::Usage::default(),
        output,
        results: BTreeMap::new(),
        results_error: None,
    };
    EndFacts { facts, results: None, results_error: None, head_frames, omitted: 0 }
}

/// The processes of a run whose runner is gone: those that carry its id in their environment, the session of its main
/// process while that is provably still the same process, and all that descend from these.
fn end_leftovers(folder: &RunFolder, run: &RunId) {
    let main = folder.main_process();
    for _ in 0..50 {
        let table = process_table::all();
        let is_main = |pid: i32| {
            let known = main.filter(|main| main.pid == pid);
            known.is_some_and(|main| table.get(&pid).is_some_and(|p| p.started_between(main.after_ms, main.before_ms)))
        };
        let marked: BTreeSet<i32> =
            table.keys().copied().filter(|pid| process_table::run_of(*pid).as_ref() == Some(run)).collect();
        let is_root =
            |process: &Proc| marked.contains(&process.pid) || is_main(process.pid) || is_main(process.session);
        let mut left = process_table::with_descendants(&table, is_root);
        left.retain(|process| !process.zombie);
        if left.is_empty() {
            return;
        }
        left.iter().for_each(process_table::end_quietly);
        std::thread::sleep(Duration::from_millis(2));
    }
    tracing::error!(run_id = %run, "processes of a lost run cannot be ended");
}

fn remove_dead(data: &Path, is_alive: &mut impl FnMut(&str) -> bool) {
    let Ok(entries) = fs::read_dir(runner_folder(data)) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_his = path.extension().is_some_and(|extension| extension == "lock" || extension == "sock");
        if is_his && name != "active" && !is_alive(name) {
            let _ = fs::remove_file(&path);
        }
    }
}
