//! One NATS server: its configuration, its start on a free port, its stop.

use crate::{Keys, Process, ServersError, Spawn, find, port, secret};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

/// How long a server may take to recover its streams and serve.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take to stop in order.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Another port is tried this often when somebody takes ours between the test and the start.
const PORT_TRIES: u32 = 5;

/// Certificate and key for a server that speaks TLS (PEM files).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The server's certificate, with intermediates.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// How a server is to run.
#[derive(Debug, Clone)]
pub struct NatsSettings {
    /// Holds the configuration, the log, and the streams.
    pub folder: PathBuf,
    /// Taken when it is free, else another.
    pub port: Option<u16>,
    /// Keeps all streams together below this many bytes: a full disk freezes a stream until the server restarts.
    pub max_file_store: u64,
    /// Speaks TLS.
    pub tls: Option<Tls>,
    /// Serves its monitoring pages on this port of the loopback.
    pub monitoring: Option<u16>,
}

impl NatsSettings {
    /// A server on a free port, with 16 GiB for streams.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), port: None, max_file_store: 16 << 30, tls: None, monitoring: None }
    }
}

/// What a configuration file says besides the keys; shared with `ordo setup`, whose server runs in a container.
#[derive(Debug, Clone)]
pub struct Configuration<'a> {
    /// Tells our server from a stranger on the same port.
    pub server_name: &'a str,
    /// `127.0.0.1:4222`, `0.0.0.0:4222`
    pub listen: &'a str,
    /// Where the streams are.
    pub store: &'a Path,
    /// See [`NatsSettings::max_file_store`].
    pub max_file_store: u64,
    /// Certificate and key.
    pub tls: Option<&'a Tls>,
    /// `127.0.0.1:8222`
    pub monitoring: Option<&'a str>,
}

impl Configuration<'_> {
    /// The text of the file. Every acknowledged message is on disk (`sync_interval: always`).
    ///
    /// # Errors
    /// When the keys' tokens cannot be read or made.
    pub fn text(&self, keys: &Keys) -> Result<String, ServersError> {
        let mut text = format!(
            "# Written by Ordo; it is written again at every start.\n\
             server_name: {:?}\nlisten: {:?}\n\
             # Users carry their rights in their token, which is longer than the default allows.\n\
             max_control_line: 64KB\n\
             jetstream {{\n  store_dir: {:?}\n  max_memory_store: {}\n  max_file_store: {}\n  sync_interval: always\n}}\n",
            self.server_name,
            self.listen,
            self.store,
            256u64 << 20,
            self.max_file_store,
        );
        if let Some(tls) = self.tls {
            let _ = writeln!(text, "tls {{\n  cert_file: {:?}\n  key_file: {:?}\n}}", tls.certificate, tls.key);
        }
        if let Some(address) = self.monitoring {
            let _ = writeln!(text, "http: {address:?}");
        }
        text.push_str(&keys.server_configuration()?);
        Ok(text)
    }
}

/// A running server. Dropping it kills it; [`NatsServer::stop`] is the orderly way.
#[derive(Debug)]
pub struct NatsServer {
    settings: NatsSettings,
    program: PathBuf,
    name: String,
    port: u16,
    process: Process,
}

impl NatsServer {
    /// Writes the configuration, starts the server and waits until it serves JetStream.
    ///
    /// # Errors
    /// When there is no program, the server ends instead of serving, or does not serve within a minute.
    pub async fn start(settings: NatsSettings, keys: &Keys) -> Result<Self, ServersError> {
        let (program, _) = find::nats_server()?;
        secret::make_folder(&settings.folder)?;
        let name = format!("ordo-{}", crate::keys::short_hash(settings.folder.as_os_str().as_encoded_bytes()));
        let mut wanted = settings.port;
        let mut tries = 0;
        loop {
            tries += 1;
            let port = port::free(wanted).map_err(ServersError::file("find a free port for", &settings.folder))?;
            let process = launch(&settings, &program, &name, port, keys)?;
            match serving(&process, &name, port).await {
                Ok(()) => return Ok(Self { settings, program, name, port, process }),
                Err(error) if tries < PORT_TRIES && taken(&process) => {
                    tracing::debug!(port, %error, "port taken meanwhile");
                    wanted = None;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        let scheme = if self.settings.tls.is_some() { "tls" } else { "nats" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process, to be watched.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Stops it in order.
    pub async fn stop(&self) {
        self.process.stop(Signal::SIGTERM, STOP_LIMIT).await;
    }

    /// Kills it at once, as a crash would.
    pub async fn kill(&self) {
        self.process.kill().await;
    }

    /// Starts it again after its end, on the same port and with the same streams.
    ///
    /// # Errors
    /// As [`NatsServer::start`].
    pub async fn start_again(&mut self, keys: &Keys) -> Result<(), ServersError> {
        self.process = launch(&self.settings, &self.program, &self.name, self.port, keys)?;
        serving(&self.process, &self.name, self.port).await
    }
}

fn launch(
    settings: &NatsSettings,
    program: &Path,
    name: &str,
    port: u16,
    keys: &Keys,
) -> Result<Process, ServersError> {
    let (listen, monitoring) =
        (format!("127.0.0.1:{port}"), settings.monitoring.map(|port| format!("127.0.0.1:{port}")));
    let configuration = Configuration {
        server_name: name,
        listen: &listen,
        store: &settings.folder.join("store"),
        max_file_store: settings.max_file_store,
        tls: settings.tls.as_ref(),
        monitoring: monitoring.as_deref(),
    };
    let file = settings.folder.join("nats-server.conf");
    secret::write(&file, &configuration.text(keys)?)?;
    Process::spawn(
        Spawn::new(program, settings.folder.join("nats-server.log")).arguments(["--config".as_ref(), file.as_os_str()]),
    )
}

fn taken(process: &Process) -> bool {
    process.ended().is_some() && process.log_tail().contains("address already in use")
}

async fn serving(process: &Process, name: &str, port: u16) -> Result<(), ServersError> {
    let started = Instant::now();
    let mut last = String::from("nothing yet");
    while started.elapsed() < START_LIMIT {
        if let Some(status) = process.ended() {
            return Err(ServersError::Ended {
                program: "nats-server".into(),
                status: status.to_string(),
                tail: process.log_tail(),
            });
        }
        match greeting(port).await {
            Ok(info) if info["server_name"] == name && info["jetstream"] == true => return Ok(()),
            Ok(info) => last = format!("server {} answered", info["server_name"]),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(ServersError::NotServing { program: "nats-server", port, seconds: START_LIMIT.as_secs(), last })
}

/// The first line that a NATS server sends to whoever connects, before any TLS: `INFO {…}`.
async fn greeting(port: u16) -> std::io::Result<Value> {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
    let mut line = String::new();
    let read = stream.read_line(&mut line);
    tokio::time::timeout(Duration::from_secs(2), read)
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    let json = line
        .strip_prefix("INFO ")
        .ok_or_else(|| std::io::Error::other(format!("not a NATS server, it said {line:?}")))?;
    Ok(serde_json::from_str(json)?)
}
