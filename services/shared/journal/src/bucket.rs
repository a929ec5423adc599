//! KV buckets: heartbeats and desired states. Plain messages on `$KV.<bucket>.<key>`; leases have rules of their own,
//! see `lease`.

use crate::bus::Bus;
use crate::error::{BusError, BusErrorKind};
use crate::exchange::Published;
use crate::follow::{Follow, FollowError, FollowFrom};
use crate::message::{Headers, Message};
use bytes::Bytes;
use ordo_contract::name::{kv_stream, kv_subject, token};
use std::collections::BTreeMap;
use std::time::Duration;

/// The value of a key at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    /// `None` = deleted, purged, or its time ran out.
    pub value: Option<Bytes>,
    /// The sequence in the bucket's stream.
    pub revision: u64,
    /// When the server stored it, since 1970.
    pub stored_at: Duration,
}

/// One bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    bus: Bus,
    name: String,
}

impl Bus {
    /// Heartbeats of all instances.
    pub fn instances(&self) -> Bucket {
        self.bucket(self.names().instance_bucket())
    }

    /// What was decided for instances.
    pub fn desired(&self) -> Bucket {
        self.bucket(self.names().desired_bucket())
    }

    /// Who is active in each role. For reading; only `lease` writes it.
    pub fn leases(&self) -> Bucket {
        self.bucket(self.names().lease_bucket())
    }

    fn bucket(&self, name: String) -> Bucket {
        Bucket { bus: self.clone(), name }
    }

    /// Writes the heartbeat of one instance of this connection's user.
    pub async fn put_heartbeat(&self, instance: &str, value: impl Into<Bytes>) -> Result<u64, BusError> {
        let key = self.names().instance_key(self.user(), instance);
        self.instances().put(&key, value).await
    }
}

impl Bucket {
    /// Writes a key, once. Keys are tokens joined by dots.
    pub async fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<u64, BusError> {
        let subject = self.subject(key);
        match self.bus.publish_once(&subject, Headers::new(), value.into(), Duration::from_secs(2)).await {
            Published::Stored { sequence } => Ok(sequence),
            Published::TooLarge(error) | Published::Trouble(error) => Err(error),
            Published::Conflict => {
                Err(BusError::new(BusErrorKind::Rejected, format_args!("{subject}: refused as out of date")))
            }
        }
    }

    /// Removes a key; watchers see it go.
    pub async fn delete(&self, key: &str) -> Result<u64, BusError> {
        let headers = Headers::new().set("KV-Operation", "DEL");
        match self.bus.publish_once(&self.subject(key), headers, Bytes::new(), Duration::from_secs(2)).await {
            Published::Stored { sequence } => Ok(sequence),
            Published::TooLarge(error) | Published::Trouble(error) => Err(error),
            Published::Conflict => {
                Err(BusError::new(BusErrorKind::Rejected, format_args!("{key}: refused as out of date")))
            }
        }
    }

    /// Reads a key from the bucket's leader. `None` = never written, or all traces are gone.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, BusError> {
        let found = self.bus.last_on(&kv_stream(&self.name), &self.subject(key)).await?;
        Ok(found.map(|message| self.entry(&message)))
    }

    /// Reads every key that has a value.
    pub async fn all(&self) -> Result<BTreeMap<String, Entry>, FollowError> {
        let mut watch = self.watch(">").await?;
        let mut entries = BTreeMap::new();
        while watch.follow.pending() > 0 {
            let entry = watch.next().await?;
            if entry.value.is_some() {
                entries.insert(entry.key.clone(), entry);
            } else {
                entries.remove(&entry.key);
            }
        }
        Ok(entries)
    }

    /// Follows keys: first what is there, then every change. `keys` may hold wildcards, `>` = all.
    pub async fn watch(&self, keys: &str) -> Result<Watch, FollowError> {
        let filter = kv_subject(&self.name, keys);
        let mut from = FollowFrom::filtered(kv_stream(&self.name), filter, 1);
        from.last_per_subject = true;
        Ok(Watch { follow: self.bus.follow(from).await?, bucket: self.clone() })
    }

    fn subject(&self, key: &str) -> String {
        let key: Vec<String> = key.split('.').map(token).collect();
        kv_subject(&self.name, &key.join("."))
    }

    fn entry(&self, message: &Message) -> Entry {
        let prefix = kv_subject(&self.name, "");
        Entry {
            key: message.subject().strip_prefix(&prefix).unwrap_or_default().to_owned(),
            value: (!is_marker(message) && message.is_genuine()).then(|| message.payload().clone()),
            revision: message.sequence,
            stored_at: message.stored_at,
        }
    }
}

/// True for what is left of a key that was deleted or whose time ran out.
pub(crate) fn is_marker(message: &Message) -> bool {
    let says_so = message.header("Nats-Marker-Reason").is_some()
        || matches!(message.header("KV-Operation"), Some("DEL" | "PURGE"));
    says_so && !message.is_answer()
}

/// A follower of keys.
pub struct Watch {
    follow: Follow,
    bucket: Bucket,
}

impl Watch {
    /// The next state of a key. Cancel safe.
    pub async fn next(&mut self) -> Result<Entry, FollowError> {
        let message = self.follow.next().await?;
        Ok(self.bucket.entry(&message))
    }

    /// True once everything that was there at the start has been seen.
    pub fn is_caught_up(&self) -> bool {
        self.follow.pending() == 0
    }
}
