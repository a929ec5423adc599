//! The agent's connection to its runner: finds it or starts it, hands it starts and kills, brings back ends. A runner of
//! another build is told to drain and a new one takes over; a runner that died is followed by a new one that says what
//! was lost.

use crate::runner::folder::RunFolder;
use crate::runner::protocol::{EndFacts, PROTOCOL, Reply, Request, StartRequest};
use crate::runner::{LOG, build_of_this_program, connect, set_aside, sweep};
use crate::runner_tool::sockets;
use crate::shell::Event;
use ordo_domain::RunId;
use ordo_runtime::CancellationToken;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A runner may take so long to be there, and to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between attempts to start one.
const AGAIN: Duration = Duration::from_millis(500);

/// What the runner is to do.
#[derive(Debug)]
pub enum Order {
    Start(Box<StartRequest>),
    Kill(RunId),
    /// Compare again: something was not as expected.
    Look,
}

/// What a run folder or a runner says of a run.
#[derive(Debug, Clone)]
pub enum Seen {
    Running,
    Ended(Box<EndFacts>),
}

/// Starts the task that keeps the connection; the first event is [`Event::Runner`].
pub fn start(
    data: PathBuf,
    program: PathBuf,
    events: UnboundedSender<Event>,
    cancel: CancellationToken,
) -> UnboundedSender<Order> {
    let (sender, orders) = unbounded_channel();
    let (said, replies) = unbounded_channel();
    let link =
        Link { data, program, events, said, connections: BTreeMap::new(), next: 0, build: build_of_this_program() };
    tokio::spawn(async move {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = link.run(orders, replies) => {}
        }
    });
    sender
}

struct Connection {
    runner: String,
    /// Takes new runs; one that drains does not.
    active: bool,
    write: OwnedWriteHalf,
}

/// By the number of the connection; none when it has ended.
type Said = (u64, Option<Reply>);

struct Link {
    data: PathBuf,
    program: PathBuf,
    events: UnboundedSender<Event>,
    said: UnboundedSender<Said>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    build: String,
}

impl Link {
    async fn run(mut self, mut orders: UnboundedReceiver<Order>, mut replies: UnboundedReceiver<Said>) {
        let mut running = self.attach_all().await;
        self.report(&mut running).await;
        loop {
            tokio::select! {
                biased;
                said = replies.recv() => match said {
                    Some((_, Some(reply))) => drop(self.events.send(Event::Runner(reply))),
                    Some((number, None)) => {
                        self.lost(number).await;
                        let mut running = self.attach_all().await;
                        self.report(&mut running).await;
                    }
                    None => return,
                },
                order = orders.recv() => match order {
                    Some(Order::Start(request)) => self.send(|c| c.active, &Request::Start(request)).await,
                    Some(Order::Kill(run)) => self.send(|_| true, &Request::Kill { run }).await,
                    Some(Order::Look) => {
                        let mut running = self.look(&mut replies).await;
                        self.report(&mut running).await;
                    }
                    None => return,
                },
            }
        }
    }

    /// Writes to all connections that fit. One that is broken is noticed by its reader.
    async fn send(&mut self, fits: impl Fn(&Connection) -> bool, request: &Request) {
        let Ok(mut line) = serde_json::to_vec(request) else { return };
        line.push(b'\n');
        for connection in self.connections.values_mut().filter(|connection| fits(connection)) {
            if let Err(error) = connection.write.write_all(&line).await {
                tracing::debug!(runner = connection.runner, %error, "runner does not read");
            }
        }
    }

    async fn lost(&mut self, number: u64) {
        let Some(connection) = self.connections.remove(&number) else { return };
        if connection.active {
            let _ = self.events.send(Event::RunnerIsThere(false));
        }
        if sweep::lives(&self.data, &connection.runner) {
            tracing::info!(runner = connection.runner, "connection to the runner lost");
        } else if connection.active {
            tracing::warn!(runner = connection.runner, "the runner is gone, a new one is started");
        } else {
            tracing::info!(runner = connection.runner, "the drained runner has ended");
        }
        // What it may have left is looked at by whoever is active; a new one does so when it starts.
        self.send(|c| c.active, &Request::Sweep).await;
    }

    /// Connects to all runners and makes sure that one takes new runs. Returns what they say runs.
    async fn attach_all(&mut self) -> BTreeSet<RunId> {
        let mut running = BTreeSet::new();
        let mut attempts = 0_u32;
        loop {
            for socket in sockets(&self.data) {
                let known = self.connections.values().any(|c| sweep::socket_path(&self.data, &c.runner) == socket);
                if known {
                    continue;
                }
                match tokio::time::timeout(PATIENCE, self.attach(&socket)).await {
                    Ok(Ok(runs)) => running.extend(runs),
                    // Of a dead one: the next runner removes it.
                    Ok(Err(error)) => tracing::debug!(socket = %socket.display(), %error, "no runner answers there"),
                    Err(_) => tracing::warn!(socket = %socket.display(), "runner does not answer"),
                }
            }
            if self.connections.values().any(|connection| connection.active) {
                let _ = self.events.send(Event::RunnerIsThere(true));
                return running;
            }
            if let Err(error) = self.start_runner().await {
                if attempts.is_multiple_of(20) {
                    tracing::error!(program = %self.program.display(), %error, "no runner can be started, trying on");
                }
                attempts += 1;
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    async fn attach(&mut self, socket: &Path) -> io::Result<Vec<RunId>> {
        let stream = connect(socket)?;
        stream.set_nonblocking(true)?;
        let (read, mut write) = UnixStream::from_std(stream)?.into_split();
        let mut lines = BufReader::new(read);
        ask(&mut write, &Request::Attach { build: self.build.clone() }).await?;
        let Reply::Attached { protocol, runner, build, capacity, runs, pid } = answer(&mut lines).await? else {
            return Err(io::Error::other("the runner answered something else"));
        };
        let active = build == self.build && protocol == PROTOCOL;
        if !active {
            ask(&mut write, &Request::Drain).await?;
            tracing::info!(runner, runs = runs.len(), "a runner of another build drains");
        }
        tracing::info!(runner, pid, capacity, active, runs = runs.len(), "runner attached");
        self.next += 1;
        let number = self.next;
        self.connections.insert(number, Connection { runner, active, write });
        tokio::spawn(read_all(number, lines, self.said.clone()));
        Ok(runs)
    }

    async fn start_runner(&self) -> io::Result<()> {
        let folder = sweep::runner_folder(&self.data);
        std::fs::create_dir_all(&folder)?;
        let log_path = folder.join(LOG);
        set_aside(&log_path, 1 << 20)?;
        let log = std::fs::File::options().create(true).append(true).open(&log_path)?;
        let before = sockets(&self.data);
        let mut child = tokio::process::Command::new(&self.program)
            .args(["runner", "--data"])
            .arg(&self.data)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .current_dir("/")
            .spawn()?;
        let there = async {
            while !sockets(&self.data).iter().any(|socket| !before.contains(socket)) {
                if child.try_wait()?.is_some() {
                    // Perhaps because another one is there already, or is just letting go; else its log says why.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok(())
        };
        let late = io::Error::new(io::ErrorKind::TimedOut, "it did not open its socket in time");
        let outcome = tokio::time::timeout(PATIENCE, there).await.unwrap_or(Err(late));
        if matches!(child.try_wait(), Ok(Some(status)) if !status.success()) {
            return Err(io::Error::other(format!("it ended at once, see {}", log_path.display())));
        }
        // Not waited for: it outlives us.
        outcome
    }

    /// Asks all that are connected what runs. Other replies are passed on in their order.
    async fn look(&mut self, replies: &mut UnboundedReceiver<Said>) -> BTreeSet<RunId> {
        let mut running = BTreeSet::new();
        self.send(|_| true, &Request::List).await;
        let mut missing = self.connections.len();
        let all = async {
            while missing > 0 {
                match replies.recv().await {
                    Some((_, Some(Reply::Running { runs }))) => {
                        missing -= 1;
                        running.extend(runs);
                    }
                    Some((_, Some(reply))) => drop(self.events.send(Event::Runner(reply))),
                    Some((number, None)) => {
                        missing = missing.saturating_sub(1);
                        // Dealt with afterwards, as always.
                        let _ = self.said.send((number, None));
                        return;
                    }
                    None => return,
                }
            }
        };
        let _ = tokio::time::timeout(PATIENCE, all).await;
        running
    }

    /// Tells what runs and what has ended, by the runners and by the run folders.
    async fn report(&self, running: &mut BTreeSet<RunId>) {
        let data = self.data.clone();
        let mut seen: BTreeMap<RunId, Seen> =
            std::mem::take(running).into_iter().map(|run| (run, Seen::Running)).collect();
        let folders = tokio::task::spawn_blocking(move || {
            let folders = RunFolder::all(&data)?.into_iter();
            Ok::<_, io::Error>(folders.map(|(run, folder)| (run, folder.end())).collect::<Vec<_>>())
        });
        match folders.await {
            Ok(Ok(folders)) => seen.extend(
                folders
                    .into_iter()
                    .map(|(run, end)| (run, end.map_or(Seen::Running, |end| Seen::Ended(Box::new(end))))),
            ),
            Ok(Err(error)) => tracing::error!(%error, "run folders cannot be read"),
            Err(error) => tracing::error!(%error, "run folders were not read"),
        }
        let _ = self.events.send(Event::Seen(seen));
    }
}

async fn ask(write: &mut OwnedWriteHalf, request: &Request) -> io::Result<()> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    write.write_all(&line).await
}

async fn answer(lines: &mut BufReader<OwnedReadHalf>) -> io::Result<Reply> {
    let mut line = String::new();
    if lines.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}

async fn read_all(number: u64, mut lines: BufReader<OwnedReadHalf>, said: UnboundedSender<Said>) {
    loop {
        match answer(&mut lines).await {
            Ok(reply) => {
                if said.send((number, Some(reply))).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(%error, "runner said what is not understood");
            }
            Err(_) => {
                let _ = said.send((number, None));
                return;
            }
        }
    }
}
