//! The journal into the rows of a service: read in order, write a batch and its position in one transaction, acknowledge.
//!
//! The position in the database decides where reading goes on; acknowledgements only tell the bus what it may forget,
//! and what an operator sees as lag.

use crate::active::Active;
use crate::retry::{BackOff, Pause};
use crate::stop::{Stop, chain};
use ordo_contract::name::StreamKind;
use ordo_contract::request::catalog::DeployedReply;
use ordo_contract::request::proxy;
use ordo_journal::{FollowFrom, Message, OrderedDurable};
use ordo_store::{Projector, Rows, StoreError};
use std::time::Duration;

/// Waiting for the next commit; also how soon a new connection is looked at.
const WAIT: Duration = Duration::from_secs(1);
/// For an answer of the proxy.
const ASK: Duration = Duration::from_secs(10);
/// Bytes of commits in one transaction, at most (one commit always fits).
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Reads the durable [`Rows::READER`] for good, `batch` commits in one transaction at most. Where commits are gone before they
/// were read, rows that can begin anew do so, from what the proxy says is deployed.
///
/// # Errors
/// Told to stop, fenced by another instance, or what no waiting heals.
pub async fn run<R: Rows>(active: &Active, rows: R, batch: usize) -> Result<(), Stop> {
    let stream = active.bus.names().stream(StreamKind::Journal);
    let incarnation = active.retry(|| active.bus.incarnation(StreamKind::Journal)).await?;
    let opened = active.retry(|| active.store().open_position(R::READER, &stream, &incarnation)).await;
    let (position, mut broken) = match opened {
        Ok(position) => (position, None),
        Err(Stop::Broken(why)) if R::CAN_BEGIN => {
            (active.retry(|| active.store().any_position(R::READER, &stream, &incarnation)).await?, Some(why))
        }
        Err(other) => return Err(other),
    };
    let projector = Projector::at(active.store(), position, rows);
    let mut projection = Projection { active, stream, batch: batch.max(1), projector };
    let mut pause = Pause::new(BackOff::NEAR);
    loop {
        let ended = match broken.take() {
            Some(why) => Err(Stop::Broken(why)),
            None => projection.go_on().await,
        };
        match ended {
            Err(Stop::Broken(why)) if R::CAN_BEGIN => {
                tracing::warn!(why, "commits are missing, beginning anew from what is deployed");
                projection.begin().await?;
                // The proxy may be behind the hole itself.
                pause.wait(&active.stop).await?;
            }
            other => return other,
        }
    }
}

struct Projection<'a, R> {
    active: &'a Active,
    stream: String,
    batch: usize,
    projector: Projector<R>,
}

impl<R: Rows> Projection<'_, R> {
    async fn go_on(&mut self) -> Result<(), Stop> {
        self.say_position();
        self.catch_up().await?;
        self.read().await
    }

    async fn begin(&mut self) -> Result<(), Stop> {
        let picture = self.deployed().await?;
        loop {
            match self.projector.begin(&picture).await {
                Ok(left) => {
                    self.active.wakes.left(left);
                    tracing::info!(stream_seq = picture.sequence, "begun anew");
                    return Ok(());
                }
                Err(error) if error.is_passing() => {
                    tracing::warn!(error = chain(&error), "not begun anew, trying on");
                    self.reopen().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What the proxy says is deployed, of the journal as it is now. Waits for one that can say it.
    async fn deployed(&self) -> Result<DeployedReply, Stop> {
        let active = self.active;
        let (noun, verb) = proxy::DEFINITION_DEPLOYED.split_once('.').unwrap_or_default();
        let subject = active.bus.names().request(active.role, "proxy", noun, verb);
        let mut pause = Pause::new(BackOff::NEAR);
        loop {
            let incarnation = active.retry(|| active.bus.incarnation(StreamKind::Journal)).await?;
            let why = match active.bus.request(&subject, "{}", ASK).await {
                Ok(reply) => match serde_json::from_slice::<DeployedReply>(&reply) {
                    Ok(picture) if picture.incarnation == incarnation => return Ok(picture),
                    Ok(picture) => format!("the proxy knows incarnation {:?} of the journal", picture.incarnation),
                    Err(error) => {
                        return Err(Stop::Trouble(format!("the proxy's {noun}.{verb} cannot be read: {error}")));
                    }
                },
                Err(error) => error.to_string(),
            };
            active.status.trouble(Some(format!("rebuild needed, waiting for the proxy: {why}")));
            pause.wait(&active.stop).await?;
        }
    }

    async fn read(&mut self) -> Result<(), Stop> {
        let active = self.active;
        let mut reader = OrderedDurable::journal(&active.bus, R::READER, self.projector.position().sequence + 1);
        let link = active.bus.link();
        let mut connected_times = link.borrow().times;
        loop {
            let times = link.borrow().times;
            if times != connected_times {
                connected_times = times;
                self.check_incarnation().await?;
            }
            let batch = tokio::select! {
                () = active.stop.cancelled() => return Err(Stop::Told),
                batch = reader.batch(self.batch, WAIT) => batch?,
            };
            if !batch.is_empty() {
                self.write(&batch).await?;
            }
            // A lost ack means that the messages come again, and are passed over.
            if let Err(error) = reader.ack().await {
                tracing::debug!(%error, "ack not sent");
            }
        }
    }

    /// Where the durable was ahead of the database (a restored backup, or commits lost with the server), it gives out
    /// nothing of what lies between: read that from the stream.
    async fn catch_up(&mut self) -> Result<(), Stop> {
        let (active, stream) = (self.active, self.stream.as_str());
        let info = active.retry(|| active.bus.stream_info(stream)).await?;
        let position = self.projector.position().sequence;
        if position > info.last_sequence {
            return Err(Stop::Broken(format!(
                "{stream} ends at {}, the database is at {position}: the journal lost what {} has; a person must decide",
                info.last_sequence,
                R::READER
            )));
        }
        let given_out = active.retry(|| active.bus.consumer_info(stream, R::READER)).await?.map_or(0, |c| c.delivered);
        if position >= info.last_sequence || given_out <= position {
            return Ok(());
        }
        tracing::info!(position, given_out, last = info.last_sequence, "reading again what was given out before");
        let mut follow = active.bus.follow(FollowFrom::journal(&active.bus, position + 1)).await?;
        while follow.position() <= info.last_sequence {
            let batch = tokio::select! {
                () = active.stop.cancelled() => return Err(Stop::Told),
                batch = follow.batch(self.batch) => batch?,
            };
            self.write(&batch).await?;
        }
        Ok(())
    }

    /// Writes messages in transactions of bearable size. While the database is away it waits, with the messages in hand.
    async fn write(&mut self, messages: &[Message]) -> Result<(), Stop> {
        let active = self.active;
        let mut rest = messages;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take_while(|m| {
                bytes += m.payload().len();
                bytes <= BATCH_BYTES
            });
            let (now, later) = rest.split_at(fitting.count().max(1));
            let batch: Vec<ordo_store::Message<'_>> =
                now.iter().map(|m| ordo_store::Message { sequence: m.sequence, bytes: m.payload() }).collect();
            match self.projector.write(&batch).await {
                Ok(written) => {
                    rest = later;
                    tracing::debug!(commits = written.commits, events = written.events, "written");
                    active.wakes.left(written.left);
                    self.say_position();
                }
                Err(error) if error.is_passing() => {
                    tracing::warn!(error = chain(&error), "not written, trying on");
                    self.reopen().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The database knows whether the transaction was carried out; what it has is passed over. Waits until it works
    /// again, not only answers.
    async fn reopen(&mut self) -> Result<(), Stop> {
        let active = self.active;
        active.retry(|| active.working_database()).await?;
        loop {
            match self.projector.reopen().await {
                Ok(()) => break,
                Err(error) if error.is_passing() => active.retry(|| active.working_database()).await?,
                Err(error) => return Err(error.into()),
            }
        }
        // Somebody may have been woken for nothing, or nobody for something: those who wait look for themselves.
        active.wakes.outbox();
        self.say_position();
        Ok(())
    }

    fn say_position(&self) {
        let position = self.projector.position();
        self.active.status.position(position.sequence, position.epoch);
        self.active.status.trouble(None);
        self.active.wakes.wrote(position.sequence);
    }

    async fn check_incarnation(&self) -> Result<(), Stop> {
        let active = self.active;
        let now = active.retry(|| active.bus.incarnation(StreamKind::Journal)).await?;
        let ours = &self.projector.position().incarnation;
        if now == *ours {
            return Ok(());
        }
        let (stream, known) = (self.stream.clone(), ours.clone());
        Err(StoreError::IncarnationUnknown { stream, known, found: now }.into())
    }
}

impl Active {
    /// Asks whether the database answers, and says so.
    pub(crate) async fn working_database(&self) -> Result<(), StoreError> {
        let rtt = self.store().ping().await?;
        self.status.probed(crate::status::To::Database, Ok(rtt));
        Ok(())
    }
}
