//! One mail server. The steps of SMTP are taken one by one, because what a refusal means depends on where it comes.

use super::Outcome;
use lettre::Address;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use ordo_domain::alert::MailAddress;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::error::Error as StdError;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// A connection that was idle for longer is not used again: servers hang up without a word.
const IDLE: Duration = Duration::from_secs(5);
/// Messages on one connection; some servers allow no more.
const ON_ONE_CONNECTION: u32 = 50;
/// What a server says is shown to people, up to so many characters.
const SAID: usize = 200;

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// STARTTLS, always: never in the clear. Port 587 if not given.
    #[default]
    Starttls,
    /// TLS from the first byte. Port 465 if not given.
    Tls,
    /// In the clear, for a relay on this machine. Port 25 if not given.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub connect: Duration,
    /// For each answer.
    pub command: Duration,
    /// For the answer to a whole message: servers look into it first.
    pub message: Duration,
}

/// One server with its idle connection.
pub struct Server {
    host: String,
    port: u16,
    security: Security,
    tls: Option<TlsParameters>,
    credentials: Option<Credentials>,
    hello: ClientId,
    limits: Limits,
    idle: Mutex<Option<Idle>>,
}

struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
    messages: u32,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("the certificate authority of mail server {host} cannot be used")]
    Authority {
        host: String,
        #[source]
        source: lettre::transport::smtp::Error,
    },
}

/// Where it broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Connect,
    Tls,
    LogIn,
    Sender,
    Recipient,
    Data,
    Message,
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    kind: FailedKind,
    pub(super) why: String,
    /// Another server may do better; else only this message or recipient is concerned.
    pub(super) concerns_server: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FailedKind {
    Later,
    Refused,
    Trouble,
}

impl Failed {
    pub(super) fn outcome(self, server: String) -> Outcome {
        match self.kind {
            FailedKind::Later => Outcome::Later { server, why: self.why },
            FailedKind::Refused => Outcome::Refused { server, why: self.why },
            FailedKind::Trouble => Outcome::Trouble { server, why: self.why },
        }
    }
}

impl Server {
    /// `authority`: PEM, trusted alone; without it the machine's.
    ///
    /// # Errors
    /// When the authority is no PEM.
    pub fn new(
        host: String,
        port: Option<u16>,
        security: Security,
        authority: Option<&[u8]>,
        log_in: Option<(String, String)>,
        hello: Option<String>,
        limits: Limits,
    ) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Authority { host: host.clone(), source };
        let tls = match security {
            Security::None => None,
            Security::Starttls | Security::Tls => {
                let mut builder = TlsParameters::builder(host.clone());
                if let Some(pem) = authority {
                    builder = builder.certificate_store(CertificateStore::None);
                    builder = builder.add_root_certificate(Certificate::from_pem(pem).map_err(failed)?);
                }
                Some(builder.build_rustls().map_err(failed)?)
            }
        };
        let port = port.unwrap_or(match security {
            Security::Starttls => 587,
            Security::Tls => 465,
            Security::None => 25,
        });
        let credentials = log_in.map(|(user, password)| Credentials::new(user, password));
        let hello = hello.map_or_else(ClientId::default, ClientId::Domain);
        Ok(Self { host, port, security, tls, credentials, hello, limits, idle: Mutex::new(None) })
    }

    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// One message to one recipient; what the server said when it took it.
    pub(super) async fn send(&self, from: &MailAddress, to: &MailAddress, message: &[u8]) -> Result<String, Failed> {
        let (from, to) = (address(from)?, address(to)?);
        if let Some(mut idle) = self.take_idle().await {
            // Before the message itself is sent, nothing is lost by beginning anew on a fresh connection.
            match self.transaction(&mut idle.connection, &from, &to, message).await {
                Err((Step::Sender, failed)) if failed.kind == FailedKind::Later => {}
                other => return self.ended(idle, other).await,
            }
        }
        let connection = self.connect().await?;
        let mut fresh = Idle { connection, since: Instant::now(), messages: 0 };
        let outcome = self.transaction(&mut fresh.connection, &from, &to, message).await;
        self.ended(fresh, outcome).await
    }

    async fn take_idle(&self) -> Option<Idle> {
        let idle = self.idle.lock().await.take()?;
        (idle.since.elapsed() < IDLE && idle.messages < ON_ONE_CONNECTION).then_some(idle)
    }

    /// Keeps the connection where all went well; else says goodbye without waiting for long.
    async fn ended(&self, mut used: Idle, outcome: Result<Response, (Step, Failed)>) -> Result<String, Failed> {
        match outcome {
            Ok(response) => {
                used.since = Instant::now();
                used.messages += 1;
                *self.idle.lock().await = Some(used);
                Ok(said(&response))
            }
            Err((_, failed)) => {
                let _ = tokio::time::timeout(Duration::from_millis(500), used.connection.abort()).await;
                Err(failed)
            }
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Failed> {
        let server = (self.host.as_str(), self.port);
        let from_the_start = self.tls.clone().filter(|_| self.security == Security::Tls);
        let limit = self.limits.connect;
        let connecting = AsyncSmtpConnection::connect_tokio1(server, Some(limit), &self.hello, from_the_start, None);
        // TCP, TLS, and the greeting, for which some servers let one wait on purpose.
        let mut connection = self.limited(Step::Connect, limit + self.limits.command, connecting).await?;
        if let Some(tls) = self.tls.clone().filter(|_| self.security == Security::Starttls) {
            if !connection.can_starttls() {
                let why = format!("{} offers no STARTTLS; nothing is sent in the clear", self.address());
                let _ = tokio::time::timeout(Duration::from_millis(500), connection.abort()).await;
                return Err(Failed { kind: FailedKind::Trouble, why, concerns_server: true });
            }
            self.limited(Step::Tls, self.limits.command, connection.starttls(tls, &self.hello)).await?;
        }
        if let Some(credentials) = &self.credentials {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            self.limited(Step::LogIn, self.limits.command, connection.auth(&mechanisms, credentials)).await?;
        }
        Ok(connection)
    }

    async fn transaction(
        &self,
        connection: &mut AsyncSmtpConnection,
        from: &Address,
        to: &Address,
        message: &[u8],
    ) -> Result<Response, (Step, Failed)> {
        let limit = self.limits.command;
        let mail = Mail::new(Some(from.clone()), Vec::new());
        let at = |step| move |failed| (step, failed);
        self.limited(Step::Sender, limit, connection.command(mail)).await.map_err(at(Step::Sender))?;
        let recipient = Rcpt::new(to.clone(), Vec::new());
        self.limited(Step::Recipient, limit, connection.command(recipient)).await.map_err(at(Step::Recipient))?;
        self.limited(Step::Data, limit, connection.command(Data)).await.map_err(at(Step::Data))?;
        // The library ends what it sends with a line end of its own.
        let sending = connection.message(message.strip_suffix(b"\r\n").unwrap_or(message));
        self.limited(Step::Message, self.limits.message, sending).await.map_err(at(Step::Message))
    }

    async fn limited<T>(
        &self,
        step: Step,
        limit: Duration,
        work: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
    ) -> Result<T, Failed> {
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(judge(step, &error)),
            Err(_) => {
                let why = format!("no answer within {} s {}", limit.as_secs_f32(), doing(step));
                Err(Failed { kind: FailedKind::Later, why, concerns_server: step != Step::Message })
            }
        }
    }
}

fn doing(step: Step) -> &'static str {
    match step {
        Step::Connect => "when connecting",
        Step::Tls => "when encrypting",
        Step::LogIn => "when logging in",
        Step::Sender => "to the sender",
        Step::Recipient => "to the recipient",
        Step::Data => "before the message",
        Step::Message => "after the message; it may have been taken",
    }
}

/// What an error at that step means.
fn judge(step: Step, error: &lettre::transport::smtp::Error) -> Failed {
    let words = crate::letter::clean::short(&chain(error), SAID);
    if is_certificate(error) {
        let why = format!("the server's certificate is not trusted: {words}");
        return Failed { kind: FailedKind::Trouble, why, concerns_server: true };
    }
    let code: Option<u16> = error.status().map(u16::from);
    let why = format!("{words} ({})", doing(step));
    let (kind, concerns_server) = match (step, code) {
        // The whole service says "not now".
        (Step::Connect | Step::Tls, Some(400..500)) | (_, Some(421)) => (FailedKind::Later, true),
        (Step::Connect | Step::Tls | Step::LogIn | Step::Sender, Some(500..)) => (FailedKind::Trouble, true),
        (Step::LogIn | Step::Sender, Some(_)) => (FailedKind::Later, true),
        // "Log in first" comes as an answer to anything.
        (Step::Recipient | Step::Data, Some(530)) => (FailedKind::Trouble, true),
        // RFC 3463, 5.7: its policy refuses us ("relay access denied"), not this recipient.
        (Step::Recipient, Some(500..)) if words.contains(" 5.7.") => (FailedKind::Trouble, true),
        (Step::Recipient | Step::Data | Step::Message, Some(500..)) => (FailedKind::Refused, false),
        (Step::Recipient | Step::Data | Step::Message, Some(_)) => (FailedKind::Later, false),
        (_, Some(_)) => (FailedKind::Later, true),
        // No mechanism that both know: waiting does not help.
        (Step::LogIn, None) if error.is_client() => (FailedKind::Trouble, true),
        // Cut after the message: it may have been taken, so another server would make a second one of it.
        (Step::Message, None) => (FailedKind::Later, false),
        (_, None) => (FailedKind::Later, true),
    };
    Failed { kind, why, concerns_server }
}

fn is_certificate(error: &lettre::transport::smtp::Error) -> bool {
    let mut source: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(inner) = source {
        let found = inner.downcast_ref::<rustls::Error>().or_else(|| {
            inner
                .downcast_ref::<std::io::Error>()
                .and_then(|io| io.get_ref())
                .and_then(|e| e.downcast_ref::<rustls::Error>())
        });
        if let Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) = found {
            return true;
        }
        source = inner.source();
    }
    false
}

fn chain(error: &lettre::transport::smtp::Error) -> String {
    // The library's own text holds the first source already.
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = inner.source();
    }
    text
}

fn said(response: &Response) -> String {
    let words = response.message().collect::<Vec<_>>().join(" ");
    crate::letter::clean::short(&format!("{} {words}", response.code()), SAID)
}

fn address(address: &MailAddress) -> Result<Address, Failed> {
    address.as_str().parse().map_err(|e| Failed {
        kind: FailedKind::Refused,
        why: format!("{address} is not usable: {e}"),
        concerns_server: false,
    })
}
