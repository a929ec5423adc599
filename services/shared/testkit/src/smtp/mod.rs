//! A mail server for tests that speaks SMTP as real ones do, and misbehaves as it is told: it refuses recipients, greylists,
//! hangs up after DATA, shows a bad certificate, is slow. What it takes lies in a folder, one file a message.
//!
//! [`SmtpServer`] runs it inside a test; `ordo-smtp` (in `tests/`) is the same as a process of its own, which can be killed.
//! Tests against the mail servers of the distribution are in `tests/integration/mail_server.rs`.
//!
//! # Layout
//! - [`Script`]: how it behaves; may change while it runs
//! - `session`: one connection; [`mail`]: reading what was received

pub mod mail;
mod session;

pub use mail::{ReceivedMail, read_folder};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use session::Session;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// How the server behaves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Recipients that get 550.
    pub refuse: BTreeSet<String>,
    /// Recipients whose first mail is answered with 451; the next one is taken.
    pub greylist: BTreeSet<String>,
    /// So many messages are stored, and the connection is cut instead of an answer.
    pub cut_after_data: u32,
    /// So many connections are cut before DATA is answered.
    pub cut_before_data: u32,
    /// Waited before each answer.
    pub delay_ms: u64,
    /// Instead of the greeting; then the connection is closed.
    pub greeting: Option<String>,
    /// Who must log in, and with which password.
    pub log_in: Option<(String, String)>,
    pub tls: TlsScript,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsScript {
    /// None offered.
    #[default]
    Off,
    Starttls,
    FromTheStart,
}

/// What all sessions share.
pub(crate) struct Shared {
    pub(crate) folder: PathBuf,
    script: Mutex<Script>,
    /// Read anew for each connection, where it is a file.
    script_file: Option<PathBuf>,
    pub(crate) greylisted: Mutex<BTreeSet<String>>,
    count: AtomicU64,
    pub(crate) acceptor: Option<TlsAcceptor>,
}

impl Shared {
    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_script_again(&self) {
        let Some(file) = &self.script_file else { return };
        let read = std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(script) = read {
            *self.script() = script;
        }
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }
}

/// A running server; ends when it is dropped.
pub struct SmtpServer {
    port: u16,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SmtpServer {
    /// Starts it on a free port of the loopback. `tls`: certificate chain and key, PEM.
    ///
    /// # Panics
    /// When it cannot listen, or the certificate cannot be used.
    pub async fn start(folder: &Path, script: Script, tls: Option<(&Path, &Path)>) -> Self {
        Self::start_on(0, folder, script, None, tls).await
    }

    /// With a port and a file from which the script is read for each connection, for the process.
    ///
    /// # Panics
    /// See [`SmtpServer::start`].
    pub async fn start_on(
        port: u16,
        folder: &Path,
        script: Script,
        script_file: Option<PathBuf>,
        tls: Option<(&Path, &Path)>,
    ) -> Self {
        std::fs::create_dir_all(folder).unwrap_or_else(|e| panic!("cannot make {}: {e}", folder.display()));
        let already = std::fs::read_dir(folder).map_or(0, Iterator::count);
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            script: Mutex::new(script),
            script_file,
            greylisted: Mutex::default(),
            count: AtomicU64::new(already as u64),
            acceptor: tls.map(|(certificate, key)| acceptor(certificate, key)),
        });
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap_or_else(|e| panic!("cannot listen: {e}"));
        let port = listener.local_addr().unwrap_or_else(|e| panic!("no address: {e}")).port();
        let task = tokio::spawn(accept(listener, shared.clone()));
        Self { port, shared, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes how it behaves from the next command on.
    pub fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.shared.script());
    }

    /// All that it took, in the order in which it came.
    pub fn mails(&self) -> Vec<ReceivedMail> {
        read_folder(&self.shared.folder)
    }

    /// Serves until the process ends.
    pub async fn serve(mut self) {
        let _ = (&mut self.task).await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        shared.read_script_again();
        let shared = shared.clone();
        tokio::spawn(async move {
            // A client that hangs up is no failure of the server.
            let _ = Session::new(shared).run(stream).await;
        });
    }
}

fn acceptor(certificate: &Path, key: &Path) -> TlsAcceptor {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .unwrap_or_else(|e| panic!("cannot read {}: {e}", certificate.display()));
    let key = PrivateKeyDer::from_pem_file(key).unwrap_or_else(|e| panic!("cannot read {}: {e}", key.display()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|b| b.with_no_client_auth().with_single_cert(chain, key))
        .unwrap_or_else(|e| panic!("the certificate cannot be used: {e}"));
    TlsAcceptor::from(Arc::new(config))
}
