//! The way to "ready": servers, keys, tables, roles, and then a question that only a whole site can answer.

use super::child::{Child, Thing};
use super::environment::Environment;
use super::layout::{Layout, Ports};
use super::leftover::Record;
use super::roles::{self, AGENT, PERSON, RoleProcess, Surroundings};
use super::screen::Screen;
use anyhow::{Context, bail};
use ordo_cli::{Client, Common};
use ordo_contract::bus_config::Limits;
use ordo_contract::heartbeat::{Activity, Heartbeat};
use ordo_contract::request::{AgentListReply, Nothing, StatusReply, proxy};
use ordo_runtime::health;
use ordo_servers::{
    DatabaseRole, Keys, NatsServer, NatsSettings, PostgresServer, PostgresSettings, Process, Programs, ServersError,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything must serve by then, else the start has failed.
const LIMIT: Duration = Duration::from_secs(120);
const EVERY: Duration = Duration::from_millis(50);

/// All that runs, in the order it was started in.
#[derive(Debug)]
pub struct Site {
    layout: Layout,
    name: String,
    screen: Arc<Screen>,
    record: Option<Arc<Record>>,
    children: Vec<Child>,
    roles: Vec<(String, &'static str, std::path::PathBuf)>,
}

impl Site {
    pub fn new(layout: Layout, name: &str, screen: Arc<Screen>) -> Self {
        Self { layout, name: name.to_owned(), screen, record: None, children: Vec::new(), roles: Vec::new() }
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn screen(&self) -> &Arc<Screen> {
        &self.screen
    }

    /// The process ids by name.
    pub fn pids(&self) -> BTreeMap<String, i32> {
        self.record.as_ref().map(|record| record.pids()).unwrap_or_default()
    }

    /// Of all that runs.
    pub fn names(&self) -> Vec<String> {
        self.children.iter().map(|child| child.name().to_owned()).collect()
    }

    /// Takes a child out, to stop it.
    pub fn take(&mut self, name: &str) -> Option<Child> {
        let index = self.children.iter().position(|child| child.name() == name)?;
        Some(self.children.remove(index))
    }

    /// What a role says of itself, by its name `controller/c1`.
    pub fn detail(&self, name: &str) -> Option<String> {
        let (_, role, data) = self.roles.iter().find(|(known, _, _)| known == name)?;
        health::probe(data, role, false).ok().map(|status| status.detail)
    }

    /// Starts everything. What runs is stopped by the caller, also after a failure.
    pub async fn start(&mut self, scale_down: u64) -> anyhow::Result<Option<Environment>> {
        let (record, ended) = Record::take_over(&self.layout).await;
        let record = Arc::new(record);
        self.record = Some(Arc::clone(&record));
        for name in ended {
            self.screen.step(&format!("{name} of an earlier run ended"));
        }
        let programs = Programs::find()?;
        let keys = Arc::new(Keys::open(&self.layout.keys(), &self.name)?);
        let (nats, postgres) = self.servers(&programs, &keys, scale_down).await?;
        let syslog = ordo_servers::port::free_for_both(self.layout.ports().syslog).context("no port for syslog")?;
        self.layout.keep_ports(Ports { nats: nats.port(), postgres: postgres.port(), syslog })?;
        let environment = Environment::write(&self.layout, &keys, &nats.url(), &postgres)?;
        let around = Surroundings {
            layout: &self.layout,
            keys: &keys,
            nats_url: &nats.url(),
            postgres: &postgres,
            syslog,
            scale_down,
        };
        let processes = roles::all(&around)?;
        let owner_url = postgres.url(DatabaseRole::Owner)?;
        self.supervise("nats", Thing::Nats(nats, keys), &record);
        self.supervise("postgres", Thing::Postgres(postgres), &record);
        migrate(owner_url).await?;
        self.screen.step("tables are up to date");
        for process in processes {
            let RoleProcess { name, role, data, spawn } = process;
            let running = Process::spawn(spawn.clone())?;
            self.supervise(&name, Thing::Role(running, spawn), &record);
            self.roles.push((name, role, data));
        }
        self.wait_until_serving(&environment).await?;
        Ok(Some(environment))
    }

    /// After a crash the lease of the last active one has to run out first.
    fn controller_active(&self) -> bool {
        let controllers = self.roles.iter().filter(|(_, role, _)| *role == "controller");
        let mut details = controllers.filter_map(|(name, _, _)| self.detail(name));
        details.any(|detail| detail.starts_with("active"))
    }

    fn supervise(&mut self, name: &str, thing: Thing, record: &Arc<Record>) {
        self.children.push(Child::supervise(name, thing, Arc::clone(&self.screen), Arc::clone(record)));
    }

    /// Both at once: each waits mostly for its disk.
    async fn servers(
        &self,
        programs: &Programs,
        keys: &Keys,
        scale_down: u64,
    ) -> anyhow::Result<(NatsServer, PostgresServer)> {
        let ports = self.layout.ports();
        let mut nats = NatsSettings::new(self.layout.nats());
        nats.port = Some(ports.nats);
        nats.max_file_store = match scale_down {
            0 | 1 => Limits::default().total(),
            by => Limits::scaled_down(by).total(),
        };
        warn_about_disk(&self.screen, self.layout.root(), nats.max_file_store);
        let mut postgres = PostgresSettings::new(self.layout.postgres(), self.layout.secrets());
        postgres.port = Some(ports.postgres);
        let first = !self.layout.postgres().join("data").exists();
        self.screen.step(if first {
            "starting NATS, making a database (once)"
        } else {
            "starting NATS and PostgreSQL"
        });
        let (screen, version) = (&self.screen, &programs.nats_version);
        let nats = async {
            let server = NatsServer::start(nats, keys).await?;
            screen.step(&format!("NATS {version} on {}{}", server.url(), moved(ports.nats, server.port())));
            Ok::<_, ServersError>(server)
        };
        let version = &programs.postgres_version;
        let postgres = async {
            let server = PostgresServer::start(postgres).await?;
            screen.step(&format!(
                "PostgreSQL {version} on 127.0.0.1:{}{}",
                server.port(),
                moved(ports.postgres, server.port())
            ));
            Ok::<_, ServersError>(server)
        };
        Ok(tokio::try_join!(nats, postgres)?)
    }

    /// First every role says that it is ready, then a person's question goes all the way.
    async fn wait_until_serving(&self, environment: &Environment) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut said = Vec::new();
        let mut last = String::new();
        while said.len() < self.roles.len() {
            for (name, role, data) in &self.roles {
                match health::probe(data, role, true) {
                    Ok(status) if !said.contains(&name) => {
                        self.screen.step(&format!("{name} {}", status.detail));
                        said.push(name);
                    }
                    Ok(_) => {}
                    Err(reason) if !said.contains(&name) => last = reason.to_string(),
                    Err(_) => {}
                }
            }
            if started.elapsed() > LIMIT {
                bail!(
                    "not everything serves after {} s: {last}; logs are in {}",
                    LIMIT.as_secs(),
                    self.layout.logs().display()
                );
            }
            tokio::time::sleep(EVERY).await;
        }
        let common = common(environment);
        let mut last = None;
        while started.elapsed() < LIMIT {
            match ask(&common).await {
                Ok(()) if self.controller_active() => return Ok(()),
                Ok(()) => last = Some(anyhow::anyhow!("no controller is active")),
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(EVERY).await;
        }
        let last = last.unwrap_or_else(|| anyhow::anyhow!("no answer"));
        Err(last.context(format!("the site does not answer {PERSON} after {} s", LIMIT.as_secs())))
    }
}

/// The connection of the person that `ordo up` works as.
pub fn common(environment: &Environment) -> Common {
    Common {
        site: Some(environment.site.clone()),
        nats_url: Some(environment.nats_url.clone()),
        creds: Some(environment.creds.clone()),
        ..Common::default()
    }
}

/// The agent is admitted by a command, so that its answer proves bus, proxy and the active controller; later starts ask
/// whether it is known.
async fn ask(common: &Common) -> anyhow::Result<()> {
    let say = |error: ordo_cli::CliError| anyhow::anyhow!("{}", error.text(&ordo_cli::show::Look::plain()).trim());
    let client = Client::connect(common).await.map_err(say)?;
    let known: AgentListReply = client.ask("proxy", proxy::AGENT_LIST, &Nothing {}).await.map_err(say)?;
    if known.agents.iter().any(|line| line.agent.as_str() == AGENT) {
        return is_heard_of(&client).await;
    }
    let arguments = ordo_cli::arguments::AddAgentArguments { name: AGENT.to_owned(), ..Default::default() };
    match ordo_cli::command::agent::add(&client, &arguments).await.map_err(say)? {
        None => is_heard_of(&client).await,
        Some(pending) => bail!("the agent is not admitted yet: {pending}"),
    }
}

/// Everybody's heartbeat has come, so that the first `ordo status` shows what runs.
async fn is_heard_of(client: &Client) -> anyhow::Result<()> {
    let say = |error: ordo_cli::CliError| anyhow::anyhow!("{}", error.text(&ordo_cli::show::Look::plain()).trim());
    let status: StatusReply = client.ask("proxy", proxy::STATUS, &Nothing {}).await.map_err(say)?;
    for role in ["controller", "proxy", "history", "daily-plan", "monitor", "cleanup", "log-notification", "agent"] {
        let of_role = |heartbeat: &&Heartbeat| heartbeat.role.starts_with(role);
        if !status.instances.iter().filter(of_role).any(|heartbeat| heartbeat.activity == Activity::Active) {
            bail!("no {role} is heard of yet");
        }
    }
    Ok(())
}

/// On a thread of its own: the library brings its own runtime.
async fn migrate(url: String) -> anyhow::Result<()> {
    let migrated = tokio::task::spawn_blocking(move || ordo_store::migrate(&url, None));
    migrated.await.context("the migration broke off")?.context("cannot make the tables")?;
    Ok(())
}

fn moved(wanted: u16, got: u16) -> String {
    if wanted == got { String::new() } else { format!(" (port {wanted} is taken)") }
}

/// A full disk freezes a stream until the server restarts.
fn warn_about_disk(screen: &Screen, folder: &Path, wanted: u64) {
    let Ok(disk) = nix::sys::statvfs::statvfs(folder) else { return };
    let free = disk.blocks_available() * disk.fragment_size();
    if free < wanted {
        let (free, wanted) = (free >> 20, wanted >> 20);
        screen.line(&format!(
            "the streams may take {wanted} MiB, the disk has {free} MiB: --scale-down N makes them smaller"
        ));
    }
}
