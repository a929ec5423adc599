//! What goes over a connection: requests with their answers, publishes with their acknowledgements, reads from a
//! stream's leader, and core NATS for what is not stored.

use crate::bus::{Bus, REQUEST};
use crate::error::{BusError, BusErrorKind};
use crate::message::{Headers, Message};
use async_nats::jetstream;
use bytes::Bytes;
use ordo_contract::right::ADDRESS_HEADER;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The answer of the server to a publish.
#[derive(Debug)]
pub(crate) enum Published {
    Stored {
        sequence: u64,
    },
    /// The expected sequence is not the last one.
    Conflict,
    /// Would never fit.
    TooLarge(BusError),
    /// Nothing is known, or the stream cannot take anything now.
    Trouble(BusError),
}

impl Bus {
    /// Request and raw answer.
    pub(crate) async fn ask(
        &self,
        subject: &str,
        headers: Option<Headers>,
        payload: Bytes,
        limit: Duration,
    ) -> Result<async_nats::Message, BusError> {
        let mut request = async_nats::Request::new().payload(payload).timeout(Some(limit + REQUEST));
        if let Some(headers) = headers {
            request = request.headers(headers.0);
        }
        self.within(limit, subject, async {
            self.client().send_request(subject.to_owned(), request).await.map_err(|error| {
                use async_nats::client::RequestErrorKind as Kind;
                let (kind, text) = match error.kind() {
                    Kind::NoResponders => (BusErrorKind::NoResponders, "nobody listens there"),
                    Kind::TimedOut => (BusErrorKind::Timeout, "no answer from the bus"),
                    Kind::MaxPayloadExceeded => (BusErrorKind::TooLarge, "larger than the server takes"),
                    Kind::InvalidSubject => (BusErrorKind::Configuration, "not a subject"),
                    Kind::Other => (BusErrorKind::Unreachable, "the request could not be sent"),
                };
                BusError::with(kind, format_args!("{subject}: {text}"), error)
            })
        })
        .await
    }

    /// A request of the JetStream API with its JSON answer.
    pub(crate) async fn api<T: DeserializeOwned>(
        &self,
        rest: &str,
        body: &serde_json::Value,
        limit: Duration,
    ) -> Result<T, BusError> {
        let payload = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let answer = self.ask(&format!("$JS.API.{rest}"), None, payload, limit).await?;
        let corrupt = |e| BusError::with(BusErrorKind::Corrupt, format_args!("{rest}: answer not understood"), e);
        let value: serde_json::Value = serde_json::from_slice(&answer.payload).map_err(corrupt)?;
        if let Some(error) = value.get("error") {
            return Err(api_error(rest, error));
        }
        serde_json::from_value(value).map_err(corrupt)
    }

    /// Publishes to a stream, once, and says what the server said.
    pub(crate) async fn publish_once(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
        limit: Duration,
    ) -> Published {
        let headers = headers.set(ADDRESS_HEADER, subject);
        let answer = match self.ask(subject, Some(headers), payload, limit).await {
            Ok(answer) => answer,
            Err(error) if error.kind() == BusErrorKind::TooLarge => return Published::TooLarge(error),
            Err(error) => return Published::Trouble(error),
        };
        let ack: PublishAnswer = match serde_json::from_slice(&answer.payload) {
            Ok(ack) => ack,
            Err(error) => {
                let text = format!("{subject}: the answer is not one of a stream");
                return Published::Trouble(BusError::with(BusErrorKind::Corrupt, text, error));
            }
        };
        match (ack.error, ack.seq) {
            (None, Some(sequence)) => Published::Stored { sequence },
            (Some(error), _) => match error.get("err_code").and_then(serde_json::Value::as_u64) {
                Some(10071 | 10164) => Published::Conflict,
                Some(10054 | 10097) => Published::TooLarge(api_error(subject, &error)),
                _ => Published::Trouble(api_error(subject, &error)),
            },
            (None, None) => {
                let text = format!("{subject}: the answer names no sequence");
                Published::Trouble(BusError::new(BusErrorKind::Corrupt, text))
            }
        }
    }

    /// Reads one message by its number, from the leader. `None` = not there.
    pub async fn read(&self, stream: &str, sequence: u64) -> Result<Option<Message>, BusError> {
        let attempt = format!("read message {sequence} of {stream}");
        let handle = self.stream_handle(stream)?;
        let read = async { Ok(handle.get_raw_message(sequence).await) };
        found(self.within(REQUEST, &attempt, read).await?, &attempt)
    }

    /// Reads the last message on a subject, from the leader.
    pub async fn last_on(&self, stream: &str, subject: &str) -> Result<Option<Message>, BusError> {
        let attempt = format!("read the last message on {subject}");
        let handle = self.stream_handle(stream)?;
        let read = async { Ok(handle.raw_message_builder().last_by_subject(subject).send().await) };
        found(self.within(REQUEST, &attempt, read).await?, &attempt)
    }

    pub(crate) fn stream_handle(&self, stream: &str) -> Result<jetstream::stream::Stream<()>, BusError> {
        // No request is made here: the library's future is ready at once.
        futures::FutureExt::now_or_never(self.jetstream().get_stream_no_info(stream))
            .and_then(Result::ok)
            .ok_or_else(|| BusError::new(BusErrorKind::Configuration, format_args!("`{stream}` is no stream's name")))
    }

    /// Publishes on core NATS: not stored, nobody acknowledges. For the feed and for logs.
    pub async fn tell(&self, subject: &str, headers: Headers, payload: impl Into<Bytes>) -> Result<(), BusError> {
        let (client, payload) = (self.client(), payload.into());
        self.within(REQUEST, subject, async {
            let sent = if headers.0.is_empty() {
                client.publish(subject.to_owned(), payload).await
            } else {
                client.publish_with_headers(subject.to_owned(), headers.0, payload).await
            };
            sent.map_err(|e| BusError::with(BusErrorKind::Unreachable, format_args!("publish on {subject}"), e))
        })
        .await
    }

    /// Listens on core NATS. What is published while the connection is away is missed.
    pub async fn listen(&self, subject: &str) -> Result<Listener, BusError> {
        let subscriber = self.subscribe(subject).await?;
        Ok(Listener { bus: self.clone(), subscriber })
    }

    pub(crate) async fn subscribe(&self, subject: &str) -> Result<async_nats::Subscriber, BusError> {
        self.within(REQUEST, subject, async {
            let subscribed = self.client().subscribe(subject.to_owned()).await;
            subscribed.map_err(|e| BusError::with(BusErrorKind::Configuration, format_args!("subscribe {subject}"), e))
        })
        .await
    }
}

/// A subscription on core NATS.
pub struct Listener {
    bus: Bus,
    subscriber: async_nats::Subscriber,
}

/// What a [`Listener`] hears.
#[derive(Clone, Debug)]
pub struct Heard {
    pub subject: String,
    pub payload: Bytes,
}

impl Listener {
    /// The next message; `None` once the bus is closed. Cancel safe.
    pub async fn next(&mut self) -> Option<Heard> {
        let message = tokio::select! {
            () = self.bus.closed() => None,
            message = futures::StreamExt::next(&mut self.subscriber) => message,
        }?;
        Some(Heard { subject: message.subject.to_string(), payload: message.payload })
    }
}

#[derive(serde::Deserialize)]
struct PublishAnswer {
    seq: Option<u64>,
    error: Option<serde_json::Value>,
}

fn found<E>(
    outcome: Result<jetstream::message::StreamMessage, async_nats::error::Error<E>>,
    attempt: &str,
) -> Result<Option<Message>, BusError>
where
    E: Clone + std::fmt::Debug + std::fmt::Display + PartialEq + Send + Sync + Into<LastKind> + 'static,
{
    match outcome {
        Ok(message) => Ok(Some(Message::stored(message))),
        Err(error) => match error.kind().into() {
            LastKind::NoMessageFound => Ok(None),
            _ => Err(BusError::with(BusErrorKind::Timeout, format_args!("{attempt}: not answered"), error)),
        },
    }
}

use async_nats::jetstream::stream::LastRawMessageErrorKind as LastKind;

pub(crate) fn api_error(attempt: &str, error: &serde_json::Value) -> BusError {
    let code = error.get("err_code").and_then(serde_json::Value::as_u64).unwrap_or_default();
    let text = error.get("description").and_then(serde_json::Value::as_str).unwrap_or("no description");
    let kind = match code {
        10037 | 10014 | 10059 => BusErrorKind::NotFound,
        10054 | 10097 => BusErrorKind::TooLarge,
        // No leader, not enough resources now, store failed, no suitable peers: the bus, not the request.
        10008 | 10009 | 10023 | 10047 | 10077 | 10167 => BusErrorKind::Timeout,
        _ => BusErrorKind::Rejected,
    };
    BusError::new(kind, format_args!("{attempt}: {text} (NATS {code})"))
}
