//! What the log notification keeps: its rules as they are deployed, and its open folds with the position in LOGS.

use crate::connect::Store;
use crate::decode::Decoded;
use crate::error::StoreError;
use crate::history::order::column;
use crate::outbox::Effect;
use crate::projection::{Position, signed, unsigned};
use crate::projector::Rows;
use crate::transaction::{Left, Tx};
use crate::value::JsonText;
use chrono::{DateTime, Utc};
use ordo_contract::notice::LogNotice;
use ordo_contract::request::catalog::DeployedReply;
use ordo_domain::catalog::DefinitionKind;
use ordo_domain::{ContentHash, DefinitionName, Event};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A deployed log rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployedLogRule {
    pub name: DefinitionName,
    pub version: u32,
    pub hash: ContentHash,
    pub deployed_at: DateTime<Utc>,
}

/// A notice whose repeats are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFold {
    pub key: String,
    pub notice: LogNotice,
    /// The count that was told last.
    pub told: u64,
    pub until: DateTime<Utc>,
}

/// What a batch of lines changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogFoldChanges {
    pub open: Vec<LogFold>,
    /// Keys of those that are over.
    pub over: Vec<String>,
    pub effects: Vec<Effect>,
}

/// The rules, from the journal. Calls `changed` when some were deployed or removed.
pub struct LogRuleRows<F> {
    changed: F,
    has_changed: bool,
}

impl<F> LogRuleRows<F> {
    pub fn new(changed: F) -> Self {
        Self { changed, has_changed: false }
    }
}

const READER: &str = "log-notification";

impl<F: Fn() + Send + 'static> Rows for LogRuleRows<F> {
    const READER: &'static str = READER;

    async fn write(&mut self, tx: &mut Tx<'_>, batch: &[Decoded<'_>]) -> Result<(), StoreError> {
        // What the last event says of each counts.
        let mut last: BTreeMap<DefinitionName, Option<DeployedLogRule>> = BTreeMap::new();
        for decoded in batch {
            for (_, event) in decoded.events() {
                match event {
                    Event::DefinitionDeployed(e) if e.kind == DefinitionKind::LogRule => {
                        let rule = DeployedLogRule {
                            name: e.name.clone(),
                            version: e.version,
                            hash: e.hash.clone(),
                            deployed_at: decoded.commit.at,
                        };
                        last.insert(e.name.clone(), Some(rule));
                    }
                    Event::DefinitionRemoved(e) if e.kind == DefinitionKind::LogRule => {
                        last.insert(e.name.clone(), None);
                    }
                    _ => {}
                }
            }
        }
        self.has_changed = !last.is_empty();
        if last.is_empty() {
            return Ok(());
        }
        let gone: Vec<&str> = last.iter().filter(|(_, rule)| rule.is_none()).map(|(name, _)| name.as_str()).collect();
        let rules: Vec<DeployedLogRule> = last.values().flatten().cloned().collect();
        tx.put_log_rules(&rules).await?;
        let done = tx.tx.execute("DELETE FROM log_rules WHERE name = ANY($1)", &[&gone]).await;
        tx.store.sorted("remove log rules", done).map(|_| ())
    }

    const CAN_BEGIN: bool = true;

    async fn begin(&mut self, tx: &mut Tx<'_>, picture: &DeployedReply) -> Result<(), StoreError> {
        let rules = picture.definitions.iter().filter(|deployed| deployed.kind == DefinitionKind::LogRule);
        let rules: Vec<DeployedLogRule> = rules
            .map(|deployed| DeployedLogRule {
                name: deployed.name.clone(),
                version: deployed.version,
                hash: deployed.hash.clone(),
                deployed_at: deployed.deployed_at,
            })
            .collect();
        self.has_changed = true;
        let done = tx.tx.execute("DELETE FROM log_rules", &[]).await;
        tx.store.sorted("remove log rules", done)?;
        tx.put_log_rules(&rules).await
    }

    fn committed(&mut self) {
        if std::mem::take(&mut self.has_changed) {
            (self.changed)();
        }
    }
}

impl Tx<'_> {
    async fn put_log_rules(&mut self, rules: &[DeployedLogRule]) -> Result<(), StoreError> {
        let sql = "INSERT INTO log_rules (name, version, hash, deployed_at) \
            SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::timestamptz[]) \
            ON CONFLICT (name) DO UPDATE SET version = excluded.version, hash = excluded.hash, deployed_at = excluded.deployed_at";
        let done = self
            .tx
            .execute(
                sql,
                &[
                    &column!(rules, |r| r.name.as_str()),
                    &column!(rules, |r| i32::try_from(r.version).unwrap_or(i32::MAX)),
                    &column!(rules, |r| r.hash.as_str()),
                    &column!(rules, |r| r.deployed_at),
                ],
            )
            .await;
        self.store.sorted("write log rules", done).map(|_| ())
    }
}

impl Store {
    /// The deployed rules, by name.
    pub async fn log_rules(&self) -> Result<Vec<DeployedLogRule>, StoreError> {
        let client = self.reader().await?;
        let sql = "SELECT name, version, hash, deployed_at FROM log_rules ORDER BY name";
        let statement = self.sorted("prepare the log rules", client.prepare_cached(sql).await)?;
        let rows = self.sorted("read the log rules", client.query(&statement, &[]).await)?;
        let wrong = |what: String| StoreError::Refused { what };
        let rule = |row: &tokio_postgres::Row| {
            Ok(DeployedLogRule {
                name: DefinitionName::new(row.get::<_, &str>(0)).map_err(|e| wrong(e.to_string()))?,
                version: u32::try_from(row.get::<_, i32>(1)).unwrap_or_default(),
                hash: ContentHash::new(row.get::<_, &str>(2)).map_err(|e| wrong(e.to_string()))?,
                deployed_at: row.get(3),
            })
        };
        rows.iter().map(rule).collect()
    }

    /// The open folds.
    pub async fn log_folds(&self) -> Result<Vec<LogFold>, StoreError> {
        let client = self.writer().await?;
        let sql = "SELECT key, notice::text, told, until FROM log_folds";
        let rows = self.sorted("read the folds of logs", client.query(sql, &[]).await)?;
        let fold = |row: &tokio_postgres::Row| {
            // What another build wrote and this one cannot read is not counted on.
            let notice = serde_json::from_str(row.get::<_, &str>(1)).ok()?;
            Some(LogFold { key: row.get(0), notice, told: unsigned(row.get(2)), until: row.get(3) })
        };
        Ok(rows.iter().filter_map(fold).collect())
    }

    /// Writes what lines changed, wants the notices, and moves the position in LOGS, all or nothing.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another instance moved it.
    pub async fn store_log_folds(
        &self,
        position: &Position,
        sequence: u64,
        changes: &LogFoldChanges,
    ) -> Result<Left, StoreError> {
        let mut client = self.writer().await?;
        let mut tx = self.begin(&mut client, READER).await?;
        let to = Position { sequence, at: Some(Utc::now()), ..position.clone() };
        tx.advance(position, &to).await?;
        let sql = "INSERT INTO log_folds (key, notice, told, until) \
            SELECT * FROM unnest($1::text[], $2::json[], $3::bigint[], $4::timestamptz[]) \
            ON CONFLICT (key) DO UPDATE SET notice = excluded.notice, told = excluded.told, until = excluded.until";
        if !changes.open.is_empty() {
            let statement = self.sorted("prepare the folds of logs", tx.tx.prepare_cached(sql).await)?;
            let notice = |fold: &LogFold| serde_json::to_string(&fold.notice).unwrap_or_else(|_| "null".to_owned());
            let done = tx
                .tx
                .execute(
                    &statement,
                    &[
                        &column!(changes.open, |f| f.key.as_str()),
                        &column!(changes.open, |f| JsonText(Cow::Owned(notice(f)))),
                        &column!(changes.open, |f| signed(f.told)),
                        &column!(changes.open, |f| f.until),
                    ],
                )
                .await;
            self.sorted("write the folds of logs", done)?;
        }
        if !changes.over.is_empty() {
            let done = tx.tx.execute("DELETE FROM log_folds WHERE key = ANY($1)", &[&changes.over]).await;
            self.sorted("end folds of logs", done)?;
        }
        tx.enqueue(&changes.effects).await?;
        tx.commit().await
    }
}
