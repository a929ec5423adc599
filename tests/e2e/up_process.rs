//! `ordo up` as a child of a test.

use ordo_testkit::TestFolder;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a start may take (issue: 30 s on a machine that does nothing else).
pub const READY: Duration = Duration::from_secs(30);

/// The binary that `make test` builds first.
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("ORDO_BINARY") {
        return PathBuf::from(named);
    }
    let ours = std::env::current_exe().unwrap();
    let path = ours.parent().and_then(Path::parent).unwrap().join("ordo");
    assert!(path.is_file(), "{} is not built: cargo build --package ordo", path.display());
    path
}

/// A command of the binary that sees nothing of this shell's own Ordo.
pub fn ordo(data: &Path) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ORDO_")) {
        if name != "ORDO_SERVERS" {
            command.env_remove(name);
        }
    }
    command.env("ORDO_DATA", data);
    command
}

/// A running `ordo up`; killed with all below it when dropped.
#[derive(Debug)]
pub struct Up {
    child: Child,
    pub ready: Value,
    lines: mpsc::Receiver<String>,
    said: Vec<String>,
}

impl Up {
    /// Starts it on a folder and waits until it says that it is ready.
    pub fn start(folder: &Path) -> Self {
        let mut child = ordo(folder)
            .args(["up", "--json-ready", "--scale-down", "64", "--data"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = reader(child.stderr.take().unwrap());
        let ready = reader(child.stdout.take().unwrap());
        let started = Instant::now();
        let mut up = Self { child, ready: Value::Null, lines, said: Vec::new() };
        while started.elapsed() < READY {
            if let Ok(line) = ready.recv_timeout(Duration::from_millis(20)) {
                up.ready = serde_json::from_str(&line).unwrap();
                assert_eq!(up.ready["ready"], true);
                return up;
            }
            if let Some(status) = up.child.try_wait().unwrap() {
                panic!("ordo up ended with {status}:\n{}", up.all_said());
            }
        }
        panic!("ordo up was not ready within {READY:?}:\n{}", up.all_said());
    }

    /// Starts it as a person does, who reads its standard output.
    pub fn start_plain(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let lines = reader(child.stdout.take().unwrap());
        Self { child, ready: Value::Null, lines, said: Vec::new() }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// The process id of `controller/c1` and the like, as of the ready line.
    pub fn pid_of(&self, name: &str) -> i32 {
        i32::try_from(self.ready["pids"][name].as_i64().unwrap_or_else(|| panic!("no {name} in {}", self.ready)))
            .unwrap()
    }

    pub fn signal(&self, signal: &str) {
        signal_to(self.pid(), signal);
    }

    /// Waits for a line that holds this text.
    pub fn says(&mut self, text: &str, limit: Duration) -> String {
        let started = Instant::now();
        if let Some(line) = self.said.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        while started.elapsed() < limit {
            if let Ok(line) = self.lines.recv_timeout(Duration::from_millis(20)) {
                self.said.push(line.clone());
                if line.contains(text) {
                    return line;
                }
            }
        }
        panic!("it did not say {text:?} within {limit:?}:\n{}", self.all_said());
    }

    /// Waits for its end.
    pub fn ended(&mut self, limit: Duration) -> ExitStatus {
        let started = Instant::now();
        while started.elapsed() < limit {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it did not end within {limit:?}:\n{}", self.all_said());
    }

    pub fn all_said(&mut self) -> String {
        self.said.extend(self.lines.try_iter());
        self.said.join("\n")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reader(stream: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

/// Sends a signal by its name.
pub fn signal_to(pid: i32, signal: &str) {
    let status = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().unwrap();
    assert!(status.success(), "no process {pid} to signal");
}

/// Whether a process is there and not a zombie.
pub fn lives(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}

/// Waits for a state of the machine.
pub fn until(limit: Duration, what: &str, mut state: impl FnMut() -> bool) {
    let started = Instant::now();
    while !state() {
        assert!(started.elapsed() < limit, "{what} did not happen within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A folder for one site.
pub fn folder() -> TestFolder {
    TestFolder::new("up")
}
