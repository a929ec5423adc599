//! Reading `/proc`: who descends from whom, and which run a process belongs to. Process ids are reused (after 32,768
//! of them on a small machine), so nothing here is signalled by its number: see [`end`].

use super::system;
use nix::errno::Errno;
use ordo_domain::RunId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::fd::AsFd;

/// One line of the table. Number and start time together name a process for good (of one boot).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proc {
    pub pid: i32,
    /// Clock ticks after boot.
    pub started: u64,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    /// Ended, not collected.
    pub zombie: bool,
}

impl Proc {
    /// Whether it may have started in this span of CLOCK_BOOTTIME.
    pub fn started_between(&self, after_ms: u64, before_ms: u64) -> bool {
        // Linux counts in hundredths of a second for user space on every architecture.
        let started_ms = self.started * 10;
        started_ms + 10 >= after_ms && started_ms <= before_ms + 10
    }
}

/// One process.
pub fn look_up(pid: i32) -> Option<Proc> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(pid: i32, stat: &str) -> Option<Proc> {
    // The name in parentheses may hold anything, parentheses too.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    let mut number = || fields.next()?.parse::<i32>().ok();
    let (parent, group, session) = (number()?, number()?, number()?);
    let started = fields.nth(15)?.parse().ok()?;
    Some(Proc { pid, started, parent, group, session, zombie })
}

/// Everything that runs on this machine.
pub fn all() -> BTreeMap<i32, Proc> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, look_up(pid)?))).collect()
}

/// The run that a process was started for, by its environment.
pub fn run_of(pid: i32) -> Option<RunId> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = environment.split(|b| *b == 0).find_map(|variable| variable.strip_prefix(b"ORDO_RUN="))?;
    RunId::new(std::str::from_utf8(value).ok()?).ok()
}

/// Those of `table` for which `is_root` holds, and all that descend from them.
pub fn with_descendants(table: &BTreeMap<i32, Proc>, is_root: impl Fn(&Proc) -> bool) -> Vec<Proc> {
    let mut members: BTreeSet<i32> = table.values().filter(|p| is_root(p)).map(|p| p.pid).collect();
    loop {
        let before = members.len();
        let children = table.values().filter(|p| members.contains(&p.parent)).map(|p| p.pid);
        members.extend(children.collect::<Vec<_>>());
        if members.len() == before {
            return members.iter().filter_map(|pid| table.get(pid)).copied().collect();
        }
    }
}

/// All that descend from one process, as of one moment. What several jobs ask is read once.
pub struct Family {
    pub parent: i32,
    members: Vec<Proc>,
    runs: HashMap<i32, Option<RunId>>,
}

impl Family {
    /// Looks at everything that runs.
    pub fn below(parent: i32) -> Self {
        let members = with_descendants(&all(), |process| process.parent == parent);
        Self { parent, members, runs: HashMap::new() }
    }

    pub fn members(&self) -> &[Proc] {
        &self.members
    }

    /// The run that a member was started for.
    pub fn run_of(&mut self, pid: i32) -> Option<&RunId> {
        self.runs.entry(pid).or_insert_with(|| run_of(pid)).as_ref()
    }
}

/// Signals exactly this process: the handle is taken first, then the start time is compared, so that a process which
/// got the number meanwhile is not hit. True if it was signalled.
pub fn end(process: &Proc, signal: i32) -> bool {
    let Ok(handle) = system::pidfd_open(process.pid) else { return false };
    match look_up(process.pid) {
        Some(now) if now.started == process.started => {}
        _ => return false,
    }
    match system::pidfd_signal(handle.as_fd(), signal) {
        Ok(()) => true,
        Err(error) => {
            if error.raw_os_error() != Some(Errno::ESRCH as i32) {
                tracing::warn!(pid = process.pid, %error, "cannot end a process that a run left behind");
            }
            false
        }
    }
}

/// SIGKILL, whether it still lives or not.
pub fn end_quietly(process: &Proc) {
    let _ = end(process, libc::SIGKILL);
}

/// The boot of this machine: process ids and start times mean nothing beyond it.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "77 (a) R 1) S 5 6 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 9 9";
        let expected = Proc { pid: 77, started: 123_456, parent: 5, group: 6, session: 7, zombie: false };
        assert_eq!(parse(77, stat), Some(expected));
    }

    #[test]
    fn this_process_is_in_the_table() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(all()[&me], look_up(me).unwrap());
        assert!(!boot_id().is_empty());
    }

    #[test]
    fn a_process_with_another_start_time_is_not_signalled() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let real = look_up(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(!end(&Proc { started: real.started + 1, ..real }, libc::SIGKILL));
        assert_eq!(child.try_wait().unwrap(), None);
        assert!(end(&real, libc::SIGKILL));
        assert!(!child.wait().unwrap().success());
    }
}
