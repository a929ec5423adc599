//! From a start request to a process. On a few threads of their own: a spawn keeps its thread until the program is
//! loaded, and two cores load more than one program at a time.

use super::folder::{RunFolder, Spares, Taken};
use super::mask::{SHORTEST, Secrets};
use super::process_table;
use super::protocol::{MainProcess, StartRefusal, StartRequest};
use super::system::{self, Image};
use ordo_domain::{EnvValue, Instant, RunId};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

/// Longest secret; it has to fit into an environment.
const SECRET_BYTES: u64 = 64 * 1024;

/// What came of a start request.
pub enum Outcome {
    Spawned(Box<Spawned>),
    /// Nothing happened and no folder was taken.
    Refused {
        run: RunId,
        refusal: StartRefusal,
    },
    /// The folder is ours, a process there is none.
    NotStarted {
        run: RunId,
        folder: RunFolder,
        reason: String,
    },
}

/// A job with its process.
pub struct Spawned {
    pub request: StartRequest,
    pub folder: RunFolder,
    pub secrets: Secrets,
    pub pid: i32,
    pub handle: OwnedFd,
    pub stdout: File,
    pub stderr: File,
    pub at: Instant,
}

/// The threads that spawn.
pub struct Spawner {
    queue: mpsc::Sender<Box<StartRequest>>,
    done: mpsc::Receiver<Outcome>,
}

/// What every spawn needs.
struct Context {
    spares: Spares,
    runner: String,
    boot: String,
    null: File,
}

impl Spawner {
    /// Starts the threads. `wake` is written to when an outcome is there.
    ///
    /// # Errors
    /// When no threads can be started.
    pub fn start(data: &Path, runner: &str, wake: &File) -> io::Result<Self> {
        let (queue, requests) = mpsc::channel::<Box<StartRequest>>();
        let (outcomes, done) = mpsc::channel();
        let requests = Arc::new(Mutex::new(requests));
        let null = fs::OpenOptions::new().read(true).open("/dev/null")?;
        let context =
            Context { spares: Spares::open(data)?, runner: runner.to_owned(), boot: process_table::boot_id(), null };
        let context = Arc::new(context);
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        for number in 0..(cores * 2).clamp(2, 8) {
            let (requests, outcomes, context) = (Arc::clone(&requests), outcomes.clone(), Arc::clone(&context));
            let mut wake = wake.try_clone()?;
            std::thread::Builder::new().name(format!("spawn-{number}")).stack_size(256 * 1024).spawn(move || {
                loop {
                    let next = requests.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(request) = next else { return };
                    if outcomes.send(start(&context, *request)).is_err() {
                        return;
                    }
                    // Full means that the loop is being woken already.
                    let _ = wake.write(&1_u64.to_ne_bytes());
                }
            })?;
        }
        Ok(Self { queue, done })
    }

    /// Takes one more.
    pub fn push(&self, request: Box<StartRequest>) {
        // The threads end only with us.
        let _ = self.queue.send(request);
    }

    /// What is done by now.
    pub fn outcomes(&self) -> impl Iterator<Item = Outcome> + '_ {
        self.done.try_iter()
    }
}

fn start(context: &Context, mut request: StartRequest) -> Outcome {
    let run = request.meta.run.clone();
    request.meta.runner.clone_from(&context.runner);
    request.meta.boot.clone_from(&context.boot);
    let late = |request: &StartRequest| system::boottime_ms() > request.spawn_before_ms;
    if late(&request) {
        return Outcome::Refused { run, refusal: StartRefusal::TooLate };
    }
    let (folder, mut run_file) = match context.spares.take(&request.meta) {
        Ok(Taken::Ours(folder, run_file)) => (folder, run_file),
        Ok(Taken::Before) => return Outcome::Refused { run, refusal: StartRefusal::Taken },
        Err(error) => {
            let reason = format!("the run folder cannot be made: {error}");
            return Outcome::Refused { run, refusal: StartRefusal::NotPossible(reason) };
        }
    };
    let after_ms = system::boottime_ms();
    match launch(context, &request, &folder) {
        Ok((secrets, pid, handle, stdout, stderr)) => {
            let at = system::now();
            let main = MainProcess { pid, after_ms, before_ms: system::boottime_ms(), at };
            // Read only after our own death, to find leftovers; most of them are known by their environment, too.
            // In one write: a writer of JSON makes one for each token.
            let line = serde_json::to_vec(&main).map_err(io::Error::from);
            if let Err(error) = line.and_then(|line| run_file.write_all(&line)) {
                tracing::warn!(run_id = %run, %error, "main process of a run not written down");
            }
            Outcome::Spawned(Box::new(Spawned { request, folder, secrets, pid, handle, stdout, stderr, at }))
        }
        Err(reason) => Outcome::NotStarted { run, folder, reason },
    }
}

type Launched = (Secrets, i32, OwnedFd, File, File);

fn launch(context: &Context, request: &StartRequest, folder: &RunFolder) -> Result<Launched, String> {
    let mut secrets = Secrets::default();
    let environment = environment(request, folder, &mut secrets)?;
    let directory = match &request.directory {
        Some(directory) => directory.clone(),
        None => request.base_env.get("HOME").filter(|home| Path::new(home).is_dir()).cloned().unwrap_or("/".into()),
    };
    match fs::metadata(&directory) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(format!("the working directory {directory} is not a directory")),
        Err(error) => return Err(format!("the working directory {directory} cannot be used: {error}")),
    }
    let program = program(request, &environment)?;
    let text = |value: &str, what: &str| CString::new(value).map_err(|_| format!("{what} contains a zero byte"));
    let mut variables = Vec::with_capacity(environment.len());
    for (name, value) in &environment {
        let mut variable = name.clone().into_bytes();
        variable.push(b'=');
        variable.extend_from_slice(value);
        variables.push(CString::new(variable).map_err(|_| format!("the variable {name} contains a zero byte"))?);
    }
    let image = Image {
        program: text(&program, "the program")?,
        arguments: request.arguments.iter().map(|a| text(a, "an argument")).collect::<Result<_, _>>()?,
        environment: variables,
        directory: text(&directory, "the working directory")?,
    };
    let no_pipe = |error: io::Error| format!("no pipe for the output: {error}");
    let ((stdout, stdout_write), (stderr, stderr_write)) =
        (system::pipe().map_err(no_pipe)?, system::pipe().map_err(no_pipe)?);
    let pid = system::spawn(&image, &context.null, &stdout_write, &stderr_write)
        .map_err(|error| not_spawned(&program, &error))?;
    drop((stdout_write, stderr_write));
    // The child cannot have been collected: only the event loop does that, after it has learnt of it from us.
    match system::pidfd_open(pid) {
        Ok(handle) => Ok((secrets, pid, handle, stdout, stderr)),
        Err(error) => {
            let _ = system::signal_group(pid, libc::SIGKILL);
            Err(format!("started and ended at once, because it cannot be watched: {error}"))
        }
    }
}

fn not_spawned(program: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => format!("the program {program}, or the interpreter in its first line, does not exist"),
        Some(libc::EACCES) => format!("the program {program} may not be executed: permission denied"),
        Some(libc::ENOEXEC) => format!("{program} is no program: it needs a first line such as #!/bin/sh"),
        Some(libc::E2BIG) => "the arguments and variables are larger than the system takes".to_owned(),
        _ => format!("the program {program} cannot be started: {error}"),
    }
}

/// The whole environment of a job, by name; nothing is inherited.
fn environment(
    request: &StartRequest,
    folder: &RunFolder,
    secrets: &mut Secrets,
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let meta = &request.meta;
    let mut environment: BTreeMap<String, Vec<u8>> =
        request.base_env.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    for (name, value) in &request.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("{name:?} is no name of an environment variable"));
        }
        let value = match value {
            EnvValue::Text(text) => text.clone().into_bytes(),
            EnvValue::Secret { secret } => {
                let value = secret_value(&request.secrets.join(secret.as_str()))
                    .map_err(|reason| format!("the secret {secret} cannot be used: {reason}"))?;
                secrets.add(&value);
                value
            }
        };
        environment.insert(name.clone(), value);
    }
    // Last: these say who it is, and leftovers are found by them.
    for (name, value) in [
        ("ORDO_ORDER", meta.order.as_str()),
        ("ORDO_RUN", meta.run.as_str()),
        ("ORDO_WORKFLOW", meta.workflow.as_str()),
        ("ORDO_JOB", meta.job.as_str()),
        ("ORDO_ATTEMPT", &meta.attempt.to_string()),
    ] {
        environment.insert(name.to_owned(), value.as_bytes().to_vec());
    }
    let results = folder.results().into_os_string();
    environment.insert("ORDO_RESULTS".to_owned(), std::os::unix::ffi::OsStringExt::into_vec(results));
    Ok(environment)
}

fn secret_value(path: &Path) -> Result<Vec<u8>, String> {
    let size = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.len();
    if size > SECRET_BYTES {
        return Err(format!("{} is {size} bytes long, at most {SECRET_BYTES} are allowed", path.display()));
    }
    let mut value = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if value.last() == Some(&b'\n') {
        value.pop();
    }
    if value.len() < SHORTEST {
        return Err(format!("{} is shorter than {SHORTEST} bytes and could not be masked in logs", path.display()));
    }
    Ok(value)
}

/// The path of the program. With a slash it is taken as it is, from the working directory; else looked for in PATH.
fn program(request: &StartRequest, environment: &BTreeMap<String, Vec<u8>>) -> Result<String, String> {
    let Some(name) = request.arguments.first().filter(|name| !name.is_empty()) else {
        return Err("the command is empty".to_owned());
    };
    if name.contains('/') {
        return Ok(name.clone());
    }
    let path = environment.get("PATH").map(|path| String::from_utf8_lossy(path).into_owned()).unwrap_or_default();
    for folder in path.split(':').filter(|folder| folder.starts_with('/')) {
        let candidate = format!("{folder}/{name}");
        let runs = fs::metadata(&candidate).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
        if runs {
            return Ok(candidate);
        }
    }
    Err(format!("the program {name} is in no folder of PATH ({path})"))
}
