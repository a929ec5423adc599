//! Reading a stream in order, from a position on, for good: replay, the mirror of a standby or proxy, the inputs of the
//! controller. Each reader has a consumer of its own that lives in the server's memory and goes when the reader goes.
//!
//! What is promised: messages come in rising sequence, none twice; a hole is an error where the reader asked for
//! contiguity, never silence; a stream that was restored or made anew is an error, too.

use crate::bus::Bus;
use crate::error::{BusError, BusErrorKind};
use crate::message::Message;
use crate::pull::{Pulled, Puller};
use crate::stream::StreamInfo;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use std::time::Duration;
use thiserror::Error;

/// Messages per pull. Two are under way at a time, so that the server never waits for us.
const BATCH: usize = 4096;

/// Why a reader cannot go on.
#[derive(Debug, Error)]
pub enum FollowError {
    /// Messages are missing: purged before we read them, or lost. Reload a snapshot, or ask a person.
    #[error("{stream}: message {expected} is missing, the next one there is {found}")]
    Gap { stream: String, expected: u64, found: u64 },
    /// The stream ends before our position: it lost what it had, or the position is of another stream.
    #[error("{stream}: we stand at {position}, but the stream ends at {last}")]
    Behind { stream: String, position: u64, last: u64 },
    /// Not the stream that we read before: made anew or restored from a backup.
    #[error("{stream}: its incarnation was {was} and is now {is}")]
    Incarnation { stream: String, was: String, is: String },
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// What to read.
#[derive(Clone, Debug)]
pub struct FollowFrom {
    pub stream: String,
    /// One subject filter; it is part of the rights.
    pub filter: String,
    /// First sequence to read, from 1.
    pub from: u64,
    /// A hole is an error.
    pub contiguous: bool,
    /// Skip what is not genuine (see `ordo_contract::right`); for the journal. Elsewhere such a message is delivered
    /// without its content, because its place has to be accounted for.
    pub commits_only: bool,
    /// Begin with the last message of each subject instead; only for buckets.
    pub(crate) last_per_subject: bool,
}

impl FollowFrom {
    /// The journal of the site: contiguous.
    pub fn journal(bus: &Bus, from: u64) -> Self {
        use ordo_contract::name::StreamKind::Journal;
        let names = bus.names();
        Self { commits_only: true, ..Self::contiguous(names.stream(Journal), names.journal(), from) }
    }

    /// Every message of a stream whose one subject pattern is `filter`; a hole is an error.
    pub fn contiguous(stream: String, filter: String, from: u64) -> Self {
        Self { stream, filter, from: from.max(1), contiguous: true, commits_only: false, last_per_subject: false }
    }

    /// The messages of a stream that fit `filter`; holes are nothing special.
    pub fn filtered(stream: String, filter: String, from: u64) -> Self {
        Self { contiguous: false, ..Self::contiguous(stream, filter, from) }
    }
}

/// An ordered reader. Repairs itself over lost connections, restarted servers and forgotten consumers.
pub struct Follow {
    bus: Bus,
    what: FollowFrom,
    /// The next sequence to deliver.
    next: u64,
    incarnation: Option<String>,
    puller: Option<Puller>,
    pending: u64,
    skipped: u64,
    failures: u32,
}

impl Bus {
    /// Starts an ordered reader. Fails at once when the position cannot be read from.
    pub async fn follow(&self, what: FollowFrom) -> Result<Follow, FollowError> {
        let mut follow = Follow {
            bus: self.clone(),
            next: what.from,
            what,
            incarnation: None,
            puller: None,
            pending: 0,
            skipped: 0,
            failures: 0,
        };
        follow.open().await?;
        Ok(follow)
    }
}

impl Follow {
    /// The next sequence that will be read.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// How many messages waited behind the last one, as far as known.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Messages that were not genuine.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Waits for the next message. Cancel safe. Trouble of the bus is waited out; errors are final.
    pub async fn next(&mut self) -> Result<Message, FollowError> {
        loop {
            self.refill().await?;
            let Some(puller) = &mut self.puller else { continue };
            let pulled = puller.next().await;
            if let Some(message) = self.take(pulled)? {
                return Ok(message);
            }
        }
    }

    /// At least one message, and what else is already here, at most `max`. Cancel safe. For fast replay.
    pub async fn batch(&mut self, max: usize) -> Result<Vec<Message>, FollowError> {
        let mut batch = Vec::with_capacity(max.min(BATCH));
        // An error behind good messages comes again with the next call: nothing read is thrown away for it.
        batch.push(self.next().await?);
        while batch.len() < max {
            let Some(pulled) = self.puller.as_mut().and_then(Puller::ready) else { break };
            match self.take(pulled) {
                Ok(Some(message)) => batch.push(message),
                Ok(None) => {}
                Err(error) if batch.is_empty() => return Err(error),
                Err(_) => {
                    self.puller = None;
                    break;
                }
            }
        }
        Ok(batch)
    }

    /// Sorts what was pulled: a message to deliver, or `None` for "go on".
    fn take(&mut self, pulled: Pulled) -> Result<Option<Message>, FollowError> {
        let message = match pulled {
            Pulled::Message(message) => message,
            Pulled::Over => return Ok(None),
            Pulled::Lost(why) => {
                tracing::debug!(stream = self.what.stream, why, "reader starts again");
                self.puller = None;
                return Ok(None);
            }
            Pulled::Closed => return Err(closed(&self.what.stream).into()),
        };
        self.failures = 0;
        if message.sequence < self.next {
            return Ok(None);
        }
        if self.what.contiguous && message.sequence > self.next {
            return Err(self.gap(message.sequence));
        }
        self.next = message.sequence + 1;
        self.pending = message.pending;
        // Buckets have markers of the server in them and look for themselves.
        if self.what.last_per_subject || message.is_genuine() {
            return Ok(Some(message));
        }
        self.skipped += 1;
        tracing::warn!(
            stream = self.what.stream,
            stream_seq = message.sequence,
            subject = message.subject(),
            "a message was not meant for this subject and does not count"
        );
        Ok((!self.what.commits_only).then(|| message.blank()))
    }

    fn gap(&self, found: u64) -> FollowError {
        FollowError::Gap { stream: self.what.stream.clone(), expected: self.next, found }
    }

    /// Opens the consumer when there is none, and keeps two pulls under way.
    async fn refill(&mut self) -> Result<(), FollowError> {
        while self.puller.is_none() {
            match self.open().await {
                Ok(()) => {}
                Err(FollowError::Bus(error)) if error.kind() != BusErrorKind::Closed => {
                    self.failures += 1;
                    if self.failures == 10 {
                        tracing::warn!(stream = self.what.stream, %error, "cannot read, trying on");
                    }
                    let wait = Duration::from_millis((20 << self.failures.min(6)).min(1000));
                    tokio::time::sleep(wait).await;
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(puller) = &mut self.puller
            && puller.outstanding() <= BATCH
            && puller.ask(BATCH).await.is_err()
        {
            self.puller = None;
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<(), FollowError> {
        let info = self.bus.stream_info(&self.what.stream).await?;
        self.check(&info)?;
        let name = format!("{}-reads-{}", self.bus.user(), nonce());
        let from_start = self.what.last_per_subject && self.next <= 1;
        let config = pull::Config {
            name: Some(name.clone()),
            description: Some(format!("{} reads in order; goes when the reader goes", self.bus.user())),
            deliver_policy: if from_start {
                DeliverPolicy::LastPerSubject
            } else {
                DeliverPolicy::ByStartSequence { start_sequence: self.next }
            },
            ack_policy: AckPolicy::None,
            filter_subject: self.what.filter.clone(),
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: Duration::from_secs(10),
            ..pull::Config::default()
        };
        let stream = self.what.stream.clone();
        let attempt = format!("make a reader on {stream}");
        let jetstream = self.bus.jetstream().clone();
        let created = async {
            jetstream
                .create_consumer_on_stream(config, stream.clone())
                .await
                .map_err(|e| BusError::with(BusErrorKind::Timeout, &attempt, e))
        };
        let consumer = self.bus.within(crate::bus::REQUEST, &attempt, created).await?;
        self.pending = consumer.cached_info().num_pending;
        self.puller = Some(Puller::open(&self.bus, &stream, &name).await?);
        Ok(())
    }

    /// Whether the position can be read from this stream.
    fn check(&mut self, info: &StreamInfo) -> Result<(), FollowError> {
        let stream = self.what.stream.clone();
        match &self.incarnation {
            Some(was) if *was != info.incarnation => {
                let (was, is) = (was.clone(), info.incarnation.clone());
                return Err(FollowError::Incarnation { stream, was, is });
            }
            _ => self.incarnation = Some(info.incarnation.clone()),
        }
        if self.next > info.last_sequence + 1 {
            return Err(FollowError::Behind { stream, position: self.next - 1, last: info.last_sequence });
        }
        if self.what.contiguous && self.next < info.first_sequence {
            return Err(self.gap(info.first_sequence));
        }
        Ok(())
    }
}

/// A few random characters for names that must not meet.
pub(crate) fn nonce() -> String {
    format!("{:012x}", rand::random::<u64>() >> 16)
}

pub(crate) fn closed(what: &str) -> BusError {
    BusError::new(BusErrorKind::Closed, format_args!("{what}: this connection was closed"))
}
