//! Keeping mails few without hiding anything: the first alert goes at once, repeats of the same thing come together, and a
//! flood becomes a digest that names all of it. Decisions only; the monitor keeps the states and the time.

use crate::{Instant, Span};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

/// Mails of one rule within a minute; what comes beyond goes into a digest.
pub const MAILS_A_MINUTE: usize = 20;
const MINUTE: TimeDelta = TimeDelta::seconds(60);
/// A digest gathers at least so long, so that a flood's first one is not a mail with one line.
const GATHER: TimeDelta = TimeDelta::seconds(10);

/// When something is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// In a mail of its own.
    Now,
    /// Together with other repeats of the same thing, then.
    Fold { until: Instant },
    /// Together with everything else of the rule, then.
    Digest { until: Instant },
}

/// What was told of one thing: site, rule, kind, object and business day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Thing {
    /// After a mail of it: repeats until then are gathered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_until: Option<Instant>,
}

/// How much one rule mailed lately.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Flood {
    /// Times of mails within the last minute, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<Instant>,
    /// A digest is gathered until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_until: Option<Instant>,
}

/// Where a new notification goes, and the states after it.
pub fn route(fold: Span, thing: &mut Thing, flood: &mut Flood, now: Instant) -> Route {
    if let Some(until) = thing.quiet_until.filter(|until| *until > now) {
        return Route::Fold { until };
    }
    match flood.admit(now) {
        Some(until) => {
            // What repeats it before then belongs into the same digest.
            thing.quiet_until = None;
            Route::Digest { until }
        }
        None => {
            thing.quiet_until = Some(now + fold.to_chrono());
            Route::Now
        }
    }
}

/// The time of gathering repeats is over: what becomes of them. `Fold` is never the answer.
pub fn unfold(fold: Span, waiting: usize, thing: &mut Thing, flood: &mut Flood, now: Instant) -> Option<Route> {
    thing.quiet_until = None;
    if waiting == 0 {
        return None;
    }
    Some(route(fold, thing, flood, now))
}

impl Flood {
    /// `None`: there is room for a mail now, and it is counted. Else when the digest goes that it belongs into.
    pub fn admit(&mut self, now: Instant) -> Option<Instant> {
        if let Some(until) = self.digest_until.filter(|until| *until > now) {
            return Some(until);
        }
        self.forget(now);
        if self.recent.len() < MAILS_A_MINUTE {
            self.digest_until = None;
            self.recent.push(now);
            return None;
        }
        let room = self.recent.first().map_or(now, |first| *first + MINUTE);
        let until = room.max(now + GATHER);
        self.digest_until = Some(until);
        Some(until)
    }

    /// A digest of so many goes out. While the flood lasts the next one opens at once, for a minute.
    pub fn digest_sent(&mut self, entries: usize, now: Instant) {
        self.forget(now);
        self.recent.push(now);
        self.digest_until = (entries > MAILS_A_MINUTE).then(|| now + MINUTE);
    }

    fn forget(&mut self, now: Instant) {
        self.recent.retain(|at| *at > now - MINUTE && *at <= now);
    }
}
