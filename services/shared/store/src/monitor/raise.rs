//! Notifications, and how they are told: at once, folded with what repeats them, in a digest, or silenced and said later.

use super::definition::Definitions;
use super::mail::NewMail;
use super::thread::{Bucket, Desk, Gathered, ThreadKey};
use super::{MONITOR, OLDEST};
use crate::error::StoreError;
use crate::history::order::column;
use crate::transaction::{Left, Tx};
use crate::value::{JsonText, jsonb};
use crate::{Store, Timer};
use chrono::{DateTime, NaiveDate, Utc};
use ordo_contract::request::monitor::{Incident, Object};
use ordo_domain::Instant;
use ordo_domain::alert::fold::{Route, route};
use ordo_domain::alert::{Kind, Rule, Subject};
use std::collections::{BTreeMap, BTreeSet};

/// Something happened that rules want told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    pub incident: Incident,
    /// To what: an order, agent/instance, a role.
    pub object: String,
    /// What repeats have in common: the workflow, the agent, the role.
    pub thing: String,
    pub business_day: Option<NaiveDate>,
    /// Orders that do the same work: one of them that goes well later makes this good.
    pub series: Option<String>,
    /// Names of the rules that match.
    pub rules: Vec<String>,
}

/// What is to be noted and told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Telling {
    Raise(Box<Raised>),
    /// What was told of these kinds about the object is over.
    Recover {
        object: String,
        kinds: Vec<Kind>,
        at: Instant,
    },
    /// An order that began at `since` went well: those of its series that had failed before need no repair any more.
    Rerun {
        series: String,
        since: Instant,
        at: Instant,
    },
}

impl Raised {
    fn subject(&self) -> Subject<'_> {
        match &self.incident.object {
            Object::Order(facts) => {
                let mut subject = Subject::order(&facts.workflow, facts.folder.as_deref(), &facts.tags);
                subject.agent = facts.agent.as_deref();
                subject
            }
            Object::Agent(facts) => Subject::agent(&facts.agent),
            Object::Role(_) | Object::Controller(_) | Object::Log(_) => Subject::default(),
        }
    }

    fn order(&self) -> Option<&str> {
        match &self.incident.object {
            Object::Order(facts) => facts.order.as_deref(),
            _ => None,
        }
    }

    fn workflow(&self) -> Option<&str> {
        match &self.incident.object {
            Object::Order(facts) => Some(&facts.workflow),
            _ => None,
        }
    }
}

impl Store {
    /// Notes and tells what happened outside of the journal. `known` gets the rules and says what there is to tell; of
    /// what is told already (an open notification of that kind about that object) nothing new is made.
    ///
    /// # Errors
    /// Of the database.
    pub async fn monitor_tell(
        &self,
        zone: chrono_tz::Tz,
        known: impl FnOnce(&[Rule]) -> Vec<Telling> + Send,
    ) -> Result<Left, StoreError> {
        let mut client = self.writer().await?;
        let mut tx = self.begin(&mut client, MONITOR).await?;
        tx.alone().await?;
        let definitions = Definitions::load(&tx, zone).await?;
        let mut telling = known(&definitions.rules);
        if telling.is_empty() {
            return Ok(Left::default());
        }
        let open = open_already(&tx, &telling).await?;
        telling.retain(|t| match t {
            Telling::Raise(r) => !open.contains(&(r.object.clone(), r.incident.kind.word().to_owned())),
            Telling::Recover { .. } | Telling::Rerun { .. } => true,
        });
        tell(&mut tx, &definitions, telling, Utc::now()).await?;
        tx.commit().await
    }
}

/// Kinds that are one lasting state of their object.
fn is_state(kind: Kind) -> bool {
    matches!(kind, Kind::AgentAway | Kind::RoleWithoutActive)
}

async fn open_already(tx: &Tx<'_>, telling: &[Telling]) -> Result<BTreeSet<(String, String)>, StoreError> {
    let objects: Vec<&str> = telling
        .iter()
        .filter_map(|t| match t {
            Telling::Raise(r) if is_state(r.incident.kind) => Some(r.object.as_str()),
            _ => None,
        })
        .collect();
    if objects.is_empty() {
        return Ok(BTreeSet::new());
    }
    let sql = "SELECT object, kind FROM notifications WHERE object = ANY($1) AND recovered_at IS NULL \
               AND kind IN ('agent_away', 'role_without_active')";
    let rows = tx.store.sorted("look for open notifications", tx.tx.query(sql, &[&objects]).await)?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Notes what is new and tells it by the rules.
pub(crate) async fn tell(
    tx: &mut Tx<'_>,
    definitions: &Definitions,
    telling: Vec<Telling>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let (mut raised, mut over, mut reruns) = (Vec::new(), Vec::new(), Vec::new());
    for one in telling {
        match one {
            Telling::Raise(one) => raised.push(*one),
            Telling::Recover { object, kinds, at } => over.push((Which::Object { object, kinds, before: at }, at)),
            Telling::Rerun { series, since, at } => reruns.push((series, since, at)),
        }
    }
    if !raised.is_empty() {
        raise(tx, definitions, &raised, now).await?;
    }
    let open = open_series(tx, &reruns).await?;
    for (series, before, at) in reruns.into_iter().filter(|(series, ..)| open.contains(series)) {
        over.push((Which::Series { series, before }, at));
    }
    for (which, at) in over {
        recover(tx, definitions, &which, at, now).await?;
    }
    Ok(())
}

/// Of these series those of which some order stands as failed: nearly always none.
async fn open_series(tx: &Tx<'_>, reruns: &[(String, Instant, Instant)]) -> Result<BTreeSet<String>, StoreError> {
    if reruns.is_empty() {
        return Ok(BTreeSet::new());
    }
    let sql =
        "SELECT DISTINCT series FROM notifications WHERE series = ANY($1) AND kind = 'failed' AND recovered_at IS NULL";
    let statement = tx.store.sorted("prepare looking for reruns", tx.tx.prepare_cached(sql).await)?;
    let rows = tx.tx.query(&statement, &[&column!(reruns, |(series, ..)| series.as_str())]).await;
    Ok(tx.store.sorted("look for reruns", rows)?.iter().map(|row| row.get(0)).collect())
}

async fn raise(
    tx: &mut Tx<'_>,
    definitions: &Definitions,
    raised: &[Raised],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let silenced: Vec<Option<(String, Instant)>> =
        raised.iter().map(|r| definitions.silenced(&r.subject(), r.incident.at)).collect();
    let new = insert(tx, raised, &silenced).await?;
    // What is older is noted, and wakes nobody.
    let is_told = |r: &Raised| new.contains(&r.incident.id) && now - r.incident.at <= OLDEST;
    let fresh: Vec<(&Raised, &Option<(String, Instant)>)> =
        raised.iter().zip(&silenced).filter(|(r, _)| is_told(r)).collect();
    let mut desk = Desk::default();
    let key = |r: &Raised, rule: &str| ThreadKey {
        rule: rule.to_owned(),
        kind: r.incident.kind.word().to_owned(),
        thing: r.thing.clone(),
        day: definitions.day(r.business_day, r.incident.at),
    };
    let keys = fresh.iter().flat_map(|(r, _)| r.rules.iter().map(move |rule| key(r, rule))).collect();
    desk.open(tx, keys).await?;
    for (r, silenced) in fresh {
        for name in &r.rules {
            let Some(rule) = definitions.rule(name).filter(|rule| !rule.notify.is_empty()) else { continue };
            let gathered = |bucket: &Bucket| Gathered {
                rule: name.clone(),
                notification: r.incident.id.clone(),
                good: false,
                bucket: bucket.key(),
            };
            if let Some((maintenance, until)) = silenced {
                let bucket = Bucket::Silence { maintenance: maintenance.clone() };
                desk.gather(gathered(&bucket), &bucket, *until);
                continue;
            }
            let key = key(r, name);
            let (thread, flood) = desk.states(&key);
            match route(rule.fold, &mut thread.thing, flood, now) {
                Route::Now => {
                    let mail = NewMail::new("alert", rule, vec![r.incident.id.clone()], now).reply_to(thread);
                    desk.mail(&key, mail);
                }
                Route::Fold { until } => {
                    let bucket = Bucket::Fold { key: key.clone() };
                    desk.gather(gathered(&bucket), &bucket, until);
                }
                Route::Digest { until } => {
                    let bucket = Bucket::Digest { rule: name.clone() };
                    desk.gather(gathered(&bucket), &bucket, until);
                }
            }
        }
    }
    desk.close(tx, now).await
}

/// Inserts what is not there yet, and tells which that are.
async fn insert(
    tx: &mut Tx<'_>,
    raised: &[Raised],
    silenced: &[Option<(String, Instant)>],
) -> Result<BTreeSet<String>, StoreError> {
    let sql = "INSERT INTO notifications (id, at, kind, rules, object, thing, business_day, workflow, order_id, facts, silenced_by, series) \
        SELECT id, at, kind, ARRAY(SELECT json_array_elements_text(rules)), object, thing, business_day, workflow, order_id, facts, silenced_by, series \
        FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::json[], $5::text[], $6::text[], $7::date[], $8::text[], $9::text[], \
        $10::json[], $11::text[], $12::text[]) AS n (id, at, kind, rules, object, thing, business_day, workflow, order_id, facts, silenced_by, series) \
        ON CONFLICT (id) DO NOTHING RETURNING id";
    let statement = tx.store.sorted("prepare noting notifications", tx.tx.prepare_cached(sql).await)?;
    let rows = tx
        .tx
        .query(
            &statement,
            &[
                &column!(raised, |r| r.incident.id.as_str()),
                &column!(raised, |r| r.incident.at),
                &column!(raised, |r| r.incident.kind.word()),
                &column!(raised, |r| jsonb(&r.rules)),
                &column!(raised, |r| r.object.as_str()),
                &column!(raised, |r| r.thing.as_str()),
                &column!(raised, |r| r.business_day),
                &column!(raised, |r| r.workflow()),
                &column!(raised, |r| r.order()),
                &column!(raised, |r| jsonb(&r.incident)),
                &column!(silenced, |s| s.as_ref().map(|(name, _)| name.as_str())),
                &column!(raised, |r| r.series.as_deref()),
            ],
        )
        .await;
    let rows = tx.store.sorted("note notifications", rows)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The good kind that follows a bad one; `None`: nobody is told.
fn good_kind(bad: Kind) -> Option<Kind> {
    match bad {
        Kind::Failed | Kind::RoleWithoutActive => Some(Kind::Recovered),
        Kind::AgentAway => Some(Kind::AgentBack),
        _ => None,
    }
}

/// What is over.
enum Which {
    Object { object: String, kinds: Vec<Kind>, before: Instant },
    Series { series: String, before: Instant },
}

struct Over {
    id: String,
    kind: Kind,
    thing: String,
    day: NaiveDate,
    rules: Vec<String>,
}

async fn recover(
    tx: &mut Tx<'_>,
    definitions: &Definitions,
    which: &Which,
    at: Instant,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    const SET: &str =
        "UPDATE notifications SET state = 'recovered', recovered_at = $1 WHERE recovered_at IS NULL AND at < $2";
    const GET: &str = "RETURNING id, kind, thing, business_day, at, rules";
    let rows = match which {
        Which::Object { object, kinds, before } => {
            let words: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
            let sql = format!("{SET} AND object = $3 AND kind = ANY($4) {GET}");
            tx.tx.query(&sql, &[&at, before, object, &words]).await
        }
        Which::Series { series, before } => {
            let sql = format!("{SET} AND series = $3 AND kind = 'failed' {GET}");
            tx.tx.query(&sql, &[&at, before, series]).await
        }
    };
    let rows = tx.store.sorted("note a recovery", rows)?;
    let over: Vec<Over> = rows
        .iter()
        .filter_map(|row| {
            Some(Over {
                id: row.get(0),
                kind: Kind::of_word(row.get(1))?,
                thing: row.get(2),
                day: definitions.day(row.get(3), row.get(4)),
                rules: row.get(5),
            })
        })
        .collect();
    if now - at > OLDEST {
        return Ok(());
    }
    let told = told(tx, &over).await?;
    let mut desk = Desk::default();
    let mut wanted = Vec::new();
    for one in &over {
        let Some(good) = good_kind(one.kind) else { continue };
        for name in &one.rules {
            let Some(rule) = definitions.rule(name).filter(|rule| rule.trigger(good).is_some()) else { continue };
            // Who was not told that it failed yet is told both together, later.
            let Some(mail) = told.get(&(one.id.clone(), name.clone())) else { continue };
            let (thing, kind) = (one.thing.clone(), good.word().to_owned());
            wanted.push((ThreadKey { rule: name.clone(), kind, thing, day: one.day }, rule, one, mail.clone()));
        }
    }
    desk.open(tx, wanted.iter().map(|(key, ..)| key.clone()).collect()).await?;
    for (key, rule, one, mail) in wanted {
        let gathered = |bucket: &Bucket| Gathered {
            rule: key.rule.clone(),
            notification: one.id.clone(),
            good: true,
            bucket: bucket.key(),
        };
        let (thread, flood) = desk.states(&key);
        match route(rule.fold, &mut thread.thing, flood, now) {
            Route::Now => {
                let mut new = NewMail::new("recovery", rule, vec![one.id.clone()], now);
                new.replies_to = vec![mail];
                desk.mail(&key, new);
            }
            Route::Fold { until } => {
                let bucket = Bucket::Fold { key: key.clone() };
                desk.gather(gathered(&bucket), &bucket, until);
            }
            Route::Digest { until } => {
                let bucket = Bucket::Digest { rule: key.rule.clone() };
                desk.gather(gathered(&bucket), &bucket, until);
            }
        }
    }
    desk.close(tx, now).await
}

/// The first mail that told of each, by notification and rule; nothing where it still waits to be told.
async fn told(tx: &Tx<'_>, over: &[Over]) -> Result<BTreeMap<(String, String), String>, StoreError> {
    let mut told = BTreeMap::new();
    let ids: Vec<&str> = over.iter().map(|one| one.id.as_str()).collect();
    if ids.is_empty() {
        return Ok(told);
    }
    let sql = "SELECT id, rule, notifications FROM mails WHERE notifications && $1 ORDER BY at DESC, id DESC";
    for row in tx.store.sorted("look for mails", tx.tx.query(sql, &[&ids]).await)? {
        let (mail, rule): (String, String) = (row.get(0), row.get(1));
        for notification in row.get::<_, Vec<String>>(2) {
            told.insert((notification, rule.clone()), mail.clone());
        }
    }
    Ok(told)
}

/// A timer that gathers until then.
pub(crate) fn flush_timer(bucket: &Bucket, until: Instant) -> Timer {
    Timer::new(bucket.key(), until, bucket)
}

/// Text for a `json` column.
pub(crate) fn json(value: &impl serde::Serialize) -> JsonText<'static> {
    jsonb(value)
}
