//! What a wall clock of a zone shows when.

use crate::Instant;
use chrono::{NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::{GapInfo, Tz};

/// No zone changes its offset twice within this.
const STEP: TimeDelta = TimeDelta::hours(12);

pub(super) fn shown(zone: Tz, at: Instant) -> NaiveDateTime {
    zone.from_utc_datetime(&at.naive_utc()).naive_local()
}

/// When a wall clock shows this time for the first time; the first instant behind it, where it leaves the time out.
/// None: beyond what can be said.
pub(super) fn first_shown(zone: Tz, time: NaiveDateTime) -> Option<Instant> {
    match zone.from_local_datetime(&time).earliest() {
        Some(at) => Some(at.to_utc()),
        None => GapInfo::new(&time, &zone)?.end.map(|at| at.to_utc()),
    }
}

/// A stretch of time in which the wall clock runs like any clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    pub from: Instant,
    /// Not included.
    pub to: Instant,
    /// What it shows is UTC and this.
    pub offset: TimeDelta,
}

fn offset(zone: Tz, at: Instant) -> TimeDelta {
    TimeDelta::seconds(i64::from(zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()))
}

/// From this instant to the next change of the offset, or to `end`.
pub(super) fn stretch(zone: Tz, from: Instant, end: Instant) -> Stretch {
    let here = offset(zone, from);
    let mut same = from;
    while same < end {
        let ahead = (same + STEP).min(end);
        if offset(zone, ahead) != here {
            let to = first_other(zone, same, ahead, here);
            return Stretch { from, to, offset: here };
        }
        same = ahead;
    }
    Stretch { from, to: end, offset: here }
}

/// The first instant with another offset, between one with this and one with another. Changes come at whole seconds.
fn first_other(zone: Tz, mut same: Instant, mut other: Instant, here: TimeDelta) -> Instant {
    while other - same > TimeDelta::seconds(1) {
        let middle = same + TimeDelta::seconds((other - same).num_seconds() / 2);
        if offset(zone, middle) == here {
            same = middle;
        } else {
            other = middle;
        }
    }
    // A change within the last second lies at its only whole second.
    let whole = other.timestamp();
    Instant::from_timestamp(whole, 0).filter(|at| *at > same).unwrap_or(other)
}

/// The latest that the clock has shown, up to this instant: after it was put back, that is more than it shows now.
pub(super) fn latest_shown(zone: Tz, at: Instant) -> NaiveDateTime {
    // No clock was put back by more than a day.
    let (mut from, mut latest) = (at - TimeDelta::hours(25), shown(zone, at));
    while from < at {
        let stretch = stretch(zone, from, at);
        latest = latest.max(stretch.to.naive_utc() + stretch.offset - TimeDelta::milliseconds(1));
        from = stretch.to;
    }
    latest
}
