//! One running job: its process, its pipes, and how it is being ended.

use super::folder::RunFolder;
use super::mask::Secrets;
use super::output::{Channel, OutputWriter};
use super::process_table::{self, Family, Proc};
use super::protocol::EndFacts;
use super::spawn::Spawned;
use super::system::{self, Exit, Used};
use ordo_domain::run::report::Usage;
use ordo_domain::{Instant, RunId, Span, limit, run::RunEnd, run::RunFacts};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Reads of one pipe at a time, each of up to 64 KiB, before the others have their turn.
const READS_A_TURN: usize = 8;
/// Enough to empty a pipe whose writer has ended: the largest is 1 MiB.
const READS_AT_THE_END: usize = 64;

/// What does not die of so many SIGKILLs is in the kernel's hands.
const ATTEMPTS: u32 = 20;

/// Why a job is being ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The controller asked.
    Kill,
    /// It took too long.
    Timeout,
    /// The runner is told to stop.
    Stop,
}

pub struct Job {
    pub run: RunId,
    pub folder: RunFolder,
    pub pid: i32,
    /// None once the process was collected: then its number may belong to anybody.
    pub handle: Option<OwnedFd>,
    pub stdout: Option<File>,
    pub stderr: Option<File>,
    pub writer: OutputWriter,
    pub secrets: Secrets,
    pub started_at: Instant,
    pub timeout_ms: Option<u64>,
    pub kill_after_ms: u64,
    pub ending: Option<Ending>,
    /// When SIGKILL follows SIGTERM.
    pub kill_at: Option<std::time::Instant>,
    pub ended: Option<(Exit, Used, Instant)>,
    /// Till when what it left behind may go on.
    pub linger_until: Option<std::time::Instant>,
    /// How often it was tried to end what it left.
    attempts: u32,
    /// Frames that the agent was told of.
    pub told_frames: u32,
}

impl Job {
    pub fn new(spawned: Spawned) -> Self {
        let Spawned { request, folder, secrets, pid, handle, stdout, stderr, at } = spawned;
        let writer = OutputWriter::new(folder.clone(), secrets.clone(), request.output_bytes);
        Self {
            run: request.meta.run,
            folder,
            pid,
            handle: Some(handle),
            stdout: Some(stdout),
            stderr: Some(stderr),
            writer,
            secrets,
            started_at: at,
            timeout_ms: request.timeout_ms,
            kill_after_ms: request.kill_after_ms,
            ending: None,
            kill_at: None,
            ended: None,
            linger_until: None,
            attempts: 0,
            told_frames: 0,
        }
    }

    /// Reads what is there of one channel, within bounds. A pipe at its end is closed.
    pub fn read(&mut self, channel: Channel) {
        self.read_up_to(channel, READS_A_TURN);
    }

    fn read_up_to(&mut self, channel: Channel, reads: usize) {
        let pipe = match channel {
            Channel::Stdout => &mut self.stdout,
            Channel::Stderr => &mut self.stderr,
        };
        let Some(file) = pipe else { return };
        for _ in 0..reads {
            match self.writer.read_from(file, channel, now_ms()) {
                Ok(0) => {
                    *pipe = None;
                    return;
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(run_id = %self.run, channel = channel.word(), %error, "output of a run cannot be read");
                    *pipe = None;
                    return;
                }
            }
        }
    }

    /// Reads all that its main process can have left in the pipes.
    pub fn drain(&mut self) {
        for channel in [Channel::Stdout, Channel::Stderr] {
            self.read_up_to(channel, READS_AT_THE_END);
        }
    }

    /// Sends a signal to the job's process group, as long as its leader was not collected.
    pub fn signal(&self, signal: i32) {
        if self.handle.is_some()
            && let Err(error) = system::signal_group(self.pid, signal)
        {
            tracing::warn!(run_id = %self.run, signal, %error, "job cannot be signalled");
        }
    }

    /// Collects its main process if it has ended. True if it has.
    pub fn collect(&mut self) -> bool {
        if self.ended.is_none() {
            match system::reap(self.pid) {
                Ok(None) => return false,
                Ok(Some((exit, used))) => self.ended = Some((exit, used, system::now())),
                Err(error) => {
                    tracing::error!(run_id = %self.run, %error, "ended job cannot be collected");
                    self.ended = Some((Exit::Signal(libc::SIGKILL), Used::default(), system::now()));
                }
            }
            self.handle = None;
        }
        true
    }

    /// Whether nothing is left of it: nobody writes into its pipes, nobody is in its group.
    pub fn is_over(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none() && !system::group_exists(self.pid)
    }

    /// Ends what it left in its session or marked with its environment. True: nothing of it lives, or nothing that we
    /// did would end it.
    pub fn end_leftovers(&mut self, family: &mut Family) -> bool {
        let mut living = Vec::new();
        for process in family.members().to_vec().into_iter().filter(|process| !process.zombie) {
            let in_session = process.session == self.pid && process.pid != self.pid;
            if in_session || family.run_of(process.pid) == Some(&self.run) {
                living.push(process);
            }
        }
        self.attempts += 1;
        living.iter().for_each(process_table::end_quietly);
        living.is_empty() || self.attempts > ATTEMPTS
    }

    /// Collects what ended and was handed to us, so that its group becomes empty.
    pub fn collect_leftovers(&self, family: &Family) {
        // A main process has the number of its session; so this is none.
        let ours = |p: &&Proc| p.zombie && p.parent == family.parent && p.session == self.pid && p.pid != p.session;
        for process in family.members().iter().filter(ours) {
            let _ = system::reap(process.pid);
        }
    }

    /// Takes what is left in its pipes and reads no more.
    pub fn let_go(&mut self) {
        self.drain();
        (self.stdout, self.stderr) = (None, None);
    }

    /// All that is to be said of it.
    pub fn end_facts(&mut self) -> EndFacts {
        let (output, head_frames, omitted) = self.writer.finish(now_ms());
        let (exit, used, ended_at) =
            self.ended.unwrap_or((Exit::Signal(libc::SIGKILL), Used::default(), system::now()));
        let end = match (self.ending, exit) {
            (Some(Ending::Kill), _) => RunEnd::Killed,
            (Some(Ending::Timeout), _) => {
                RunEnd::TimedOut { limit: Span::from_millis(self.timeout_ms.unwrap_or_default()) }
            }
            (Some(Ending::Stop), _) => RunEnd::Lost { reason: "its runner was stopped and ended it".to_owned() },
            (None, Exit::Code(code)) => RunEnd::Exited { code },
            (None, Exit::Signal(signal)) => RunEnd::Signalled { signal },
        };
        let usage =
            Usage { cpu_user_ms: used.user_ms, cpu_system_ms: used.system_ms, memory_peak_bytes: used.peak_bytes };
        let (results, results_error) = match read_results(&self.folder.results(), &self.secrets) {
            Ok(results) => (results, None),
            Err(reason) => (None, Some(reason)),
        };
        let facts = RunFacts {
            end,
            started_at: Some(self.started_at),
            ended_at,
            usage,
            output,
            results: std::collections::BTreeMap::new(),
            results_error: None,
        };
        EndFacts { facts, results, results_error, head_frames, omitted }
    }
}

/// What the job wrote into its results file. The job owns the place: what it put there may neither make us wait (a named
/// pipe) nor lead us elsewhere.
fn read_results(path: &Path, secrets: &Secrets) -> Result<Option<String>, String> {
    let unreadable = |error: io::Error| format!("the results file cannot be read: {error}");
    let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err("the results file is a symbolic link".to_owned());
        }
        file => file.map_err(unreadable)?,
    };
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err("what lies in the place of the results file is no file".to_owned());
    }
    let mut text = Vec::new();
    file.take(limit::RESULTS_BYTES as u64 + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() > limit::RESULTS_BYTES {
        return Err(format!("the results file is longer than {} bytes", limit::RESULTS_BYTES));
    }
    String::from_utf8(secrets.masked(&text)).map(Some).map_err(|_| "the results file is not UTF-8 text".to_owned())
}

pub fn now_ms() -> i64 {
    system::now().timestamp_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_is_read_as_results() {
        let folder = std::env::temp_dir().join(format!("ordo-results-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("results");
        let read = || read_results(&path, &Secrets::default());
        assert_eq!(read(), Ok(None));
        // Opened as a file it would wait for somebody to write.
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read().unwrap_err(), "what lies in the place of the results file is no file");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert_eq!(read().unwrap_err(), "the results file is a symbolic link");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "rows=3\n").unwrap();
        assert_eq!(read(), Ok(Some("rows=3\n".to_owned())));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
