//! `ordo run ROLE`: configuration, logging and signals around a role's own `run`.

use anyhow::Context;
use clap::{Args, ValueEnum};
use ordo_cli::{Common, show};
use ordo_contract::log::LogRecord;
use ordo_contract::name::SiteNames;
use ordo_contract::right::User;
use ordo_domain::log_rule::Severity;
use ordo_journal::{Bus, BusConfig, Headers, Outgoing};
use ordo_runtime::exit::RestartWanted;
use ordo_runtime::logging::{self, LogLine};
use ordo_runtime::{CancellationToken, Exit, RoleSettings, load_config, shutdown};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a log line may take to the bus before it is let go.
const LINE_LIMIT: Duration = Duration::from_secs(5);

/// The roles that are processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Decides what orders do next; run two of them
    Controller,
    /// Runs jobs
    Agent,
    /// Everybody's door to the controllers
    Proxy,
    /// Writes what happened into PostgreSQL
    History,
    /// Starts orders by schedules
    DailyPlan,
    /// Tells people what they must know, by mail
    Monitor,
    /// Takes away what is older than it is to be kept
    Cleanup,
    /// Takes syslog, and makes notices of it and of the warnings of Ordo itself
    LogNotification,
}

impl Role {
    /// As in subjects, folders and files.
    pub fn name(self) -> &'static str {
        match self {
            Role::Controller => "controller",
            Role::Agent => "agent",
            Role::Proxy => "proxy",
            Role::History => "history",
            Role::DailyPlan => "daily-plan",
            Role::Monitor => "monitor",
            Role::Cleanup => "cleanup",
            Role::LogNotification => "log-notification",
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = RUN_HELP)]
pub struct Arguments {
    /// Which role
    #[arg(value_enum)]
    role: Role,
    /// Configuration file, TOML
    #[arg(long, env = "ORDO_CONFIG", hide_env_values = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A setting by its key, e.g. database.ca=/etc/ordo/ca.pem; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// Its id among the instances of its role [default: made once and kept in the data folder]
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Folder for what must outlive a restart
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Show the settings and where each comes from, and end
    #[arg(long)]
    print_config: bool,
    /// Check the settings, and end
    #[arg(long)]
    check: bool,
}

const RUN_HELP: &str = "\
Settings come from, the later the stronger: built in, --config FILE, the environment (ORDO_ and the key in capitals: \
nats.url is ORDO_NATS_URL), flags. `ordo run ROLE --print-config` lists all keys.

ORDO_LOG sets what is logged (info, debug, ordo_agent=debug,info), ORDO_LOG_FORMAT is text or json.

Exit codes: 0 stopped in order, never to be restarted; 1 failed; 2 settings are wrong; 75 asks to be restarted";

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} has no =, wanted KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// What every role's configuration has.
trait RoleConfig: Serialize + DeserializeOwned + Default {
    fn role(&mut self) -> &mut RoleSettings;
    /// Whose credentials it uses, for its log lines on the bus.
    fn user(&self) -> User;
    /// Whether its values make sense, without doing anything.
    fn check(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// For a role whose user is one of the services'.
macro_rules! role_config {
    ($($config:ty => $user:expr),* $(,)?) => {
        $(impl RoleConfig for $config {
            fn role(&mut self) -> &mut RoleSettings {
                &mut self.role
            }
            fn user(&self) -> User {
                $user
            }
        })*
    };
}

role_config! {
    ordo_controller::Config => User::Controller,
    ordo_proxy::Config => User::Proxy,
    ordo_history::Config => User::History,
    ordo_daily_plan::Config => User::DailyPlan,
    ordo_monitor::Config => User::Monitor,
    ordo_cleanup::Config => User::Cleanup,
    ordo_log_notification::Config => User::LogNotification,
}

impl RoleConfig for ordo_agent::Config {
    fn role(&mut self) -> &mut RoleSettings {
        &mut self.role
    }
    fn user(&self) -> User {
        User::Agent(self.agent.clone())
    }
    fn check(&self) -> anyhow::Result<()> {
        self.checked().map(drop)
    }
}

/// Runs a role until it ends or is told to stop.
pub fn run(arguments: &Arguments, common: &Common) -> ExitCode {
    match arguments.role {
        Role::Controller => role(arguments, common, ordo_controller::run),
        Role::Agent => role(arguments, common, ordo_agent::run),
        Role::Proxy => role(arguments, common, ordo_proxy::run),
        Role::History => role(arguments, common, ordo_history::run),
        Role::DailyPlan => role(arguments, common, ordo_daily_plan::run),
        Role::Monitor => role(arguments, common, ordo_monitor::run),
        Role::Cleanup => role(arguments, common, ordo_cleanup::run),
        Role::LogNotification => role(arguments, common, ordo_log_notification::run),
    }
}

fn role<T, F, R, E>(arguments: &Arguments, common: &Common, start: F) -> ExitCode
where
    T: RoleConfig,
    F: FnOnce(T, CancellationToken) -> R,
    R: Future<Output = Result<(), E>>,
    E: Into<anyhow::Error>,
{
    let name = arguments.role.name();
    let loaded = match load_config::<T>(name, arguments.config.as_deref(), &flags(arguments, common)) {
        Ok(loaded) => loaded,
        Err(error) => return usage(&error.into()),
    };
    if arguments.print_config {
        show::write_out(loaded.print().as_bytes());
        return ExitCode::SUCCESS;
    }
    let mut config = loaded.config;
    if let Err(error) = config.role().check().map_err(anyhow::Error::from).and_then(|()| config.check()) {
        return usage(&error);
    }
    if arguments.check {
        show::line(&format!("the settings of {name} are fine"));
        return ExitCode::SUCCESS;
    }
    match config.role().clone().resolve(name) {
        Ok(resolved) => *config.role() = resolved,
        Err(error) => return usage(&error.into()),
    }
    let lines = logging::init("info");
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ended(Err(error.into())),
    };
    let outcome = runtime.block_on(async {
        let stop = shutdown::on_signals().context("cannot listen to signals")?;
        let settings = config.role().clone();
        tracing::info!(role = name, instance = settings.instance, node = settings.node, "started");
        let forward = tokio::spawn(forward_lines(lines, settings, config.user()));
        let outcome = start(config, stop).await.map_err(Into::into);
        forward.abort();
        outcome
    });
    // Nothing that is still waiting may keep a stopped role alive.
    runtime.shutdown_background();
    ended(outcome)
}

fn flags(arguments: &Arguments, common: &Common) -> Vec<(String, String)> {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let given = [
        ("site", common.site.clone()),
        ("nats.url", common.nats_url.clone()),
        ("nats.creds", path(&common.creds)),
        ("nats.ca", path(&common.ca)),
        ("instance", arguments.instance.clone()),
        ("data", arguments.data.clone()),
    ];
    let given = given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    given.chain(arguments.set.iter().cloned()).collect()
}

fn usage(error: &anyhow::Error) -> ExitCode {
    eprintln!("ordo: {}", crate::sentence(error));
    Exit::Usage.into()
}

fn ended(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => {
            tracing::info!("stopped");
            Exit::Done.into()
        }
        Err(error) if error.downcast_ref::<RestartWanted>().is_some() => {
            tracing::info!(reason = %error, "restart wanted");
            Exit::Restart.into()
        }
        Err(error) => {
            tracing::error!(error = crate::sentence(&error), "failed");
            Exit::Failed.into()
        }
    }
}

/// Carries WARN and above to the stream LOGS. The connection is made with the first line: most processes never have one.
async fn forward_lines(mut lines: mpsc::Receiver<LogLine>, role: RoleSettings, user: User) {
    let Ok(site) = SiteNames::new(&role.site) else { return };
    let mut bus: Option<Bus> = None;
    while let Some(line) = lines.recv().await {
        if bus.is_none() {
            let config = BusConfig {
                url: role.nats.url.clone(),
                creds: role.nats.creds.clone(),
                ca: role.nats.ca.clone(),
                name: format!("{}/{} on {}, log", user.name(), role.instance, role.node),
                site: site.clone(),
                user: user.name(),
                identity: role.nats.cert.clone().zip(role.nats.key.clone()),
            };
            bus = Bus::connect(config).await.ok();
        }
        let Some(bus) = &bus else { continue };
        let subject = site.log(&user.name(), &role.instance, line.level);
        if let Ok(body) = serde_json::to_vec(&record(line, &role.node)) {
            // A line that the bus does not take is on stderr all the same.
            let _ = bus.try_publish(&Outgoing::new(subject, Headers::default(), body), LINE_LIMIT).await;
        }
    }
}

fn record(line: LogLine, node: &str) -> LogRecord {
    let level = if line.level == "error" { Severity::Error } else { Severity::Warning };
    let LogLine { at, target, message, fields, .. } = line;
    LogRecord { at, level, target, message, fields, host: node.to_owned(), syslog: None }
}
