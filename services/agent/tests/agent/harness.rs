use ordo_agent::runner::process_table;
use ordo_contract::bus_config::Limits;
use ordo_contract::heartbeat::Heartbeat;
use ordo_contract::job::{JobMessage, KillMessage};
use ordo_contract::name::StreamKind;
use ordo_contract::output;
use ordo_contract::report::ReportMessage;
use ordo_domain::run::spec::SpecAction;
use ordo_domain::run::{JobSpec, Report, RunFacts};
use ordo_domain::{ContentHash, EnvValue, RunId, Span};
use ordo_journal::{Bus, BusConfig, Claim, Headers, Outgoing, provision};
use ordo_runtime::{Clock, SystemClock};
use ordo_testkit::{TestFolder, TestNats, User, wait_for, wait_until};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub const LIMIT: Duration = Duration::from_secs(60);
pub const AGENT: &str = "etl";

/// A site with the agent `etl` admitted, and the controller's connection to it.
pub struct Site {
    pub nats: TestNats,
    pub bus: Bus,
    pub folder: TestFolder,
}

/// One instance as a process, with its runner.
pub struct Agent {
    pub instance: String,
    pub data: PathBuf,
    nats: (String, PathBuf),
    child: Option<Child>,
    slots: u32,
}

impl Site {
    pub async fn start() -> Self {
        let nats = TestNats::start().await;
        let bus = connect(&nats, &User::Controller).await;
        provision(&bus, &Limits::scaled_down(16)).await.unwrap();
        bus.ensure_agent_consumers(AGENT).await.unwrap();
        Self { nats, bus, folder: TestFolder::new("agent") }
    }

    /// Starts an instance; it is not waited for.
    pub fn agent(&self, instance: &str) -> Agent {
        self.agent_with(instance, 4, &self.folder.join(instance))
    }

    pub fn agent_with(&self, instance: &str, slots: u32, data: &Path) -> Agent {
        std::fs::create_dir_all(data).unwrap();
        let creds = self.nats.creds(&User::Agent(AGENT.into()));
        let nats = (self.nats.url(), creds);
        let mut agent = Agent { instance: instance.into(), data: data.to_owned(), nats, child: None, slots };
        agent.start();
        agent
    }

    pub async fn ready(&self, agent: &Agent) {
        let instance = agent.instance.clone();
        self.report(&format!("Ready of {instance}"), |report| {
            report.instance.as_str() == instance && matches!(report.report, Report::Ready { .. })
        })
        .await;
    }

    pub async fn send(&self, job: &JobMessage) {
        let subject = self.bus.names().job_start(AGENT, job.run.as_str());
        let message = Outgoing::new(subject, Headers::new(), serde_json::to_vec(job).unwrap());
        self.bus.publish(&message, &CancellationToken::new()).await.unwrap();
    }

    pub async fn kill(&self, run: &RunId, instance: &str) {
        let body = KillMessage { v: 1, run: run.clone(), epoch: 1 };
        let subject = self.bus.names().job_kill(AGENT, instance);
        let message = Outgoing::new(subject, Headers::new(), serde_json::to_vec(&body).unwrap());
        self.bus.publish(&message, &CancellationToken::new()).await.unwrap();
    }

    /// Claims a run as the controller does to kill what nobody has claimed. True: it was first.
    pub async fn refuse(&self, run: &RunId) -> bool {
        let report = ReportMessage {
            v: 1,
            agent: AGENT.parse().unwrap(),
            instance: "c1".parse().unwrap(),
            number: 0,
            at: ordo_domain::Instant::default(),
            epoch: 1,
            report: Report::Refused { run: run.clone() },
        };
        let subject = self.bus.names().report_accepted(AGENT, run.as_str());
        let message = Outgoing::new(subject, Headers::new(), serde_json::to_vec(&report).unwrap());
        matches!(self.bus.publish_first(&message, &CancellationToken::new()).await.unwrap(), Claim::Won(_))
    }

    async fn all(&self, kind: StreamKind) -> Vec<ordo_journal::Message> {
        let stream = self.bus.names().stream(kind);
        let Ok(last) = self.bus.last_sequence(kind).await else { return Vec::new() };
        let mut messages = Vec::new();
        for sequence in 1..=last {
            messages.extend(self.bus.read(&stream, sequence).await.ok().flatten());
        }
        messages
    }

    pub async fn reports(&self) -> Vec<ReportMessage> {
        self.all(StreamKind::Reports).await.iter().map(|m| serde_json::from_slice(m.payload()).unwrap()).collect()
    }

    /// Waits for a report.
    pub async fn report(&self, what: &str, is: impl Fn(&ReportMessage) -> bool) -> ReportMessage {
        wait_for(LIMIT, what, async || self.reports().await.into_iter().find(&is)).await
    }

    pub async fn claimed(&self, run: &RunId) -> ReportMessage {
        self.report("the claim", |report| report.report == Report::Accepted { run: run.clone() }).await
    }

    pub async fn ended(&self, run: &RunId) -> RunFacts {
        let is = |report: &ReportMessage| matches!(&report.report, Report::Ended { run: of, .. } if of == run);
        match self.report("the end of the run", is).await.report {
            Report::Ended { facts, .. } => facts,
            _ => unreachable!(),
        }
    }

    /// The ends that were reported of a run.
    pub async fn ends(&self, run: &RunId) -> usize {
        let reports = self.reports().await;
        reports.iter().filter(|report| matches!(&report.report, Report::Ended { run: of, .. } if of == run)).count()
    }

    /// The chunks of a run in OUTPUT: (chunk, channel, bytes).
    pub async fn output(&self, run: &RunId) -> BTreeMap<u32, (String, Vec<u8>)> {
        let messages = self.all(StreamKind::Output).await;
        let of_run = messages.iter().filter(|message| message.header(output::RUN) == Some(run.as_str()));
        let chunk = |m: &ordo_journal::Message| {
            let channel = m.header(output::CHANNEL).unwrap().to_owned();
            (m.header(output::CHUNK).unwrap().parse().unwrap(), (channel, m.payload().to_vec()))
        };
        of_run.map(chunk).collect()
    }

    /// Messages of JOBS that nobody has acknowledged.
    pub async fn jobs_waiting(&self) -> u64 {
        self.bus.stream_info(&self.bus.names().stream(StreamKind::Jobs)).await.map_or(u64::MAX, |info| info.messages)
    }

    pub async fn no_jobs_waiting(&self) {
        wait_until(LIMIT, "the acknowledgement of all jobs", async || self.jobs_waiting().await == 0).await;
    }

    pub async fn heartbeat(&self, instance: &str) -> Option<Heartbeat> {
        let key = self.bus.names().instance_key(&format!("agent-{AGENT}"), instance);
        serde_json::from_slice(&self.bus.instances().get(&key).await.ok()??.value?).ok()
    }
}

pub async fn connect(nats: &TestNats, user: &User) -> Bus {
    let config = BusConfig {
        url: nats.url(),
        creds: Some(nats.creds(user)),
        ca: None,
        identity: None,
        name: format!("test of {}", user.name()),
        site: nats.site().clone(),
        user: user.name(),
    };
    Bus::connect(config).await.unwrap()
}

/// A job that runs a shell script given as an argument.
pub fn job(script: &str) -> JobMessage {
    command(&["sh", "-eu", "-c", script])
}

pub fn command(arguments: &[&str]) -> JobMessage {
    action(SpecAction::Command { arguments: arguments.iter().map(|a| (*a).to_owned()).collect() })
}

pub fn script(hash: ContentHash) -> JobMessage {
    action(SpecAction::Script { hash })
}

fn action(action: SpecAction) -> JobMessage {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let bits = (u128::from(std::process::id()) << 64) | u128::from(COUNT.fetch_add(1, Ordering::Relaxed) + 1);
    JobMessage {
        v: 1,
        run: RunId::from_bits(bits),
        order: "20261122-T1-test".parse().unwrap(),
        workflow: "test".parse().unwrap(),
        position: "step".parse().unwrap(),
        job: "step".parse().unwrap(),
        agent: AGENT.parse().unwrap(),
        attempt: 1,
        priority: 0,
        epoch: 3,
        dispatched_at: SystemClock.now(),
        spec: JobSpec {
            action,
            env: BTreeMap::new(),
            directory: None,
            timeout: None,
            kill_after: Span::from_secs(5),
            results: BTreeMap::new(),
        },
    }
}

/// A job that waits for a file, then does something.
pub fn gated(site: &Site, script: &str) -> (JobMessage, PathBuf) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let gate = site.folder.join(format!("gate{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    let mut job = job(&format!("while [ ! -e \"$GATE\" ]; do sleep 0.02; done; {script}"));
    job.spec.env.insert("GATE".into(), EnvValue::Text(gate.display().to_string()));
    (job, gate)
}

impl Agent {
    pub fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.data.join("agent.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ordo-agent"));
        let program = self.data.join("program");
        if program.exists() {
            command.env("ORDO_RUNNER", program);
        }
        let child = command
            .env("ORDO_NATS_URL", &self.nats.0)
            .env("ORDO_NATS_CREDS", &self.nats.1)
            .env("ORDO_INSTANCE", &self.instance)
            .env("ORDO_NODE", "test-node")
            .env("ORDO_DATA", &self.data)
            .env("ORDO_AGENT", AGENT)
            .env("ORDO_SLOTS", self.slots.to_string())
            .env_remove("ORDO_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.join("agent.log")).unwrap_or_default()
    }

    /// As a crash.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// In order; true if its exit code was 0.
    pub async fn stop(&mut self) -> bool {
        let mut child = self.child.take().unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        wait_for(LIMIT, "the end of the agent", async || child.try_wait().unwrap()).await.success()
    }

    pub fn run_folder(&self, run: &RunId) -> PathBuf {
        self.data.join("runs").join(run.as_str())
    }

    /// The process id of its runner.
    pub fn runner(&self) -> Option<i32> {
        let entries = std::fs::read_dir(self.data.join("runner")).ok()?;
        let sockets =
            entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "sock"));
        let names = sockets.filter_map(|path| path.file_stem()?.to_str()?.split('-').next()?.parse().ok());
        names.last()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of agent {}\n{}", self.instance, self.log());
            eprintln!(
                "--- log of its runner\n{}",
                std::fs::read_to_string(self.data.join("runner/runner.log")).unwrap_or_default()
            );
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = ordo_agent::end_runner(&self.data);
    }
}

/// Processes that belong to a run by their environment.
pub fn processes_of(run: &RunId) -> Vec<i32> {
    let all = process_table::all();
    let living = all.values().filter(|process| !process.zombie).map(|process| process.pid);
    living.filter(|pid| process_table::run_of(*pid).as_ref() == Some(run)).collect()
}
