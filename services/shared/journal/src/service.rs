//! Requests and answers: every instance is a NATS micro service, so `nats micro ls` finds it, and every verb an
//! endpoint. Who asks is known from the subject, because the server lets a user publish only under its own name.

use crate::bus::{Bus, REQUEST};
use crate::error::{BusError, BusErrorKind};
use crate::message::{Headers, is_answer};
use async_nats::service::ServiceExt;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use ordo_contract::name::RequestSubject;
use ordo_contract::request::{ErrorBody, status};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// A request as the handler sees it.
#[derive(Clone, Debug)]
pub struct Call {
    pub user: String,
    pub role: String,
    /// Set when this instance was asked, not whoever serves the role.
    pub instance: Option<String>,
    pub noun: String,
    pub verb: String,
    pub body: Bytes,
}

/// An error to answer with: HTTP-like code and a text that says what would be right. `body` is JSON for programs.
#[derive(Clone, Debug, Error)]
#[error("{text}")]
pub struct CallError {
    pub code: u16,
    pub text: String,
    pub body: Bytes,
}

impl CallError {
    pub fn new(code: u16, text: impl ToString) -> Self {
        Self { code, text: text.to_string(), body: Bytes::new() }
    }

    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// Answers calls.
pub type Handler = Arc<dyn Fn(Call) -> BoxFuture<'static, Result<Bytes, CallError>> + Send + Sync>;

/// What an instance offers.
pub struct ServiceSpec {
    /// Role, or `agent-<name>`: the NATS user's name.
    pub role: String,
    pub instance: String,
    pub node: String,
    pub description: String,
    /// `major.minor.patch`.
    pub version: String,
    /// Requests worked on at a time; more wait. An instance whose answers wait for something allows many.
    pub at_a_time: usize,
    /// Noun and verb of what whoever serves the role answers (queue group).
    pub role_endpoints: Vec<(&'static str, &'static str)>,
    /// Noun and verb of what this instance answers. `instance.ping` is always there.
    pub instance_endpoints: Vec<(&'static str, &'static str)>,
}

/// A running micro service. Dropping it stops it.
pub struct Service {
    bus: Bus,
    role: String,
    stop: CancellationToken,
    /// Keeps the discovery subscriptions alive.
    service: async_nats::service::Service,
}

/// What a service answers for a time. Dropping it ends that.
#[must_use = "dropped, nothing is answered any more"]
pub struct Offered {
    _stop: tokio_util::sync::DropGuard,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What came of a request.
#[derive(Debug, Error)]
pub enum RequestError {
    /// Nobody serves this subject now.
    #[error("{subject}: nobody answers there")]
    NoResponders { subject: String },
    /// Answered with an error.
    #[error("{}", .0.text)]
    Refused(CallError),
    #[error(transparent)]
    Bus(BusError),
}

impl Bus {
    /// Registers this instance as a micro service. `instance.ping` answers from now on: register before taking a
    /// lease, else the others take this instance for dead.
    pub async fn serve(&self, spec: ServiceSpec, handler: Handler) -> Result<Service, BusError> {
        let names = self.names();
        let metadata = HashMap::from([
            ("role".to_owned(), spec.role.clone()),
            ("instance".to_owned(), spec.instance.clone()),
            ("node".to_owned(), spec.node.clone()),
            ("site".to_owned(), names.site().to_owned()),
        ]);
        let failed = |what: &str, e| {
            BusError::with(BusErrorKind::Configuration, format_args!("register {what} of {}", spec.role), e)
        };
        let attempt = "register a micro service";
        let (client, name) = (self.client().clone(), names.micro_service(&spec.role));
        let started = async {
            // `nats micro ls` shows the description and no metadata.
            let description = format!("{} ({} on {})", spec.description, spec.instance, spec.node);
            let builder = client.service_builder().description(description).metadata(metadata);
            builder.start(&name, &spec.version).await.map_err(|e| failed("the service", e))
        };
        let service = self.within(REQUEST, attempt, started).await?;
        let stop = CancellationToken::new();
        let permits = Arc::new(Semaphore::new(spec.at_a_time.max(1)));
        let of_role = spec.role_endpoints.iter().map(|(noun, verb)| {
            (format!("{noun}-{verb}"), names.request_from_anybody(&spec.role, noun, verb), spec.role.clone())
        });
        let ping = ("instance", "ping");
        let own = spec.instance_endpoints.iter().chain(std::iter::once(&ping)).map(|(noun, verb)| {
            let subject = names.instance_from_anybody(&spec.role, &spec.instance, noun, verb);
            (format!("{}-{noun}-{verb}", spec.instance), subject, format!("{}-{}", spec.role, spec.instance))
        });
        for (name, subject, group) in of_role.chain(own) {
            let adding = async {
                let builder = service.endpoint_builder().name(&name).queue_group(group);
                builder.add(&subject).await.map_err(|e| failed(&subject, e))
            };
            let endpoint = self.within(REQUEST, attempt, adding).await?;
            let answering = answer_all(self.clone(), endpoint, handler.clone(), permits.clone(), stop.clone());
            tokio::spawn(answering);
        }
        self.round_trip().await?;
        Ok(Service { bus: self.clone(), role: spec.role, stop, service })
    }

    /// Asks and waits for the answer.
    pub async fn request(
        &self,
        subject: &str,
        body: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<Bytes, RequestError> {
        let answer = self.ask(subject, None, body.into(), timeout).await.map_err(|error| match error.kind() {
            BusErrorKind::NoResponders => RequestError::NoResponders { subject: subject.to_owned() },
            _ => RequestError::Bus(error),
        })?;
        let header = |name: &str| answer.headers.as_ref()?.get(name).map(|v| v.as_str().to_owned());
        match header("Nats-Service-Error") {
            Some(text) => {
                let code = header("Nats-Service-Error-Code").and_then(|code| code.parse().ok()).unwrap_or(500);
                Err(RequestError::Refused(CallError { code, text, body: answer.payload }))
            }
            None => Ok(answer.payload),
        }
    }

    /// Asks whether the process of an instance is there: `Ok(true)` it answered, `Ok(false)` nobody listens there any
    /// more, an error when nothing is known.
    pub async fn ping(&self, role: &str, instance: &str, timeout: Duration) -> Result<bool, BusError> {
        let subject = self.names().instance_ping(self.user(), role, instance);
        match self.request(&subject, Bytes::new(), timeout).await {
            Ok(_) | Err(RequestError::Refused(_)) => Ok(true),
            Err(RequestError::NoResponders { .. }) => Ok(false),
            Err(RequestError::Bus(error)) => Err(error),
        }
    }
}

impl Service {
    /// Answers more, as long as what is returned lives: what only the active instance of a role can answer.
    pub async fn offer(
        &self,
        endpoints: &[(&'static str, &'static str)],
        at_a_time: usize,
        handler: Handler,
    ) -> Result<Offered, BusError> {
        let stop = self.stop.child_token();
        let offered = Offered { _stop: stop.clone().drop_guard() };
        let permits = Arc::new(Semaphore::new(at_a_time.max(1)));
        for (noun, verb) in endpoints {
            let subject = self.bus.names().request_from_anybody(&self.role, noun, verb);
            let adding = async {
                let builder = self.service.endpoint_builder().name(format!("{noun}-{verb}")).queue_group(&self.role);
                builder.add(&subject).await.map_err(|e| {
                    let text = format!("register {subject} of {}", self.role);
                    BusError::with(BusErrorKind::Configuration, text, e)
                })
            };
            let endpoint = self.bus.within(REQUEST, "offer a request", adding).await?;
            tokio::spawn(answer_all(self.bus.clone(), endpoint, handler.clone(), permits.clone(), stop.clone()));
        }
        self.bus.round_trip().await?;
        Ok(offered)
    }
}

async fn answer_all(
    bus: Bus,
    mut endpoint: async_nats::service::endpoint::Endpoint,
    handler: Handler,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
) {
    loop {
        let request = tokio::select! {
            () = stop.cancelled() => break,
            () = bus.closed() => return,
            request = endpoint.next() => request,
        };
        let Some(request) = request else { return };
        let Some(call) = call_of(&bus, &request) else { continue };
        if call.noun == "instance" && call.verb == "ping" {
            // At once and past the queue: it is how others learn that this process lives.
            let _ = request.respond(Ok(Bytes::from_static(b"{}"))).await;
            continue;
        }
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let (handler, bus) = (handler.clone(), bus.clone());
        tokio::spawn(async move {
            answer(&bus, &request, handler(call).await).await;
            drop(permit);
        });
    }
    let _ = endpoint.stop().await;
}

/// `None` = not a request. An answer that somebody had sent here under another's name is none, and an answer of ours
/// goes to inboxes only: a subject of the server's API as reply would make us its user.
fn call_of(bus: &Bus, request: &async_nats::service::Request) -> Option<Call> {
    // `_R_.` is the server's own, for requests from another account; no client may name it.
    let is_inbox = |reply: &str| reply.starts_with("_INBOX") || reply.starts_with("_R_.");
    let is_inbox = request.message.reply.as_ref().is_some_and(|reply| is_inbox(reply.as_str()));
    if !is_inbox || request.message.headers.as_ref().is_some_and(is_answer) {
        tracing::warn!(subject = %request.message.subject, "not a request: its reply is no inbox, or it is an answer");
        return None;
    }
    let RequestSubject { user, role, instance, noun, verb } =
        bus.names().parse_request(request.message.subject.as_str())?;
    Some(Call { user, role, instance, noun, verb, body: request.message.payload.clone() })
}

async fn answer(bus: &Bus, request: &async_nats::service::Request, outcome: Result<Bytes, CallError>) {
    let subject = &request.message.subject;
    let outcome = outcome.and_then(|body| match too_large(body.len(), bus.max_payload()) {
        // The server would refuse it, and whoever asked would wait in vain.
        Some(error) => {
            tracing::warn!(%subject, bytes = body.len(), limit = bus.max_payload(), "answer too large to be sent");
            Err(error)
        }
        None => Ok(body),
    });
    let sent = match outcome {
        Ok(body) => request.respond(Ok(body)).await.map_err(|e| e.to_string()),
        // The library sends errors without a body; ours have one for programs.
        Err(error) => match &request.message.reply {
            Some(reply) => {
                let headers =
                    Headers::new().set("Nats-Service-Error", &error.text).set("Nats-Service-Error-Code", error.code);
                bus.tell(reply.as_str(), headers, error.body).await.map_err(|e| e.to_string())
            }
            None => Ok(()),
        },
    };
    if let Err(error) = sent {
        tracing::debug!(error, %subject, "answer not sent");
    }
}

/// Of a message the headers count, too; ours are short.
const HEADERS: usize = 1024;

fn too_large(bytes: usize, limit: usize) -> Option<CallError> {
    if bytes + HEADERS <= limit {
        return None;
    }
    let message = format!("the answer is {bytes} bytes long, the bus takes {limit}: ask for less at a time");
    let body = ErrorBody { code: "answer_too_large".to_owned(), message: message.clone(), refusal: None };
    Some(CallError::new(status::TOO_LARGE, message).with_body(serde_json::to_vec(&body).unwrap_or_default()))
}

/// For who has nothing to serve but to be found.
pub fn no_calls() -> Handler {
    Arc::new(|call| {
        Box::pin(async move { Err(CallError::new(404, format!("{} {} is not served here", call.noun, call.verb))) })
    })
}

impl From<RequestError> for BusError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::NoResponders { .. } => BusError::new(BusErrorKind::NoResponders, error),
            RequestError::Refused(_) => BusError::new(BusErrorKind::Rejected, error),
            RequestError::Bus(error) => error,
        }
    }
}
