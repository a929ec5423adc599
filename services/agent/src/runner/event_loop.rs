//! The one thread that watches jobs, connections and deadlines. Nothing in it waits for anything but its turn. The file
//! is longer than others: everything that may happen to the loop's state stands beside it.

use super::connection::Connection;
use super::folder::RunFolder;
use super::job::{Ending, Job, now_ms};
use super::output::Channel;
use super::process_table::{self, Family, Proc};
use super::protocol::{EndFacts, PROTOCOL, Reply, Request, StartRefusal, StartRequest};
use super::spawn::{Outcome, Spawner};
use super::system::{self, Epoll};
use super::{LEFTOVER_GRACE, start, sweep};
use ordo_domain::{RunId, run::RunEnd, run::RunFacts};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LISTENER: u64 = 0;
const WAKE: u64 = 1;
const SIGNALS: u64 = 2;
// Everything else: a number shifted by two, and in the low bits what of it.
const CONNECTION: u64 = 0;
const PROCESS: u64 = 1;
const STDOUT: u64 = 2;
const STDERR: u64 = 3;

/// Output becomes a frame, and the agent learns of it, at least this often.
const FLUSH: Duration = Duration::from_millis(100);
/// How often it is looked whether what a job left behind is gone.
const LINGER_POLL: Duration = Duration::from_millis(25);
/// What was killed dies at once, but not within the call.
const ENDED_WITHIN: Duration = Duration::from_millis(5);
/// The runner's own log is set aside when it is larger.
const LOG_BYTES: u64 = 4 << 20;
/// An end that could not be written is tried again after this.
const WRITE_AGAIN: Duration = Duration::from_secs(1);
/// Processes that left their job's session are looked for this long after an end.
const STRAYS_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    TimeLimit(u64),
    Kill(u64),
    /// Its end is not heard of, it is looked for.
    Collect(u64),
    Linger,
    Flush,
    WriteEnds,
    Strays,
    Sweep,
}

impl Timer {
    /// The job that it is about.
    fn job(self) -> Option<u64> {
        match self {
            Timer::TimeLimit(number) | Timer::Kill(number) | Timer::Collect(number) => Some(number),
            Timer::Linger | Timer::Flush | Timer::WriteEnds | Timer::Strays | Timer::Sweep => None,
        }
    }
}

pub struct EventLoop {
    data: PathBuf,
    id: String,
    build: String,
    pid: i32,
    capacity: u32,
    idle: Duration,
    epoll: Epoll,
    listener: UnixListener,
    wake: File,
    signals: File,
    /// Held while this runner takes new runs, and while the last ones start.
    active: Option<File>,
    draining: bool,
    spawner: Spawner,
    /// Sent to be spawned; and how it is to be ended as soon as it is.
    starting: BTreeMap<RunId, Option<Ending>>,
    jobs: HashMap<u64, Job>,
    by_run: BTreeMap<RunId, u64>,
    connections: HashMap<u64, Connection>,
    next_number: u64,
    timers: BinaryHeap<Reverse<(Instant, Timer)>>,
    flush_due: bool,
    linger_due: bool,
    /// When the processes were looked at last.
    looked_at: Option<Instant>,
    strays_due: bool,
    /// Seen once as a stray: (pid, start time).
    strays: HashSet<(i32, u64)>,
    unwritten: Vec<(RunId, RunFolder, EndFacts)>,
    stopping: bool,
    quiet_since: Instant,
}

impl EventLoop {
    pub fn new(
        data: PathBuf,
        id: String,
        capacity: u32,
        idle: Duration,
        listener: UnixListener,
        active: File,
    ) -> io::Result<Self> {
        // Before the threads: they inherit the mask.
        let signals =
            system::signals(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGCHLD, libc::SIGPIPE])?;
        let wake = system::eventfd()?;
        let epoll = Epoll::new()?;
        epoll.add(&listener, LISTENER, false)?;
        epoll.add(&wake, WAKE, false)?;
        epoll.add(&signals, SIGNALS, false)?;
        let spawner = Spawner::start(&data, &id, &wake)?;
        Ok(Self {
            data,
            id,
            build: start::build_of_this_program(),
            pid: i32::try_from(std::process::id()).unwrap_or_default(),
            capacity,
            idle,
            epoll,
            listener,
            wake,
            signals,
            active: Some(active),
            draining: false,
            spawner,
            starting: BTreeMap::new(),
            jobs: HashMap::new(),
            by_run: BTreeMap::new(),
            connections: HashMap::new(),
            next_number: 1,
            timers: BinaryHeap::new(),
            flush_due: false,
            linger_due: false,
            looked_at: None,
            strays_due: false,
            strays: HashSet::new(),
            unwritten: Vec::new(),
            stopping: false,
            quiet_since: Instant::now(),
        })
    }

    /// Until it is told to stop, or has been idle for long enough, or has drained.
    ///
    /// # Errors
    /// Only when the system fails: the runs are lost then.
    pub fn run(&mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        while !self.is_finished() {
            let limit = self.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
            self.epoll.wait(limit, &mut ready)?;
            for token in &ready {
                match (*token, token >> 2, token & 3) {
                    (LISTENER, ..) => self.accept(),
                    (WAKE, ..) => self.take_outcomes(),
                    (SIGNALS, ..) => self.take_signals(),
                    (_, number, CONNECTION) => self.serve(number),
                    (_, number, PROCESS) => self.collect(number),
                    (_, number, STDOUT) => self.read(number, Channel::Stdout),
                    (_, number, _) => self.read(number, Channel::Stderr),
                }
            }
            self.fire_timers();
            self.drop_broken();
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.starting.is_empty() && self.unwritten.is_empty()
    }

    fn is_finished(&mut self) -> bool {
        let idle = self.is_idle();
        let attached = self.connections.values().any(|connection| connection.attached);
        if !idle || attached {
            self.quiet_since = Instant::now();
        }
        let told = !self.connections.values().any(Connection::is_waiting);
        idle && (self.quiet_since.elapsed() >= self.idle || (told && (self.stopping || self.draining)))
    }

    fn next_deadline(&self) -> Option<Instant> {
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let idle = self.is_idle().then(|| self.quiet_since + self.idle);
        timer.into_iter().chain(idle).min()
    }

    fn set_timer(&mut self, after: Duration, timer: Timer) {
        // Those of jobs that are over would lie here until their time limit.
        if self.timers.len() > 256 + 4 * self.jobs.len() {
            let jobs = &self.jobs;
            self.timers.retain(|Reverse((_, timer))| timer.job().is_none_or(|number| jobs.contains_key(&number)));
        }
        self.timers.push(Reverse((Instant::now() + after, timer)));
    }

    fn fire_timers(&mut self) {
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if at > Instant::now() {
                return;
            }
            self.timers.pop();
            match timer {
                Timer::TimeLimit(number) => self.end(number, Ending::Timeout),
                Timer::Kill(number) => {
                    if let Some(job) = self.jobs.get(&number) {
                        job.signal(libc::SIGKILL);
                    }
                }
                Timer::Collect(number) => self.collect_unheard(number),
                Timer::Linger => self.linger(),
                Timer::Flush => self.flush(),
                Timer::WriteEnds => self.write_ends(),
                Timer::Strays => self.end_strays(),
                Timer::Sweep => match self.sweep() {
                    Ok(lost) => self.tell(&Reply::Swept { lost }),
                    Err(error) => tracing::error!(%error, "run folders cannot be read"),
                },
            }
        }
    }

    // Jobs.

    fn take_outcomes(&mut self) {
        let mut buffer = [0; 8];
        let _ = self.wake.read(&mut buffer);
        let outcomes: Vec<Outcome> = self.spawner.outcomes().collect();
        for outcome in outcomes {
            match outcome {
                Outcome::Refused { run, refusal } => {
                    self.starting.remove(&run);
                    self.tell(&Reply::Refused { run, refusal });
                }
                Outcome::NotStarted { run, folder, reason } => {
                    self.starting.remove(&run);
                    self.write_end(run, folder, not_started(reason));
                }
                Outcome::Spawned(spawned) => {
                    let run = spawned.request.meta.run.clone();
                    let ending = self.starting.remove(&run).flatten();
                    let number = self.watch(Job::new(*spawned));
                    if let Some(job) = self.jobs.get(&number) {
                        let at = job.started_at;
                        self.tell(&Reply::Started { run, at });
                    }
                    if let Some(ending) = ending.or(self.stopping.then_some(Ending::Stop)) {
                        self.end(number, ending);
                    }
                }
            }
        }
        self.let_go();
    }

    /// Another runner may take new runs as soon as no start of ours is under way.
    fn let_go(&mut self) {
        if self.draining && self.starting.is_empty() {
            self.active = None;
        }
    }

    fn watch(&mut self, job: Job) -> u64 {
        let number = self.number();
        let token = number << 2;
        let mut watched = Ok(());
        if let (Some(handle), Some(stdout), Some(stderr)) = (&job.handle, &job.stdout, &job.stderr) {
            watched = self.epoll.add(handle, token | PROCESS, false);
            watched = watched.and(self.epoll.add(stdout, token | STDOUT, false));
            watched = watched.and(self.epoll.add(stderr, token | STDERR, false));
        }
        if let Err(error) = watched {
            tracing::error!(run_id = %job.run, %error, "job cannot be watched and is ended");
            job.signal(libc::SIGKILL);
            self.set_timer(LINGER_POLL, Timer::Collect(number));
        }
        if let Some(limit) = job.timeout_ms {
            self.set_timer(Duration::from_millis(limit), Timer::TimeLimit(number));
        }
        self.by_run.insert(job.run.clone(), number);
        self.jobs.insert(number, job);
        number
    }

    fn read(&mut self, number: u64, channel: Channel) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        job.read(channel);
        if !self.flush_due {
            self.flush_due = true;
            self.set_timer(FLUSH, Timer::Flush);
        }
    }

    /// Tells the agent of new frames, makes frames of what waits.
    fn flush(&mut self) {
        self.flush_due = false;
        let now = now_ms();
        let mut told = Vec::new();
        for job in self.jobs.values_mut() {
            job.writer.flush(now);
            let frames = job.writer.head_frames();
            if frames > job.told_frames {
                job.told_frames = frames;
                told.push(Reply::Output { run: job.run.clone(), frames });
            }
        }
        told.iter().for_each(|reply| self.tell(reply));
    }

    /// SIGTERM now, SIGKILL after the job's grace.
    fn end(&mut self, number: u64, ending: Ending) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        if job.ended.is_some() {
            // Its main process has ended by itself: only what it left goes on.
            if ending != Ending::Timeout {
                job.linger_until = Some(Instant::now());
            }
            return;
        }
        if job.ending.is_some() {
            return;
        }
        job.ending = Some(ending);
        job.signal(libc::SIGTERM);
        // One that was stopped could not hear it.
        job.signal(libc::SIGCONT);
        let grace = Duration::from_millis(job.kill_after_ms);
        job.kill_at = Some(Instant::now() + grace);
        self.set_timer(grace, Timer::Kill(number));
    }

    /// Its main process has ended.
    fn collect(&mut self, number: u64) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        if !job.collect() {
            return;
        }
        job.drain();
        if job.is_over() {
            self.finish(number);
            return;
        }
        let by_itself = Instant::now() + LEFTOVER_GRACE;
        job.linger_until = Some(job.kill_at.map_or(by_itself, |kill_at| kill_at.min(by_itself)));
        // At once, unless the processes were looked at a moment ago for others.
        let since = self.looked_at.map_or(LINGER_POLL, |at| at.elapsed());
        self.linger_after(LINGER_POLL.saturating_sub(since));
    }

    fn collect_unheard(&mut self, number: u64) {
        self.collect(number);
        if self.jobs.get(&number).is_some_and(|job| job.ended.is_none()) {
            self.set_timer(LINGER_POLL, Timer::Collect(number));
        }
    }

    fn linger_after(&mut self, after: Duration) {
        if !self.linger_due {
            self.linger_due = true;
            self.set_timer(after, Timer::Linger);
        }
    }

    /// All jobs that have ended and left something behind, by one look at the processes.
    fn linger(&mut self) {
        self.linger_due = false;
        let mut family = Family::below(self.pid);
        let now = Instant::now();
        self.looked_at = Some(now);
        let (mut over, mut left, mut ending) = (Vec::new(), false, false);
        for (number, job) in self.jobs.iter_mut().filter(|(_, job)| job.linger_until.is_some() && job.ended.is_some()) {
            job.collect_leftovers(&family);
            job.drain();
            if job.is_over() {
                over.push(*number);
            } else if job.linger_until.is_some_and(|until| until > now) {
                left = true;
            } else if job.end_leftovers(&mut family) {
                job.let_go();
                over.push(*number);
            } else {
                ending = true;
            }
        }
        over.into_iter().for_each(|number| self.finish(number));
        if ending {
            self.linger_after(ENDED_WITHIN);
        } else if left {
            self.linger_after(LINGER_POLL);
        }
    }

    fn finish(&mut self, number: u64) {
        let Some(mut job) = self.jobs.remove(&number) else { return };
        self.by_run.remove(&job.run);
        let facts = job.end_facts();
        self.write_end(job.run.clone(), job.folder.clone(), facts);
        self.look_for_strays();
        if let Err(error) = set_aside(&sweep::runner_folder(&self.data).join(LOG), LOG_BYTES) {
            tracing::debug!(%error, "log of the runner not set aside");
        }
    }

    fn write_end(&mut self, run: RunId, folder: RunFolder, facts: EndFacts) {
        match folder.write_end(&facts) {
            Ok(()) => self.tell(&Reply::Ended { run, facts: Box::new(facts) }),
            Err(error) => {
                tracing::warn!(run_id = %run, %error, "end of a run cannot be written, trying on");
                if self.unwritten.is_empty() {
                    self.set_timer(WRITE_AGAIN, Timer::WriteEnds);
                }
                self.unwritten.push((run, folder, facts));
            }
        }
    }

    fn write_ends(&mut self) {
        for (run, folder, facts) in std::mem::take(&mut self.unwritten) {
            self.write_end(run, folder, facts);
        }
    }

    // What left its job's session.

    fn look_for_strays(&mut self) {
        if !self.strays_due {
            self.strays_due = true;
            self.set_timer(STRAYS_AFTER, Timer::Strays);
        }
    }

    /// Collects and ends what was handed to us and belongs to no running job. Only what was seen twice: a job that is
    /// just being spawned is not in our books yet.
    fn end_strays(&mut self) {
        self.strays_due = false;
        let table = process_table::all();
        let mains: HashSet<i32> = self.jobs.values().filter(|job| job.handle.is_some()).map(|job| job.pid).collect();
        let mut seen = HashSet::new();
        for process in table.values().filter(|p| p.parent == self.pid && !mains.contains(&p.pid)) {
            if !process.zombie && self.may_go_on(process) {
                continue;
            }
            if !self.strays.contains(&(process.pid, process.started)) {
                seen.insert((process.pid, process.started));
            } else if process.zombie {
                let _ = system::reap(process.pid);
            } else {
                tracing::info!(pid = process.pid, "process that outlived its run is ended");
                let family = process_table::with_descendants(&table, |p| p.pid == process.pid);
                family.iter().for_each(process_table::end_quietly);
                seen.insert((process.pid, process.started));
            }
        }
        self.strays = seen;
        if !self.strays.is_empty() {
            self.look_for_strays();
        }
    }

    /// Whether the run of a process that was handed to us is still going on.
    fn may_go_on(&self, process: &Proc) -> bool {
        match process_table::run_of(process.pid) {
            Some(run) => self.by_run.contains_key(&run) || self.starting.contains_key(&run),
            // It hides whose it is: as long as there is any job, it may be that one's.
            None => !self.by_run.is_empty() || !self.starting.is_empty(),
        }
    }

    // Connections and signals.

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let number = self.number();
            let Ok(connection) = Connection::new(stream) else { continue };
            if self.epoll.add(&connection, (number << 2) | CONNECTION, false).is_ok() {
                self.connections.insert(number, connection);
            }
        }
    }

    fn serve(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.flush();
        for request in connection.read() {
            match request {
                Ok(request) => self.carry_out(number, request),
                Err(reason) => self.answer(number, &Reply::Misunderstood { reason }),
            }
        }
    }

    fn carry_out(&mut self, number: u64, request: Request) {
        match request {
            Request::Attach { build } => self.attach(number, &build),
            Request::Start(request) => self.start(number, request),
            Request::Kill { run } => {
                let known = self.kill(&run);
                self.answer(number, &Reply::Killing { run, known });
            }
            Request::List => self.answer(number, &Reply::Running { runs: self.runs() }),
            Request::Drain => {
                tracing::info!(runs = self.runs().len(), "draining");
                self.draining = true;
                self.let_go();
                self.answer(number, &Reply::Draining);
            }
            Request::Sweep => match self.sweep() {
                Ok(lost) => self.answer(number, &Reply::Swept { lost }),
                Err(error) => self.answer(number, &Reply::Misunderstood { reason: format!("sweep failed: {error}") }),
            },
            Request::Stop { kill } => {
                let runs = self.runs();
                if kill || runs.is_empty() {
                    self.stop();
                }
                self.answer(number, &Reply::Stopping { runs });
            }
        }
    }

    fn sweep(&mut self) -> io::Result<Vec<RunId>> {
        let swept = sweep::sweep(&self.data, &self.id, |run| {
            let unwritten = || self.unwritten.iter().any(|(waiting, ..)| waiting == run);
            self.by_run.contains_key(run) || self.starting.contains_key(run) || unwritten()
        })?;
        if swept.again {
            self.sweep_later();
        }
        Ok(swept.lost)
    }

    /// When it can be known whose the youngest folders are.
    pub fn sweep_later(&mut self) {
        self.set_timer(sweep::JUST_MADE, Timer::Sweep);
    }

    /// What an agent before this one has sent is carried out first: afterwards nothing of it can come any more.
    fn attach(&mut self, number: u64, build: &str) {
        let before: Vec<u64> =
            self.connections.iter().filter(|(n, c)| **n != number && c.attached).map(|(n, _)| *n).collect();
        for old in before {
            self.serve(old);
            self.connections.remove(&old);
        }
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.attached = true;
        }
        tracing::info!(build, "agent attached");
        let reply = Reply::Attached {
            protocol: PROTOCOL,
            runner: self.id.clone(),
            pid: std::process::id(),
            build: self.build.clone(),
            capacity: self.capacity,
            runs: self.runs(),
        };
        self.answer(number, &reply);
        // Frames that the agent before knew of are news to this one.
        for job in self.jobs.values_mut() {
            job.told_frames = 0;
        }
        self.flush();
    }

    fn start(&mut self, number: u64, request: Box<StartRequest>) {
        let run = request.meta.run.clone();
        if self.by_run.contains_key(&run) || self.starting.contains_key(&run) {
            self.answer(number, &Reply::Refused { run, refusal: StartRefusal::Taken });
        } else if self.draining || self.stopping {
            self.answer(number, &Reply::Refused { run, refusal: StartRefusal::Draining });
        } else {
            self.starting.insert(run, None);
            self.spawner.push(request);
        }
    }

    fn kill(&mut self, run: &RunId) -> bool {
        if let Some(ending) = self.starting.get_mut(run) {
            *ending = Some(Ending::Kill);
            return true;
        }
        let Some(number) = self.by_run.get(run).copied() else { return false };
        self.end(number, Ending::Kill);
        true
    }

    fn stop(&mut self) {
        self.stopping = true;
        let numbers: Vec<u64> = self.jobs.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.end(number, Ending::Stop));
    }

    fn runs(&self) -> Vec<RunId> {
        self.by_run.keys().chain(self.starting.keys()).cloned().collect()
    }

    fn answer(&mut self, number: u64, reply: &Reply) {
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.send(reply);
            self.mind_writing(number);
        }
    }

    /// To the agent, if there is one. Without one it is on disk.
    fn tell(&mut self, reply: &Reply) {
        let attached = self.connections.iter().find(|(_, connection)| connection.attached).map(|(number, _)| *number);
        if let Some(number) = attached {
            self.answer(number, reply);
        }
    }

    fn mind_writing(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if connection.is_waiting() != connection.writing {
            connection.writing = connection.is_waiting();
            if self.epoll.change(connection, (number << 2) | CONNECTION, connection.writing).is_err() {
                connection.broken = true;
            }
        }
    }

    fn drop_broken(&mut self) {
        self.connections.retain(|_, connection| !connection.broken);
        let writing: Vec<u64> = self.connections.iter().filter(|(_, c)| c.writing).map(|(n, _)| *n).collect();
        writing.into_iter().for_each(|number| self.mind_writing(number));
    }

    fn take_signals(&mut self) {
        let mut buffer = [0; system::SIGNAL_RECORD * 16];
        let Ok(count) = self.signals.read(&mut buffer) else { return };
        for record in buffer[..count].chunks_exact(system::SIGNAL_RECORD) {
            match system::signal_number(record) {
                Some(libc::SIGTERM) => {
                    tracing::warn!(runs = self.runs().len(), "told to stop by a signal, the runs are ended");
                    self.stop();
                }
                Some(libc::SIGCHLD) => self.look_for_strays(),
                _ => {}
            }
        }
    }
}

/// The log of runners, in their folder.
pub const LOG: &str = "runner.log";

/// A log that has grown too large becomes `….1` and begins again. Runners live long, and they only append: what they hold
/// open stays the file of this name.
pub fn set_aside(log: &Path, limit: u64) -> io::Result<()> {
    match std::fs::metadata(log) {
        Ok(file) if file.len() > limit => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    std::fs::copy(log, log.with_extension("log.1"))?;
    File::options().write(true).open(log)?.set_len(0)
}

fn not_started(reason: String) -> EndFacts {
    let facts = RunFacts {
        end: RunEnd::NotStarted { reason, again: false },
        started_at: None,
        ended_at: system::now(),
        usage: ordo_domain::run::report::Usage::default(),
        output: ordo_domain::run::report::OutputSummary::default(),
        results: BTreeMap::new(),
        results_error: None,
    };
    EndFacts { facts, results: None, results_error: None, head_frames: 0, omitted: 0 }
}

#[cfg(test)]
#[path = "event_loop_tests.rs"]
mod tests;
