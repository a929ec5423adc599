//! Recovery of a journal of 1,000,000 decisions, with and without a snapshot: read from NATS, applied, ready to decide.

use crate::{RUNS, process::pss_mib, report::Report};
use anyhow::{Context, ensure};
use bytes::Bytes;
use ordo_contract::{command::CommandMessage, commit::Source, job::JobMessage, report::ReportMessage};
use ordo_controller::{
    engine::{Body, Engine, Message, Settings},
    follower::Follower,
};
use ordo_domain::{
    Command, ContentHash, Definitions, Ids, Instant, RunId,
    agent::AddAgent,
    catalog::CatalogDefinition,
    command::{By, Deploy},
    ctx::LoadedWorkflow,
    effect::Effect,
    lock::LockDefinition,
    order::command::AddOrders,
    run::{Report as AgentReport, RunEnd, RunFacts},
};
use ordo_journal::{Bus, Journal, NatsJournal};
use ordo_testkit::TestNats;
use std::{cell::Cell, collections::BTreeMap, sync::Arc, time};

const DECISIONS: u64 = 1_000_000;

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let nats = TestNats::start().await;
    let bus = ordo_tests::bus_of(&nats, &ordo_contract::right::User::Controller).await;
    ordo_journal::provision(&bus, &ordo_contract::bus_config::Limits::default()).await?;
    let replica = write(&bus).await?;
    ensure!(replica.decisions >= DECISIONS, "{} decisions", replica.decisions);
    let mut samples = Vec::new();
    for _ in 0..RUNS {
        samples.push(recover(&bus, replica.decisions).await?);
    }
    report.add("recovery: 1,000,000 decisions without snapshot", "s", samples, None);
    report.add(
        "recovery: memory of the recovered process (PSS)",
        "MiB",
        vec![pss_mib(std::process::id().cast_signed())?],
        None,
    );
    bus.snapshots()
        .put(
            replica.sequence,
            &replica.incarnation,
            ordo_contract::replica::SNAPSHOT_FORMAT,
            serde_json::to_vec(&replica)?,
        )
        .await?;
    let mut samples = Vec::new();
    for _ in 0..RUNS {
        samples.push(recover(&bus, replica.decisions).await?);
    }
    report.add("recovery: 1,000,000 decisions with a snapshot at their end", "s", samples, None);
    Ok(())
}

async fn recover(bus: &Bus, decisions: u64) -> anyhow::Result<f64> {
    let begin = time::Instant::now();
    let mut follower = Follower::open(bus).await?;
    follower.read_to_end(bus).await?;
    ensure!(follower.replica().decisions == decisions, "all of it is recovered");
    Ok(begin.elapsed().as_secs_f64())
}

/// Lets an engine run orders with one job each, with an agent that claims and ends at once, and appends its commits.
async fn write(bus: &Bus) -> anyhow::Result<ordo_contract::replica::Replica> {
    let workflow = ordo_domain::definition::read(
        "bench.yaml",
        "workflow: one\ndefaults: { agent: local }\nsteps:\n  - job: one\n    command: [\"true\"]\n",
    )
    .map_err(|p| anyhow::anyhow!("{p:?}"))?;
    let item = workflow.items.first().context("one definition")?.deploy_item();
    let store = Arc::new(Store::of(&workflow.items[0].body)?);
    let settings = Settings { instance: "bench".parse()?, zone: chrono_tz::UTC, build: "bench".into() };
    let follower = Follower::open(bus).await?;
    let mut engine = Engine::new(settings, follower.into_replica(), Box::new(Counted(Cell::new(0))), store);
    let mut journal = NatsJournal::new(bus);
    let mut inputs = Inputs::default();
    engine.activate(now(), "bench")?;
    append(&mut engine, &mut journal, &mut inputs).await?;
    inputs.command(&mut engine, Command::AddAgent(AddAgent { agent: "local".parse()?, title: None }))?;
    inputs.command(&mut engine, Command::Deploy(Deploy { items: vec![item] }))?;
    while engine.replica().decisions < DECISIONS {
        let order: ordo_domain::order::command::NewOrder = serde_json::from_str(r#"{"workflow":"one"}"#)?;
        inputs.command(&mut engine, Command::AddOrders(AddOrders { orders: vec![order; 500] }))?;
        append(&mut engine, &mut journal, &mut inputs).await?;
        while let Some(run) = inputs.sent.pop() {
            inputs.report(&mut engine, AgentReport::Accepted { run: run.clone() })?;
            inputs.report(&mut engine, AgentReport::Ended { run, facts: facts() })?;
        }
        append(&mut engine, &mut journal, &mut inputs).await?;
        let ended = engine.replica().site.ended.clone();
        engine.upkeep(now(), &[], ended)?;
        append(&mut engine, &mut journal, &mut inputs).await?;
    }
    Ok(engine.replica().clone())
}

async fn append(engine: &mut Engine, journal: &mut NatsJournal, inputs: &mut Inputs) -> anyhow::Result<()> {
    while let Some(append) = engine.seal()? {
        let appended = journal.append(append.expected_last, Bytes::from_owner(append.bytes)).await?;
        for effect in engine.acknowledged(appended.sequence) {
            if let Effect::SendJob { run } = effect
                && let Some(JobMessage { run, .. }) = ordo_controller::job::message(&engine.replica().site, &run)
            {
                inputs.sent.push(run);
            }
        }
        engine.advance_unsettled(now())?;
    }
    Ok(())
}

#[derive(Default)]
struct Inputs {
    commands: u64,
    reports: u64,
    sent: Vec<RunId>,
}

impl Inputs {
    fn command(&mut self, engine: &mut Engine, command: Command) -> anyhow::Result<()> {
        self.commands += 1;
        let by = By { user: "bench".parse()?, reason: None };
        let message = CommandMessage { id: format!("c{}", self.commands).parse()?, by, at: now(), command };
        let body = Body::Command(Box::new(message));
        engine.accept(
            now(),
            &Message { source: Source::Commands, incarnation: "bench".into(), sequence: self.commands, body },
        )?;
        Ok(())
    }

    fn report(&mut self, engine: &mut Engine, report: AgentReport) -> anyhow::Result<()> {
        self.reports += 1;
        let agent: ordo_domain::AgentName = "local".parse()?;
        let message = ReportMessage {
            v: 1,
            agent: agent.clone(),
            instance: "bench".parse()?,
            number: self.reports,
            at: now(),
            epoch: 1,
            report,
        };
        let body = Body::Report { agent, report: Box::new(message) };
        engine.accept(
            now(),
            &Message { source: Source::Reports, incarnation: "bench".into(), sequence: self.reports, body },
        )?;
        Ok(())
    }
}

fn facts() -> RunFacts {
    RunFacts {
        end: RunEnd::Exited { code: 0 },
        started_at: Some(now()),
        ended_at: now(),
        usage: ordo_domain::run::report::Usage::default(),
        output: ordo_domain::run::report::OutputSummary::default(),
        results: BTreeMap::new(),
        results_error: None,
    }
}

fn now() -> Instant {
    use chrono::SubsecRound;
    chrono::DateTime::<chrono::Utc>::from(time::SystemTime::now()).trunc_subsecs(3)
}

struct Store(ContentHash, Arc<LoadedWorkflow>);

impl Store {
    fn of(body: &[u8]) -> anyhow::Result<Self> {
        Ok(Self(ContentHash::of(body), Arc::new(LoadedWorkflow::new(serde_json::from_slice(body)?))))
    }
}

impl Definitions for Store {
    fn workflow(&self, hash: &ContentHash) -> Option<Arc<LoadedWorkflow>> {
        (*hash == self.0).then(|| self.1.clone())
    }
    fn lock(&self, _: &ContentHash) -> Option<LockDefinition> {
        None
    }
    fn catalog(&self, _: &ContentHash) -> Option<Arc<CatalogDefinition>> {
        None
    }
}

struct Counted(Cell<u128>);

impl Ids for Counted {
    fn run_id(&self) -> RunId {
        self.0.set(self.0.get() + 1);
        RunId::from_bits(self.0.get())
    }
}
