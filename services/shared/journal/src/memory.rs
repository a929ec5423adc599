//! The journal in memory, for the simulation: synchronous, shared by all simulated controllers, with faults that the
//! caller chooses. It follows the same rule ([`Append`]) step by step, so that a simulated crash fits between any two.

use crate::append::{Append, AppendError, Appended, Attempt, Found, InFlight, Journal, Step};
use crate::error::BusError;
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What happens to one publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Never arrives; the sender sees a timeout.
    LostRequest,
    /// Is stored; the sender sees a timeout.
    LostAck,
    /// Another writer is faster: this commit lies where ours should.
    Overtaken(Bytes),
    /// A message that is no commit is faster.
    Noise,
}

/// What lies at one place of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Commit(Bytes),
    Noise,
}

#[derive(Debug, Default)]
struct Log {
    /// Sequence `first + index`.
    entries: Vec<Entry>,
    purged: u64,
}

/// The stream itself. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog(Arc<Mutex<Log>>);

impl MemoryLog {
    pub fn new() -> Self {
        Self::default()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn last_sequence(&self) -> u64 {
        let log = self.log();
        log.purged + log.entries.len() as u64
    }

    /// The commits from `sequence` on, in order, with their sequences.
    pub fn commits_from(&self, sequence: u64) -> Vec<(u64, Bytes)> {
        let log = self.log();
        let numbered = log.entries.iter().zip(log.purged + 1..);
        let commits = numbered.filter_map(|(entry, number)| match entry {
            Entry::Commit(bytes) if number >= sequence => Some((number, bytes.clone())),
            _ => None,
        });
        commits.collect()
    }

    /// Removes everything up to and including `sequence`.
    pub fn purge(&self, sequence: u64) {
        let mut log = self.log();
        let count = usize::try_from(sequence.saturating_sub(log.purged)).unwrap_or(usize::MAX).min(log.entries.len());
        log.entries.drain(..count);
        log.purged += count as u64;
    }

    /// One publish, as the server does it.
    fn publish(&self, expected_last: u64, payload: &Bytes, fault: &Fault) -> Attempt {
        let mut log = self.log();
        match fault {
            Fault::LostRequest => return Attempt::Trouble,
            Fault::Overtaken(foreign) => log.entries.push(Entry::Commit(foreign.clone())),
            Fault::Noise => log.entries.push(Entry::Noise),
            Fault::None | Fault::LostAck => {}
        }
        let last = log.purged + log.entries.len() as u64;
        let attempt = if last == expected_last {
            log.entries.push(Entry::Commit(payload.clone()));
            Attempt::Acked { sequence: last + 1 }
        } else {
            Attempt::Conflict
        };
        if *fault == Fault::LostAck { Attempt::Trouble } else { attempt }
    }

    fn read(&self, sequence: u64) -> Found {
        let log = self.log();
        let index = sequence.checked_sub(log.purged + 1).and_then(|i| usize::try_from(i).ok());
        match index.and_then(|i| log.entries.get(i)) {
            Some(Entry::Commit(bytes)) => Found::Commit(bytes.clone()),
            Some(Entry::Noise) => Found::Noise,
            None => Found::Nothing,
        }
    }
}

/// Says what happens to each publish, by its number from 0.
pub type Faults = Box<dyn FnMut(u64) -> Fault + Send + Sync>;

/// One writer of a [`MemoryLog`].
pub struct MemoryJournal {
    log: MemoryLog,
    faults: Faults,
    published: u64,
    in_flight: InFlight,
}

impl MemoryJournal {
    pub fn new(log: &MemoryLog) -> Self {
        Self::with_faults(log, Box::new(|_| Fault::None))
    }

    pub fn with_faults(log: &MemoryLog, faults: Faults) -> Self {
        Self { log: log.clone(), faults, published: 0, in_flight: InFlight::default() }
    }

    pub fn log(&self) -> &MemoryLog {
        &self.log
    }

    /// Carries out the next step of an append. For callers that want to crash, or to let others run, in between.
    pub fn step(&mut self, append: &mut Append) {
        match append.step().clone() {
            Step::Publish { expected_last } => {
                let fault = (self.faults)(self.published);
                self.published += 1;
                append.published(self.log.publish(expected_last, append.payload(), &fault));
            }
            Step::Read { sequence } => append.read(self.log.read(sequence)),
            _ => {}
        }
    }

    /// Appends to the end, like [`Journal::append`] without waiting.
    pub fn append_now(&mut self, expected_last: u64, payload: Bytes) -> Result<Appended, AppendError> {
        let mut append = self.in_flight.begin(expected_last, payload)?.clone();
        loop {
            if let Some(outcome) = append.outcome() {
                self.in_flight.finish();
                return outcome;
            }
            self.step(&mut append);
        }
    }
}

impl Journal for MemoryJournal {
    async fn append(&mut self, expected_last: u64, payload: Bytes) -> Result<Appended, AppendError> {
        self.append_now(expected_last, payload)
    }

    async fn last_sequence(&self) -> Result<u64, BusError> {
        Ok(self.log.last_sequence())
    }
}
