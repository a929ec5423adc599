//! A site with a journal that a test writes, and instances of a service that the test runs inside itself, or as processes
//! that really die.

use crate::bus_site::Site;
use crate::history_chronicle::Chronicle;
use crate::plan_site::Ruled;
use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ordo_contract::heartbeat::Heartbeat;
use ordo_contract::name::StreamKind;
use ordo_journal::{Bus, CallError, Journal, NatsJournal, RequestError};
use ordo_runtime::{BusSettings, CancellationToken, DatabaseSettings, RoleSettings};
use ordo_store::{Connect, Store};
use ordo_testkit::{DatabaseRole, TestFolder, TestPostgres, User, wait_until};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

pub const LIMIT: Duration = Duration::from_secs(60);
/// Set for the child: what it is to run.
const CHILD: &str = "ORDO_TEST_SERVICE";

/// A service that can be put through the cases of `service_case`.
pub trait Candidate: Sized + 'static {
    /// The role, which is its name in the list of `service_child`.
    const ROLE: &'static str;
    const DATABASE: DatabaseRole;

    fn user() -> User;

    /// Runs it, as `ordo run` would. `folder` is for what it tells the test, the same for all its instances.
    fn run(
        role: RoleSettings,
        database: DatabaseSettings,
        folder: PathBuf,
        shutdown: CancellationToken,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// What the journal asks of it and is not done (yet), in words. Panics at what should not be.
    fn missing(site: &ServiceSite<Self>) -> impl Future<Output = Vec<String>>;

    /// A real controller and proxy write its journal, and [`Candidate::lives`] what they are asked; else the test does.
    const RULED: bool = false;

    /// So much more happens that concerns it, where the site is ruled.
    fn lives(site: &mut ServiceSite<Self>, commits: usize) -> impl Future<Output = ()> {
        let _ = (site, commits);
        async {}
    }

    /// What happens besides commits while the site lives on; may make some, too.
    fn beside(site: &mut ServiceSite<Self>) -> impl Future<Output = ()> {
        let _ = site;
        std::future::ready(())
    }

    /// Where its process can be told to die: `ORDO_TEST_DIE_AT=<point>`.
    fn points() -> Vec<&'static str> {
        Vec::new()
    }
}

pub struct ServiceSite<C> {
    pub ruled: Option<Ruled>,
    pub site: Site,
    pub postgres: TestPostgres,
    pub life: Chronicle,
    pub journal: NatsJournal,
    /// Commits that are in the journal; of a ruled site, at least.
    pub appended: usize,
    pub person: Bus,
    pub folder: TestFolder,
    candidate: std::marker::PhantomData<C>,
}

/// An instance within this process.
pub struct Instance {
    task: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Instance {
    /// In order.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    pub async fn outcome(self) -> anyhow::Result<()> {
        self.task.await.unwrap()
    }
}

/// An instance as a process. Dropped: killed.
pub struct Process {
    child: Child,
}

impl Process {
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
    }

    pub fn kill(mut self) {
        self.end();
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub async fn wait(mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(begin.elapsed() < LIMIT, "the process did not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

impl<C: Candidate> ServiceSite<C> {
    pub async fn new(seed: u64) -> Self {
        Self::with(seed, TestPostgres::start().await).await
    }

    pub async fn with(seed: u64, postgres: TestPostgres) -> Self {
        let site = Site::start().await;
        let journal = NatsJournal::new(&site.bus(&User::Controller).await);
        let person = site.person("ops").await;
        let (life, folder) = (Chronicle::new(seed), TestFolder::new(C::ROLE));
        let ruled = if C::RULED { Some(Ruled::start(&site, &folder).await) } else { None };
        let (appended, candidate) = (0, std::marker::PhantomData);
        Self { ruled, site, postgres, life, journal, appended, person, folder, candidate }
    }

    /// Lives on and writes it into the journal.
    pub async fn live(&mut self, commits: usize) {
        if C::RULED {
            C::lives(self, commits).await;
            self.appended = self.last_commit().await;
            return;
        }
        self.life.live(commits);
        C::beside(self).await;
        for bytes in &self.life.commits[self.appended..] {
            self.journal.append(self.appended as u64, Bytes::from(bytes.clone())).await.unwrap();
            self.appended += 1;
        }
    }

    async fn last_commit(&self) -> usize {
        let bus = self.site.bus(&User::Controller).await;
        usize::try_from(bus.last_sequence(StreamKind::Journal).await.unwrap()).unwrap()
    }

    pub fn role(&self, instance: &str) -> RoleSettings {
        let bus = self.site.config(&C::user());
        RoleSettings {
            site: "default".into(),
            instance: instance.into(),
            node: "node-a".into(),
            data: self.folder.join(instance),
            nats: BusSettings { url: bus.url, creds: bus.creds, ..BusSettings::default() },
        }
    }

    /// Within this process.
    pub fn start(&self, instance: &str) -> Instance {
        let shutdown = CancellationToken::new();
        let database = self.postgres.settings(C::DATABASE);
        let running = C::run(self.role(instance), database, self.folder.path().to_owned(), shutdown.clone());
        Instance { task: tokio::spawn(running), shutdown }
    }

    /// As a process of its own, which dies at `point` where one is given.
    pub fn spawn(&self, instance: &str, point: Option<&str>) -> Process {
        let what = serde_json::json!({
            "role": C::ROLE,
            "settings": self.role(instance),
            "database": self.postgres.settings(C::DATABASE),
            "folder": self.folder.path(),
        });
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("child.log")).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "service_child::an_instance_in_a_process_of_its_own", "--ignored", "--nocapture"])
            .env(CHILD, what.to_string())
            .env("ORDO_TEST_DIE_AT", point.unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Process { child }
    }

    /// As the person who reads.
    pub fn store(&self) -> Store {
        Store::open(&Connect::new(self.postgres.url(DatabaseRole::Read), None)).unwrap()
    }

    pub async fn position(&self) -> u64 {
        let stream = self.person.names().stream(StreamKind::Journal);
        self.store().position(C::ROLE, &stream).await.ok().flatten().map_or(0, |position| position.sequence)
    }

    pub async fn wait_caught_up(&self) {
        let goal = self.appended as u64;
        wait_until(LIMIT, "the service caught up", async || match self.position().await {
            position if C::RULED => position >= goal,
            position => position == goal,
        })
        .await;
    }

    /// All that the journal asks of it is done.
    pub async fn wait_done(&self) {
        self.wait_caught_up().await;
        let begin = Instant::now();
        loop {
            let missing = C::missing(self).await;
            if missing.is_empty() {
                return;
            }
            assert!(begin.elapsed() < LIMIT, "not done in time: {missing:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn heartbeat(&self, instance: &str) -> Option<Heartbeat> {
        let key = self.person.names().instance_key(C::ROLE, instance);
        let entry = self.person.instances().get(&key).await.ok()??;
        serde_json::from_slice(&entry.value?).ok()
    }

    /// Asks the role, or one instance of it.
    pub async fn ask(&self, instance: Option<&str>, what: &str) -> Result<Bytes, CallError> {
        let (names, (noun, verb)) = (self.person.names(), what.split_once('.').unwrap());
        let subject = match instance {
            Some(instance) => names.instance("ops", C::ROLE, instance, noun, verb),
            None => names.request("ops", C::ROLE, noun, verb),
        };
        match self.person.request(&subject, "{}", Duration::from_secs(10)).await {
            Ok(reply) => Ok(reply),
            Err(RequestError::Refused(error)) => Err(error),
            Err(other) => panic!("{what}: {other}"),
        }
    }
}

/// What the child was told to run.
#[derive(serde::Deserialize)]
pub struct Told {
    pub role: String,
    pub settings: RoleSettings,
    pub database: DatabaseSettings,
    pub folder: PathBuf,
}

impl Told {
    pub fn read() -> Option<Self> {
        serde_json::from_str(&std::env::var(CHILD).ok()?).ok()
    }

    pub async fn run<C: Candidate>(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        C::run(self.settings, self.database, self.folder, shutdown).await
    }
}

/// kill -9 of this process, where it was told to die at `point`.
pub fn die_at(point: &str) {
    if std::env::var("ORDO_TEST_DIE_AT").is_ok_and(|told| told == point) {
        let _ = kill(Pid::this(), Signal::SIGKILL);
        // The signal takes a moment; nothing may happen in it.
        std::thread::sleep(Duration::from_secs(10));
    }
}

/// One line more, in one write.
pub fn note(file: &Path, line: &str) {
    use std::io::Write;
    let mut file = std::fs::File::options().create(true).append(true).open(file).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}
