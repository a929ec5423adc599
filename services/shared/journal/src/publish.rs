//! Publishing to streams with an acknowledgement: patient towards the bus, and never pretending that something was
//! stored that was not.

use crate::bus::Bus;
use crate::error::{BusError, BusErrorKind};
use crate::exchange::Published;
use crate::follow::closed;
use crate::message::{Headers, Message};
use bytes::Bytes;
use futures::StreamExt;
use ordo_contract::name::StreamKind;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long one attempt may go unanswered.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Messages under way at a time in [`Bus::publish_all`].
const WINDOW: usize = 256;

/// A message to send.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    pub subject: String,
    pub headers: Headers,
    pub payload: Bytes,
}

impl Outgoing {
    pub fn new(subject: impl Into<String>, headers: Headers, payload: impl Into<Bytes>) -> Self {
        Self { subject: subject.into(), headers, payload: payload.into() }
    }
}

/// Who was first on a subject.
#[derive(Clone, Debug)]
pub enum Claim {
    /// We: our message lies there with this sequence.
    Won(u64),
    /// Somebody else: this is theirs.
    Lost(Message),
}

impl Bus {
    /// Publishes to a stream and waits until it is stored; returns its sequence. Trouble of the bus and full streams
    /// are waited out and said once. May store it twice when an ack was lost: receivers know ids, or the caller sets
    /// [`Headers::message_id`]. Errors: [`BusErrorKind::TooLarge`], [`BusErrorKind::Cancelled`], closed.
    pub async fn publish(&self, message: &Outgoing, cancel: &CancellationToken) -> Result<u64, BusError> {
        let mut patience = Patience::new(&message.subject);
        loop {
            let (headers, payload) = (message.headers.clone(), message.payload.clone());
            let attempt = self.publish_once(&message.subject, headers, payload, ATTEMPT);
            let outcome = tokio::select! {
                () = cancel.cancelled() => return Err(BusError::cancelled(&message.subject)),
                outcome = attempt => outcome,
            };
            match outcome {
                Published::Stored { sequence } => {
                    patience.over();
                    return Ok(sequence);
                }
                Published::TooLarge(error) => return Err(error),
                Published::Conflict => return Err(unexpected_conflict(&message.subject)),
                Published::Trouble(error) => patience.wait(self, error, cancel).await?,
            }
        }
    }

    /// Publishes once and says what the server said: for who answers a person and cannot wait. After
    /// [`BusErrorKind::Timeout`] nothing is known; a full stream says so in the text.
    pub async fn try_publish(&self, message: &Outgoing, limit: Duration) -> Result<u64, BusError> {
        match self.publish_once(&message.subject, message.headers.clone(), message.payload.clone(), limit).await {
            Published::Stored { sequence } => Ok(sequence),
            Published::TooLarge(error) | Published::Trouble(error) => Err(error),
            Published::Conflict => Err(unexpected_conflict(&message.subject)),
        }
    }

    /// Publishes many, with up to 256 under way at a time; returns when all are stored. Their order in the stream is
    /// the given one only while the bus has no trouble.
    pub async fn publish_all(&self, messages: Vec<Outgoing>, cancel: &CancellationToken) -> Result<(), BusError> {
        let mut sent = futures::stream::iter(messages.into_iter().map(|message| {
            let cancel = cancel.clone();
            async move { self.publish(&message, &cancel).await }
        }))
        .buffered(WINDOW);
        while let Some(outcome) = sent.next().await {
            outcome?;
        }
        Ok(())
    }

    /// Publishes to REPORTS as the first message ever on its subject (`report_accepted`): the claim of a run, and the
    /// refusal of one. Exactly one of all who try wins. An outcome that got lost is found out by publishing the same again and by reading what lies there: every claim expects to be the first,
    /// so what is found is what there will ever be, whoever answers the read.
    pub async fn publish_first(&self, message: &Outgoing, cancel: &CancellationToken) -> Result<Claim, BusError> {
        let stream = self.names().stream(StreamKind::Reports);
        let mut patience = Patience::new(&message.subject);
        loop {
            let headers = message.headers.clone().expecting_subject_sequence(0);
            let attempt = self.publish_once(&message.subject, headers, message.payload.clone(), ATTEMPT);
            let outcome = tokio::select! {
                () = cancel.cancelled() => return Err(BusError::cancelled(&message.subject)),
                outcome = attempt => outcome,
            };
            let error = match outcome {
                Published::Stored { sequence } => {
                    patience.over();
                    return Ok(Claim::Won(sequence));
                }
                Published::TooLarge(error) => return Err(error),
                Published::Conflict => match self.direct_last(&stream, &message.subject).await {
                    Ok(Some(found)) if found.payload == message.payload => {
                        patience.over();
                        return Ok(Claim::Won(found.sequence));
                    }
                    Ok(Some(found)) => return Ok(Claim::Lost(found)),
                    Ok(None) => BusError::new(
                        BusErrorKind::NotFound,
                        format_args!("{}: taken, but by what is not yet to be read", message.subject),
                    ),
                    Err(error) => error,
                },
                Published::Trouble(error) => error,
            };
            patience.wait(self, error, cancel).await?;
        }
    }

    /// The last message on a subject by the one form of reading that rights can bind to the subject. A follower may
    /// answer: only where that cannot be wrong.
    pub(crate) async fn direct_last(&self, stream: &str, subject: &str) -> Result<Option<Message>, BusError> {
        let asked = format!("$JS.API.DIRECT.GET.{stream}.{subject}");
        let answer = self.ask(&asked, None, Bytes::new(), ATTEMPT).await?;
        direct_message(answer, &asked)
    }
}

fn unexpected_conflict(subject: &str) -> BusError {
    let text = format!("{subject}: refused for an expectation that we did not state");
    BusError::new(BusErrorKind::Rejected, text)
}

/// Reads the answer of a direct get.
pub(crate) fn direct_message(answer: async_nats::Message, asked: &str) -> Result<Option<Message>, BusError> {
    match answer.status {
        None => {}
        Some(status) if status.as_u16() == 404 => return Ok(None),
        Some(status) => {
            let text = answer.description.unwrap_or_default();
            return Err(BusError::new(BusErrorKind::Rejected, format_args!("{asked}: {} {text}", status.as_u16())));
        }
    }
    let headers = answer.headers.unwrap_or_default();
    let field = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    let sequence = field("Nats-Sequence").and_then(|s| s.parse().ok());
    let (Some(sequence), Some(subject)) = (sequence, field("Nats-Subject")) else {
        return Err(BusError::new(BusErrorKind::Corrupt, format_args!("{asked}: the answer names no sequence")));
    };
    Ok(Some(Message {
        sequence,
        delivered: 0,
        pending: 0,
        stored_at: Duration::ZERO,
        subject: subject.into(),
        headers: Some(headers),
        payload: answer.payload,
        reply: None,
    }))
}

/// Waits between attempts, growing to two seconds, and says once that it does.
struct Patience<'a> {
    subject: &'a str,
    tries: u32,
}

impl<'a> Patience<'a> {
    fn new(subject: &'a str) -> Self {
        Self { subject, tries: 0 }
    }

    async fn wait(&mut self, bus: &Bus, error: BusError, cancel: &CancellationToken) -> Result<(), BusError> {
        if error.kind() == BusErrorKind::Closed {
            return Err(error);
        }
        self.tries += 1;
        if self.tries == 5 {
            tracing::warn!(subject = self.subject, %error, "cannot publish, trying on");
        }
        let pause = Duration::from_millis((20 << self.tries.min(7)).min(2000));
        let mut link = bus.link();
        tokio::select! {
            () = cancel.cancelled() => Err(BusError::cancelled(self.subject)),
            () = bus.closed() => Err(closed(self.subject)),
            () = tokio::time::sleep(pause) => Ok(()),
            _ = link.changed() => Ok(()),
        }
    }

    fn over(&self) {
        if self.tries >= 5 {
            tracing::info!(subject = self.subject, "published after all");
        }
    }
}
