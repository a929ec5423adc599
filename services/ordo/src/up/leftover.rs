//! What a killed `ordo up` left behind. Its children die with it by the kernel's hand; should one not have, it is ended
//! here, before its port and its data are used again. Running jobs are not among them: their runner is adopted by the
//! agent that starts.

use super::layout::Layout;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ordo_servers::secret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a leftover may take after it was asked to end.
const GRACE: Duration = Duration::from_secs(5);
/// PostgreSQL writes everything first.
const POSTGRES_GRACE: Duration = Duration::from_secs(15);
/// And after SIGQUIT, which still frees its shared memory.
const POSTGRES_QUITS: Duration = Duration::from_secs(5);
/// How long one may take after SIGKILL; a process in the kernel's hands may take long.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is sent to a leftover that still lives after this long. SIGTERM would have PostgreSQL wait for its sessions, and
/// SIGKILL leaves its other processes and its shared memory to the next start.
fn due(name: &str, after: Duration) -> Signal {
    match name {
        "postgres" if after < POSTGRES_GRACE => Signal::SIGINT,
        "postgres" if after < POSTGRES_GRACE + POSTGRES_QUITS => Signal::SIGQUIT,
        "postgres" => Signal::SIGKILL,
        _ if after < GRACE => Signal::SIGTERM,
        _ => Signal::SIGKILL,
    }
}

/// A process id is only ours together with the moment it was given out at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    pid: i32,
    started: u64,
}

impl Identity {
    fn of(pid: i32) -> Option<Self> {
        started(pid).map(|started| Self { pid, started })
    }
    fn lives(self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

/// Field 22 of `/proc/PID/stat` (proc_pid_stat(5)), in ticks since boot; none for a zombie, which holds nothing any more.
fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name, may hold anything, blanks and brackets included.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The children of this `ordo up`, on disk for the next one.
#[derive(Debug)]
pub struct Record {
    layout: Layout,
    children: Mutex<BTreeMap<String, Identity>>,
}

impl Record {
    /// Ends what is left and starts an empty record. The names of what was ended are given back.
    pub async fn take_over(layout: &Layout) -> (Self, Vec<String>) {
        let text = std::fs::read(layout.children_file()).unwrap_or_default();
        let old: BTreeMap<String, Identity> = serde_json::from_slice(&text).unwrap_or_default();
        let left: Vec<(String, Identity)> = old.into_iter().filter(|(_, identity)| identity.lives()).collect();
        let names = left.iter().map(|(name, _)| name.clone()).collect();
        let started = Instant::now();
        let mut sent = BTreeMap::new();
        let longest = POSTGRES_GRACE + POSTGRES_QUITS + PATIENCE;
        while left.iter().any(|(_, identity)| identity.lives()) && started.elapsed() < longest {
            for (name, identity) in left.iter().filter(|(_, identity)| identity.lives()) {
                let signal = due(name, started.elapsed());
                if sent.insert(name, signal) != Some(signal) {
                    let _ = kill(Pid::from_raw(identity.pid), signal);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (Self { layout: layout.clone(), children: Mutex::new(BTreeMap::new()) }, names)
    }

    /// A child has this process id now.
    pub fn put(&self, name: &str, pid: i32) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(identity) = Identity::of(pid) {
            children.insert(name.to_owned(), identity);
        }
        let text = serde_json::to_string(&*children).unwrap_or_default();
        if let Err(error) = secret::write(&self.layout.children_file(), &text) {
            tracing::warn!(%error, "children not recorded");
        }
    }

    /// The process ids by name.
    pub fn pids(&self) -> BTreeMap<String, i32> {
        let children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.iter().map(|(name, identity)| (name.clone(), identity.pid)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_as_well_as_its_id() {
        let us = i32::try_from(std::process::id()).unwrap();
        let identity = Identity::of(us).unwrap();
        assert!(identity.lives());
        assert!(!Identity { started: identity.started + 1, ..identity }.lives());
        assert!(Identity::of(i32::MAX).is_none());
    }

    #[test]
    fn postgresql_is_ended_in_its_own_way() {
        let sent = |name, seconds| due(name, Duration::from_secs(seconds));
        assert_eq!([0, 14, 15, 19, 20].map(|at| sent("postgres", at)), {
            use Signal::{SIGINT, SIGKILL, SIGQUIT};
            [SIGINT, SIGINT, SIGQUIT, SIGQUIT, SIGKILL]
        });
        assert_eq!([0, 5].map(|at| sent("nats", at)), [Signal::SIGTERM, Signal::SIGKILL]);
    }

    #[tokio::test]
    async fn what_still_runs_of_an_earlier_life_is_ended_and_a_stranger_with_its_id_is_not() {
        let folder = std::env::temp_dir().join(format!("ordo-leftover-{}", std::process::id()));
        let layout = Layout::open(&folder).unwrap();
        let mut ours = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let identity = |child: &std::process::Child| Identity::of(i32::try_from(child.id()).unwrap()).unwrap();
        let other = Identity { started: identity(&stranger).started - 1, ..identity(&stranger) };
        let record = BTreeMap::from([("proxy/p1", identity(&ours)), ("nats", other)]);
        secret::write(&layout.children_file(), &serde_json::to_string(&record).unwrap()).unwrap();
        let (_, ended) = Record::take_over(&layout).await;
        assert_eq!(ended, ["proxy/p1"]);
        assert!(!ours.wait().unwrap().success());
        assert!(stranger.try_wait().unwrap().is_none());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
