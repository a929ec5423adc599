//! Lines on their way to the stream LOGS: what waits while the bus is away, within bounds.

use ordo_contract::log::LogRecord;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Bytes that may wait, about.
const BYTES: usize = 8 * 1024 * 1024;
/// Taken at a time.
const BATCH: usize = 256;
/// Of a line, beside its texts.
const BESIDE: usize = 300;

#[derive(Debug, Default)]
pub struct Backlog {
    inner: Mutex<Inner>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    lines: VecDeque<LogRecord>,
    bytes: usize,
    /// What must not be lost: there are few.
    notes: Vec<LogRecord>,
}

fn size(record: &LogRecord) -> usize {
    record.message.len() + record.host.len() + BESIDE
}

impl Backlog {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False: there is no room, and it was let go.
    pub fn push(&self, record: LogRecord) -> bool {
        let mut inner = self.lock();
        let bytes = size(&record);
        if inner.bytes + bytes > BYTES {
            return false;
        }
        inner.bytes += bytes;
        inner.lines.push_back(record);
        drop(inner);
        self.filled.notify_one();
        true
    }

    pub fn note(&self, record: LogRecord) {
        self.lock().notes.push(record);
        self.filled.notify_one();
    }

    /// Notes that were not taken yet: as long as there are some, no more are made.
    pub fn has_notes(&self) -> bool {
        !self.lock().notes.is_empty()
    }

    pub fn len(&self) -> usize {
        self.lock().lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next lines, notes first; waits for one. Cancel safe.
    pub async fn take(&self) -> Vec<LogRecord> {
        loop {
            let filled = self.filled.notified();
            {
                let mut inner = self.lock();
                let mut batch = std::mem::take(&mut inner.notes);
                let notes = batch.len();
                let room = BATCH.saturating_sub(batch.len()).min(inner.lines.len());
                batch.extend(inner.lines.drain(..room));
                inner.bytes -= batch[notes..].iter().map(size).sum::<usize>();
                if inner.lines.is_empty() {
                    // What a flood needed is not kept.
                    inner.lines = VecDeque::new();
                }
                if !batch.is_empty() {
                    return batch;
                }
            }
            filled.await;
        }
    }
}
