//! The system calls that neither std nor nix offers in the form needed here, each behind a safe function. The only file
//! of the agent with unsafe code.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// CPU time and memory of an ended process and of its children that it waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    pub user_ms: u64,
    pub system_ms: u64,
    /// Never less than the peak of the runner itself: the kernel hands it down when a program is loaded.
    pub peak_bytes: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A handle on a process that stays this process, whatever becomes of its number.
///
/// # Errors
/// When there is no such process.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers in, a new descriptor (close-on-exec by definition) or -1 out.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Signals the process behind the handle, and never another one.
///
/// # Errors
/// When it has ended or may not be signalled.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo is allowed and means that of kill(2).
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Collects an ended child. `None`: it runs.
///
/// # Errors
/// When it is no child of ours.
pub fn reap(pid: i32) -> io::Result<Option<(Exit, Used)>> {
    let mut status = 0;
    // SAFETY: rusage is plain data, all zeroes is a value of it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers live over the call.
    let reaped = checked(unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) })?;
    if reaped == 0 {
        return Ok(None);
    }
    let exit = if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status))
    } else {
        Exit::Code(libc::WEXITSTATUS(status))
    };
    let millis = |time: libc::timeval| (time.tv_sec.unsigned_abs() * 1000) + time.tv_usec.unsigned_abs() / 1000;
    let used = Used {
        user_ms: millis(usage.ru_utime),
        system_ms: millis(usage.ru_stime),
        peak_bytes: usage.ru_maxrss.unsigned_abs() * 1024,
    };
    Ok(Some((exit, used)))
}

/// Signals a whole process group. Only while its leader is a child of ours that was not collected: till then the
/// number cannot belong to anybody else.
pub fn signal_group(leader: i32, signal: i32) -> io::Result<()> {
    // SAFETY: plain numbers.
    checked(unsafe { libc::kill(-leader, signal) }).map(drop)
}

/// Whether a process group of this number exists. Harmless whoever it belongs to.
pub fn group_exists(leader: i32) -> bool {
    signal_group(leader, 0).map_or_else(|error| error.raw_os_error() != Some(libc::ESRCH), |()| true)
}

/// A pipe: (end to read, end to write), both closed on exec; reading never blocks.
///
/// # Errors
/// When there are no descriptors left.
pub fn pipe() -> io::Result<(File, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the array has room for two descriptors.
    checked(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: both were just given to us.
    let (read, write) = unsafe { (File::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) };
    // SAFETY: a descriptor of ours and plain numbers.
    checked(unsafe { libc::fcntl(read.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
    Ok((read, write))
}

/// A counter that wakes the event loop from another thread.
///
/// # Errors
/// When there are no descriptors left.
pub fn eventfd() -> io::Result<File> {
    // SAFETY: plain numbers in, a new descriptor out, owned by the returned file.
    let fd = checked(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: just given to us.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Makes these signals readable instead of deadly. They are handed to no job: each starts with all signals free.
///
/// # Errors
/// When there are no descriptors left.
pub fn signals(wanted: &[i32]) -> io::Result<File> {
    // SAFETY: sigset_t is plain data and is initialised by sigemptyset before it is read.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in wanted {
            libc::sigaddset(&raw mut set, *signal);
        }
        checked(libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        let fd = checked(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(File::from_raw_fd(fd))
    }
}

/// The signal numbers of what [`signals`] has read.
pub fn signal_number(record: &[u8]) -> Option<i32> {
    record.first_chunk::<4>().map(|bytes| i32::from_ne_bytes(*bytes))
}

/// Bytes of one record read from [`signals`].
pub const SIGNAL_RECORD: usize = std::mem::size_of::<libc::signalfd_siginfo>();

/// Which descriptors are ready, by a number that the caller gave them.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// # Errors
    /// When there are no descriptors left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: plain numbers in, a new descriptor out.
        let fd = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: just given to us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; 256] })
    }

    /// Watches for reading, and for writing too where asked.
    ///
    /// # Errors
    /// When the descriptor cannot be watched.
    pub fn add(&self, fd: &impl AsRawFd, token: u64, writing: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_raw_fd(), token, writing)
    }

    /// Changes whether it is watched for writing.
    ///
    /// # Errors
    /// When it is not watched.
    pub fn change(&self, fd: &impl AsRawFd, token: u64, writing: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd.as_raw_fd(), token, writing)
    }

    fn control(&self, what: i32, fd: RawFd, token: u64, writing: bool) -> io::Result<()> {
        let events = libc::EPOLLIN | if writing { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event { events: events.cast_unsigned(), u64: token };
        // SAFETY: the event lives over the call.
        checked(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), what, fd, &raw mut event) }).map(drop)
    }

    /// Waits; gives the numbers of what is ready.
    ///
    /// # Errors
    /// Never in practice; an interruption is no error.
    pub fn wait(&mut self, limit: Option<Duration>, ready: &mut Vec<u64>) -> io::Result<()> {
        ready.clear();
        // Rounded up: a deadline must have passed when it is looked at.
        let millis = limit.map_or(-1, |limit| i32::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(i32::MAX));
        let room = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        // SAFETY: the buffer has room for that many events.
        let count = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr(), room, millis) };
        match checked(count) {
            Ok(count) => ready.extend(self.events[..count.unsigned_abs() as usize].iter().map(|event| event.u64)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// What [`spawn`] needs, ready for the kernel.
pub struct Image {
    pub program: CString,
    pub arguments: Vec<CString>,
    /// `NAME=value`.
    pub environment: Vec<CString>,
    pub directory: CString,
}

/// Starts a process in a session of its own with all signals at their defaults. Uses `posix_spawn`, which glibc does
/// with a shared address space until the program is loaded: its cost does not grow with our memory.
///
/// # Errors
/// As of `execve` and `chdir`: the program was not started.
pub fn spawn(image: &Image, stdin: &File, stdout: &OwnedFd, stderr: &OwnedFd) -> io::Result<i32> {
    let pointers = |list: &[CString]| -> Vec<*mut libc::c_char> {
        list.iter().map(|text| text.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect()
    };
    let (arguments, environment) = (pointers(&image.arguments), pointers(&image.environment));
    let ok = |code: libc::c_int| if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) };
    let mut pid = 0;
    // SAFETY: attributes and actions are initialised before use and destroyed once on every path; every pointer
    // (strings, argument vectors, descriptors) outlives the call; posix_spawn does not keep any of them.
    unsafe {
        let mut attributes: libc::posix_spawnattr_t = std::mem::zeroed();
        let mut actions: libc::posix_spawn_file_actions_t = std::mem::zeroed();
        ok(libc::posix_spawnattr_init(&raw mut attributes))?;
        if let Err(error) = ok(libc::posix_spawn_file_actions_init(&raw mut actions)) {
            libc::posix_spawnattr_destroy(&raw mut attributes);
            return Err(error);
        }
        let outcome = (|| {
            let (mut none, mut all): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigemptyset(&raw mut none);
            libc::sigfillset(&raw mut all);
            ok(libc::posix_spawnattr_setsigmask(&raw mut attributes, &raw const none))?;
            ok(libc::posix_spawnattr_setsigdefault(&raw mut attributes, &raw const all))?;
            let flags = libc::POSIX_SPAWN_SETSIGMASK as libc::c_short
                | libc::POSIX_SPAWN_SETSIGDEF as libc::c_short
                | libc::POSIX_SPAWN_SETSID;
            ok(libc::posix_spawnattr_setflags(&raw mut attributes, flags))?;
            for (fd, target) in [(stdin.as_raw_fd(), 0), (stdout.as_raw_fd(), 1), (stderr.as_raw_fd(), 2)] {
                ok(libc::posix_spawn_file_actions_adddup2(&raw mut actions, fd, target))?;
            }
            ok(libc::posix_spawn_file_actions_addchdir_np(&raw mut actions, image.directory.as_ptr()))?;
            ok(libc::posix_spawn(
                &raw mut pid,
                image.program.as_ptr(),
                &raw const actions,
                &raw const attributes,
                arguments.as_ptr(),
                environment.as_ptr(),
            ))
        })();
        libc::posix_spawn_file_actions_destroy(&raw mut actions);
        libc::posix_spawnattr_destroy(&raw mut attributes);
        outcome?;
    }
    Ok(pid)
}

/// Wall time.
pub fn now() -> ordo_domain::Instant {
    ordo_runtime::Clock::now(&ordo_runtime::SystemClock)
}

/// Milliseconds of CLOCK_BOOTTIME: one clock for the agent and the runner.
pub fn boottime_ms() -> u64 {
    u64::try_from(ordo_runtime::clock::boottime().as_millis()).unwrap_or(u64::MAX)
}

/// How many descriptors this process may have at most.
pub fn descriptor_limit() -> u64 {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, hard)| hard.min(65_536).max(soft))
}

/// Lets the process have as many descriptors as it may. Returns how many.
pub fn raise_descriptor_limit() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let wanted = descriptor_limit();
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => wanted,
        Err(_) => soft,
    }
}
