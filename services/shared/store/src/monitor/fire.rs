//! Timers of the monitor: what lasts too long, and what was gathered to be told together.

use super::board::Board;
use super::definition::Definitions;
use super::mail::NewMail;
use super::order;
use super::raise::tell;
use super::thread::{Bucket, Desk, ThreadKey};
use super::watched::Watch;
use crate::error::StoreError;
use crate::timer::{Fire, Timer};
use crate::transaction::Tx;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use ordo_domain::alert::Rule;
use ordo_domain::alert::fold::{Route, unfold};
use std::collections::{BTreeMap, BTreeSet};

/// Notifications in one mail: programs cut what is longer than about 100 KB.
const IN_ONE_MAIL: usize = 2_000;

/// Fires the timers of the monitor.
pub struct MonitorTimers {
    /// Of the site.
    zone: Tz,
}

impl MonitorTimers {
    pub fn new(zone: Tz) -> Self {
        Self { zone }
    }
}

impl Fire for MonitorTimers {
    const BY_ROWS: bool = true;

    async fn fire(&mut self, tx: &mut Tx<'_>, due: &[Timer]) -> Result<(), StoreError> {
        let now = Utc::now();
        let definitions = Definitions::load(tx, self.zone).await?;
        // Those of another build, that cannot be read, are nobody's.
        let watches: Vec<Watch> = due.iter().filter_map(|timer| timer.body().ok()).collect();
        if !watches.is_empty() {
            let mut board = Board::new(&definitions.rules);
            let orders = watches.iter().map(|watch| watch.order.clone()).collect();
            order::load(tx, &mut board, &orders, &BTreeSet::new()).await?;
            for watch in &watches {
                board.lasted(watch, now);
            }
            let telling = std::mem::take(&mut board.telling);
            order::write(tx, &board.finish()).await?;
            tell(tx, &definitions, telling, now).await?;
        }
        for bucket in due.iter().filter_map(|timer| timer.body::<Bucket>().ok()) {
            flush(tx, &definitions, &bucket, now).await?;
        }
        Ok(())
    }
}

/// What a bucket holds, by rule: notifications that are bad news, and those that recovered.
type Contents = BTreeMap<String, (Vec<String>, Vec<String>)>;

async fn flush(
    tx: &mut Tx<'_>,
    definitions: &Definitions,
    bucket: &Bucket,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let contents = contents(tx, bucket).await?;
    let mut desk = Desk::default();
    match bucket {
        Bucket::Fold { key } => {
            desk.open(tx, BTreeSet::from([key.clone()])).await?;
            let held = contents.get(&key.rule).cloned().unwrap_or_default();
            if let Some(rule) = definitions.rule(&key.rule) {
                unfolded(tx, &mut desk, rule, key, held, now).await?;
            }
        }
        Bucket::Digest { rule } => {
            desk.open_floods(tx, vec![rule]).await?;
            let (bad, good) = contents.get(rule).cloned().unwrap_or_default();
            let count = bad.len() + good.len();
            desk.flood(rule).digest_sent(count, now);
            if let Some(rule) = definitions.rule(rule) {
                together(&mut desk, rule, "digest", "alert", &bad, now);
                together(&mut desk, rule, "recoveries", "recovery", &good, now);
            }
        }
        Bucket::Silence { maintenance } => {
            for (name, (bad, _)) in &contents {
                let Some(rule) = definitions.rule(name) else { continue };
                for (part, parts, some) in pieces(bad) {
                    let mut mail = NewMail::new("maintenance", rule, some, now);
                    (mail.part, mail.parts, mail.maintenance) = (part, parts, Some(maintenance.clone()));
                    desk.loose_mail(mail);
                }
            }
        }
    }
    forget(tx, bucket).await?;
    desk.close(tx, now).await
}

/// In one mail for all of a thing; where there is a flood, with everything else.
async fn unfolded(
    tx: &mut Tx<'_>,
    desk: &mut Desk,
    rule: &Rule,
    key: &ThreadKey,
    (bad, good): (Vec<String>, Vec<String>),
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let (thread, flood) = desk.states(key);
    match unfold(rule.fold, bad.len() + good.len(), &mut thread.thing, flood, now) {
        None | Some(Route::Fold { .. }) => {}
        Some(Route::Now) => {
            let replies_to = NewMail::new("", rule, Vec::new(), now).reply_to(thread).replies_to;
            for (kind, alone, list) in [("repeats", "alert", bad), ("recoveries", "recovery", good)] {
                for (part, parts, some) in pieces(&list) {
                    let kind = if list.len() == 1 { alone } else { kind };
                    let mut mail = NewMail::new(kind, rule, some, now);
                    (mail.part, mail.parts) = (part, parts);
                    mail.replies_to.clone_from(&replies_to);
                    desk.mail(key, mail);
                }
            }
        }
        Some(Route::Digest { until }) => {
            let digest = Bucket::Digest { rule: key.rule.clone() };
            let sql = "UPDATE monitor_gathered SET bucket = $2 WHERE bucket = $1";
            let from = Bucket::Fold { key: key.clone() }.key();
            tx.store.sorted("move into a digest", tx.tx.execute(sql, &[&from, &digest.key()]).await)?;
            desk.timer(&digest, until);
        }
    }
    Ok(())
}

fn together(desk: &mut Desk, rule: &Rule, kind: &str, alone: &str, list: &[String], now: DateTime<Utc>) {
    for (part, parts, some) in pieces(list) {
        let kind = if list.len() == 1 { alone } else { kind };
        let mut mail = NewMail::new(kind, rule, some, now);
        (mail.part, mail.parts) = (part, parts);
        desk.loose_mail(mail);
    }
}

/// So many to a mail, each with its number.
fn pieces(list: &[String]) -> Vec<(i32, i32, Vec<String>)> {
    let parts = i32::try_from(list.len().div_ceil(IN_ONE_MAIL)).unwrap_or(i32::MAX);
    (1..).zip(list.chunks(IN_ONE_MAIL)).map(|(part, some)| (part, parts, some.to_vec())).collect()
}

async fn contents(tx: &Tx<'_>, bucket: &Bucket) -> Result<Contents, StoreError> {
    let sql = "SELECT rule, notification, good FROM monitor_gathered WHERE bucket = $1 ORDER BY number";
    let rows = tx.store.sorted("read what was gathered", tx.tx.query(sql, &[&bucket.key()]).await)?;
    let mut contents = Contents::new();
    for row in rows {
        let (bad, good) = contents.entry(row.get(0)).or_default();
        let list = if row.get(2) { good } else { bad };
        list.push(row.get(1));
    }
    Ok(contents)
}

async fn forget(tx: &Tx<'_>, bucket: &Bucket) -> Result<(), StoreError> {
    let sql = "DELETE FROM monitor_gathered WHERE bucket = $1";
    tx.store.sorted("forget what was gathered", tx.tx.execute(sql, &[&bucket.key()]).await).map(|_| ())
}
