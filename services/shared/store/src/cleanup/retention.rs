//! Which retention is deployed: the one thing of the journal that the cleanup keeps.

use crate::connect::Store;
use crate::decode::Decoded;
use crate::error::StoreError;
use crate::projector::Rows;
use crate::transaction::Tx;
use chrono::{DateTime, Utc};
use ordo_contract::request::catalog::DeployedReply;
use ordo_domain::catalog::DefinitionKind;
use ordo_domain::retention::DEFAULT_NAME;
use ordo_domain::{ContentHash, Event};
use tokio::sync::watch;

/// The retention named `default`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployedRetention {
    pub version: u32,
    /// Of the body in the definition store.
    pub hash: ContentHash,
    pub deployed_at: DateTime<Utc>,
}

/// The rows that the cleanup makes of the journal.
#[derive(Debug, Clone, Default)]
pub struct RetentionRows {
    /// In the batch that is being written.
    changed: bool,
    told: watch::Sender<u64>,
}

impl RetentionRows {
    /// Counts up `told` when another retention holds.
    pub fn new(told: watch::Sender<u64>) -> Self {
        Self { changed: false, told }
    }
}

impl Rows for RetentionRows {
    const READER: &'static str = "cleanup";
    const CAN_BEGIN: bool = true;

    async fn write(&mut self, tx: &mut Tx<'_>, batch: &[Decoded<'_>]) -> Result<(), StoreError> {
        let mut now = None;
        for decoded in batch {
            for (_, event) in decoded.events() {
                match event {
                    Event::DefinitionDeployed(e) if is_ours(e.kind, e.name.as_str()) => {
                        let deployed_at = decoded.commit.at;
                        now = Some(Some(DeployedRetention { version: e.version, hash: e.hash.clone(), deployed_at }));
                    }
                    Event::DefinitionRemoved(e) if is_ours(e.kind, e.name.as_str()) => now = Some(None),
                    _ => {}
                }
            }
        }
        self.changed = now.is_some();
        match now {
            Some(now) => tx.write_retention(now.as_ref()).await,
            None => Ok(()),
        }
    }

    async fn begin(&mut self, tx: &mut Tx<'_>, picture: &DeployedReply) -> Result<(), StoreError> {
        self.changed = true;
        let ours = picture.definitions.iter().find(|d| is_ours(d.kind, d.name.as_str()));
        let now =
            ours.map(|d| DeployedRetention { version: d.version, hash: d.hash.clone(), deployed_at: d.deployed_at });
        tx.write_retention(now.as_ref()).await
    }

    fn committed(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.told.send_modify(|count| *count += 1);
        }
    }
}

fn is_ours(kind: DefinitionKind, name: &str) -> bool {
    kind == DefinitionKind::Retention && name == DEFAULT_NAME
}

impl Tx<'_> {
    async fn write_retention(&mut self, now: Option<&DeployedRetention>) -> Result<(), StoreError> {
        let done = match now {
            Some(DeployedRetention { version, hash, deployed_at }) => {
                let sql = "INSERT INTO cleanup_retention (version, hash, deployed_at) VALUES ($1, $2, $3) \
                    ON CONFLICT (only_row) DO UPDATE SET version = excluded.version, hash = excluded.hash, deployed_at = excluded.deployed_at";
                let version = i32::try_from(*version).unwrap_or(i32::MAX);
                self.tx.execute(sql, &[&version, &hash.as_str(), deployed_at]).await
            }
            None => self.tx.execute("DELETE FROM cleanup_retention", &[]).await,
        };
        self.store.sorted("note the retention", done).map(|_| ())
    }
}

impl Store {
    /// None: nothing is deployed, the defaults hold.
    pub async fn deployed_retention(&self) -> Result<Option<DeployedRetention>, StoreError> {
        let client = self.reader().await?;
        let sql = "SELECT version, hash, deployed_at FROM cleanup_retention";
        let Some(row) = self.sorted("read the retention", client.query_opt(sql, &[]).await)? else { return Ok(None) };
        let hash = ContentHash::new(row.get::<_, &str>(1)).map_err(|e| StoreError::Refused { what: e.to_string() })?;
        let version = u32::try_from(row.get::<_, i32>(0)).unwrap_or_default();
        Ok(Some(DeployedRetention { version, hash, deployed_at: row.get(2) }))
    }
}
