//! Durable consumers: messages that stay with the server until somebody acknowledges them. Created by the controller,
//! used here. Everything may come again (acks are not durable): the reader's own record decides, acks only retain.

use crate::bus::{Bus, REQUEST};
use crate::error::{BusError, BusErrorKind};
use crate::follow::{Follow, FollowError, FollowFrom, closed};
use crate::message::Message;
use crate::pull::{Pulled, Puller};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use ordo_contract::name::StreamKind;
use std::time::Duration;

/// What to do with a message that was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    Done,
    /// Give it out again after this long.
    Again(Duration),
    /// Still at work: start the time for acknowledging anew.
    Working,
    /// Never give it out again, although it was not done.
    Never,
}

impl Bus {
    /// Acknowledges a message. Fire and forget: a lost ack means that the message comes again.
    pub async fn ack(&self, message: &Message, ack: Ack) -> Result<(), BusError> {
        let Some(reply) = message.reply.clone() else {
            let text = format!("message {} was read, not given out: there is nothing to acknowledge", message.sequence);
            return Err(BusError::new(BusErrorKind::Configuration, text));
        };
        let payload = match ack {
            Ack::Done => Bytes::from_static(b"+ACK"),
            Ack::Again(delay) if delay.is_zero() => Bytes::from_static(b"-NAK"),
            Ack::Again(delay) => format!("-NAK {{\"delay\":{}}}", delay.as_nanos()).into(),
            Ack::Working => Bytes::from_static(b"+WPI"),
            Ack::Never => Bytes::from_static(b"+TERM"),
        };
        let client = self.client().clone();
        self.within(REQUEST, "acknowledge", async move {
            let sent = client.publish(reply, payload).await;
            sent.map_err(|e| BusError::with(BusErrorKind::Unreachable, "the ack could not be sent", e))
        })
        .await
    }
}

/// A durable pull consumer. Repairs itself over lost connections; waits while the consumer does not exist yet.
///
/// Either [`grant`](Self::grant) and [`next`](Self::next): as many messages as there were grants, and not one more
/// (an agent grants its free slots). Or [`batch`](Self::batch), which grants by itself. Not both on one value.
pub struct Durable {
    bus: Bus,
    stream: String,
    name: String,
    puller: Option<Puller>,
    /// How many messages we still want.
    wanted: usize,
    /// Drop what is not genuine. The journal's reader looks for itself, because it accounts for every place.
    genuine_only: bool,
    failures: u32,
}

impl Durable {
    /// Uses the durable `name` on `stream`. Makes no request yet.
    pub fn open(bus: &Bus, stream: impl Into<String>, name: impl Into<String>) -> Self {
        let (stream, name) = (stream.into(), name.into());
        Self { bus: bus.clone(), stream, name, puller: None, wanted: 0, genuine_only: true, failures: 0 }
    }

    /// The starts of an agent.
    pub fn starts(bus: &Bus, agent: &str) -> Self {
        Self::open(bus, bus.names().stream(StreamKind::Jobs), bus.names().starts_consumer(agent))
    }

    /// Wants `count` messages more.
    pub fn grant(&mut self, count: usize) {
        self.wanted += count;
    }

    /// Granted and not yet received.
    pub fn granted(&self) -> usize {
        self.wanted
    }

    /// The next message. Waits for good while nothing is granted or nothing is there. Cancel safe.
    /// The only error is [`BusErrorKind::Closed`].
    pub async fn next(&mut self) -> Result<Message, BusError> {
        loop {
            self.refill().await?;
            let Some(puller) = &mut self.puller else { continue };
            let pulled = puller.next().await;
            if let Some(message) = self.take(pulled)? {
                return Ok(message);
            }
        }
    }

    /// Waits up to `wait` for a first message, then takes what is already here, at most `max`. Cancel safe.
    pub async fn batch(&mut self, max: usize, wait: Duration) -> Result<Vec<Message>, BusError> {
        let mut batch = Vec::new();
        self.wanted = self.wanted.max(max);
        match tokio::time::timeout(wait, self.next()).await {
            Ok(message) => batch.push(message?),
            Err(_) => return Ok(batch),
        }
        while batch.len() < max {
            let Some(pulled) = self.puller.as_mut().and_then(Puller::ready) else { break };
            match self.take(pulled) {
                Ok(Some(message)) => batch.push(message),
                Ok(None) => {}
                Err(_) => break,
            }
        }
        Ok(batch)
    }

    fn take(&mut self, pulled: Pulled) -> Result<Option<Message>, BusError> {
        match pulled {
            Pulled::Message(message) => {
                self.failures = 0;
                if self.genuine_only && !message.is_genuine() {
                    self.put_away(message);
                    return Ok(None);
                }
                self.wanted = self.wanted.saturating_sub(1);
                Ok(Some(message))
            }
            Pulled::Over => Ok(None),
            Pulled::Lost(why) => {
                self.failures += 1;
                if self.failures == 10 {
                    tracing::warn!(stream = self.stream, consumer = self.name, why, "cannot pull, trying on");
                }
                if let Some(puller) = &mut self.puller {
                    puller.reset();
                }
                Ok(None)
            }
            Pulled::Closed => Err(closed(&self.stream)),
        }
    }

    /// Never to be given out again: it was not meant for this subject.
    fn put_away(&self, message: Message) {
        let sequence = message.sequence;
        tracing::warn!(
            stream = self.stream,
            stream_seq = sequence,
            "a message was not meant for this subject, dropped"
        );
        let bus = self.bus.clone();
        tokio::spawn(async move { bus.ack(&message, Ack::Never).await });
    }

    async fn refill(&mut self) -> Result<(), BusError> {
        if self.failures > 0 {
            tokio::time::sleep(Duration::from_millis((20 << self.failures.min(6)).min(1000))).await;
        }
        let puller = match &mut self.puller {
            Some(puller) => puller,
            empty => empty.insert(Puller::open(&self.bus, &self.stream, &self.name).await?),
        };
        let missing = self.wanted.saturating_sub(puller.outstanding());
        match puller.ask(missing).await {
            Err(error) if error.kind() == BusErrorKind::Closed => Err(error),
            Err(_) => {
                puller.reset();
                self.failures += 1;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// A durable on the journal, read strictly in order from the reader's own position (in PostgreSQL, say): what the
/// durable gives out twice or too early is dropped, what it does not give out again in time is read from the stream.
pub struct OrderedDurable {
    bus: Bus,
    durable: Durable,
    /// The next sequence to deliver.
    next: u64,
    /// Everything up to here is read from the stream itself first: what was given out to the instance before us comes
    /// again only after a while, and what it acknowledged never, even where our position lies before that.
    fill_to: Option<u64>,
    /// Closes a hole between our position and what the durable gave out.
    fill: Option<Follow>,
    /// What the durable gave out from behind a hole.
    parked: Vec<Message>,
    /// The highest message given out by the durable that may be acknowledged once our position passed it.
    newest: Option<Message>,
}

impl OrderedDurable {
    /// Reads the journal by the durable `name`, the first message being `from`.
    pub fn journal(bus: &Bus, name: &str, from: u64) -> Self {
        let mut durable = Durable::open(bus, bus.names().stream(StreamKind::Journal), name);
        durable.genuine_only = false;
        Self {
            bus: bus.clone(),
            durable,
            next: from.max(1),
            fill_to: None,
            fill: None,
            parked: Vec::new(),
            newest: None,
        }
    }

    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next messages in order, at most `max`; empty when none came within `wait`. A hole that cannot be closed is
    /// [`FollowError::Gap`]: rebuild needed.
    pub async fn batch(&mut self, max: usize, wait: Duration) -> Result<Vec<Message>, FollowError> {
        let fill_to = match self.fill_to {
            Some(fill_to) => fill_to,
            None => *self.fill_to.insert(self.bus.last_sequence(StreamKind::Journal).await?),
        };
        if self.next <= fill_to {
            return match tokio::time::timeout(wait, self.filled(fill_to + 1, max)).await {
                Ok(filled) => filled,
                Err(_) => Ok(Vec::new()),
            };
        }
        if self.parked.is_empty() {
            let mut given = self.durable.batch(max, wait).await?;
            given.retain(|message| self.is_news(message));
            given.sort_by_key(|message| message.sequence);
            given.dedup_by_key(|message| message.sequence);
            self.parked = given;
        }
        let mut batch = Vec::new();
        while batch.len() < max && !self.parked.is_empty() {
            let first = self.parked[0].sequence;
            if first > self.next {
                let filled = self.filled(first, max - batch.len()).await?;
                if filled.is_empty() {
                    break;
                }
                batch.extend(filled);
                continue;
            }
            let message = self.parked.remove(0);
            if message.sequence == self.next {
                self.next += 1;
                if message.is_genuine() {
                    batch.push(message);
                }
            }
        }
        if self.parked.is_empty() {
            self.fill = None;
        }
        Ok(batch)
    }

    /// Remembers what may be acknowledged later, and tells whether the message is new to us.
    fn is_news(&mut self, message: &Message) -> bool {
        if self.newest.as_ref().is_none_or(|newest| newest.sequence < message.sequence) {
            self.newest = Some(message.clone());
        }
        message.sequence >= self.next
    }

    async fn filled(&mut self, before: u64, max: usize) -> Result<Vec<Message>, FollowError> {
        let fill = match &mut self.fill {
            Some(fill) if fill.position() == self.next => fill,
            empty => empty.insert(self.bus.follow(FollowFrom::journal(&self.bus, self.next)).await?),
        };
        let mut batch = fill.batch(max).await?;
        self.next = fill.position();
        if self.next > before {
            // The reader overtook what is parked: what it brought counts, the parked ones are seen as repeats.
            self.parked.retain(|message| message.sequence >= self.next);
        }
        batch.retain(|message| message.sequence < self.next);
        Ok(batch)
    }

    /// Acknowledges everything up to the position of the last batch. Call it after the commit of the rows.
    pub async fn ack(&mut self) -> Result<(), BusError> {
        match &self.newest {
            Some(newest) if newest.sequence < self.next => {
                let newest = newest.clone();
                self.newest = None;
                self.bus.ack(&newest, Ack::Done).await
            }
            _ => Ok(()),
        }
    }
}

/// The kills of an agent, pushed to every instance of its name.
pub struct Kills {
    bus: Bus,
    subscriber: async_nats::Subscriber,
    instance: String,
}

impl Kills {
    pub async fn open(bus: &Bus, agent: &str, instance: &str) -> Result<Self, BusError> {
        let subscriber = bus.subscribe(&bus.names().kill_delivery(agent)).await?;
        Ok(Self { bus: bus.clone(), subscriber, instance: ordo_contract::name::token(instance) })
    }

    /// The next kill for this instance; acknowledge it with [`Bus::ack`]. Those of twins pass by. Cancel safe.
    pub async fn next(&mut self) -> Result<Message, BusError> {
        loop {
            let message = tokio::select! {
                () = self.bus.closed() => None,
                message = self.subscriber.next() => message,
            };
            let Some(message) = message else { return Err(closed("kills")) };
            if message.status.is_some() {
                continue;
            }
            if let Some(message) = Message::delivered(message)
                && message.is_genuine()
                && message.last_token() == self.instance
            {
                return Ok(message);
            }
        }
    }

    /// A kill that is already here.
    pub fn ready(&mut self) -> Option<Message> {
        self.next().now_or_never()?.ok()
    }
}
