//! How a runner comes to be: session, locks, socket; then the loop.

use super::event_loop::EventLoop;
use super::{folder, sweep, system};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What a runner is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerOptions {
    /// The agent's data folder.
    pub data: PathBuf,
    /// Ends itself after this long without runs and without an agent.
    pub idle: Duration,
}

/// Runs the runner of a data folder to its end: the hidden subcommand `ordo runner --data DIR`. To be called before any
/// other thread, runtime or signal handler is made.
pub fn main(data: &Path) -> ExitCode {
    main_with(&RunnerOptions { data: data.to_owned(), idle: super::IDLE })
}

/// [`main`] with another patience.
pub fn main_with(options: &RunnerOptions) -> ExitCode {
    let _nobody_reads_the_tap = ordo_runtime::logging::init("info");
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(data = %options.data.display(), %error, "runner ended");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &RunnerOptions) -> io::Result<()> {
    // Out of the session of whoever started us: neither a Ctrl-C at its terminal nor its end reaches us. Refused to a
    // leader of a process group, who then has a group of its own already.
    let _ = nix::unistd::setsid();
    nix::sys::prctl::set_child_subreaper(true)?;
    for path in [&options.data, &folder::runs_folder(&options.data), &sweep::runner_folder(&options.data)] {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    let data = options.data.canonicalize()?;
    let Some(active) = take_lock(&sweep::runner_folder(&data).join("active.lock"))? else {
        tracing::info!("another runner serves this data folder");
        return Ok(());
    };
    let id = format!("{}-{:08x}", std::process::id(), rand::random::<u32>());
    let _alive = make_lock(&data, &id)?;
    let capacity = capacity();
    let swept = sweep::sweep(&data, &id, |_| false)?;
    let listener = listen(&data, &id)?;
    tracing::info!(runner = id, pid = std::process::id(), capacity, lost = swept.lost.len(), "runner ready");
    let mut event_loop = EventLoop::new(data.clone(), id.clone(), capacity, options.idle, listener, active)?;
    if swept.again {
        event_loop.sweep_later();
    }
    let outcome = event_loop.run();
    let _ = fs::remove_file(sweep::socket_path(&data, &id));
    let _ = fs::remove_file(sweep::lock_path(&data, &id));
    tracing::info!(runner = id, "runner ended");
    outcome
}

fn capacity() -> u32 {
    capacity_of(system::raise_descriptor_limit())
}

/// How many jobs a runner that this process starts can hold at a time.
pub fn capacity_here() -> u32 {
    capacity_of(system::descriptor_limit())
}

/// Three descriptors a job and one for its output, some more while it starts, some for ourselves.
fn capacity_of(descriptors: u64) -> u32 {
    u32::try_from(descriptors.saturating_sub(100) / 6).unwrap_or(u32::MAX).max(1)
}

fn take_lock(path: &Path) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// The lock that says that we live. Locked before it has its name: whoever finds the name finds it locked.
fn make_lock(data: &Path, id: &str) -> io::Result<File> {
    let path = sweep::lock_path(data, id);
    let fresh = path.with_extension("new");
    let file = take_lock(&fresh)?.ok_or_else(|| io::Error::other("the lock of a new runner is taken"))?;
    fs::rename(&fresh, &path)?;
    Ok(file)
}

fn listen(data: &Path, id: &str) -> io::Result<UnixListener> {
    let path = sweep::socket_path(data, id);
    let fresh = path.with_extension("sock.new");
    let listener = short(&fresh, |path| UnixListener::bind(path))?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    fs::rename(&fresh, &path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connects to the socket of a runner.
///
/// # Errors
/// When nobody listens there.
pub fn connect(socket: &Path) -> io::Result<UnixStream> {
    short(socket, |path| UnixStream::connect(path))
}

/// Addresses of sockets hold at most 107 bytes; data folders may lie deeper. Then by a descriptor of the folder.
fn short<T>(path: &Path, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    use std::os::fd::AsRawFd;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return work(path) };
    if path.as_os_str().len() < 100 {
        return work(path);
    }
    let folder = File::open(folder)?;
    work(&Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}

/// What an upgrade is known by: two builds of one version differ in size or time.
pub fn build_of_this_program() -> String {
    use std::os::unix::fs::MetadataExt;
    let program =
        fs::metadata("/proc/self/exe").map(|file| format!("{}-{}-{}", file.size(), file.mtime(), file.mtime_nsec()));
    format!("{} {}", env!("CARGO_PKG_VERSION"), program.unwrap_or_default())
}
