//! A whole Ordo for tests of the built binary: `ordo up` in a folder of its own, and the means to hurt it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ordo_cli::{Client, Common};
use ordo_contract::{name::SiteNames, right::User};
use ordo_journal::{Bus, BusConfig};
use ordo_testkit::{TestFolder, TestNats};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Beside the test binaries: `make` builds it before it runs them.
pub fn ordo_binary() -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let profile = test.ancestors().find(|p| p.join("ordo").is_file());
    let found = profile.unwrap_or_else(|| panic!("no `ordo` beside {}: cargo build -p ordo", test.display()));
    found.join("ordo")
}

/// A running `ordo up`. Dropped: stopped, its jobs ended, its folder removed.
pub struct Up {
    child: Child,
    folder: TestFolder,
    pub ready: Value,
}

impl Up {
    pub fn start(name: &str) -> Self {
        Self::start_in(TestFolder::new(name), &[])
    }

    /// On a folder that may hold an earlier run.
    pub fn start_in(folder: TestFolder, environment: &[(&str, &str)]) -> Self {
        let log = std::fs::File::create(folder.join("up.log")).expect("a log");
        let mut child = Command::new(ordo_binary())
            .args(["up", "--json-ready", "--scale-down", "8", "--data"])
            .arg(folder.join("data"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("ordo up starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("the ready line");
        let ready = serde_json::from_str(&line).unwrap_or_else(|_| {
            let log = std::fs::read_to_string(folder.join("up.log")).unwrap_or_default();
            panic!("ordo up did not get ready: {line:?}\n{log}")
        });
        Self { child, folder, ready }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn text(&self, key: &str) -> String {
        self.ready[key].as_str().unwrap_or_else(|| panic!("{key} in {}", self.ready)).to_owned()
    }

    /// What a person's command line would find by itself.
    pub fn common(&self) -> Common {
        Common {
            site: Some(self.text("site")),
            nats_url: Some(self.text("nats_url")),
            creds: Some(PathBuf::from(self.text("creds"))),
            ..Common::default()
        }
    }

    pub async fn client(&self) -> Client {
        Client::connect(&self.common()).await.unwrap_or_else(|e| panic!("a person can connect: {e}"))
    }

    /// A connection as one of the site's own users: `controller`, `proxy`, `agent-local`, ….
    pub async fn bus(&self, user: &str) -> Bus {
        let creds = self.data().join("creds").join(format!("{user}.creds"));
        connect(self.text("nats_url"), Some(creds), &self.text("site"), user).await
    }

    /// The read-only role.
    pub fn database(&self) -> postgres::Client {
        postgres::Client::connect(&self.text("database_url"), postgres::NoTls).expect("PostgreSQL answers")
    }

    /// The command line, as a person would use it.
    pub fn ordo(&self, arguments: &[&str]) -> Output {
        Command::new(ordo_binary()).args(arguments).env("ORDO_DATA", self.data()).output().expect("ordo runs")
    }

    /// Its standard output, where it went well.
    pub fn ordo_ok(&self, arguments: &[&str]) -> String {
        let output = self.ordo(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "ordo {arguments:?}: {}\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// Processes by name, as they are now: `nats`, `postgres`, `controller/c1`, ….
    pub fn processes(&self) -> BTreeMap<String, i32> {
        let text = std::fs::read(self.data().join("children.json")).unwrap_or_default();
        let record: BTreeMap<String, Value> = serde_json::from_slice(&text).unwrap_or_default();
        record.into_iter().filter_map(|(name, v)| Some((name, i32::try_from(v["pid"].as_i64()?).ok()?))).collect()
    }

    /// kill -9. Returns when the process is gone.
    pub fn kill(&self, name: &str) {
        let pid = *self.processes().get(name).unwrap_or_else(|| panic!("no {name} among {:?}", self.processes()));
        kill_process(pid);
    }

    pub fn signal(&self, name: &str, signal: Signal) {
        let pid = *self.processes().get(name).unwrap_or_else(|| panic!("no {name} among {:?}", self.processes()));
        let _ = kill(Pid::from_raw(pid), signal);
    }

    /// SIGTERM to `ordo up`; its folder is kept for another start.
    pub fn stop(mut self) -> TestFolder {
        self.end();
        std::mem::replace(&mut self.folder, TestFolder::new("stopped"))
    }

    /// Stops or continues `ordo up` itself: while it is stopped it restarts nothing.
    pub fn hold_supervisor(&self, hold: bool) {
        let signal = if hold { Signal::SIGSTOP } else { Signal::SIGCONT };
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
    }

    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.data().join("log").join(name)).unwrap_or_default()
    }

    fn end(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(40) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.end();
        end_runners(&self.data());
    }
}

/// A connection to a private server of the test kit.
pub async fn bus_of(nats: &TestNats, user: &User) -> Bus {
    let settings = nats.bus(user);
    connect(settings.url, settings.creds, nats.site().site(), &user.name()).await
}

async fn connect(url: String, creds: Option<PathBuf>, site: &str, user: &str) -> Bus {
    let config = BusConfig {
        url,
        creds,
        ca: None,
        identity: None,
        name: format!("test as {user}"),
        site: SiteNames::new(site).expect("a site"),
        user: user.to_owned(),
    };
    Bus::connect(config).await.unwrap_or_else(|e| panic!("{user} connects: {e}"))
}

/// kill -9, and wait until it is gone.
pub fn kill_process(pid: i32) {
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) && is_alive(pid) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// The runners of a data folder: they outlive everything else on purpose.
pub fn runners(data: &Path) -> Vec<i32> {
    let data = data.display().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let mut runners: Vec<i32> = pids
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|b| *b == 0).map(String::from_utf8_lossy).collect();
            words.get(1).is_some_and(|w| w == "runner") && words.iter().any(|w| w.starts_with(&data))
        })
        .collect();
    // A job that is forked and not executed yet looks like the runner that is its parent.
    let all = runners.clone();
    runners.retain(|pid| parent(*pid).is_some_and(|parent| !all.contains(&parent)));
    runners
}

fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn end_runners(data: &Path) {
    for pid in runners(data) {
        kill_process(pid);
    }
}
