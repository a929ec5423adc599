//! From a configuration to a serving agent, and back: data folder, runner, recovery, bus, loop, orderly stop.

use crate::claim::{Input, Me};
use crate::config::Config;
use crate::disk_log::DiskLog;
use crate::runner::process_table::boot_id;
use crate::scripts::Scripts;
use crate::shell::{Event, Shell, recover, to_ship};
use crate::{beat, outbox, runner_link, ship};
use anyhow::{Context, bail};
use ordo_contract::name::{SiteNames, agent_user};
use ordo_domain::{InstanceId, NodeName, RunId};
use ordo_journal::{Bus, BusConfig, Durable, Kills};
use ordo_runtime::{CancellationToken, Health, HealthState};
use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// An orderly stop may take this long to bring out what is decided.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// Runs the agent until `shutdown`; its jobs go on under the runner. The bus may be away, also from the start.
///
/// # Errors
/// A wrong configuration, a data folder that cannot be used or that another agent uses, credentials that the bus refuses.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let agent = config.checked()?;
    let data =
        config.role.data.canonicalize().with_context(|| format!("data folder {}", config.role.data.display()))?;
    let config = Config { role: ordo_runtime::RoleSettings { data: data.clone(), ..config.role.clone() }, ..config };
    let _lock = take(&data.join("agent.lock"))?;
    let health = Health::new("agent", &config.role.instance, &data);
    // On its own token: it is told of the end of the stop, not of its beginning.
    let alive = CancellationToken::new();
    let _ends_with_us = alive.clone().drop_guard();
    let health_file = tokio::spawn({
        let (health, alive) = (health.clone(), alive.clone());
        async move { health.run(alive).await }
    });
    let outcome = serve(&config, &agent, &health, &shutdown, &alive).await;
    alive.cancel();
    let _ = health_file.await;
    outcome
}

/// One agent per data folder: two would run each other's jobs.
fn take(path: &std::path::Path) -> anyhow::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another agent uses this data folder: {} is locked", path.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

async fn serve(
    config: &Config,
    agent: &ordo_domain::AgentName,
    health: &Health,
    shutdown: &CancellationToken,
    alive: &CancellationToken,
) -> anyhow::Result<()> {
    let data = &config.role.data;
    let instance = InstanceId::new(&config.role.instance)?;
    let (events, mut received) = unbounded_channel();
    let logged = events.clone();
    let (log, records) = DiskLog::open(data, move |what| drop(logged.send(Event::Logged(what))))
        .with_context(|| format!("read the records of the agent in {}", data.display()))?;
    let program = if config.runner.as_os_str().is_empty() { this_program()? } else { config.runner.clone() };
    let runner = runner_link::start(data.clone(), program, events.clone(), alive.clone());
    health.set(HealthState::Starting, "waits for its runner");
    let seen = loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            event = received.recv() => match event {
                Some(Event::Seen(seen)) => break seen,
                Some(_) => {}
                None => return Ok(()),
            },
        }
    };
    // Shipping has files open, too.
    crate::runner::system::raise_descriptor_limit();
    let (wanted, capacity) = (config.slots(), crate::runner::capacity_here());
    let slots = wanted.min(capacity);
    if slots < wanted {
        tracing::warn!(wanted, slots, "fewer slots than asked for: the limit of open files allows no more");
    }
    let me = Me {
        agent: agent.clone(),
        instance: instance.clone(),
        node: NodeName::new(&config.role.node)?,
        version: env!("CARGO_PKG_VERSION").into(),
        slots,
        boot: boot_id(),
    };
    let reported: BTreeSet<RunId> = records.iter().filter_map(reported_run).collect();
    let (core, actions) = recover(me, records, &seen);
    tracing::info!(agent = %agent, instance = %instance, running = core.running().len(), outbox = core.outbox().count(), "recovered");

    health.set(HealthState::Starting, "waits for NATS");
    let bus = match Bus::connect_when_up(bus_config(config, agent)?, shutdown).await {
        Err(_) if shutdown.is_cancelled() => return Ok(()),
        bus => bus?,
    };
    let scripts = Scripts::open(data, &bus).context("open the cache of scripts")?;
    let (reports, waiting) = unbounded_channel();
    tokio::spawn(outbox::run(bus.clone(), waiting, events.clone(), alive.clone()));
    let shipper = ship::start(&bus, agent.clone(), data.clone(), config.output.clone(), events.clone(), alive.clone());
    // Before those of `actions`, which say that they wait for history.
    to_ship(seen, &reported).into_iter().for_each(|shipment| drop(shipper.send(shipment)));
    // New reports among the actions go by way of the disk; these lie there already.
    let fresh: BTreeSet<u64> = actions.iter().filter_map(fresh_report).collect();
    core.outbox()
        .filter(|report| !fresh.contains(&report.number))
        .for_each(|report| drop(reports.send(Arc::clone(report))));
    let _service = beat::serve(&bus, &config.role).await.context("register the agent as a micro service")?;
    let mut shell = Shell::new(
        config,
        core,
        bus.clone(),
        log,
        scripts,
        events.clone(),
        runner,
        reports,
        shipper,
        instance,
        alive.clone(),
    );
    shell.carry_out(actions);
    let beating = tokio::spawn(beat::run(bus.clone(), config.role.clone(), health.clone(), events));
    let outcome = work(&mut shell, agent, config, received, shutdown).await;
    beating.abort();
    let node = NodeName::new(&config.role.node)?;
    if let Err(error) = beat::put(&bus, &config.role, &node, crate::runner::system::now(), shell.snapshot(), None).await
    {
        tracing::debug!(%error, "last heartbeat not written");
    }
    shell.log.flush(Duration::from_secs(1));
    bus.close().await;
    outcome
}

fn reported_run(record: &crate::claim::Record) -> Option<RunId> {
    match record {
        crate::claim::Record::Reported { run } => Some(run.clone()),
        _ => None,
    }
}

fn fresh_report(action: &crate::claim::Action) -> Option<u64> {
    match action {
        crate::claim::Action::Report(report) => Some(report.number),
        _ => None,
    }
}

/// Still right when the file was replaced by an upgrade while we ran.
fn this_program() -> anyhow::Result<std::path::PathBuf> {
    let path = std::env::current_exe().context("find this program, to start the runner with it")?;
    let replaced = path.to_string_lossy().strip_suffix(" (deleted)").map(std::path::PathBuf::from);
    Ok(replaced.unwrap_or(path))
}

fn bus_config(config: &Config, agent: &ordo_domain::AgentName) -> anyhow::Result<BusConfig> {
    let ordo_runtime::RoleSettings { site, instance, node, nats, .. } = &config.role;
    Ok(BusConfig {
        url: nats.url.clone(),
        creds: nats.creds.clone(),
        ca: nats.ca.clone(),
        identity: nats.cert.clone().zip(nats.key.clone()),
        name: format!("agent {agent}/{instance} on {node}"),
        site: SiteNames::new(site)?,
        user: agent_user(agent.as_str()),
    })
}

/// Takes jobs until told to stop, then brings out what is decided.
async fn work(
    shell: &mut Shell,
    agent: &ordo_domain::AgentName,
    config: &Config,
    mut received: UnboundedReceiver<Event>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let bus = shell.bus.clone();
    let mut starts = Durable::starts(&bus, agent.as_str());
    let mut kills = Kills::open(&bus, agent.as_str(), &config.role.instance).await.context("listen for kills")?;
    let mut link = bus.link();
    let mut connected = link.borrow_and_update().times;
    shell.handle(Input::Ready);
    let mut stop_at = None;
    loop {
        if stop_at.is_none() {
            let free = if shell.runner_is_there { shell.core.free_slots() } else { 0 };
            let free = usize::try_from(free).unwrap_or_default();
            starts.grant(free.saturating_sub(starts.granted()));
        } else if shell.is_settled() {
            return Ok(());
        }
        tokio::select! {
            () = shutdown.cancelled(), if stop_at.is_none() => {
                tracing::info!(running = shell.core.running().len(), "stopping, jobs go on under the runner");
                stop_at = Some(tokio::time::Instant::now() + STOP_WITHIN);
                shell.stopping = true;
                shell.handle(Input::Stopping);
            }
            () = sleep_until(stop_at) => return Ok(()),
            event = received.recv() => {
                let Some(event) = event else { return Ok(()) };
                shell.take(event);
                // What came meanwhile, too, before slots are counted again.
                while let Ok(event) = received.try_recv() {
                    shell.take(event);
                }
            }
            message = starts.next(), if stop_at.is_none() => shell.job_given(message.context("take jobs")?),
            message = kills.next() => shell.kill_given(message.context("take kills")?),
            changed = link.changed() => {
                changed.context("the connection to the bus ended")?;
                let now = *link.borrow_and_update();
                if now.up && now.times > connected && !shell.stopping {
                    connected = now.times;
                    shell.handle(Input::Ready);
                }
            }
        }
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Shell {
    fn take(&mut self, event: Event) {
        match event {
            Event::Input(input) => self.handle(input),
            Event::Logged(logged) => self.logged(logged),
            Event::Runner(reply) => self.runner_said(reply),
            Event::RunnerIsThere(is_there) => self.runner_is_there = is_there,
            Event::Seen(seen) => self.seen(seen),
            Event::Prepared { run, request } => self.prepared(run, request),
            Event::Look(answer) => drop(answer.send(self.snapshot())),
        }
    }

    /// Nothing is half decided and every report is out.
    fn is_settled(&self) -> bool {
        self.core.outbox().next().is_none() && !self.core.is_deciding()
    }
}
