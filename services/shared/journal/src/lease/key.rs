//! The one function that writes a lease key, and the reading around it.

use crate::bucket::is_marker;
use crate::bus::Bus;
use crate::error::BusError;
use crate::exchange::Published;
use crate::message::{Headers, Message};
use bytes::Bytes;
use ordo_contract::lease::LeaseValue;
use ordo_contract::name::{kv_stream, kv_subject, token};
use std::time::Duration;

/// How long one write may go unanswered. Shorter than the time between the last renewal and the own stop.
const WRITE: Duration = Duration::from_millis(500);

/// What a write came to.
#[derive(Debug)]
pub(super) enum Written {
    /// The key has this revision now, and it is ours.
    Done(u64),
    /// The key has another revision than we replaced.
    Conflict,
    /// Nothing is known.
    Trouble(BusError),
}

/// What lies in the key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    /// 0 = nothing was ever there.
    pub(super) revision: u64,
    /// `None` = nothing, or the marker of what was deleted or ran out.
    pub(super) value: Option<LeaseValue>,
    /// A value that this build cannot read. Somebody holds it.
    pub(super) unreadable: bool,
    /// Written by who has the right to. What is not genuine was sent there to disturb: the holder writes over it.
    pub(super) genuine: bool,
}

/// The key of a role.
pub(super) struct Key {
    bus: Bus,
    pub(super) name: String,
    subject: String,
    stream: String,
    ttl: Duration,
}

impl Key {
    /// The key of the role that the bus's user has.
    pub(super) fn new(bus: &Bus, ttl: Duration) -> Self {
        let (bucket, name) = (bus.names().lease_bucket(), token(bus.user()));
        Self { bus: bus.clone(), subject: kv_subject(&bucket, &name), stream: kv_stream(&bucket), name, ttl }
    }

    /// Takes, renews or hands over: replaces `revision` by `value` with a time to live.
    pub(super) async fn write(&self, revision: u64, value: &LeaseValue) -> Written {
        self.publish(revision, encode(value), Headers::new().ttl(self.ttl)).await
    }

    /// Replaces `revision` by a value that stays until somebody replaces it.
    pub(super) async fn hold(&self, revision: u64, value: &LeaseValue) -> Written {
        self.publish(revision, encode(value), Headers::new()).await
    }

    /// Replaces `revision` by the marker of a deleted key: free for whoever comes first.
    pub(super) async fn clear(&self, revision: u64) -> Written {
        self.publish(revision, Bytes::new(), Headers::new().set("KV-Operation", "DEL")).await
    }

    async fn publish(&self, revision: u64, value: Bytes, headers: Headers) -> Written {
        let headers = headers.expecting_subject_sequence(revision);
        match self.bus.publish_once(&self.subject, headers, value, WRITE).await {
            Published::Stored { sequence } => Written::Done(sequence),
            Published::Conflict => Written::Conflict,
            Published::TooLarge(error) | Published::Trouble(error) => Written::Trouble(error),
        }
    }

    /// What lies there, from the leader. Tells what to expect in the next write, decides nothing.
    pub(super) async fn read(&self) -> Result<Seen, BusError> {
        Ok(match self.bus.last_on(&self.stream, &self.subject).await? {
            Some(message) => Seen::of(&message),
            None => Seen::nothing(),
        })
    }
}

impl Seen {
    pub(super) fn nothing() -> Self {
        Self { revision: 0, value: None, unreadable: false, genuine: true }
    }

    pub(super) fn of(message: &Message) -> Self {
        let revision = message.sequence;
        if is_marker(message) {
            return Self { revision, ..Self::nothing() };
        }
        let value = message.is_genuine().then(|| serde_json::from_slice(message.payload()).ok()).flatten();
        Self { revision, unreadable: value.is_none(), genuine: message.is_genuine(), value }
    }
}

fn encode(value: &LeaseValue) -> Bytes {
    // Plain strings and a time: this cannot fail; an empty value would be read as "somebody holds it".
    serde_json::to_vec(value).unwrap_or_default().into()
}
