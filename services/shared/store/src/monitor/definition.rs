//! Rules and maintenance windows as they are deployed now.

use super::rows::Bodies;
use super::thread::Bucket;
use crate::error::StoreError;
use crate::transaction::Tx;
use crate::value::jsonb;
use chrono::{NaiveDate, Utc};
use chrono_tz::Tz;
use ordo_domain::Instant;
use ordo_domain::alert::{Maintenance, Rule, Subject};
use ordo_domain::catalog::{CatalogDefinition, DefinitionKind};
use ordo_domain::{ContentHash, DefinitionName};

/// A definition of these kinds, with its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MonitorDefinition {
    Rule(Rule),
    Maintenance(Maintenance),
}

/// All of them, as one transaction sees them.
pub(crate) struct Definitions {
    pub(crate) rules: Vec<Rule>,
    maintenances: Vec<Maintenance>,
    zone: Tz,
}

pub(crate) fn is_ours(kind: DefinitionKind) -> bool {
    matches!(kind, DefinitionKind::Rule | DefinitionKind::Maintenance)
}

impl Definitions {
    pub(crate) async fn load(tx: &Tx<'_>, zone: Tz) -> Result<Self, StoreError> {
        let sql = "SELECT kind, body::text FROM monitor_definitions ORDER BY kind, name";
        let statement = tx.store.sorted("prepare reading rules", tx.tx.prepare_cached(sql).await)?;
        let rows = tx.store.sorted("read rules", tx.tx.query(&statement, &[]).await)?;
        let mut all = Self { rules: Vec::new(), maintenances: Vec::new(), zone };
        for row in rows {
            let unreadable = |e: serde_json::Error| StoreError::Refused {
                what: format!("a {} of the monitor cannot be read: {e}", row.get::<_, &str>(0)),
            };
            match row.get(0) {
                "rule" => all.rules.push(serde_json::from_str(row.get(1)).map_err(unreadable)?),
                _ => all.maintenances.push(serde_json::from_str(row.get(1)).map_err(unreadable)?),
            }
        }
        Ok(all)
    }

    pub(crate) fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name.as_str() == name)
    }

    /// By which maintenance, and until when; of several the one that ends last.
    pub(crate) fn silenced(&self, subject: &Subject<'_>, at: Instant) -> Option<(String, Instant)> {
        let silencing = self.maintenances.iter().filter_map(|m| Some((m, m.silences(subject, at, self.zone)?)));
        silencing.max_by_key(|(_, until)| *until).map(|(m, until)| (m.name.to_string(), until))
    }

    /// The business day, or for what has none the day in the site's zone.
    pub(crate) fn day(&self, business_day: Option<NaiveDate>, at: Instant) -> NaiveDate {
        business_day.unwrap_or_else(|| at.with_timezone(&self.zone).date_naive())
    }
}

/// Takes a body in, or out where there is none of that hash.
pub(crate) async fn deployed(
    tx: &mut Tx<'_>,
    name: &DefinitionName,
    version: u32,
    body: &CatalogDefinition,
    zone: Tz,
) -> Result<(), StoreError> {
    if let CatalogDefinition::Maintenance(maintenance) = body {
        // A window that was corrected: what it silenced is said when the new one ends, which may be now.
        let now = Utc::now();
        silence_ends(tx, name, maintenance.open_until(now, zone).unwrap_or(now)).await?;
    }
    let (kind, body) = match body {
        CatalogDefinition::Rule(rule) => ("rule", jsonb(rule)),
        CatalogDefinition::Maintenance(maintenance) => ("maintenance", jsonb(maintenance)),
        _ => return Ok(()),
    };
    let sql = "INSERT INTO monitor_definitions (kind, name, version, body) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (kind, name) DO UPDATE SET version = excluded.version, body = excluded.body";
    let version = i32::try_from(version).unwrap_or(i32::MAX);
    let done = tx.tx.execute(sql, &[&kind, &name.as_str(), &version, &body]).await;
    tx.store.sorted("note a rule", done).map(|_| ())
}

/// What a rule gathered is dropped with it; what a maintenance silenced is said at once.
pub(crate) async fn removed(tx: &mut Tx<'_>, kind: DefinitionKind, name: &DefinitionName) -> Result<(), StoreError> {
    let sql = "DELETE FROM monitor_definitions WHERE kind = $1 AND name = $2";
    let done = tx.tx.execute(sql, &[&kind.word(), &name.as_str()]).await;
    tx.store.sorted("remove a rule", done)?;
    if kind == DefinitionKind::Maintenance {
        silence_ends(tx, name, Utc::now()).await?;
    } else {
        for sql in ["DELETE FROM monitor_gathered WHERE rule = $1", "DELETE FROM monitor_floods WHERE rule = $1"] {
            tx.store.sorted("forget a rule", tx.tx.execute(sql, &[&name.as_str()]).await)?;
        }
    }
    Ok(())
}

/// What a maintenance silenced so far, if anything, is said then.
async fn silence_ends(tx: &mut Tx<'_>, name: &DefinitionName, at: Instant) -> Result<(), StoreError> {
    let sql = "UPDATE timers SET due_at = $3 WHERE service = $1 AND key = $2";
    let key = Bucket::Silence { maintenance: name.to_string() }.key();
    let moved = tx.tx.execute(sql, &[&super::MONITOR, &key, &at]).await;
    if tx.store.sorted("move the end of a silence", moved)? > 0 {
        tx.left.timer_at = Some(tx.left.timer_at.map_or(at, |first| first.min(at)));
    }
    Ok(())
}

/// The body. One that is gone (cleaned up, as a later version came) or that this build cannot read is passed over loudly:
/// the other rules must go on.
pub(crate) async fn body(bodies: &Bodies, hash: &ContentHash) -> Result<Option<CatalogDefinition>, StoreError> {
    let Some(bytes) = bodies(hash.clone()).await? else {
        tracing::warn!(%hash, "the body of a definition is gone, passed over");
        return Ok(None);
    };
    match serde_json::from_slice(&bytes) {
        Ok(body) => Ok(Some(body)),
        Err(error) => {
            tracing::error!(%hash, %error, "a definition cannot be read, passed over");
            Ok(None)
        }
    }
}
