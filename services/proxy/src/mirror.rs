//! The state as the journal tells it: newest good snapshot, then every commit in order. One copy per process.
//!
//! What does not fit (a gap, a chain that does not hold, another journal) makes it load anew, and says so; what cannot
//! be read stops the process. While it is not complete nobody is answered from it.

use crate::error::ProxyError;
use crate::interest::Interests;
use crate::order_query;
use ordo_contract::name::StreamKind;
use ordo_contract::replica::{Replica, ReplicaError, SNAPSHOT_FORMAT};
use ordo_contract::request::OrderLine;
use ordo_domain::{Event, OrderId};
use ordo_journal::{Bus, BusError, BusErrorKind, Follow, FollowError, FollowFrom, Message};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Commits applied under one lock: questions wait no longer than for these.
const BATCH: usize = 64;
/// Between attempts to load.
const PAUSE: Duration = Duration::from_millis(500);
/// A quiet journal is asked again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Ended orders remembered after they left the state, for who still waits for their end.
const REMEMBERED: usize = 4_096;

pub struct Mirror {
    replica: RwLock<Replica>,
    /// `Err`: why nobody is answered yet.
    ready: watch::Sender<Result<(), String>>,
    sequence: watch::Sender<u64>,
    /// Messages behind, as far as known.
    lag: AtomicU64,
    pub interests: Interests,
    ended: Mutex<Ended>,
}

#[derive(Default)]
struct Ended {
    by_id: HashMap<OrderId, OrderLine>,
    in_time: VecDeque<OrderId>,
}

/// Why following ended.
enum Stop {
    /// Load anew.
    Reload(String),
    Fatal(ProxyError),
}

impl Mirror {
    pub fn new() -> Self {
        Self {
            replica: RwLock::default(),
            ready: watch::Sender::new(Err("reads the journal".to_owned())),
            sequence: watch::Sender::new(0),
            lag: AtomicU64::new(0),
            interests: Interests::default(),
            ended: Mutex::default(),
        }
    }

    /// Looks at the state. Keep it short: the journal waits meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&Replica) -> T) -> T {
        look(&self.replica.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn readiness(&self) -> Result<(), String> {
        self.ready.borrow().clone()
    }

    /// For who must know at once when that changes.
    pub fn readiness_changes(&self) -> watch::Receiver<Result<(), String>> {
        self.ready.subscribe()
    }

    /// The journal sequence that answers are true at.
    pub fn sequence(&self) -> u64 {
        *self.sequence.borrow()
    }

    pub fn lag(&self) -> u64 {
        self.lag.load(Ordering::Relaxed)
    }

    /// Waits until this mirror has what the leader of the journal has now. What one proxy answered must not be unknown
    /// to the next one asked.
    pub async fn catch_up(&self, bus: &Bus, limit: Duration) -> Result<(), BusError> {
        let last = bus.last_sequence(StreamKind::Journal).await?;
        let mut sequence = self.sequence.subscribe();
        let _ = tokio::time::timeout(limit, sequence.wait_for(|now| *now >= last)).await;
        Ok(())
    }

    /// What an order was when it ended, where it has left the state since.
    pub fn ended(&self, order: &OrderId) -> Option<OrderLine> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(order).cloned()
    }

    /// Loads and follows until `shutdown`.
    pub async fn run(&self, bus: &Bus, shutdown: &CancellationToken) -> Result<(), ProxyError> {
        let mut last = None;
        loop {
            let following = async {
                let follow = self.load(bus).await?;
                self.follow(follow).await
            };
            let stopped = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                stopped = following => stopped,
            };
            let why = match stopped {
                Ok(()) => return Ok(()),
                Err(Stop::Fatal(error)) => return Err(error),
                Err(Stop::Reload(why)) => why,
            };
            let _ = self.ready.send_replace(Err(format!("loads the state anew: {why}")));
            if last.as_ref() != Some(&why) {
                tracing::warn!(stream_seq = self.sequence(), why, "mirror loads the state anew");
            }
            last = Some(why);
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Newest good snapshot of this journal, and a reader behind it.
    async fn load(&self, bus: &Bus) -> Result<Follow, Stop> {
        let info = bus.stream_info(&bus.names().stream(StreamKind::Journal)).await.map_err(passing)?;
        let replica = self
            .newest_snapshot(bus, &info.incarnation, info.last_sequence)
            .await
            .unwrap_or_else(|| Replica { incarnation: info.incarnation.clone(), ..Replica::default() });
        let from = if replica.sequence == 0 { info.first_sequence.max(1) } else { replica.sequence + 1 };
        tracing::info!(stream_seq = from, last = info.last_sequence, "mirror reads the journal");
        let follow = bus.follow(FollowFrom::journal(bus, from)).await.map_err(stop_of)?;
        let sequence = replica.sequence;
        *self.replica.write().unwrap_or_else(PoisonError::into_inner) = replica;
        self.lag.store(follow.pending(), Ordering::Relaxed);
        self.interests.wake_all(sequence);
        self.sequence.send_replace(sequence);
        if follow.pending() == 0 {
            self.complete();
        }
        Ok(follow)
    }

    async fn newest_snapshot(&self, bus: &Bus, incarnation: &str, last: u64) -> Option<Replica> {
        let found = bus.snapshots().newest(incarnation, |format| format == SNAPSHOT_FORMAT).await;
        let (head, state) = match found {
            Ok(found) => found?,
            Err(error) => {
                tracing::warn!(%error, "no snapshot could be read, reading the whole journal");
                return None;
            }
        };
        match serde_json::from_slice::<Replica>(&state) {
            Ok(replica) if replica.sequence == head.sequence && replica.sequence <= last => Some(replica),
            Ok(replica) => {
                tracing::warn!(
                    stream_seq = head.sequence,
                    found = replica.sequence,
                    last,
                    "snapshot is of another place, not used"
                );
                None
            }
            Err(error) => {
                tracing::warn!(stream_seq = head.sequence, %error, "snapshot cannot be read, reading the journal");
                None
            }
        }
    }

    async fn follow(&self, mut follow: Follow) -> Result<(), Stop> {
        loop {
            // Looking again costs nothing, and no quiet reader stays quiet by mistake.
            let Ok(batch) = tokio::time::timeout(LOOK_AGAIN, follow.batch(BATCH)).await else { continue };
            let batch = batch.map_err(stop_of)?;
            self.take(&batch, follow.skipped() > 0)?;
            self.lag.store(follow.pending(), Ordering::Relaxed);
            if follow.pending() == 0 {
                self.complete();
            }
        }
    }

    fn take(&self, batch: &[Message], skipped: bool) -> Result<(), Stop> {
        let mut replica = self.replica.write().unwrap_or_else(PoisonError::into_inner);
        for message in batch {
            if skipped && replica.sequence != 0 {
                // The reader saw every number in between, and none of them was a commit.
                replica.sequence = message.sequence - 1;
            }
            let commit = replica.take(message.sequence, message.payload()).map_err(|error| match error {
                ReplicaError::Unreadable { .. } | ReplicaError::Version { .. } => {
                    Stop::Fatal(ProxyError::Journal(error))
                }
                error => Stop::Reload(chain(&error)),
            })?;
            for event in commit.decisions.iter().flat_map(|decision| &decision.events) {
                self.remember_end(event, &replica);
            }
            self.interests.wake(message.sequence, &commit, &replica.site);
        }
        let sequence = replica.sequence;
        drop(replica);
        self.sequence.send_replace(sequence);
        Ok(())
    }

    fn remember_end(&self, event: &Event, replica: &Replica) {
        let order = match event {
            Event::OrderFinished(e) => &e.order,
            Event::OrderCancelled(e) => &e.order,
            _ => return,
        };
        let Some(order) = replica.site.orders.get(order).filter(|order| order.parent.is_none()) else { return };
        let line = order_query::line(&replica.site, order, replica.site.at.unwrap_or_default());
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.by_id.insert(line.order.clone(), line.clone()).is_none() {
            ended.in_time.push_back(line.order);
        }
        if ended.in_time.len() > REMEMBERED
            && let Some(oldest) = ended.in_time.pop_front()
        {
            ended.by_id.remove(&oldest);
        }
    }

    fn complete(&self) {
        let was = self.ready.send_if_modified(|ready| std::mem::replace(ready, Ok(())).is_err());
        if was {
            tracing::info!(stream_seq = self.sequence(), "mirror is complete");
        }
    }
}

fn passing(error: BusError) -> Stop {
    match error.kind() {
        BusErrorKind::Closed => Stop::Fatal(error.into()),
        _ => Stop::Reload(chain(&error)),
    }
}

fn stop_of(error: FollowError) -> Stop {
    match error {
        FollowError::Bus(error) => passing(error),
        error => Stop::Reload(chain(&error)),
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
