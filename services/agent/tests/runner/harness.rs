use ordo_agent::runner::folder::RunFolder;
use ordo_agent::runner::output::{Frame, OutputReader};
use ordo_agent::runner::protocol::{EndFacts, Reply, Request, RunMeta, StartRefusal, StartRequest};
use ordo_agent::runner::{self, process_table, system};
use ordo_domain::{RunId, run::RunEnd};
use ordo_testkit::TestFolder;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub const LIMIT: Duration = Duration::from_secs(60);

/// A runner of its own per test. Dropped: it and all its jobs are gone.
pub struct Runner {
    pub folder: TestFolder,
    child: Child,
}

/// A connection as the agent.
pub struct Agent {
    pub stream: UnixStream,
    lines: BufReader<UnixStream>,
    pub runs: Vec<RunId>,
}

/// Waits for a state, with a limit.
pub fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < LIMIT, "waited {LIMIT:?} for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn start_runner(data: &Path, idle_ms: u64) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(data.join("runner.log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_ordo-agent"))
        .args(["runner", "--data"])
        .arg(data)
        .args(["--idle-ms", &idle_ms.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Runner {
    pub fn start() -> Self {
        Self::start_on(TestFolder::new("runner"))
    }

    pub fn start_on(folder: TestFolder) -> Self {
        let child = start_runner(folder.path(), 60_000);
        Self { folder, child }
    }

    /// Another one on the same folder, after this one died.
    pub fn start_another(&mut self) {
        self.child = start_runner(self.folder.path(), 60_000);
    }

    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data().join("runner.log")).unwrap_or_default()
    }

    pub fn attach(&self) -> Agent {
        let mut agent = self.connect();
        agent.send(&Request::Attach { build: "test".into() });
        match agent.next() {
            Reply::Attached { runs, .. } => agent.runs = runs,
            other => panic!("not attached: {other:?}"),
        }
        agent
    }

    pub fn connect(&self) -> Agent {
        let mut found = None;
        wait_until("the socket of the runner", || {
            found = sockets(self.data()).iter().find_map(|socket| runner::connect(socket).ok());
            found.is_some()
        });
        let stream = found.unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Agent { lines: BufReader::new(stream.try_clone().unwrap()), stream, runs: Vec::new() }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends by itself.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        wait_until("the end of the runner", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub fn run(&self, run: &RunId) -> RunFolder {
        RunFolder::new(self.data(), run)
    }

    pub fn output(&self, run: &RunId, end: &EndFacts) -> Vec<Frame> {
        let mut reader = OutputReader::new(self.run(run));
        std::iter::from_fn(|| reader.next_of_all(end.head_frames, end.omitted).unwrap()).collect()
    }

    /// All of one run as text.
    pub fn text(&self, run: &RunId, end: &EndFacts) -> String {
        let bytes: Vec<u8> = self.output(run, end).into_iter().flat_map(|frame| frame.bytes).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A request whose command is a shell script.
    pub fn script(&self, script: &str) -> StartRequest {
        self.command(&["sh", "-eu", "-c", script])
    }

    pub fn command(&self, arguments: &[&str]) -> StartRequest {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let bits = (u128::from(std::process::id()) << 64) | u128::from(COUNT.fetch_add(1, Ordering::Relaxed) + 1);
        let base = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/"), ("LANG", "C.UTF-8")];
        StartRequest {
            meta: RunMeta {
                run: RunId::from_bits(bits),
                order: "20261122-T1-test".parse().unwrap(),
                workflow: "test".parse().unwrap(),
                position: "job".parse().unwrap(),
                job: "job".parse().unwrap(),
                attempt: 1,
                runner: String::new(),
                boot: String::new(),
            },
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            base_env: base.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            env: BTreeMap::new(),
            directory: None,
            timeout_ms: None,
            kill_after_ms: 10_000,
            spawn_before_ms: system::boottime_ms() + 30_000,
            output_bytes: 8 * 1024 * 1024,
            secrets: self.data().join("secrets"),
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- runner's log\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The jobs of a killed runner go on: a test that failed shall leave none behind.
        let runs: Vec<_> = RunFolder::all(self.data()).unwrap_or_default().into_iter().map(|(run, _)| run).collect();
        for process in process_table::all().values() {
            if process_table::run_of(process.pid).is_some_and(|run| runs.contains(&run)) {
                process_table::end_quietly(process);
            }
        }
    }
}

pub fn sockets(data: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data.join("runner")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "sock")).collect()
}

impl Agent {
    pub fn send(&mut self, request: &Request) {
        let mut line = serde_json::to_vec(request).unwrap();
        line.push(b'\n');
        self.stream.write_all(&line).unwrap();
    }

    pub fn next(&mut self) -> Reply {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the runner closed the connection");
        serde_json::from_str(&line).unwrap()
    }

    pub fn start(&mut self, request: StartRequest) -> RunId {
        let run = request.meta.run.clone();
        self.send(&Request::Start(Box::new(request)));
        run
    }

    /// Starts and waits until its process runs.
    pub fn started(&mut self, request: StartRequest) -> RunId {
        let run = self.start(request);
        loop {
            match self.next() {
                Reply::Started { run: of, .. } if of == run => return run,
                Reply::Output { .. } => {}
                other => panic!("not started: {other:?}"),
            }
        }
    }

    pub fn ended(&mut self, run: &RunId) -> EndFacts {
        loop {
            match self.next() {
                Reply::Ended { run: of, facts } if of == *run => return *facts,
                Reply::Refused { run: of, refusal } if of == *run => panic!("refused: {refusal}"),
                _ => {}
            }
        }
    }

    pub fn refused(&mut self, run: &RunId) -> StartRefusal {
        loop {
            if let Reply::Refused { run: of, refusal } = self.next()
                && of == *run
            {
                return refusal;
            }
        }
    }

    /// Runs to its end.
    pub fn run(&mut self, request: StartRequest) -> (RunId, EndFacts) {
        let run = self.start(request);
        let end = self.ended(&run);
        (run, end)
    }

    pub fn end_of(&mut self, request: StartRequest) -> RunEnd {
        self.run(request).1.facts.end
    }
}

/// Processes that belong to a run by their environment.
pub fn processes_of(run: &RunId) -> Vec<i32> {
    let all = process_table::all();
    let living = all.values().filter(|process| !process.zombie).map(|process| process.pid);
    living.filter(|pid| process_table::run_of(*pid).as_ref() == Some(run)).collect()
}
