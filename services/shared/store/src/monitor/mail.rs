//! Mails and what came of them for each recipient. The effect that sends one waits in the outbox.

use super::MAIL;
use super::thread::Thread;
use crate::error::StoreError;
use crate::history::order::column;
use crate::outbox::Effect;
use crate::transaction::Tx;
use crate::value::{clean, jsonb};
use crate::{Store, Waiting};
use chrono::{DateTime, Utc};
use ordo_contract::request::monitor::Incident;
use ordo_domain::alert::{MailAddress, Maintenance, Rule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A mail that is wanted; what it says is written when it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewMail {
    pub(crate) id: String,
    rule: String,
    kind: String,
    at: DateTime<Utc>,
    notifications: Vec<String>,
    pub(crate) replies_to: Vec<String>,
    pub(crate) part: i32,
    pub(crate) parts: i32,
    pub(crate) maintenance: Option<String>,
    recipients: Vec<MailAddress>,
}

impl NewMail {
    /// Its id is made of what it tells first: the same mail has the same id however often it is derived.
    pub(crate) fn new(kind: &str, rule: &Rule, notifications: Vec<String>, at: DateTime<Utc>) -> Self {
        let first = notifications.first().map(String::as_str).unwrap_or_default();
        Self {
            id: format!("{first}.{}.{kind}", rule.name),
            rule: rule.name.to_string(),
            kind: kind.to_owned(),
            at,
            notifications,
            replies_to: Vec::new(),
            part: 1,
            parts: 1,
            maintenance: None,
            recipients: rule.notify.clone(),
        }
    }

    /// The first mail of the thread and the one before this.
    pub(crate) fn reply_to(mut self, thread: &Thread) -> Self {
        self.replies_to = thread.first_mail.iter().chain(&thread.last_mail).cloned().collect();
        self.replies_to.dedup();
        self
    }
}

/// Body of the effect: one mail to one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailEffect {
    pub mail: String,
    pub recipient: MailAddress,
}

impl MailEffect {
    /// # Errors
    /// When another build wrote something else.
    pub fn of(waiting: &Waiting) -> Result<Self, serde_json::Error> {
        waiting.body()
    }
}

/// Notes mails, and that they are to be sent.
pub(crate) async fn send(tx: &mut Tx<'_>, mails: &[NewMail]) -> Result<(), StoreError> {
    if mails.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO mails (id, rule, kind, at, notifications, replies_to, part, parts, maintenance, recipients) \
        SELECT id, rule, kind, at, ARRAY(SELECT json_array_elements_text(n)), ARRAY(SELECT json_array_elements_text(r)), part, parts, \
        maintenance, ARRAY(SELECT json_array_elements_text(t)) FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], \
        $5::json[], $6::json[], $7::int[], $8::int[], $9::text[], $10::json[]) AS m (id, rule, kind, at, n, r, part, parts, maintenance, t) \
        ON CONFLICT (id) DO NOTHING";
    let statement = tx.store.sorted("prepare noting mails", tx.tx.prepare_cached(sql).await)?;
    let done = tx
        .tx
        .execute(
            &statement,
            &[
                &column!(mails, |m| m.id.as_str()),
                &column!(mails, |m| m.rule.as_str()),
                &column!(mails, |m| m.kind.as_str()),
                &column!(mails, |m| m.at),
                &column!(mails, |m| jsonb(&m.notifications)),
                &column!(mails, |m| jsonb(&m.replies_to)),
                &column!(mails, |m| m.part),
                &column!(mails, |m| m.parts),
                &column!(mails, |m| m.maintenance.as_deref()),
                &column!(mails, |m| jsonb(&m.recipients)),
            ],
        )
        .await;
    tx.store.sorted("note mails", done)?;
    let each: Vec<(&NewMail, &MailAddress)> =
        mails.iter().flat_map(|m| m.recipients.iter().map(move |to| (m, to))).collect();
    let sql = "INSERT INTO deliveries (mail, recipient, at) SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[]) ON CONFLICT DO NOTHING";
    let done = tx
        .tx
        .execute(
            sql,
            &[
                &column!(each, |(m, _)| m.id.as_str()),
                &column!(each, |(_, to)| to.as_str()),
                &column!(each, |(m, _)| m.at),
            ],
        )
        .await;
    tx.store.sorted("note recipients", done)?;
    let effects: Vec<Effect> = each
        .iter()
        .map(|(m, to)| {
            let body = MailEffect { mail: m.id.clone(), recipient: (*to).clone() };
            Effect::new(format!("mail/{}/{to}", m.id), MAIL, &body)
        })
        .collect();
    tx.enqueue(&effects).await?;
    Ok(())
}

/// A mail as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailRow {
    pub id: String,
    pub rule: String,
    /// `alert`, `repeats`, `digest`, `recovery`, `recoveries` or `maintenance`.
    pub kind: String,
    pub at: DateTime<Utc>,
    pub notifications: Vec<String>,
    /// The first mail of its thread and the one before it.
    pub replies_to: Vec<String>,
    pub part: usize,
    pub parts: usize,
    pub maintenance: Option<String>,
    pub recipients: Vec<String>,
    /// The message, where it was written already.
    pub content: Option<Vec<u8>>,
}

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryEnd {
    /// `waiting`, `accepted` or `refused`.
    pub state: &'static str,
    pub server: String,
    pub said: String,
}

impl Store {
    /// # Errors
    /// Of the database.
    pub async fn monitor_mail(&self, id: &str) -> Result<Option<MailRow>, StoreError> {
        let client = self.writer().await?;
        let sql = "SELECT id, rule, kind, at, notifications, replies_to, part, parts, maintenance, recipients, content FROM mails WHERE id = $1";
        let statement = self.sorted("prepare reading a mail", client.prepare_cached(sql).await)?;
        let row = self.sorted("read a mail", client.query_opt(&statement, &[&id]).await)?;
        let count = |n: i32| usize::try_from(n).unwrap_or(1);
        Ok(row.map(|row| MailRow {
            id: row.get(0),
            rule: row.get(1),
            kind: row.get(2),
            at: row.get(3),
            notifications: row.get(4),
            replies_to: row.get(5),
            part: count(row.get(6)),
            parts: count(row.get(7)),
            maintenance: row.get(8),
            recipients: row.get(9),
            content: row.get(10),
        }))
    }

    /// What notifications say, in this order; those that are gone are left out.
    ///
    /// # Errors
    /// Of the database.
    pub async fn monitor_incidents(&self, ids: &[String]) -> Result<Vec<Incident>, StoreError> {
        let client = self.writer().await?;
        let sql = "SELECT id, facts::text, recovered_at FROM notifications WHERE id = ANY($1)";
        let rows = self.sorted("read notifications", client.query(sql, &[&ids]).await)?;
        let mut found: BTreeMap<String, Incident> = BTreeMap::new();
        for row in rows {
            if let Ok(mut incident) = serde_json::from_str::<Incident>(row.get(1)) {
                incident.recovered_at = row.get(2);
                found.insert(row.get(0), incident);
            }
        }
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// Keeps the message that is sent from now on; who came first decides what it is.
    ///
    /// # Errors
    /// Of the database.
    pub async fn monitor_mail_written(&self, id: &str, content: &[u8]) -> Result<Vec<u8>, StoreError> {
        let client = self.writer().await?;
        let sql = "UPDATE mails SET content = coalesce(content, $2) WHERE id = $1 RETURNING content";
        let row = self.sorted("keep a message", client.query_opt(sql, &[&id, &content]).await)?;
        Ok(row.map_or_else(|| content.to_owned(), |row| row.get(0)))
    }

    /// # Errors
    /// Of the database.
    pub async fn monitor_delivered(&self, mail: &str, to: &MailAddress, end: &DeliveryEnd) -> Result<(), StoreError> {
        let client = self.writer().await?;
        let sql = "UPDATE deliveries SET state = $3, server = $4, said = $5, at = now(), \
            tries = tries + CASE WHEN $3 = 'accepted' THEN 0 ELSE 1 END WHERE mail = $1 AND recipient = $2";
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&mail, &to.as_str(), &end.state, &clean(&end.server), &clean(&end.said)];
        self.sorted("note a delivery", client.execute(sql, &values).await).map(|_| ())
    }

    /// A maintenance, as long as it is deployed.
    ///
    /// # Errors
    /// Of the database.
    pub async fn monitor_maintenance(&self, name: &str) -> Result<Option<Maintenance>, StoreError> {
        let client = self.writer().await?;
        let sql = "SELECT body::text FROM monitor_definitions WHERE kind = 'maintenance' AND name = $1";
        let row = self.sorted("read a maintenance", client.query_opt(sql, &[&name]).await)?;
        Ok(row.and_then(|row| serde_json::from_str(row.get(0)).ok()))
    }

    /// Everybody whom a rule names.
    ///
    /// # Errors
    /// Of the database.
    pub async fn monitor_recipients(&self) -> Result<Vec<MailAddress>, StoreError> {
        let client = self.reader().await?;
        let sql = "SELECT DISTINCT json_array_elements_text(body -> 'notify') AS a FROM monitor_definitions \
            WHERE kind = 'rule' AND body -> 'notify' IS NOT NULL ORDER BY a";
        let rows = self.sorted("read recipients", client.query(sql, &[]).await)?;
        Ok(rows.iter().filter_map(|row| row.get::<_, &str>(0).parse().ok()).collect())
    }
}
