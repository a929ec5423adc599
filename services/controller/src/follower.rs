//! The state that follows the journal, hot: recovery, standby, and the copy that snapshots are taken of.

use anyhow::{Context, Result};
use ordo_contract::{
    name::StreamKind,
    replica::{Replica, SNAPSHOT_FORMAT},
};
use ordo_journal::{Bus, Follow, FollowFrom};

/// Commits applied between two looks at other things.
const BATCH: usize = 256;

pub struct Follower {
    follow: Follow,
    replica: Replica,
}

impl Follower {
    /// The newest good snapshot, and the journal behind it from now on.
    pub async fn open(bus: &Bus) -> Result<Self> {
        let incarnation = bus.incarnation(StreamKind::Journal).await?;
        let snapshot = bus.snapshots().newest(&incarnation, |format| format == SNAPSHOT_FORMAT).await?;
        let replica = match snapshot {
            Some((head, state)) => {
                let replica: Replica = serde_json::from_slice(&state)
                    .with_context(|| format!("snapshot {} cannot be read", head.sequence))?;
                tracing::info!(stream_seq = head.sequence, "recovering from a snapshot");
                replica
            }
            None => Replica { incarnation, ..Replica::default() },
        };
        let follow = bus.follow(FollowFrom::journal(bus, replica.sequence + 1)).await?;
        Ok(Self { follow, replica })
    }

    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Messages that wait behind what was read, as far as known.
    pub fn lag(&self) -> u64 {
        self.follow.pending()
    }

    /// Waits for commits and applies them. Cancel safe.
    pub async fn read(&mut self) -> Result<usize> {
        let batch = self.follow.batch(BATCH).await?;
        for message in &batch {
            self.replica.take(message.sequence, message.payload())?;
        }
        Ok(batch.len())
    }

    /// Reads to the present end of the journal, which the leader names.
    pub async fn read_to_end(&mut self, bus: &Bus) -> Result<()> {
        loop {
            let last = bus.last_sequence(StreamKind::Journal).await?;
            if self.follow.position() > last {
                // A message that is no commit may be the last one: the next append goes behind it all the same.
                self.replica.sequence = last;
                return Ok(());
            }
            while self.follow.position() <= last {
                self.read().await?;
            }
        }
    }

    pub fn into_replica(self) -> Replica {
        self.replica
    }
}
