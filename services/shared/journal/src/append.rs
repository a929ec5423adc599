//! **Facts are persisted here.** One message of the journal is appended under the expectation that nothing was appended
//! since we last looked, and nothing else is sent until it is known what became of it. That, and nothing else, is the
//! fence against a controller that was deposed: pipelined appends are none (195 of 200 stale ones were taken, tested),
//! because each expects only its predecessor.
//!
//! [`Append`] is the whole rule (design part 4.7) without any I/O. `NatsJournal` and `MemoryJournal` carry it out.

use crate::bus::Bus;
use crate::error::{BusError, BusErrorKind};
use crate::exchange::Published;
use crate::message::{Headers, Message};
use bytes::Bytes;
use ordo_contract::name::StreamKind;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;

/// How often "not there" is read before an append whose place is behind the end of the stream is given up.
const PATIENCE: u32 = 20;

/// The append is in the journal, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub sequence: u64,
}

/// Why an append did not happen. Trouble of the bus is none of these: it is waited out.
#[derive(Debug, Error)]
pub enum AppendError {
    /// Another controller wrote where we wanted to. Drop the state, close the connection, become standby.
    #[error("fenced: commit {sequence} of the journal is by another controller")]
    Fenced { sequence: u64, found: Bytes },
    /// The stream ends before our position: it lost what it had acknowledged, or was restored.
    #[error("the journal ends before {expected}, which we know to be written")]
    Rewound { expected: u64 },
    /// Can never be stored.
    #[error("a commit of {bytes} bytes is larger than the journal takes")]
    TooLarge { bytes: usize },
    /// An earlier append was abandoned before its outcome was known. Append the same bytes again, or close.
    #[error("an append behind {expected} was abandoned and its outcome is not known")]
    Unresolved { expected: u64 },
    /// The connection was closed by us.
    #[error("the journal's connection is closed")]
    Closed,
}

/// The journal as its one writer sees it. `append` takes `&mut self`: one in flight is a matter of types first.
pub trait Journal: Send {
    /// Appends `payload` behind `expected_last` and returns when it is known what became of it, however long the bus
    /// is in trouble. A future that was dropped leaves the append unresolved: only the same one may follow.
    fn append(
        &mut self,
        expected_last: u64,
        payload: Bytes,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send;

    /// The last sequence of the journal, from its leader.
    fn last_sequence(&self) -> impl Future<Output = Result<u64, BusError>> + Send;
}

/// What to do next for an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Publish the bytes, expecting this last sequence.
    Publish {
        expected_last: u64,
    },
    /// Read this sequence from the leader.
    Read {
        sequence: u64,
    },
    Done(Appended),
    Fenced {
        sequence: u64,
        found: Bytes,
    },
    Rewound {
        expected: u64,
    },
    TooLarge,
}

/// What a publish came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    Acked {
        sequence: u64,
    },
    Conflict,
    TooLarge,
    /// Timeout, no responders, 503, no leader, no space: nothing is known.
    Trouble,
}

/// What a read came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Commit(Bytes),
    /// A message that is no commit (see `ordo_contract::right`).
    Noise,
    /// Proves nothing.
    Nothing,
    Trouble,
}

/// One append from its first publish to its known outcome. Never sends other bytes, never expects another place than
/// behind what was last known, except behind noise.
#[derive(Clone, Debug)]
pub struct Append {
    expected_last: u64,
    payload: Bytes,
    step: Step,
    missing: u32,
}

impl Append {
    pub fn new(expected_last: u64, payload: Bytes) -> Self {
        Self { expected_last, payload, step: Step::Publish { expected_last }, missing: 0 }
    }

    pub fn step(&self) -> &Step {
        &self.step
    }

    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    pub fn expected_last(&self) -> u64 {
        self.expected_last
    }

    /// Takes the outcome of a publish.
    pub fn published(&mut self, attempt: Attempt) {
        self.step = match attempt {
            Attempt::Acked { sequence } => Step::Done(Appended { sequence }),
            Attempt::Conflict => Step::Read { sequence: self.expected_last + 1 },
            Attempt::TooLarge => Step::TooLarge,
            Attempt::Trouble => Step::Publish { expected_last: self.expected_last },
        };
    }

    /// Takes the outcome of a read.
    pub fn read(&mut self, found: Found) {
        let sequence = self.expected_last + 1;
        self.step = match found {
            Found::Commit(bytes) if bytes == self.payload => Step::Done(Appended { sequence }),
            Found::Commit(found) => Step::Fenced { sequence, found },
            Found::Noise => {
                self.expected_last = sequence;
                Step::Publish { expected_last: sequence }
            }
            Found::Nothing => {
                self.missing += 1;
                if self.missing >= PATIENCE {
                    Step::Rewound { expected: self.expected_last }
                } else {
                    Step::Publish { expected_last: self.expected_last }
                }
            }
            Found::Trouble => Step::Read { sequence },
        };
    }

    /// The outcome, once there is one.
    pub fn outcome(&self) -> Option<Result<Appended, AppendError>> {
        match &self.step {
            Step::Publish { .. } | Step::Read { .. } => None,
            Step::Done(appended) => Some(Ok(*appended)),
            Step::Fenced { sequence, found } => {
                Some(Err(AppendError::Fenced { sequence: *sequence, found: found.clone() }))
            }
            Step::Rewound { expected } => Some(Err(AppendError::Rewound { expected: *expected })),
            Step::TooLarge => Some(Err(AppendError::TooLarge { bytes: self.payload.len() })),
        }
    }
}

/// Keeps the rule that one append is in flight: shared by both journals.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Option<Append>);

impl InFlight {
    /// Begins an append, or goes on with the same one after it was abandoned.
    pub(crate) fn begin(&mut self, expected_last: u64, payload: Bytes) -> Result<&mut Append, AppendError> {
        let append = match self.0.take() {
            Some(append) if *append.payload() == payload => append,
            Some(other) => {
                let expected = other.expected_last();
                self.0 = Some(other);
                return Err(AppendError::Unresolved { expected });
            }
            None => Append::new(expected_last, payload),
        };
        Ok(self.0.insert(append))
    }

    pub(crate) fn finish(&mut self) {
        self.0 = None;
    }
}

/// The journal of a site on NATS.
pub struct NatsJournal {
    bus: Bus,
    stream: String,
    subject: String,
    in_flight: InFlight,
    trouble: watch::Sender<Option<String>>,
    /// How long one publish may go unanswered before the same bytes are sent again.
    patience: Duration,
}

impl NatsJournal {
    pub fn new(bus: &Bus) -> Self {
        let names = bus.names();
        Self {
            bus: bus.clone(),
            stream: names.stream(StreamKind::Journal),
            subject: names.journal(),
            in_flight: InFlight::default(),
            trouble: watch::Sender::new(None),
            patience: Duration::from_secs(2),
        }
    }

    /// `Some(why)` while an append waits for the bus: for health and for "decide nothing now".
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    async fn publish(&self, expected_last: u64, payload: Bytes) -> Result<Attempt, AppendError> {
        let headers = Headers::new().expecting_sequence(expected_last);
        match self.bus.publish_once(&self.subject, headers, payload, self.patience).await {
            Published::Stored { sequence } => Ok(Attempt::Acked { sequence }),
            Published::Conflict => Ok(Attempt::Conflict),
            Published::TooLarge(_) => Ok(Attempt::TooLarge),
            Published::Trouble(error) => self.wait_out(&error).await.map(|()| Attempt::Trouble),
        }
    }

    async fn read(&self, sequence: u64) -> Result<Found, AppendError> {
        match self.bus.read(&self.stream, sequence).await {
            Ok(Some(message)) => Ok(found(&message)),
            Ok(None) => {
                let nothing = BusError::new(BusErrorKind::NotFound, format_args!("commit {sequence} is not found"));
                self.wait_out(&nothing).await.map(|()| Found::Nothing)
            }
            Err(error) => self.wait_out(&error).await.map(|()| Found::Trouble),
        }
    }

    /// Says what the trouble is, once, and waits a moment before the next attempt.
    async fn wait_out(&self, error: &BusError) -> Result<(), AppendError> {
        if self.bus.is_closed() || error.kind() == BusErrorKind::Closed {
            return Err(AppendError::Closed);
        }
        self.trouble.send_if_modified(|trouble| {
            let is_new = trouble.is_none();
            if is_new {
                tracing::warn!(%error, "journal not writable, nothing is decided until it is");
                *trouble = Some(error.to_string());
            }
            is_new
        });
        let mut link = self.bus.link();
        tokio::select! {
            () = self.bus.closed() => Err(AppendError::Closed),
            () = tokio::time::sleep(Duration::from_millis(100)) => Ok(()),
            _ = link.changed() => Ok(()),
        }
    }

    async fn resolve(&mut self) -> Result<Appended, AppendError> {
        loop {
            let Some(append) = &self.in_flight.0 else { return Err(AppendError::Closed) };
            if let Some(outcome) = append.outcome() {
                return outcome;
            }
            match append.step().clone() {
                Step::Publish { expected_last } => {
                    let attempt = self.publish(expected_last, append.payload().clone()).await?;
                    if let Some(append) = &mut self.in_flight.0 {
                        append.published(attempt);
                    }
                }
                Step::Read { sequence } => {
                    let found = self.read(sequence).await?;
                    if let Some(append) = &mut self.in_flight.0 {
                        append.read(found);
                    }
                }
                _ => {}
            }
        }
    }
}

fn found(message: &Message) -> Found {
    if message.is_genuine() { Found::Commit(message.payload().clone()) } else { Found::Noise }
}

impl Journal for NatsJournal {
    async fn append(&mut self, expected_last: u64, payload: Bytes) -> Result<Appended, AppendError> {
        if self.bus.is_closed() {
            return Err(AppendError::Closed);
        }
        self.in_flight.begin(expected_last, payload)?;
        let outcome = self.resolve().await;
        self.in_flight.finish();
        if self.trouble.send_if_modified(|trouble| trouble.take().is_some()) {
            tracing::info!("journal writable again");
        }
        outcome
    }

    async fn last_sequence(&self) -> Result<u64, BusError> {
        self.bus.last_sequence(StreamKind::Journal).await
    }
}

#[cfg(test)]
#[path = "append_tests.rs"]
mod tests;
