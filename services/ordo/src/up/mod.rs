//! `ordo up`: everything on one machine, as child processes of this one binary, in the foreground.
//!
//! # Layout
//! - `layout.rs`: the data folder and its lock; `leftover.rs`: what a killed one left behind
//! - `roles.rs`: what each role is told; `environment.rs`: `ordo.env`
//! - `child.rs`: supervision; `start.rs`: the way to "ready"; `stop.rs`: the way back
//! - `first_run.rs`: the shipped examples on an empty site; `screen.rs`: what is said

mod child;
mod environment;
mod first_run;
mod layout;
mod leftover;
mod roles;
mod screen;
mod start;
mod stop;

use clap::Args;
use layout::Layout;
use ordo_cli::Common;
use ordo_runtime::home;
use screen::Screen;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[derive(Debug, Args)]
#[command(after_help = UP_HELP)]
pub struct Arguments {
    /// Folder that keeps everything between runs [default: $XDG_DATA_HOME/ordo, else ~/.local/share/ordo]
    #[arg(long, env = "ORDO_DATA", hide_env_values = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print one JSON line to standard output when all is serving, and deploy no examples
    #[arg(long)]
    json_ready: bool,
    /// Deploy no examples on an empty site
    #[arg(long)]
    no_examples: bool,
    /// Divide the sizes of all streams by this, for very small disks
    #[arg(long, value_name = "N", default_value_t = 1)]
    scale_down: u64,
}

const UP_HELP: &str = "\
Keeps everything in DIR, so that the next start goes on where this one stopped. Taken ports are replaced by free ones. \
DIR/ordo.env holds the addresses for a shell (`. DIR/ordo.env`); ordo itself finds it.

Ctrl-C stops all in order and leaves running jobs under their runner: the next `ordo up` takes them back. \
A second Ctrl-C ends those, too.

Exit codes: 0 stopped in order, 1 failed";

/// Starts everything, says when it is ready, supervises, and stops in order at a signal.
pub async fn up(arguments: Arguments, common: Common) -> ExitCode {
    let screen = Arc::new(Screen::new(arguments.json_ready));
    let signals = Signals::new();
    let outcome = match signals {
        Ok(signals) => all(&arguments, &common, &screen, signals).await,
        Err(error) => Err(error.into()),
    };
    crate::print_once(outcome)
}

async fn all(arguments: &Arguments, common: &Common, screen: &Arc<Screen>, mut signals: Signals) -> anyhow::Result<()> {
    let layout = Layout::open(&arguments.data.clone().unwrap_or_else(home::data_home))?;
    let _lock = layout.lock()?;
    let mut site = start::Site::new(layout, common.site.as_deref().unwrap_or("default"), Arc::clone(screen));
    let started = tokio::select! {
        started = site.start(arguments.scale_down) => started,
        () = signals.first() => {
            screen.line("stopped while starting");
            Ok(None)
        }
    };
    let outcome = match started {
        Ok(Some(environment)) => {
            announce(arguments, screen, &site, &environment);
            tokio::select! {
                () = signals.first() => {}
                () = stay(arguments, screen, &site, &environment) => {}
            }
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    stop::stop(site, &mut signals).await;
    outcome
}

/// Shows the examples where the site is empty, then waits for good.
async fn stay(arguments: &Arguments, screen: &Screen, site: &start::Site, environment: &environment::Environment) {
    if !arguments.json_ready && !arguments.no_examples {
        first_run::first_run(screen, environment).await;
    }
    if !arguments.json_ready {
        try_next(screen, site, environment);
    }
    std::future::pending().await
}

fn announce(arguments: &Arguments, screen: &Screen, site: &start::Site, environment: &environment::Environment) {
    if arguments.json_ready {
        let ready = serde_json::json!({
            "ready": true,
            "site": environment.site,
            "nats_url": environment.nats_url,
            "creds": environment.creds,
            "database_url": environment.database_url,
            "env": environment.file,
            "data": site.layout().root(),
            "mails": mails(site.layout()),
            "syslog": syslog(site.layout()),
            "pids": site.pids(),
            "seconds": (screen.seconds() * 10.0).round() / 10.0,
        });
        ordo_cli::show::line(&ready.to_string());
        return;
    }
    screen.line("");
    screen.line(&format!("Ordo is ready after {:.1} s. Ctrl-C stops it; everything is kept.", screen.seconds()));
    screen.line(&format!("  site      {}", environment.site));
    screen.line(&format!("  bus       {}", environment.nats_url));
    screen.line(&format!("  database  {}", environment.shown_database_url));
    screen.line(&format!(
        "  data      {}  (logs in {})",
        site.layout().root().display(),
        site.layout().logs().display()
    ));
    let mails = match mails(site.layout()) {
        Some(folder) => format!("{}  (as files, until ORDO_MAIL_SMTP_HOST names a server)", folder.display()),
        None => "by the server that ORDO_MAIL_SMTP_HOST names".to_owned(),
    };
    screen.line(&format!("  mails     {mails}"));
    let syslog =
        syslog(site.layout()).iter().map(|(protocol, address)| format!("{protocol} {address}")).collect::<Vec<_>>();
    screen.line(&format!("  syslog    {}", if syslog.is_empty() { "nowhere".to_owned() } else { syslog.join(", ") }));
}

/// Where syslog comes in, by protocol.
fn syslog(layout: &Layout) -> BTreeMap<&'static str, String> {
    let all = roles::syslog(layout.ports().syslog).map(|(protocol, _, address)| (protocol, address));
    all.filter(|(_, address)| !address.is_empty()).collect()
}

/// Where mails become files, unless a server takes them.
fn mails(layout: &Layout) -> Option<PathBuf> {
    let server = std::env::var_os("ORDO_MAIL_SMTP_HOST").is_some_and(|host| !host.is_empty());
    (!server).then(|| layout.mails())
}

fn try_next(screen: &Screen, site: &start::Site, environment: &environment::Environment) {
    let ordo = program();
    let first = first_run::FIRST;
    screen.line("");
    screen.line("Try next, in another terminal:");
    let elsewhere = site.layout().root() != home::data_home();
    if elsewhere {
        screen.line(&format!("  . {}", environment.file.display()));
    }
    let mut lines = vec![
        (format!("{ordo} status"), "who is active, how well"),
        (format!("{ordo} order add {first} --wait --logs"), "run an order and watch it"),
        (format!("{ordo} history orders"), "what ran"),
        (format!("{ordo} events --follow"), "what happens, live"),
        (format!("{ordo} deploy FILE.yaml"), "a workflow of your own"),
    ];
    if !elsewhere {
        lines.push((format!(". {}", environment.file.display()), "the same for nats and psql"));
    }
    let width = lines.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    for (command, what) in lines {
        screen.line(&format!("  {command:<width$}  {what}"));
    }
}

/// How a person calls this program: by its name where the PATH has it, else by its path.
fn program() -> String {
    let Ok(ours) = std::env::current_exe() else { return "ordo".to_owned() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path =
        std::env::split_paths(&path).any(|folder| folder.join("ordo").canonicalize().is_ok_and(|found| found == ours));
    if on_path {
        return "ordo".to_owned();
    }
    let here = std::env::current_dir()
        .ok()
        .and_then(|here| ours.strip_prefix(here).ok().map(|path| path.display().to_string()));
    here.unwrap_or_else(|| ours.display().to_string())
}

/// SIGINT, SIGTERM and SIGHUP.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal was closed.
    hang_up: Signal,
    /// When a person asked (Ctrl-C), who may ask again.
    asked: Option<Instant>,
}

/// A supervisor may send one Ctrl-C to us and to our group: two signals at once are one wish.
const ONE_WISH: Duration = Duration::from_millis(100);

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            asked: None,
        })
    }

    async fn first(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => self.asked = Some(Instant::now()),
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }

    /// Whether a person may ask again.
    fn by_person(&self) -> bool {
        self.asked.is_some()
    }

    /// The next Ctrl-C.
    async fn again(&mut self) {
        loop {
            let _ = self.interrupt.recv().await;
            if self.asked.is_none_or(|first| first.elapsed() > ONE_WISH) {
                return;
            }
        }
    }
}
