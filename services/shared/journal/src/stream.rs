//! Figures of streams and consumers, and the purge of the journal.

use crate::bus::{Bus, REQUEST};
use crate::error::{BusError, BusErrorKind};
use ordo_contract::name::StreamKind;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// The key of a stream's metadata that holds its incarnation.
pub const INCARNATION: &str = "ordo-incarnation";

/// Figures of a stream, from its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    pub stream: String,
    /// New when the stream is created or restored. Empty for a stream that Ordo did not create.
    pub incarnation: String,
    /// The first sequence that is there; `last_sequence + 1` when it is empty.
    pub first_sequence: u64,
    /// The last sequence ever given out.
    pub last_sequence: u64,
    pub messages: u64,
    pub bytes: u64,
}

/// Figures of a durable: the position of a registered reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerInfo {
    pub stream: String,
    pub consumer: String,
    /// Everything up to here is acknowledged. Not durable itself: it may fall back when the server is killed.
    pub ack_floor: u64,
    /// The last sequence given out, or gone before it was.
    pub delivered: u64,
    /// How many messages were ever given out, repeats among them. 0: nobody has begun to read.
    pub given_out: u64,
    /// Given out, not acknowledged.
    pub unacknowledged: u64,
    /// Not yet given out.
    pub pending: u64,
}

/// How full the store is that the journal lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headroom {
    pub used: u64,
    pub limit: u64,
}

impl Headroom {
    /// 0 to 100 and beyond.
    pub fn percent(&self) -> u64 {
        self.used.saturating_mul(100).checked_div(self.limit).unwrap_or(100)
    }

    /// From here on new orders are refused.
    pub fn is_scarce(&self) -> bool {
        self.percent() >= 80
    }
}

#[derive(Deserialize)]
struct RawStreamInfo {
    config: RawConfig,
    state: RawState,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    metadata: std::collections::HashMap<String, String>,
}

#[derive(Deserialize)]
struct RawState {
    messages: u64,
    bytes: u64,
    first_seq: u64,
    last_seq: u64,
}

#[derive(Deserialize)]
struct RawConsumerInfo {
    delivered: RawPosition,
    ack_floor: RawPosition,
    num_ack_pending: u64,
    num_pending: u64,
}

#[derive(Deserialize)]
struct RawPosition {
    consumer_seq: u64,
    stream_seq: u64,
}

impl Bus {
    /// Figures of a stream by its name.
    pub async fn stream_info(&self, stream: &str) -> Result<StreamInfo, BusError> {
        let raw: RawStreamInfo = self.api(&format!("STREAM.INFO.{stream}"), &Value::Null, REQUEST).await?;
        let state = raw.state;
        Ok(StreamInfo {
            stream: stream.to_owned(),
            incarnation: raw.config.metadata.get(INCARNATION).cloned().unwrap_or_default(),
            first_sequence: if state.messages == 0 { state.last_seq + 1 } else { state.first_seq },
            last_sequence: state.last_seq,
            messages: state.messages,
            bytes: state.bytes,
        })
    }

    /// The last sequence of one of the site's streams, from the leader.
    pub async fn last_sequence(&self, kind: StreamKind) -> Result<u64, BusError> {
        Ok(self.stream_info(&self.names().stream(kind)).await?.last_sequence)
    }

    /// The incarnation of one of the site's streams.
    pub async fn incarnation(&self, kind: StreamKind) -> Result<String, BusError> {
        Ok(self.stream_info(&self.names().stream(kind)).await?.incarnation)
    }

    /// Figures of a durable, `None` when there is none of that name.
    pub async fn consumer_info(&self, stream: &str, consumer: &str) -> Result<Option<ConsumerInfo>, BusError> {
        let answer = self.api(&format!("CONSUMER.INFO.{stream}.{consumer}"), &Value::Null, REQUEST).await;
        let raw: RawConsumerInfo = match answer {
            Ok(raw) => raw,
            Err(error) if error.kind() == BusErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(ConsumerInfo {
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
            ack_floor: raw.ack_floor.stream_seq,
            delivered: raw.delivered.stream_seq,
            given_out: raw.delivered.consumer_seq,
            unacknowledged: raw.num_ack_pending,
            pending: raw.num_pending,
        }))
    }

    /// How full the journal's store is: what the account may store where the account has a limit, else the journal
    /// against its `budget` (`Limits::journal_budget`); the worse of both.
    pub async fn headroom(&self, budget: u64) -> Result<Headroom, BusError> {
        let journal = self.stream_info(&self.names().stream(StreamKind::Journal)).await?;
        let own = Headroom { used: journal.bytes, limit: budget };
        let account: Value = self.api("INFO", &Value::Null, REQUEST).await?;
        let limit = account.pointer("/limits/max_storage").and_then(Value::as_i64).unwrap_or(-1);
        let used = account.get("storage").and_then(Value::as_u64).unwrap_or_default();
        match u64::try_from(limit) {
            Ok(limit) if limit > 0 => {
                let shared = Headroom { used, limit };
                Ok(if shared.percent() > own.percent() { shared } else { own })
            }
            _ => Ok(own),
        }
    }

    /// Removes everything of the journal up to and including `up_to`. Only the controller has the right.
    pub async fn purge_journal(&self, up_to: u64) -> Result<u64, BusError> {
        self.purge(&self.names().stream(StreamKind::Journal), json!({ "seq": up_to + 1 })).await
    }

    /// Removes everything of one of the site's streams up to and including `up_to`. Only the controller has the right, and
    /// knows what it may: nobody else calls this.
    pub async fn purge_stream(&self, kind: StreamKind, up_to: u64) -> Result<u64, BusError> {
        self.purge(&self.names().stream(kind), json!({ "seq": up_to + 1 })).await
    }

    pub(crate) async fn purge(&self, stream: &str, body: Value) -> Result<u64, BusError> {
        let answer: Value = self.api(&format!("STREAM.PURGE.{stream}"), &body, Duration::from_secs(30)).await?;
        Ok(answer.get("purged").and_then(Value::as_u64).unwrap_or_default())
    }
}
