//! Snapshots of the controller's state: named by the journal sequence that they include, compressed, verified on every
//! read. Recovery is the newest good one and the journal behind it.

use crate::bus::Bus;
use crate::error::{BusError, BusErrorKind};
use crate::object::{ObjectStore, hex};
use bytes::Bytes;
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"ORDOSNP1";
const LEVEL: i32 = 3;
/// Good ones that no sweep takes.
const GOOD_KEPT: usize = 2;

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SnapshotHead {
    /// The last commit that is in it.
    pub sequence: u64,
    /// Of the journal.
    pub incarnation: String,
    /// Version of the state's form; who cannot read it takes an older snapshot or the journal.
    pub format: u32,
    /// SHA-256 of the state before compression.
    pub sha256: String,
    /// Bytes before compression.
    pub size: u64,
}

/// The snapshots of a site.
#[derive(Clone, Debug)]
pub struct Snapshots {
    store: ObjectStore,
}

impl Bus {
    pub fn snapshots(&self) -> Snapshots {
        Snapshots { store: self.snapshot_objects() }
    }
}

impl Snapshots {
    /// Compresses, stores, reads back and verifies. Only what was verified may move the purge point.
    pub async fn put(
        &self,
        sequence: u64,
        incarnation: &str,
        format: u32,
        state: Vec<u8>,
    ) -> Result<SnapshotHead, BusError> {
        let incarnation = incarnation.to_owned();
        let packing = tokio::task::spawn_blocking(move || pack(sequence, incarnation, format, &state));
        let (head, packed) =
            packing.await.map_err(|e| BusError::with(BusErrorKind::Corrupt, "pack a snapshot", e))??;
        let description = format!("State of the controller after commit {sequence}, format {format}");
        self.store.put(&name(sequence), &description, &packed).await?;
        self.get(sequence).await?;
        Ok(head)
    }

    /// Sequences of the stored snapshots, newest first.
    pub async fn list(&self) -> Result<Vec<u64>, BusError> {
        let stored = self.store.list().await?;
        let mut sequences: Vec<u64> = stored.iter().filter_map(|info| info.name.parse().ok()).collect();
        sequences.sort_unstable_by(|a, b| b.cmp(a));
        Ok(sequences)
    }

    /// Reads and verifies one.
    pub async fn get(&self, sequence: u64) -> Result<(SnapshotHead, Bytes), BusError> {
        let packed = self.store.get(&name(sequence)).await?;
        let missing = || BusError::new(BusErrorKind::NotFound, format_args!("snapshot {sequence} is not there"));
        let packed = packed.ok_or_else(missing)?;
        let unpacking = tokio::task::spawn_blocking(move || unpack(sequence, &packed));
        unpacking.await.map_err(|e| BusError::with(BusErrorKind::Corrupt, "unpack a snapshot", e))?
    }

    /// The newest one that is whole, of this incarnation and of a format that `readable` accepts. Bad ones are said
    /// and passed over.
    pub async fn newest(
        &self,
        incarnation: &str,
        readable: impl Fn(u32) -> bool,
    ) -> Result<Option<(SnapshotHead, Bytes)>, BusError> {
        for sequence in self.list().await? {
            match self.get(sequence).await {
                Ok((head, state)) if head.incarnation == incarnation && readable(head.format) => {
                    return Ok(Some((head, state)));
                }
                Ok((head, _)) => {
                    tracing::info!(stream_seq = sequence, format = head.format, "snapshot of another kind passed over");
                }
                Err(error) if error.is_passing() => return Err(error),
                Err(error) => tracing::warn!(stream_seq = sequence, %error, "snapshot not usable, taking an older one"),
            }
        }
        Ok(None)
    }

    /// Removes all but the newest `keep`.
    pub async fn prune(&self, keep: usize) -> Result<usize, BusError> {
        let mut removed = 0;
        for sequence in self.list().await?.into_iter().skip(keep) {
            removed += usize::from(self.store.delete(&name(sequence)).await?);
        }
        Ok(removed)
    }

    /// Removes what is older than `before` and is not one of the two newest good ones: what recovery and the purge of the
    /// journal stand on. Returns objects and bytes; with `dry_run` of what it would remove.
    pub async fn sweep(&self, before: chrono::DateTime<chrono::Utc>, dry_run: bool) -> Result<(u64, u64), BusError> {
        let mut objects = self.store.objects().await?;
        objects.retain(|object| object.info.name.parse::<u64>().is_ok());
        objects.sort_by(|a, b| b.info.name.cmp(&a.info.name));
        let (mut good, mut swept) = (0, (0, 0));
        for object in objects {
            let sequence = object.info.name.parse().unwrap_or_default();
            if good < GOOD_KEPT {
                good += usize::from(self.get(sequence).await.is_ok());
                continue;
            }
            if object.info.modified_at.is_none_or(|at| at >= before) {
                continue;
            }
            if dry_run || self.store.delete_unchanged(&object).await? {
                swept = (swept.0 + 1, swept.1 + object.info.size);
            }
        }
        Ok(swept)
    }
}

/// Fixed width, so that lists by name are in order.
fn name(sequence: u64) -> String {
    format!("{sequence:020}")
}

/// Magic, length of the head, head as JSON, state by zstd.
fn pack(sequence: u64, incarnation: String, format: u32, state: &[u8]) -> Result<(SnapshotHead, Vec<u8>), BusError> {
    let sha256 = hex(&Sha256::digest(state));
    let head = SnapshotHead { sequence, incarnation, format, sha256, size: state.len() as u64 };
    let json = serde_json::to_vec(&head).map_err(|e| BusError::with(BusErrorKind::Corrupt, "snapshot head", e))?;
    let mut packed = Vec::with_capacity(state.len() / 4 + json.len() + 16);
    packed.extend_from_slice(MAGIC);
    packed.extend_from_slice(&u32::try_from(json.len()).unwrap_or(u32::MAX).to_be_bytes());
    packed.extend_from_slice(&json);
    zstd::stream::copy_encode(state, &mut packed, LEVEL)
        .map_err(|e| BusError::with(BusErrorKind::Corrupt, "compress a snapshot", e))?;
    Ok((head, packed))
}

fn unpack(sequence: u64, packed: &[u8]) -> Result<(SnapshotHead, Bytes), BusError> {
    let bad = |what: &str| BusError::new(BusErrorKind::Corrupt, format_args!("snapshot {sequence}: {what}"));
    let rest = packed.strip_prefix(MAGIC.as_slice()).ok_or_else(|| bad("does not begin as a snapshot does"))?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| bad("is cut off"))?;
    let length = u32::from_be_bytes(*length) as usize;
    let (json, body) = rest.split_at_checked(length).ok_or_else(|| bad("is cut off in its head"))?;
    let head: SnapshotHead = serde_json::from_slice(json).map_err(|_| bad("its head is not readable"))?;
    let mut state = Vec::with_capacity(usize::try_from(head.size).unwrap_or_default().min(1 << 30));
    zstd::stream::copy_decode(body, &mut state).map_err(|_| bad("cannot be decompressed"))?;
    if state.len() as u64 != head.size || hex(&Sha256::digest(&state)) != head.sha256 {
        return Err(bad("its content has another SHA-256 than its head says"));
    }
    if head.sequence != sequence {
        return Err(bad("its head names another sequence"));
    }
    Ok((head, state.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_bit_never_gives_another_state() {
        let state = b"state ".repeat(500);
        let (head, packed) = pack(7, "inc".into(), 1, &state).unwrap();
        assert_eq!(unpack(7, &packed).unwrap(), (head, Bytes::from(state.clone())));
        for place in 0..packed.len() {
            let mut broken = packed.clone();
            broken[place] ^= 1;
            let outcome = unpack(7, &broken);
            // A flipped bit may leave the content what it was (an unused bit of the frame), never make it another.
            assert!(outcome.is_err() || outcome.unwrap().1 == state, "{place}");
        }
        assert!(unpack(8, &packed).is_err());
        assert!(unpack(7, &packed[..packed.len() - 3]).is_err());
    }
}
