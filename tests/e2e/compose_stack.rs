//! A stack of `compose/compose.yaml` with a project name, ports and an image of its own; torn down when dropped.

use ordo_testkit::TestFolder;
use ordo_tests::ordo_binary;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What the stack needs besides our own image; a stranger's engine pulls them.
const IMAGES: [&str; 3] = ["debian:bookworm-slim", "nats:2.15.1-alpine", "postgres:18.6-bookworm"];

/// Whether a Docker engine with `docker compose` answers here. If not, that is said where nobody can miss it.
pub fn engine_is_there(test: &str) -> bool {
    let answers = |arguments: &[&str]| {
        Command::new("docker").args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let there = answers(&["info"]) && answers(&["compose", "version"]);
    if !there {
        skipped(test, "no Docker engine with `docker compose` answers on this machine");
    }
    there
}

/// Past the test harness, which shows nothing of a test that passes.
pub fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED {test}: {why} ***\n");
}

pub struct Stack {
    project: String,
    image: String,
    folder: TestFolder,
    definitions: PathBuf,
    ports: [u16; 2],
}

impl Stack {
    /// Builds the image from the binary that was built for the tests. Nothing runs yet.
    pub fn new(name: &str) -> Self {
        let project = format!("ordo-e2e-{name}-{}", std::process::id());
        let folder = TestFolder::new(&project);
        let definitions = folder.join("definitions");
        std::fs::create_dir_all(&definitions).unwrap();
        for example in std::fs::read_dir(repository().join("schemas/examples")).unwrap().flatten() {
            std::fs::copy(example.path(), definitions.join(example.file_name())).unwrap();
        }
        let stack = Self { image: format!("{project}:test"), project, folder, definitions, ports: two_free_ports() };
        stack.build();
        stack
    }

    /// The final stage of `compose/Dockerfile` around a binary that is there.
    fn build(&self) {
        let context = self.folder.join("context");
        std::fs::create_dir_all(context.join("compose")).unwrap();
        std::fs::copy(repository().join("compose/init.sh"), context.join("compose/init.sh")).unwrap();
        let binary = context.join("ordo");
        std::fs::copy(ordo_binary(), &binary).unwrap();
        // Symbols are nine tenths of it, and would be copied into the engine for nothing.
        let _ = Command::new("strip").arg(&binary).stderr(Stdio::null()).status();
        let dockerfile = repository().join("compose/Dockerfile");
        let mut build = Command::new("docker");
        build.env("DOCKER_BUILDKIT", "1").args([
            "build",
            "--quiet",
            "--tag",
            &self.image,
            "--build-arg",
            "BINARY=given",
            "--file",
        ]);
        ok("docker build", build.arg(dockerfile).arg(&context).output());
    }

    /// A definition for `docker compose run --rm ordo deploy /definitions`.
    pub fn define(&self, file: &str, text: &str) {
        std::fs::write(self.definitions.join(file), text).unwrap();
    }

    /// `docker compose …` of this stack.
    pub fn compose<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        // An engine that hangs must not hang the tests.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "180", "docker"]);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ORDO_")) {
            command.env_remove(name);
        }
        command.env_remove("COMPOSE_PROFILES");
        command
            .args(["compose", "--progress", "plain", "--project-name", &self.project, "--file"])
            .arg(repository().join("compose/compose.yaml"))
            .args(arguments)
            .env("ORDO_IMAGE", &self.image)
            .env("ORDO_DEFINITIONS", &self.definitions)
            .env("ORDO_NATS_PORT", self.ports[0].to_string())
            .env("ORDO_POSTGRES_PORT", self.ports[1].to_string())
            .env("ORDO_SYSLOG_PORT", "0")
            .env("ORDO_SCALE_DOWN", "8")
            .stdin(Stdio::null());
        command
    }

    /// `up --wait`; returns how long it took, without the time to pull images.
    pub fn up(&self) -> Duration {
        for image in IMAGES {
            let there =
                Command::new("docker").args(["image", "inspect", image]).output().is_ok_and(|o| o.status.success());
            if !there {
                ok(image, Command::new("docker").args(["pull", "--quiet", image]).output());
            }
        }
        let started = Instant::now();
        let output =
            self.compose(["up", "--wait", "--wait-timeout", "120", "--no-build", "--detach"]).output().unwrap();
        assert!(output.status.success(), "the stack did not come up:\n{}\n{}", text(&output), self.logs());
        started.elapsed()
    }

    /// The command line in the stack: `docker compose run --rm ordo …`.
    pub fn ordo(&self, arguments: &[&str]) -> Output {
        let run = ["run", "--rm", "--no-TTY", "ordo"].into_iter().chain(arguments.iter().copied());
        self.compose(run).output().unwrap()
    }

    /// Its standard output, where it went well.
    pub fn ordo_ok(&self, arguments: &[&str]) -> String {
        let output = self.ordo(arguments);
        assert!(output.status.success(), "ordo {arguments:?}: {}\n{}\n{}", output.status, text(&output), self.logs());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a program in a service's container; its standard output where it went well.
    pub fn exec(&self, service: &str, program: &[&str]) -> Option<String> {
        let exec = ["exec", "--no-TTY", service].into_iter().chain(program.iter().copied());
        let output = self.compose(exec).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.compose(arguments).output().unwrap();
        assert!(output.status.success(), "docker compose {arguments:?}:\n{}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The last words of every service, for a test that failed.
    pub fn logs(&self) -> String {
        let all = self.compose(["ps", "--all"]).output().map(|o| text(&o)).unwrap_or_default();
        let logs = self.compose(["logs", "--no-color", "--tail", "25"]).output().map(|o| text(&o)).unwrap_or_default();
        format!("{all}\n{logs}")
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let down = self.compose(["--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "2"]).output();
        if !down.as_ref().is_ok_and(|output| output.status.success()) {
            let _ = writeln!(
                std::io::stderr(),
                "the stack {} was not torn down: {:?}",
                self.project,
                down.map(|o| text(&o))
            );
        }
        let _ = Command::new("docker").args(["image", "rm", "--force", &self.image]).output();
    }
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn two_free_ports() -> [u16; 2] {
    // Both are held at once, so that they differ.
    let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn ok(what: &str, output: std::io::Result<Output>) {
    let output = output.unwrap();
    assert!(output.status.success(), "{what}: {}\n{}", output.status, text(&output));
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
