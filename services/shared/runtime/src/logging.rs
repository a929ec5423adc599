//! Tracing to stderr, as text for people or JSON for machines, and a tap for the bus.
//!
//! `ORDO_LOG` holds the filter (`info`, `ordo_controller=debug,info`), `ORDO_LOG_FORMAT` is `text` or `json`. Messages
//! are constant and lower case, data stands in fields; ERROR = an operator must act, WARN = recovered, INFO = life
//! cycle, DEBUG = per event.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::IsTerminal;
use std::time::SystemTime;
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// Lines that wait for the bus at most; beyond that they are only on stderr.
const TAP_DEPTH: usize = 256;

/// A line of WARN or above, to be published on `ordo.<site>.log.<role>.<instance>.<level>`.
#[derive(Debug, Clone, Serialize)]
pub struct LogLine {
    /// When it was logged.
    pub at: DateTime<Utc>,
    /// `error` or `warn`.
    pub level: &'static str,
    /// The module.
    pub target: String,
    /// The constant message.
    pub message: String,
    /// The data.
    pub fields: Map<String, Value>,
}

/// Sets the process's subscriber and returns the tap. Called once, by the binary; a second call keeps the first
/// subscriber and returns a tap that stays silent.
pub fn init(default_filter: &str) -> mpsc::Receiver<LogLine> {
    let (sender, receiver) = mpsc::channel(TAP_DEPTH);
    let filter = EnvFilter::try_from_env("ORDO_LOG").unwrap_or_else(|_| EnvFilter::new(default_filter));
    let json = std::env::var("ORDO_LOG_FORMAT").is_ok_and(|format| format == "json");
    let registry = tracing_subscriber::registry().with(filter).with(Tap { sender });
    let set = if json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()
    } else {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        registry.with(fmt::layer().compact().with_ansi(colours).with_writer(std::io::stderr)).try_init()
    };
    drop(set);
    receiver
}

struct Tap {
    sender: mpsc::Sender<LogLine>,
}

impl<S: Subscriber> Layer<S> for Tap {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            _ => return,
        };
        // What the NATS client says about its own connection must not be sent over that connection.
        if event.metadata().target().starts_with("async_nats") {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = LogLine {
            at: DateTime::<Utc>::from(SystemTime::now()),
            level,
            target: event.metadata().target().to_owned(),
            message: fields.message,
            fields: fields.data,
        };
        // A full tap drops the line: logging must never hold up work.
        let _ = self.sender.try_send(line);
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    data: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.data.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::String(value.to_owned()));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }
}
