//! Who wakes whom within a process, so that nobody has to look again and again whether there is something to do.

use chrono::{DateTime, Utc};
use ordo_store::Left;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, watch};

/// Cheap to clone.
#[derive(Clone)]
pub struct Wakes {
    inner: Arc<Inner>,
}

struct Inner {
    outbox: Notify,
    timers: Notify,
    /// The earliest timer that was set since the timers looked.
    timer_at: Mutex<Option<DateTime<Utc>>>,
    runs: watch::Sender<u64>,
    written: watch::Sender<u64>,
}

impl Default for Wakes {
    fn default() -> Self {
        let inner = Inner {
            outbox: Notify::new(),
            timers: Notify::new(),
            timer_at: Mutex::new(None),
            runs: watch::Sender::new(0),
            written: watch::Sender::new(0),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Wakes {
    /// Wakes whoever has to do with what a transaction left. To be called after every commit of a [`ordo_store::Tx`].
    pub fn left(&self, left: Left) {
        if left.effects > 0 {
            self.inner.outbox.notify_one();
        }
        if let Some(at) = left.timer_at {
            let mut earliest = self.inner.timer_at.lock().unwrap_or_else(PoisonError::into_inner);
            *earliest = Some(earliest.map_or(at, |earliest| earliest.min(at)));
            drop(earliest);
            self.inner.timers.notify_one();
        }
    }

    /// The outbox looks now, whatever it waits for: what was given up shall be tried again, say.
    pub fn outbox(&self) {
        self.inner.outbox.notify_one();
    }

    /// "Run now": by `service.run`, or by the service itself.
    pub fn run(&self) {
        self.inner.runs.send_modify(|count| *count += 1);
    }

    /// Changes with each "run now": `runs.changed().await`.
    pub fn runs(&self) -> watch::Receiver<u64> {
        self.inner.runs.subscribe()
    }

    /// The journal sequence that is in the rows: changes with each batch that was committed.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.inner.written.subscribe()
    }

    pub(crate) fn wrote(&self, sequence: u64) {
        self.inner.written.send_replace(sequence);
    }

    pub(crate) async fn outbox_woken(&self) {
        self.inner.outbox.notified().await;
    }

    /// Waits until a timer was set, and tells the earliest of them.
    pub(crate) async fn timer_set(&self) -> DateTime<Utc> {
        loop {
            if let Some(at) = self.inner.timer_at.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return at;
            }
            self.inner.timers.notified().await;
        }
    }
}
