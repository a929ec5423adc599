//! What was told of a thing before, and what waits to be told together: read once, changed in memory, written back at the end.

use super::mail::{NewMail, send};
use super::raise::{flush_timer, json};
use crate::error::StoreError;
use crate::history::order::column;
use crate::transaction::Tx;
use chrono::{DateTime, NaiveDate, Utc};
use ordo_domain::Instant;
use ordo_domain::alert::fold::{Flood, Thing};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One thing: what is told of it within the time of folding comes together, and answers its first mail.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ThreadKey {
    pub(crate) rule: String,
    pub(crate) kind: String,
    pub(crate) thing: String,
    pub(crate) day: NaiveDate,
}

/// Where notifications wait to be told together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bucket {
    Fold { key: ThreadKey },
    Digest { rule: String },
    Silence { maintenance: String },
}

impl Bucket {
    /// Of its timer, and of what it gathers.
    pub(crate) fn key(&self) -> String {
        match self {
            Bucket::Fold { key: ThreadKey { rule, kind, thing, day } } => format!("fold/{rule}/{kind}/{day}/{thing}"),
            Bucket::Digest { rule } => format!("digest/{rule}"),
            Bucket::Silence { maintenance } => format!("silence/{maintenance}"),
        }
    }
}

/// A notification in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gathered {
    pub(crate) rule: String,
    pub(crate) notification: String,
    /// That it recovered is what is told.
    pub(crate) good: bool,
    pub(crate) bucket: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Thread {
    pub(crate) thing: Thing,
    pub(crate) first_mail: Option<String>,
    pub(crate) last_mail: Option<String>,
}

/// The states of one transaction.
#[derive(Default)]
pub(crate) struct Desk {
    threads: BTreeMap<ThreadKey, Thread>,
    floods: BTreeMap<String, Flood>,
    mails: Vec<NewMail>,
    gathered: Vec<Gathered>,
    timers: BTreeMap<String, (Bucket, Instant)>,
}

impl Desk {
    /// Reads the states of these threads and of their rules.
    pub(crate) async fn open(&mut self, tx: &Tx<'_>, keys: BTreeSet<ThreadKey>) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let keys: Vec<ThreadKey> = keys.into_iter().collect();
        let sql = "SELECT t.rule, t.kind, t.thing, t.business_day, t.quiet_until, t.first_mail, t.last_mail FROM monitor_threads t \
            JOIN unnest($1::text[], $2::text[], $3::text[], $4::date[]) AS k (rule, kind, thing, day) \
            ON t.rule = k.rule AND t.kind = k.kind AND t.thing = k.thing AND t.business_day = k.day";
        let statement = tx.store.sorted("prepare reading threads", tx.tx.prepare_cached(sql).await)?;
        let rows = tx
            .tx
            .query(
                &statement,
                &[
                    &column!(keys, |k| k.rule.as_str()),
                    &column!(keys, |k| k.kind.as_str()),
                    &column!(keys, |k| k.thing.as_str()),
                    &column!(keys, |k| k.day),
                ],
            )
            .await;
        for row in tx.store.sorted("read threads", rows)? {
            let key = ThreadKey { rule: row.get(0), kind: row.get(1), thing: row.get(2), day: row.get(3) };
            let thing = Thing { quiet_until: row.get(4) };
            self.threads.insert(key, Thread { thing, first_mail: row.get(5), last_mail: row.get(6) });
        }
        let rules: BTreeSet<&str> = keys.iter().map(|k| k.rule.as_str()).collect();
        self.open_floods(tx, rules.into_iter().collect()).await?;
        for key in keys {
            self.floods.entry(key.rule.clone()).or_default();
            self.threads.entry(key).or_default();
        }
        Ok(())
    }

    pub(crate) async fn open_floods(&mut self, tx: &Tx<'_>, rules: Vec<&str>) -> Result<(), StoreError> {
        let sql = "SELECT rule, state::text FROM monitor_floods WHERE rule = ANY($1)";
        for row in tx.store.sorted("read floods", tx.tx.query(sql, &[&rules]).await)? {
            // What another build wrote is no reason to keep silent.
            let flood = serde_json::from_str(row.get(1)).unwrap_or_default();
            self.floods.insert(row.get(0), flood);
        }
        Ok(())
    }

    pub(crate) fn states(&mut self, key: &ThreadKey) -> (&mut Thread, &mut Flood) {
        (self.threads.entry(key.clone()).or_default(), self.floods.entry(key.rule.clone()).or_default())
    }

    pub(crate) fn flood(&mut self, rule: &str) -> &mut Flood {
        self.floods.entry(rule.to_owned()).or_default()
    }

    /// A mail in that thread.
    pub(crate) fn mail(&mut self, key: &ThreadKey, mail: NewMail) {
        let thread = self.threads.entry(key.clone()).or_default();
        thread.first_mail.get_or_insert_with(|| mail.id.clone());
        thread.last_mail = Some(mail.id.clone());
        self.mails.push(mail);
    }

    /// A mail of no thread.
    pub(crate) fn loose_mail(&mut self, mail: NewMail) {
        self.mails.push(mail);
    }

    pub(crate) fn gather(&mut self, gathered: Gathered, bucket: &Bucket, until: Instant) {
        self.gathered.push(gathered);
        self.timer(bucket, until);
    }

    pub(crate) fn timer(&mut self, bucket: &Bucket, until: Instant) {
        let timer = self.timers.entry(bucket.key()).or_insert_with(|| (bucket.clone(), until));
        timer.1 = timer.1.max(until);
    }

    /// Writes all of it back.
    pub(crate) async fn close(self, tx: &mut Tx<'_>, now: DateTime<Utc>) -> Result<(), StoreError> {
        send(tx, &self.mails).await?;
        write_gathered(tx, &self.gathered).await?;
        write_threads(tx, &self.threads, now).await?;
        write_floods(tx, &self.floods).await?;
        let timers: Vec<_> = self.timers.values().map(|(bucket, until)| flush_timer(bucket, *until)).collect();
        tx.set_timers(&timers).await
    }
}

async fn write_gathered(tx: &Tx<'_>, gathered: &[Gathered]) -> Result<(), StoreError> {
    if gathered.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO monitor_gathered (rule, notification, good, bucket) \
        SELECT * FROM unnest($1::text[], $2::text[], $3::boolean[], $4::text[]) ON CONFLICT DO NOTHING";
    let statement = tx.store.sorted("prepare gathering", tx.tx.prepare_cached(sql).await)?;
    let done = tx
        .tx
        .execute(
            &statement,
            &[
                &column!(gathered, |g| g.rule.as_str()),
                &column!(gathered, |g| g.notification.as_str()),
                &column!(gathered, |g| g.good),
                &column!(gathered, |g| g.bucket.as_str()),
            ],
        )
        .await;
    tx.store.sorted("gather notifications", done).map(|_| ())
}

async fn write_threads(
    tx: &Tx<'_>,
    threads: &BTreeMap<ThreadKey, Thread>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if threads.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO monitor_threads (rule, kind, thing, business_day, quiet_until, first_mail, last_mail, changed_at) \
        SELECT rule, kind, thing, day, quiet_until, first_mail, last_mail, $8 FROM unnest($1::text[], $2::text[], $3::text[], \
        $4::date[], $5::timestamptz[], $6::text[], $7::text[]) AS t (rule, kind, thing, day, quiet_until, first_mail, last_mail) \
        ON CONFLICT (rule, kind, thing, business_day) DO UPDATE SET quiet_until = excluded.quiet_until, \
        first_mail = excluded.first_mail, last_mail = excluded.last_mail, changed_at = excluded.changed_at";
    let statement = tx.store.sorted("prepare writing threads", tx.tx.prepare_cached(sql).await)?;
    let rows: Vec<(&ThreadKey, &Thread)> = threads.iter().collect();
    let done = tx
        .tx
        .execute(
            &statement,
            &[
                &column!(rows, |(k, _)| k.rule.as_str()),
                &column!(rows, |(k, _)| k.kind.as_str()),
                &column!(rows, |(k, _)| k.thing.as_str()),
                &column!(rows, |(k, _)| k.day),
                &column!(rows, |(_, t)| t.thing.quiet_until),
                &column!(rows, |(_, t)| t.first_mail.as_deref()),
                &column!(rows, |(_, t)| t.last_mail.as_deref()),
                &now,
            ],
        )
        .await;
    tx.store.sorted("write threads", done).map(|_| ())
}

async fn write_floods(tx: &Tx<'_>, floods: &BTreeMap<String, Flood>) -> Result<(), StoreError> {
    let sql = "INSERT INTO monitor_floods (rule, state) VALUES ($1, $2) ON CONFLICT (rule) DO UPDATE SET state = excluded.state";
    for (rule, flood) in floods {
        tx.store.sorted("write floods", tx.tx.execute(sql, &[rule, &json(flood)]).await)?;
    }
    Ok(())
}
