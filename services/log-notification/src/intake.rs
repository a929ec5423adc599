//! What becomes of a message: taken or not, read, held against the rules, and kept when it is bad or a rule fits it.

use crate::allow::Network;
use crate::backlog::Backlog;
use crate::clean;
use crate::config::SyslogConfig;
use crate::guard::{Guard, Loss, Why};
use crate::parse::{Parsed, Receipt, local_zone, parse};
use chrono::{FixedOffset, Utc};
use ordo_contract::log::{LogRecord, SyslogFacts};
use ordo_domain::log_rule::{RuleSet, Severity};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Kept without a rule when it is at least this bad.
const KEPT: Severity = Severity::Warning;
/// Senders that are named when it is said what was not taken.
const NAMED: usize = 20;

/// One for all sockets.
#[derive(Debug)]
pub struct Intake {
    allow: Vec<Network>,
    limits: SyslogConfig,
    guard: Mutex<Guard>,
    rules: RwLock<Arc<RuleSet>>,
    backlog: Arc<Backlog>,
    figures: Figures,
}

#[derive(Debug, Default)]
struct Figures {
    taken: AtomicU64,
    matched: AtomicU64,
    kept: AtomicU64,
    untaken: AtomicU64,
    unkept: AtomicU64,
}

/// Since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// Read and held against the rules.
    pub taken: u64,
    /// Of those: a rule fits.
    pub matched: u64,
    /// Of those: on their way into the stream.
    pub kept: u64,
    /// Not taken.
    pub untaken: u64,
    /// Taken, and not kept although they should have been.
    pub unkept: u64,
}

/// What messages that come together share, so that it is asked for once.
#[derive(Debug, Clone)]
pub struct Moment {
    now: Instant,
    at: ordo_domain::Instant,
    zone: FixedOffset,
    rules: Arc<RuleSet>,
}

impl Intake {
    pub fn new(limits: &SyslogConfig, allow: Vec<Network>, backlog: Arc<Backlog>) -> Self {
        Self {
            allow,
            limits: limits.clone(),
            guard: Mutex::new(Guard::new(limits, Instant::now())),
            rules: RwLock::new(Arc::new(RuleSet::new([]).0)),
            backlog,
            figures: Figures::default(),
        }
    }

    pub fn set_rules(&self, rules: Arc<RuleSet>) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn moment(&self) -> Moment {
        let at = Utc::now();
        let rules = Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner));
        Moment { now: Instant::now(), at, zone: local_zone(at), rules }
    }

    /// Whether this address may send; if not, it is counted.
    pub fn admits(&self, address: IpAddr) -> bool {
        let admitted = self.allow.iter().any(|network| network.holds(address));
        if !admitted {
            self.figures.untaken.fetch_add(1, Ordering::Relaxed);
            self.guard().stranger(address);
        }
        admitted
    }

    /// Messages that nobody will see, for a reason that only the socket knows.
    pub fn missed(&self, sender: Option<IpAddr>, why: Why, count: u64) {
        let figure = if why.is_untaken() { &self.figures.untaken } else { &self.figures.unkept };
        figure.fetch_add(count, Ordering::Relaxed);
        match sender {
            Some(sender) => self.guard().missed(sender, why, count, Instant::now()),
            None => self.guard().lost_of_unknown(why, count),
        }
    }

    /// Takes a message of an admitted sender, of which `cut` bytes are missing at the end.
    pub fn take(&self, moment: &Moment, sender: IpAddr, message: &[u8], cut: u64) {
        if !self.guard().may_take(sender, moment.now) {
            self.figures.untaken.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let text = clean::text(message);
        let receipt = Receipt { at: moment.at, zone: moment.zone, sender };
        let parsed = parse(&text, &receipt);
        let is_matched = moment.rules.has_one_for(parsed.line());
        self.figures.taken.fetch_add(1, Ordering::Relaxed);
        self.figures.matched.fetch_add(u64::from(is_matched), Ordering::Relaxed);
        if is_matched || parsed.severity.is_at_least(KEPT) {
            self.keep(moment, sender, is_matched, record(parsed, &receipt, cut));
        }
    }

    fn keep(&self, moment: &Moment, sender: IpAddr, is_matched: bool, record: LogRecord) {
        if !self.guard().may_store(sender, is_matched, moment.now) {
            self.figures.unkept.fetch_add(1, Ordering::Relaxed);
        } else if !self.backlog.push(record) {
            self.missed(Some(sender), Why::Bus, 1);
        } else {
            self.figures.kept.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn figures(&self) -> Taken {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let Figures { taken, matched, kept, untaken, unkept } = &self.figures;
        Taken { taken: of(taken), matched: of(matched), kept: of(kept), untaken: of(untaken), unkept: of(unkept) }
    }

    /// Puts what was missed since the last time among the lines, one for each sender. Once those before are on their way:
    /// while the bus is away the counts grow, not the lines.
    pub fn say_losses(&self) {
        if self.backlog.has_notes() {
            return;
        }
        let losses = self.guard().losses(NAMED, Instant::now());
        for loss in losses {
            let record = said(&loss, &self.limits);
            tracing::info!(host = record.host, message = record.message, "flood guard");
            self.backlog.note(record);
        }
    }

    pub fn say_every(&self) -> Duration {
        self.limits.say_every.to_std().max(Duration::from_millis(100))
    }
}

fn record(parsed: Parsed<'_>, receipt: &Receipt, cut: u64) -> LogRecord {
    let mut message = parsed.text.into_owned();
    if cut > 0 {
        message.push_str(&format!(" … ({cut} bytes more, cut off)"));
    }
    LogRecord {
        at: receipt.at,
        level: parsed.severity,
        target: String::new(),
        message,
        fields: serde_json::Map::new(),
        host: parsed.host.into_owned(),
        syslog: Some(SyslogFacts {
            sender: receipt.sender.to_string(),
            application: parsed.application.into_owned(),
            process: parsed.process.map(Into::into),
            facility: parsed.facility.map(Into::into),
            message_id: parsed.message_id.map(Into::into),
            sent_at: parsed.sent_at,
            cut_bytes: cut,
        }),
    }
}

/// `1234 messages of 10.0.0.7 were not taken: …`
fn said(loss: &Loss, limits: &SyslogConfig) -> LogRecord {
    let of = loss.sender.map_or_else(|| "several senders".to_owned(), |sender| sender.to_string());
    let reason = |(why, count): &(Why, u64)| match why {
        Why::Stranger => format!("{count} because syslog.allow does not name the sender"),
        Why::Connection => format!("{count} connections because there were too many"),
        Why::OfSender => format!("{count} beyond {} a second of one sender", limits.messages_per_sender),
        Why::OfAll => format!("{count} beyond {} a second of all", limits.messages),
        Why::Unread => format!("{count} that this machine dropped before they were read"),
        Why::Kept => {
            format!("{count} beyond {} a second of one sender or {} of all", limits.stored_per_sender, limits.stored)
        }
        Why::Bus => format!("{count} because the bus was away"),
    };
    let part = |which: fn(Why) -> bool, what: &str| {
        let sum = loss.sum(which);
        let reasons: Vec<String> = loss.counts.iter().filter(|(why, _)| which(*why)).map(reason).collect();
        (sum > 0).then(|| format!("{sum} messages of {of} {what}: {}", reasons.join(", ")))
    };
    let parts = [part(Why::is_untaken, "were not taken"), part(|why| !why.is_untaken(), "were looked at but not kept")];
    LogRecord {
        at: Utc::now(),
        level: Severity::Warning,
        target: "ordo_log_notification".into(),
        message: parts.into_iter().flatten().collect::<Vec<_>>().join("; "),
        fields: serde_json::Map::new(),
        host: of,
        syslog: None,
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
