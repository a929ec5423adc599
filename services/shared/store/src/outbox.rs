//! The outbox: effects that follow from rows, written in the transaction of those rows and carried out afterwards by
//! the service, until each worked or was given up. The row's key is stable: an effect that is derived again (a position
//! that was set back) is wanted once, and whoever receives it twice can tell by the key.

use crate::connect::Store;
use crate::error::StoreError;
use crate::history::order::column;
use crate::transaction::Tx;
use crate::value::{JsonText, clean};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use tokio_postgres::Row;

/// An effect that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// What it is known by, for good: `mail:<notification>:<recipient>`, say.
    pub key: String,
    /// What is to be done, for who carries it out and for people: `mail`, `command`.
    pub kind: String,
    /// JSON.
    pub body: String,
    /// Not to be tried before.
    pub due_at: DateTime<Utc>,
}

impl Effect {
    /// Due at once.
    pub fn new(key: impl Into<String>, kind: impl Into<String>, body: &impl Serialize) -> Self {
        let body = serde_json::to_string(body).unwrap_or_else(|_| "null".to_owned());
        Self { key: key.into(), kind: kind.into(), body, due_at: Utc::now() }
    }
}

/// An effect that waits to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub key: String,
    pub kind: String,
    pub body: String,
    /// That failed so far.
    pub tries: u32,
    /// When it was wanted first.
    pub since: DateTime<Utc>,
    pub due_at: DateTime<Utc>,
}

impl Waiting {
    /// Its body.
    ///
    /// # Errors
    /// When another build wrote something else.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.body)
    }
}

/// How an outbox is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutboxFigures {
    pub waiting: u64,
    /// Waiting, tried at least once.
    pub failing: u64,
    pub given_up: u64,
    /// The oldest that waits.
    pub oldest: Option<DateTime<Utc>>,
}

impl Tx<'_> {
    /// Wants effects. Those whose key is known already are left as they are; returns how many were new.
    pub async fn enqueue(&mut self, effects: &[Effect]) -> Result<usize, StoreError> {
        if effects.is_empty() {
            return Ok(0);
        }
        let sql = "INSERT INTO outbox (service, key, kind, body, since, due_at) \
            SELECT $1, key, kind, body, $6, due_at \
            FROM unnest($2::text[], $3::text[], $4::json[], $5::timestamptz[]) AS e (key, kind, body, due_at) \
            ON CONFLICT (service, key) DO NOTHING";
        let statement = self.store.sorted("prepare the outbox", self.tx.prepare_cached(sql).await)?;
        let now = Utc::now();
        let done = self
            .tx
            .execute(
                &statement,
                &[
                    &self.service,
                    &column!(effects, |e| e.key.as_str()),
                    &column!(effects, |e| e.kind.as_str()),
                    &column!(effects, |e| JsonText(Cow::Borrowed(e.body.as_str()))),
                    &column!(effects, |e| e.due_at),
                    &now,
                ],
            )
            .await;
        let new = usize::try_from(self.store.sorted("write the outbox", done)?).unwrap_or_default();
        self.left.effects += new;
        Ok(new)
    }

    /// Takes back effects that nobody carried out yet; returns how many. One that is under way may still happen.
    pub async fn withdraw(&mut self, keys: &[String]) -> Result<usize, StoreError> {
        let sql = "DELETE FROM outbox WHERE service = $1 AND key = ANY($2) AND state = 'waiting'";
        let done = self.tx.execute(sql, &[&self.service, &keys]).await;
        Ok(usize::try_from(self.store.sorted("take back effects", done)?).unwrap_or_default())
    }
}

impl Store {
    /// The next effects of a service but those in `except`, whether they are due yet or not: the earliest first.
    pub async fn waiting_effects(
        &self,
        service: &str,
        except: &[String],
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError> {
        let client = self.writer().await?;
        let sql = "SELECT key, kind, body::text, tries, since, due_at FROM outbox \
            WHERE service = $1 AND state = 'waiting' AND key <> ALL($2) ORDER BY due_at, number LIMIT $3";
        let statement = self.sorted("prepare the outbox", client.prepare_cached(sql).await)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.sorted("read the outbox", client.query(&statement, &[&service, &except, &limit]).await)?;
        let waiting = |row: &Row| Waiting {
            key: row.get(0),
            kind: row.get(1),
            body: row.get(2),
            tries: u32::try_from(row.get::<_, i32>(3)).unwrap_or_default(),
            since: row.get(4),
            due_at: row.get(5),
        };
        Ok(rows.iter().map(waiting).collect())
    }

    /// These were carried out.
    pub async fn effects_done(&self, service: &str, keys: &[String]) -> Result<(), StoreError> {
        let client = self.writer().await?;
        let sql = "UPDATE outbox SET state = 'done', settled_at = now(), error = NULL \
            WHERE service = $1 AND key = ANY($2) AND state <> 'done'";
        let statement = self.sorted("prepare the outbox", client.prepare_cached(sql).await)?;
        let done = client.execute(&statement, &[&service, &keys]).await;
        self.sorted("note that effects are done", done).map(|_| ())
    }

    /// This one failed: at `again` it is tried again, or with `None` it is given up. False: it is not ours to say any
    /// more, because somebody else tried it meanwhile.
    pub async fn effect_failed(
        &self,
        service: &str,
        effect: &Waiting,
        again: Option<DateTime<Utc>>,
        error: &str,
    ) -> Result<bool, StoreError> {
        let client = self.writer().await?;
        let sql = "UPDATE outbox SET tries = tries + 1, error = $4, due_at = coalesce($5, due_at), \
            state = CASE WHEN $5::timestamptz IS NULL THEN 'given_up' ELSE 'waiting' END, \
            settled_at = CASE WHEN $5::timestamptz IS NULL THEN now() END \
            WHERE service = $1 AND key = $2 AND tries = $3 AND state = 'waiting'";
        let tries = i32::try_from(effect.tries).unwrap_or(i32::MAX);
        let done = client.execute(sql, &[&service, &effect.key, &tries, &clean(error), &again]).await;
        Ok(self.sorted("note that an effect failed", done)? == 1)
    }

    /// Tries those again that were given up, all or these; returns how many.
    pub async fn effects_again(&self, service: &str, keys: Option<&[String]>) -> Result<u64, StoreError> {
        let client = self.writer().await?;
        let sql = "UPDATE outbox SET state = 'waiting', tries = 0, since = now(), due_at = now(), settled_at = NULL \
            WHERE service = $1 AND state = 'given_up' AND ($2::text[] IS NULL OR key = ANY($2))";
        self.sorted("try effects again", client.execute(sql, &[&service, &keys]).await)
    }

    pub async fn outbox_figures(&self, service: &str) -> Result<OutboxFigures, StoreError> {
        let client = self.reader().await?;
        let sql = "SELECT count(*) FILTER (WHERE state = 'waiting'), count(*) FILTER (WHERE state = 'waiting' AND tries > 0), \
            count(*) FILTER (WHERE state = 'given_up'), min(since) FILTER (WHERE state = 'waiting') \
            FROM outbox WHERE service = $1 AND state <> 'done'";
        let row = self.sorted("look into the outbox", client.query_one(sql, &[&service]).await)?;
        let count = |column| u64::try_from(row.get::<_, i64>(column)).unwrap_or_default();
        Ok(OutboxFigures { waiting: count(0), failing: count(1), given_up: count(2), oldest: row.get(3) })
    }

    /// Removes what was done, or given up, before `until`: it must not be derivable any more, else it would be wanted again.
    pub async fn forget_effects(&self, service: &str, until: DateTime<Utc>) -> Result<u64, StoreError> {
        let client = self.writer().await?;
        let sql = "DELETE FROM outbox WHERE service = $1 AND state IN ('done', 'given_up') AND settled_at < $2";
        self.sorted("forget old effects", client.execute(sql, &[&service, &until]).await)
    }
}
