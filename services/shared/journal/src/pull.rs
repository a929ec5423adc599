//! The pull protocol, once, for ordered readers and for durables. Written here because two things must be exact that
//! the library leaves open: how many messages are asked for at any time (an agent asks for its free slots and no more),
//! and that a pull which went silent is noticed and made anew (servers have lost pulls, clients have hung on them).

use crate::bus::Bus;
use crate::error::BusError;
use crate::message::Message;
use async_nats::StatusCode;
use futures::{FutureExt, StreamExt};
use std::time::Duration;
use tokio::time::Instant;

/// How long the server keeps a pull.
const EXPIRES: Duration = Duration::from_secs(10);
/// The server says this often that it still knows the pull.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Silence that means that it does not.
const SILENCE: Duration = Duration::from_secs(5);
/// Bytes per pull: bounds what lies in our memory when the server is faster than we are.
const PULL_BYTES: usize = 8 * 1024 * 1024;

/// What came of waiting.
pub(crate) enum Pulled {
    Message(Message),
    /// A pull ended without all that was asked for: ask again.
    Over,
    /// The consumer may be gone, or the connection was. Everything asked for is void.
    Lost(String),
    /// The bus is closed.
    Closed,
}

/// Pulls from one consumer.
pub(crate) struct Puller {
    bus: Bus,
    next_subject: String,
    inbox: String,
    subscriber: async_nats::Subscriber,
    /// Asked for and not yet delivered.
    outstanding: usize,
    heard_at: Instant,
    connected_times: u64,
    link: tokio::sync::watch::Receiver<crate::bus::Link>,
}

impl Puller {
    pub(crate) async fn open(bus: &Bus, stream: &str, consumer: &str) -> Result<Self, BusError> {
        let inbox = bus.client().new_inbox();
        let subscriber = bus.subscribe(&inbox).await?;
        let link = bus.link();
        let connected_times = link.borrow().times;
        Ok(Self {
            bus: bus.clone(),
            next_subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            inbox,
            subscriber,
            outstanding: 0,
            heard_at: Instant::now(),
            connected_times,
            link,
        })
    }

    /// Asked for and not yet delivered.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Forgets what was asked for; what still arrives of it is taken nevertheless.
    pub(crate) fn reset(&mut self) {
        self.outstanding = 0;
        self.heard_at = Instant::now();
        self.connected_times = self.link.borrow().times;
    }

    /// Asks for `count` more.
    pub(crate) async fn ask(&mut self, count: usize) -> Result<(), BusError> {
        if count == 0 {
            return Ok(());
        }
        if self.outstanding == 0 {
            self.heard_at = Instant::now();
        }
        // Counted before it is sent: a caller that drops this future half-way leaves a pull that the watchdog repairs.
        self.outstanding += count;
        let body = serde_json::json!({
            "batch": count,
            "expires": EXPIRES.as_nanos() as u64,
            "idle_heartbeat": HEARTBEAT.as_nanos() as u64,
            "max_bytes": if count > 64 { PULL_BYTES } else { 0 },
        });
        let (subject, inbox, client) = (self.next_subject.clone(), self.inbox.clone(), self.bus.client().clone());
        self.bus
            .within(crate::bus::REQUEST, "pull", async move {
                client
                    .publish_with_reply(subject, inbox, body.to_string().into())
                    .await
                    .map_err(|e| BusError::with(crate::BusErrorKind::Unreachable, "the pull could not be sent", e))
            })
            .await
    }

    /// Waits for the next message. Cancel safe. With nothing outstanding it waits for nothing: ask first.
    pub(crate) async fn next(&mut self) -> Pulled {
        loop {
            if self.link.borrow().times != self.connected_times {
                return Pulled::Lost("the connection was made anew".to_owned());
            }
            let silent_at = self.heard_at + SILENCE;
            let message = tokio::select! {
                biased;
                message = self.subscriber.next() => message,
                changed = self.link.changed() => {
                    if changed.is_err() {
                        return Pulled::Closed;
                    }
                    continue;
                }
                () = self.bus.closed() => return Pulled::Closed,
                () = tokio::time::sleep_until(silent_at), if self.outstanding > 0 => {
                    return Pulled::Lost(format!("nothing heard of the pull for {} s", SILENCE.as_secs()));
                }
            };
            let Some(message) = message else { return Pulled::Closed };
            if let Some(pulled) = self.sort(message) {
                return pulled;
            }
        }
    }

    /// A message that is already here. Never waits.
    pub(crate) fn ready(&mut self) -> Option<Pulled> {
        loop {
            let message = self.subscriber.next().now_or_never()??;
            if let Some(pulled) = self.sort(message) {
                return Some(pulled);
            }
        }
    }

    /// Tells messages from what the server says about the pull. `None` = carry on.
    fn sort(&mut self, message: async_nats::Message) -> Option<Pulled> {
        self.heard_at = Instant::now();
        let Some(status) = message.status else {
            self.outstanding = self.outstanding.saturating_sub(1);
            return match Message::delivered(message) {
                Some(message) => Some(Pulled::Message(message)),
                None => Some(Pulled::Lost("a message without a delivery subject".to_owned())),
            };
        };
        let text = message.description.as_deref().unwrap_or_default().to_ascii_lowercase();
        let number = |name: &str| message.headers.as_ref()?.get(name)?.as_str().parse::<usize>().ok();
        let over = match status {
            StatusCode::IDLE_HEARTBEAT => return None,
            StatusCode::NOT_FOUND | StatusCode::TIMEOUT => true,
            code if code.as_u16() == 409 => {
                text.contains("batch completed") || text.contains("exceeds maxbytes") || text.contains("maxwaiting")
            }
            _ => false,
        };
        if over {
            let unserved = number("Nats-Pending-Messages").unwrap_or(self.outstanding);
            self.outstanding = self.outstanding.saturating_sub(unserved);
            return Some(Pulled::Over);
        }
        Some(Pulled::Lost(format!("{} {text}", status.as_u16())))
    }
}
