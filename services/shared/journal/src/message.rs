//! Messages and headers, without the library's types in the way.

use async_nats::HeaderMap;
use bytes::Bytes;
use ordo_contract::right::ADDRESS_HEADER;
use std::time::Duration;

/// Headers of a message to send.
#[derive(Clone, Debug, Default)]
pub struct Headers(pub(crate) HeaderMap);

impl Headers {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one header. Line breaks cannot be part of a value on the wire; they become blanks.
    pub fn set(mut self, name: &'static str, value: impl ToString) -> Self {
        let value = value.to_string().replace(['\r', '\n'], " ");
        self.0.insert(name, value.as_str());
        self
    }

    /// Lets the stream drop a repeat within two minutes. Never on the journal.
    pub fn message_id(self, id: &str) -> Self {
        self.set("Nats-Msg-Id", id)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(async_nats::HeaderValue::as_str)
    }

    pub(crate) fn expecting_sequence(self, sequence: u64) -> Self {
        self.set("Nats-Expected-Last-Sequence", sequence)
    }

    pub(crate) fn expecting_subject_sequence(self, sequence: u64) -> Self {
        self.set("Nats-Expected-Last-Subject-Sequence", sequence)
    }

    /// Whole seconds: the server takes nothing finer.
    pub(crate) fn ttl(self, ttl: Duration) -> Self {
        self.set("Nats-TTL", ttl.as_secs().max(1))
    }
}

/// A message that lies in a stream.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its number in the stream.
    pub sequence: u64,
    /// How often it was given out, from 1. Only meaningful for durables.
    pub delivered: u64,
    /// Messages that wait behind it, as the server knew when it sent this one.
    pub pending: u64,
    /// When the stream took it: seconds and nanoseconds since 1970, by the server's clock.
    pub stored_at: Duration,
    pub(crate) subject: async_nats::Subject,
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) payload: Bytes,
    /// Where to acknowledge it.
    pub(crate) reply: Option<async_nats::Subject>,
}

impl Message {
    pub fn subject(&self) -> &str {
        self.subject.as_str()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
    }

    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// True when the sender meant it for this subject. See `ordo_contract::right`: what is not genuine is an answer of
    /// the server that somebody had sent here.
    pub fn is_genuine(&self) -> bool {
        self.header(ADDRESS_HEADER) == Some(self.subject()) && !self.is_answer()
    }

    /// True for what the server copied out of a stream and sent on as an answer.
    pub(crate) fn is_answer(&self) -> bool {
        self.headers.as_ref().is_some_and(is_answer)
    }

    /// Without content: what is left of a message that is not genuine, for who must account for its place.
    pub(crate) fn blank(mut self) -> Self {
        self.headers = None;
        self.payload = Bytes::new();
        self
    }

    /// The last token of the subject: a run, an instance.
    pub fn last_token(&self) -> &str {
        self.subject().rsplit('.').next().unwrap_or_default()
    }

    /// Reads what the server says about a delivered message from its reply subject, in both forms of ADR-15.
    pub(crate) fn delivered(message: async_nats::Message) -> Option<Self> {
        let facts = Delivery::parse(message.reply.as_ref()?.as_str())?;
        Some(Self {
            sequence: facts.sequence,
            delivered: facts.delivered,
            pending: facts.pending,
            stored_at: Duration::from_nanos(facts.nanos),
            subject: message.subject,
            headers: message.headers,
            payload: message.payload,
            reply: message.reply,
        })
    }

    pub(crate) fn stored(message: async_nats::jetstream::message::StreamMessage) -> Self {
        let headers = (!message.headers.is_empty()).then_some(message.headers);
        let nanos = u64::try_from(message.time.unix_timestamp_nanos()).unwrap_or_default();
        Self {
            sequence: message.sequence,
            delivered: 0,
            pending: 0,
            stored_at: Duration::from_nanos(nanos),
            subject: message.subject,
            headers,
            payload: message.payload,
            reply: None,
        }
    }
}

/// The server marks what it copied out of a stream.
pub(crate) fn is_answer(headers: &HeaderMap) -> bool {
    ["Nats-Stream", "Nats-Subject", "Nats-Sequence"].iter().any(|name| headers.get(*name).is_some())
}

struct Delivery {
    delivered: u64,
    sequence: u64,
    nanos: u64,
    pending: u64,
}

impl Delivery {
    /// `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<nanos>.<pending>`, or the same with
    /// `<domain>.<account hash>` before the stream and more tokens behind.
    fn parse(reply: &str) -> Option<Self> {
        let rest = reply.strip_prefix("$JS.ACK.")?;
        let count = rest.bytes().filter(|b| *b == b'.').count() + 1;
        let mut tokens = rest.split('.').skip(if count >= 9 { 4 } else { 2 });
        let mut number = || tokens.next()?.parse::<u64>().ok();
        let (delivered, sequence, _consumer, nanos, pending) = (number()?, number()?, number()?, number()?, number()?);
        Some(Self { delivered, sequence, nanos, pending })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_delivery_subject_are_read() {
        for reply in ["$JS.ACK.S.c.1.7.5.1700000000000000001.9", "$JS.ACK._.h4sh.S.c.1.7.5.1700000000000000001.9.x"] {
            let facts = Delivery::parse(reply).unwrap();
            assert_eq!((facts.delivered, facts.sequence, facts.pending), (1, 7, 9), "{reply}");
            assert_eq!(facts.nanos, 1_700_000_000_000_000_001);
        }
        assert!(Delivery::parse("_INBOX.x").is_none());
        assert!(Delivery::parse("$JS.ACK.S.c.1.x.5.1.9").is_none());
    }

    #[test]
    fn a_header_cannot_carry_a_second_one() {
        let headers = Headers::new().set("Ordo-Why", "a\r\nNats-Rollup: all");
        assert_eq!(headers.get("Ordo-Why"), Some("a  Nats-Rollup: all"));
    }
}
