//! The stream LOGS into notices: in order, each line once, the position in the transaction of what follows from it.

use crate::fold::{Changes, Fold, Folds, Source};
use crate::rules::Rules;
use chrono::{DateTime, TimeDelta, Utc};
use ordo_contract::log::LogRecord;
use ordo_contract::name::{SiteNames, StreamKind};
use ordo_contract::notice::{LogNotice, Notice};
use ordo_domain::Instant;
use ordo_domain::log_rule::Line;
use ordo_journal::{Ack, Durable, Follow, FollowError, FollowFrom, Headers, Message, Outgoing};
use ordo_service::{Active, Failed, Stop};
use ordo_store::{Effect, LogFold, LogFoldChanges, Position, Waiting};
use std::time::Duration;
use tokio::sync::watch;

/// The durable on LOGS: shows how far behind we are. The position in the database decides.
pub(crate) const DURABLE: &str = "log-notification-logs";
/// What an effect in the outbox is called.
pub(crate) const NOTICE: &str = "notice";
/// Lines in one transaction, at most.
const BATCH: usize = 500;
/// Who begins for the first time tells nothing older than this.
const FRESH: TimeDelta = TimeDelta::minutes(10);
/// Longest wait without looking at what is over.
const LOOK: Duration = Duration::from_secs(60);
const PUBLISH: Duration = Duration::from_secs(5);

/// Reads for good.
///
/// # Errors
/// Told to stop, fenced by another instance, or what no waiting heals.
pub(crate) async fn collect(active: &Active, rules: &Rules, read: &watch::Sender<u64>) -> Result<(), Stop> {
    loop {
        let mut reader = Reader::open(active, rules, read).await?;
        match reader.read().await {
            Err(Ended::Stream(error)) => {
                // The stream keeps its lines in memory for a moment: a server that was killed may have lost the last.
                tracing::warn!(%error, "the stream of logs is not what it was, beginning where it is now");
            }
            Err(Ended::Stop(stop)) => return Err(stop),
            Ok(()) => return Ok(()),
        }
    }
}

enum Ended {
    Stop(Stop),
    Stream(FollowError),
}

impl From<Stop> for Ended {
    fn from(stop: Stop) -> Self {
        Ended::Stop(stop)
    }
}

impl From<FollowError> for Ended {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Bus(error) => Ended::Stop(error.into()),
            other => Ended::Stream(other),
        }
    }
}

struct Reader<'a> {
    active: &'a Active,
    rules: &'a Rules,
    read: &'a watch::Sender<u64>,
    position: Position,
    folds: Folds,
    /// Older lines are passed over.
    since: Instant,
    follow: Follow,
}

impl<'a> Reader<'a> {
    async fn open(active: &'a Active, rules: &'a Rules, read: &'a watch::Sender<u64>) -> Result<Self, Stop> {
        let stream = active.bus.names().stream(StreamKind::Logs);
        let store = active.store();
        let incarnation = active.retry(|| active.bus.incarnation(StreamKind::Logs)).await?;
        let role = active.role;
        let mut position = active.retry(|| store.open_loose_position(role, &stream, &incarnation)).await?;
        let last = active.retry(|| active.bus.last_sequence(StreamKind::Logs)).await?;
        let is_first = position.sequence == 0;
        if position.sequence > last {
            let nothing = LogFoldChanges::default();
            let left = active.retry(|| store.store_log_folds(&position, last, &nothing)).await?;
            active.wakes.left(left);
            position.sequence = last;
        }
        let folds = active.retry(|| store.log_folds()).await?;
        let folds = Folds::restored(
            folds.into_iter().map(|LogFold { key, notice, told, until }| (key, Fold { notice, told, until })),
        );
        let filter = active.bus.names().logs();
        let mut pause = ordo_service::Pause::new(ordo_service::BackOff::NEAR);
        let follow = loop {
            let from = FollowFrom::filtered(stream.clone(), filter.clone(), position.sequence + 1);
            match active.bus.follow(from).await {
                Ok(follow) => break follow,
                Err(error) => tracing::debug!(%error, "cannot follow the logs, trying on"),
            }
            pause.wait(&active.stop).await?;
        };
        read.send_replace(position.sequence);
        let since = if is_first { Utc::now() - FRESH } else { DateTime::UNIX_EPOCH };
        Ok(Self { active, rules, read, position, folds, since, follow })
    }

    async fn read(&mut self) -> Result<(), Ended> {
        loop {
            let now = Utc::now();
            // What waits in the stream comes first: it may still belong to a fold whose time is over by the clock.
            let wait = self.folds.next_end(now).and_then(|wait| wait.to_std().ok()).unwrap_or(LOOK).min(LOOK);
            let batch = tokio::select! {
                () = self.active.stop.cancelled() => return Err(Stop::Told.into()),
                batch = self.follow.batch(BATCH) => batch?,
                () = tokio::time::sleep(wait.max(Duration::from_millis(5))) => Vec::new(),
            };
            self.take(&batch).await?;
        }
    }

    async fn take(&mut self, batch: &[Message]) -> Result<(), Stop> {
        let rules = self.rules.now();
        let mut told = Vec::new();
        let mut last_at = None;
        for message in batch {
            let Some((role, instance, record)) = line(self.active.bus.names(), message) else { continue };
            last_at = Some(record.at);
            if record.at < self.since {
                continue;
            }
            let source = Source {
                record: &record,
                role: &role,
                instance: &instance,
                incarnation: &self.position.incarnation,
                sequence: message.sequence,
            };
            let (host, application, text) = (source.host(), source.application(), source.text());
            let line = Line { severity: record.level, application: &application, host: &host, text: &text };
            for rule in rules.of(line) {
                self.folds.take(rule, source, &mut told);
            }
        }
        let horizon = match last_at {
            Some(last_at) if self.follow.pending() > 0 => last_at,
            _ => Utc::now(),
        };
        self.folds.end(horizon, &mut told);
        let sequence = batch.last().map_or(self.position.sequence, |message| message.sequence);
        let changes = self.folds.changes();
        self.write(sequence, changes, told).await
    }

    async fn write(&mut self, sequence: u64, changes: Changes, told: Vec<LogNotice>) -> Result<(), Stop> {
        if sequence == self.position.sequence && changes == Changes::default() && told.is_empty() {
            return Ok(());
        }
        let fold = |(key, Fold { notice, told, until })| LogFold { key, notice, told, until };
        let effect = |notice: LogNotice| {
            let key = format!("{}:{}", notice.id, notice.count);
            Effect::new(key, NOTICE, &Notice::Log(notice))
        };
        let changes = LogFoldChanges {
            open: changes.open.into_iter().map(fold).collect(),
            over: changes.over,
            effects: told.into_iter().map(effect).collect(),
        };
        let (store, position) = (self.active.store(), &self.position);
        // A transaction whose end is not known shows as another's when it is tried again: then we begin anew with its rows.
        let left = self.active.retry(|| store.store_log_folds(position, sequence, &changes)).await?;
        self.active.wakes.left(left);
        self.position.sequence = sequence;
        self.read.send_replace(sequence);
        Ok(())
    }
}

/// A line with the role and the instance of its subject. What cannot be read is no line.
pub(crate) fn line(names: &SiteNames, message: &Message) -> Option<(String, String, LogRecord)> {
    let (role, instance) = names.parse_log(message.subject())?;
    let mut record: LogRecord = serde_json::from_slice(message.payload()).ok()?;
    if role != ordo_contract::log::SYSLOG {
        // Only the listener may bring what is not of an instance.
        record.syslog = None;
    }
    Some((role.to_owned(), instance.to_owned(), record))
}

/// Acknowledges what was read, so that the durable shows how far we are.
pub(crate) async fn acknowledge(active: &Active, mut read: watch::Receiver<u64>) -> Result<(), Stop> {
    let stream = active.bus.names().stream(StreamKind::Logs);
    let mut durable = Durable::open(&active.bus, &stream, DURABLE);
    loop {
        let batch = tokio::select! {
            () = active.stop.cancelled() => return Err(Stop::Told),
            batch = durable.batch(BATCH, LOOK) => batch?,
        };
        for message in batch {
            tokio::select! {
                () = active.stop.cancelled() => return Err(Stop::Told),
                known = read.wait_for(|read| *read >= message.sequence) => if known.is_err() { return Ok(()) },
            }
            if let Err(error) = active.bus.ack(&message, Ack::Done).await {
                tracing::debug!(%error, "ack not sent");
            }
        }
    }
}

/// Publishes a notice. It may come twice; its key is the same then.
pub(crate) async fn tell(active: &Active, effect: Waiting) -> Result<(), Failed> {
    let notice: Notice = effect.body().map_err(|e| Failed::Never(format!("not readable: {e}")))?;
    let Notice::Log(log) = &notice;
    let subject = active.bus.names().notice("log", log.rule.as_str());
    let body = serde_json::to_vec(&notice).map_err(|e| Failed::Never(e.to_string()))?;
    let message = Outgoing::new(subject, Headers::new().message_id(&effect.key), body);
    let published = active.bus.try_publish(&message, PUBLISH).await;
    published.map(|_| ()).map_err(|e| Failed::Again(ordo_service::chain(&e)))
}
