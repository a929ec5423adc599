//! Looking at the runner of a data folder, and ending it, without being its agent: for `ordo up` and its Ctrl-C.

use crate::runner;
use crate::runner::folder::RunFolder;
use crate::runner::protocol::{Reply, Request};
use crate::runner::sweep::runner_folder;
use ordo_domain::{Instant, OrderId, Position, RunId};
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a runner may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Jobs may use their grace when they are ended.
const END: Duration = Duration::from_secs(60);

/// A job under a runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerJob {
    pub run: RunId,
    pub order: OrderId,
    pub position: Position,
    pub since: Option<Instant>,
}

impl fmt::Display for RunnerJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.order, self.position)?;
        match self.since {
            Some(since) => write!(f, ", since {} UTC", since.format("%H:%M:%S")),
            None => Ok(()),
        }
    }
}

/// The sockets of a data folder, of living and of dead runners.
pub(crate) fn sockets(data: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(runner_folder(data)).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "sock")).collect();
    paths.sort();
    paths
}

struct Tool {
    lines: BufReader<UnixStream>,
}

impl Tool {
    fn connect(socket: &Path) -> Option<Self> {
        let stream = runner::connect(socket).ok()?;
        stream.set_read_timeout(Some(ANSWER)).ok()?;
        Some(Self { lines: BufReader::new(stream) })
    }

    fn ask(&mut self, request: &Request) -> io::Result<Reply> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.lines.get_mut().write_all(&line)?;
        let mut answer = String::new();
        self.lines.read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }
}

/// The jobs that run under the runners of a data folder; none when no runner lives.
pub fn runner_jobs(data: &Path) -> Vec<RunnerJob> {
    let mut jobs = Vec::new();
    for mut tool in sockets(data).iter().filter_map(|socket| Tool::connect(socket)) {
        let Ok(Reply::Running { runs }) = tool.ask(&Request::List) else { continue };
        for run in runs {
            let folder = RunFolder::new(data, &run);
            let since = std::fs::metadata(folder.path()).and_then(|found| found.modified()).ok().map(Instant::from);
            if let Some(meta) = folder.meta() {
                jobs.push(RunnerJob { run, order: meta.order, position: meta.position, since });
            }
        }
    }
    jobs
}

/// Ends the runners of a data folder and their jobs; returns when they are gone. The runs count as lost.
///
/// # Errors
/// When a runner does not answer, or is still there after a minute.
pub fn end_runner(data: &Path) -> io::Result<()> {
    let mut tools: Vec<Tool> = sockets(data).iter().filter_map(|socket| Tool::connect(socket)).collect();
    for tool in &mut tools {
        tool.ask(&Request::Stop { kill: true })?;
    }
    for tool in &mut tools {
        tool.lines.get_mut().set_read_timeout(Some(END))?;
        // It closes the connection with its end.
        let mut rest = String::new();
        while tool.lines.read_line(&mut rest)? > 0 {
            rest.clear();
        }
    }
    Ok(())
}
