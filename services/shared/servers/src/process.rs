//! A child process that cannot outlive us by accident: in a group of its own (a Ctrl-C at the terminal reaches only
//! us), signalled by the kernel when we die in whatever way, logging to a file, stopped in order.

use crate::ServersError;
use crate::owner::Owner;
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getppid};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;
use tokio::sync::watch;

/// A log file larger than this is set aside (as `….1`) when its process is started again.
const LOG_LIMIT: u64 = 16 * 1024 * 1024;

/// What to start.
#[derive(Debug, Clone)]
pub struct Spawn {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Added to our own environment, after what is removed from it.
    pub environment: Vec<(OsString, OsString)>,
    /// Removed from our own environment.
    pub without: Vec<OsString>,
    /// Where it runs; ours when not given.
    pub folder: Option<PathBuf>,
    /// Where its output goes.
    pub log: PathBuf,
    /// Another user, when we are root.
    pub owner: Option<Owner>,
    /// What the kernel sends it when we die, and what a drop sends.
    pub on_our_death: Signal,
}

impl Spawn {
    /// A program that is killed when we die.
    pub fn new(program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            without: Vec::new(),
            folder: None,
            log: log.into(),
            owner: None,
            on_our_death: Signal::SIGKILL,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<I: IntoIterator<Item = S>, S: Into<OsString>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The last lines of its log, for an error.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

/// A running or ended child. Dropping it ends it.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    child: Arc<Mutex<Reaped>>,
    ended: watch::Receiver<Option<ExitStatus>>,
    on_our_death: Signal,
    log: PathBuf,
}

/// Whether the pid is still ours to signal: after the child was reaped it may belong to anybody.
#[derive(Debug)]
struct Reaped {
    done: bool,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn spawn(spawn: Spawn) -> Result<Self, ServersError> {
        let log = open_log(&spawn)?;
        let (program, on_our_death, path) = (spawn.program.clone(), spawn.on_our_death, spawn.log.clone());
        let child = from_the_lasting_thread(command(&spawn, &log)?)
            .map_err(|source| ServersError::Start { program, source })?;
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let reaped = Arc::new(Mutex::new(Reaped { done: false }));
        let (sender, ended) = watch::channel(None);
        let watched = Arc::clone(&reaped);
        std::thread::Builder::new()
            .name("child".into())
            .stack_size(64 * 1024)
            .spawn(move || reap(child, pid, &watched, &sender))
            .map_err(|source| ServersError::Start { program: path.clone(), source })?;
        Ok(Self { pid, child: reaped, ended, on_our_death, log: path })
    }

    /// Its process id; after its end only a number.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        *self.ended.borrow()
    }

    /// Waits for its end.
    pub async fn wait(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or_default(),
            Err(_) => ExitStatus::from_raw(Signal::SIGKILL as i32),
        }
    }

    /// Sends a signal; nothing happens when it has ended.
    pub fn signal(&self, signal: Signal) {
        let reaped = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if !reaped.done {
            let _ = kill(self.pid, signal);
        }
    }

    /// Sends a signal to its whole group.
    pub fn signal_group(&self, signal: Signal) {
        let reaped = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if !reaped.done {
            let _ = kill(Pid::from_raw(-self.pid.as_raw()), signal);
        }
    }

    /// Asks it to stop with `signal`, and kills it when it has not within `grace`.
    pub async fn stop(&self, signal: Signal, grace: Duration) -> ExitStatus {
        self.signal(signal);
        match tokio::time::timeout(grace, self.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.signal(Signal::SIGKILL);
                self.wait().await
            }
        }
    }

    /// Kills it at once, as a crash would, and waits until it is gone.
    pub async fn kill(&self) -> ExitStatus {
        self.signal(Signal::SIGKILL);
        self.wait().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(self.on_our_death);
    }
}

fn reap(mut child: Child, pid: Pid, reaped: &Mutex<Reaped>, sender: &watch::Sender<Option<ExitStatus>>) {
    // Waits without reaping, so that the pid stays ours until nobody can signal it any more.
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
    let mut reaped = reaped.lock().unwrap_or_else(PoisonError::into_inner);
    let status = child.wait().unwrap_or_else(|_| ExitStatus::from_raw(Signal::SIGKILL as i32));
    reaped.done = true;
    drop(reaped);
    sender.send_replace(Some(status));
}

fn open_log(spawn: &Spawn) -> Result<fs::File, ServersError> {
    let failed = || ServersError::file("open the log", &spawn.log);
    if fs::metadata(&spawn.log).is_ok_and(|log| log.len() > LOG_LIMIT) {
        let mut aside = spawn.log.as_os_str().to_owned();
        aside.push(".1");
        fs::rename(&spawn.log, aside).map_err(failed())?;
    }
    if let Some(folder) = spawn.log.parent() {
        fs::create_dir_all(folder).map_err(failed())?;
    }
    OpenOptions::new().create(true).append(true).open(&spawn.log).map_err(failed())
}

fn command(spawn: &Spawn, log: &fs::File) -> Result<Command, ServersError> {
    let failed = || ServersError::file("open the log", &spawn.log);
    let mut command = Command::new(&spawn.program);
    command.args(&spawn.arguments);
    for name in &spawn.without {
        command.env_remove(name);
    }
    command.envs(spawn.environment.iter().map(|(name, value)| (name, value)));
    if let Some(folder) = &spawn.folder {
        command.current_dir(folder);
    }
    if let Some(owner) = spawn.owner {
        command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().map_err(failed())?).stderr(log.try_clone().map_err(failed())?);
    command.process_group(0);
    die_with_us(&mut command, spawn.on_our_death);
    Ok(command)
}

/// Runs after the change of user, which would clear it. It calls only prctl and getppid, both async-signal-safe.
#[allow(unsafe_code, reason = "PR_SET_PDEATHSIG can only be set between fork and exec")]
fn die_with_us(command: &mut Command, signal: Signal) {
    let us = Pid::this();
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(signal)?;
            // We may have died before the kernel knew what to send then.
            if getppid() == us { Ok(()) } else { Err(Errno::ESRCH.into()) }
        });
    }
}

type Order = (Command, mpsc::SyncSender<std::io::Result<Child>>);

/// The kernel sends the death signal when the **thread** that forked ends, so all children are forked by one thread
/// that lives as long as the process.
fn from_the_lasting_thread(command: Command) -> std::io::Result<Child> {
    static THREAD: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in orders {
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, answer) = mpsc::sync_channel(1);
    thread.send((command, reply)).map_err(|_| std::io::Error::other("the thread that starts children is gone"))?;
    answer.recv().map_err(|_| std::io::Error::other("the thread that starts children is gone"))?
}

/// The last lines of a file, one line each joined by ` | `.
fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(2_000)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => {
            let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
            lines[lines.len().saturating_sub(6)..].join(" | ")
        }
        Err(error) => format!("no log at {}: {error}", path.display()),
    }
}
