//! Supervision: what ended without being told to is started again, with back-off, and said so.

use super::leftover::Record;
use super::screen::Screen;
use nix::sys::signal::Signal;
use ordo_runtime::{CancellationToken, Exit};
use ordo_servers::{Keys, NatsServer, PostgresServer, Process, ServersError, Spawn};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// The first pause before a restart; it doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Who ran so long is taken for well again.
const WELL: Duration = Duration::from_secs(30);
/// How long a role may take to stop in order.
const ROLE_GRACE: Duration = Duration::from_secs(15);

/// Something that runs and can be started again.
#[derive(Debug)]
pub enum Thing {
    Nats(NatsServer, Arc<Keys>),
    Postgres(PostgresServer),
    Role(Process, Spawn),
}

impl Thing {
    fn process(&self) -> &Process {
        match self {
            Thing::Nats(server, _) => server.process(),
            Thing::Postgres(server) => server.process(),
            Thing::Role(process, _) => process,
        }
    }

    async fn start_again(&mut self) -> Result<(), ServersError> {
        match self {
            Thing::Nats(server, keys) => server.start_again(keys).await,
            Thing::Postgres(server) => server.start_again().await,
            Thing::Role(process, spawn) => {
                *process = Process::spawn(spawn.clone())?;
                Ok(())
            }
        }
    }

    async fn stop(&self) {
        match self {
            Thing::Nats(server, _) => server.stop().await,
            Thing::Postgres(server) => server.stop().await,
            Thing::Role(process, _) => drop(process.stop(Signal::SIGTERM, ROLE_GRACE).await),
        }
    }

    /// What the end of this process asks for.
    fn verdict(&self, status: ExitStatus) -> Verdict {
        match (self, status.code()) {
            (Thing::Role(..), Some(code)) if code == i32::from(Exit::Done.code()) => Verdict::Leave,
            (Thing::Role(..), Some(code)) if code == i32::from(Exit::Usage.code()) => Verdict::Leave,
            (Thing::Role(..), Some(code)) if code == i32::from(Exit::Restart.code()) => Verdict::AtOnce,
            _ => Verdict::AfterPause,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Leave,
    AtOnce,
    AfterPause,
}

/// A supervised thing.
#[derive(Debug)]
pub struct Child {
    name: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Child {
    /// Takes over the supervision of something that was started.
    pub fn supervise(name: &str, thing: Thing, screen: Arc<Screen>, record: Arc<Record>) -> Self {
        let stop = CancellationToken::new();
        record.put(name, thing.process().pid());
        let task = tokio::spawn(watch(name.to_owned(), thing, stop.clone(), screen, record));
        Self { name: name.to_owned(), stop, task }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stops it in order and waits for its end.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

async fn watch(name: String, mut thing: Thing, stop: CancellationToken, screen: Arc<Screen>, record: Arc<Record>) {
    let (mut pause, mut since) = (FIRST_PAUSE, Instant::now());
    loop {
        let status = tokio::select! {
            () = stop.cancelled() => return thing.stop().await,
            status = thing.process().wait() => status,
        };
        if stop.is_cancelled() {
            return;
        }
        if since.elapsed() > WELL {
            pause = FIRST_PAUSE;
        }
        let (how, verdict) = (words(status), thing.verdict(status));
        if verdict == Verdict::Leave {
            let log = thing.process().log().display().to_string();
            screen.line(&format!("{name} {how} and is not started again; its log: {log}"));
            return stop.cancelled().await;
        }
        if verdict == Verdict::AtOnce {
            screen.line(&format!("{name} asks to be restarted"));
        } else {
            screen.line(&format!("{name} {how}; restarting in {:.1} s", pause.as_secs_f64()));
            tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(pause) => {} }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        since = Instant::now();
        let again =
            tokio::select! { () = stop.cancelled() => return thing.stop().await, again = thing.start_again() => again };
        match again {
            Ok(()) => {
                record.put(&name, thing.process().pid());
                screen.line(&format!("{name} restarted, process {}", thing.process().pid()));
            }
            // Ended as it is, the next round finds it so and tries again.
            Err(error) => screen.line(&format!("{name} not restarted: {}", crate::sentence(&error.into()))),
        }
    }
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => format!("was ended by {signal}"),
            Err(_) => format!("was ended by signal {signal}"),
        },
        (None, None) => "ended".to_owned(),
    }
}
