//! Times and spans in words.

use chrono::TimeDelta;
use chrono_tz::Tz;
use ordo_domain::Instant;

/// `02:14 JST`
pub fn clock(at: Instant, zone: Tz) -> String {
    at.with_timezone(&zone).format("%H:%M %Z").to_string()
}

/// `02:14`
pub fn bare_clock(at: Instant, zone: Tz) -> String {
    at.with_timezone(&zone).format("%H:%M").to_string()
}

/// `2026-11-22 02:14:09 JST`
pub fn full(at: Instant, zone: Tz) -> String {
    at.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// As short as it can be said to somebody who knows that it is about `day`: `02:00`, or `2026-11-21 23:55`.
pub fn on_day(at: Instant, zone: Tz, day: Option<chrono::NaiveDate>) -> String {
    let local = at.with_timezone(&zone);
    let format = if day == Some(local.date_naive()) { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    local.format(format).to_string()
}

/// `0.4 s`, `14 s`, `14 min`, `3 h 5 min`, `2 d 4 h`: two units at most.
pub fn span(span: TimeDelta) -> String {
    let ms = span.num_milliseconds().max(0);
    let s = ms / 1_000;
    match s {
        0..10 => format!("{}.{} s", s, (ms % 1_000) / 100),
        10..60 => format!("{s} s"),
        60..600 if s % 60 != 0 => format!("{} min {} s", s / 60, s % 60),
        60..3_600 => format!("{} min", s / 60),
        3_600..86_400 if s % 3_600 / 60 != 0 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        3_600..86_400 => format!("{} h", s / 3_600),
        _ if s % 86_400 / 3_600 != 0 => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
        _ => format!("{} d", s / 86_400),
    }
}
