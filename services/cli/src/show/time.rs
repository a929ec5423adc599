//! Times and spans as people read them.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use ordo_domain::{Instant, Span};

/// The zone of this machine: `TZ`, else where /etc/localtime points to, else UTC.
pub fn local_zone() -> Tz {
    let named = std::env::var("TZ").ok().and_then(|tz| tz.trim_start_matches(':').parse().ok());
    named.or_else(|| zone_of_link(&std::fs::read_link("/etc/localtime").ok()?.to_string_lossy())).unwrap_or(Tz::UTC)
}

fn zone_of_link(target: &str) -> Option<Tz> {
    target.split_once("zoneinfo/")?.1.parse().ok()
}

/// `2026-11-22 02:14:09 JST`
pub fn full(at: Instant, zone: Tz) -> String {
    at.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// `2026-11-22 02:14:09`, for columns whose head names the zone.
pub fn short(at: Instant, zone: Tz) -> String {
    at.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// `02:14:09`
pub fn clock(at: Instant, zone: Tz) -> String {
    at.with_timezone(&zone).format("%H:%M:%S").to_string()
}

/// The zone's short name at that time.
pub fn zone_name(at: Instant, zone: Tz) -> String {
    at.with_timezone(&zone).format("%Z").to_string()
}

/// `0.4 s`, `14 s`, `14 min`, `3 h 5 min`, `2 d 4 h`: two units at most.
pub fn span(span: TimeDelta) -> String {
    let ms = span.num_milliseconds().max(0);
    let s = ms / 1000;
    match s {
        0..10 => format!("{}.{} s", s, (ms % 1000) / 100),
        10..60 => format!("{s} s"),
        60..600 if s % 60 != 0 => format!("{} min {} s", s / 60, s % 60),
        60..3600 => format!("{} min", s / 60),
        3600..86_400 if s % 3600 / 60 != 0 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        3600..86_400 => format!("{} h", s / 3600),
        _ if s % 86_400 / 3600 != 0 => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
        _ => format!("{} d", s / 86_400),
    }
}

/// How long ago.
pub fn age(at: Instant, now: Instant) -> String {
    span(now - at)
}

/// The text with the instants in it (`2026-11-21 17:15:09 UTC`, as the site writes them) in the reader's zone.
pub fn localised(text: &str, zone: Tz) -> String {
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(end) = rest.find(" UTC") {
        let (before, after) = rest.split_at(end);
        // Date, blank, time: the last two words before the zone.
        let start = before.rmatch_indices([' ', '(']).nth(1).map_or(0, |(i, _)| i + 1);
        match NaiveDateTime::parse_from_str(&before[start..], "%Y-%m-%d %H:%M:%S%.f") {
            Ok(at) => shown.push_str(&format!("{}{}", &before[..start], full(at.and_utc(), zone))),
            Err(_) => shown.push_str(&rest[..end + " UTC".len()]),
        }
        rest = &after[" UTC".len()..];
    }
    shown.push_str(rest);
    shown
}

/// What people type after `--at`: an RFC 3339 instant, `+10m`, `02:00` (the next), `2026-11-23T02:00` in their zone.
pub fn parse(text: &str, now: Instant, zone: Tz) -> Result<Instant, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(now);
    }
    if let Some(span) = text.strip_prefix('+') {
        return span.parse::<Span>().map(|span| now + span.to_chrono()).map_err(|e| e.to_string());
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc());
    }
    let local = now.with_timezone(&zone).naive_local();
    for format in ["%H:%M", "%H:%M:%S"] {
        if let Ok(time) = NaiveTime::parse_from_str(text, format) {
            let today = local.date().and_time(time);
            let day = if today > local { today } else { today + TimeDelta::days(1) };
            return Ok(resolve(day, zone));
        }
    }
    let with_blank = text.replacen('T', " ", 1);
    for format in ["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"] {
        if let Ok(at) = NaiveDateTime::parse_from_str(&with_blank, format) {
            return Ok(resolve(at, zone));
        }
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(resolve(day.and_time(NaiveTime::MIN), zone));
    }
    Err(format!(
        "{text:?} is no time: write 02:00 (the next), 2026-11-23T02:00 (in {zone}), 2026-11-23T02:00:00+09:00, or +10m"
    ))
}

/// Design part 8: a time that does not exist is the first instant after the gap, one that exists twice the first.
fn resolve(local: NaiveDateTime, zone: Tz) -> Instant {
    let mut at = local;
    loop {
        if let Some(found) = zone.from_local_datetime(&at).earliest() {
            return found.to_utc();
        }
        at += TimeDelta::minutes(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    #[test]
    fn instants_in_a_text_are_shown_in_the_readers_zone() {
        let tokyo = Tz::Asia__Tokyo;
        let text = "retry delay until 2026-11-21 17:15:09.123 UTC, since 2026-11-21 17:00:00 UTC";
        assert_eq!(localised(text, tokyo), "retry delay until 2026-11-22 02:15:09 JST, since 2026-11-22 02:00:00 JST");
        assert_eq!(localised("at UTC, plain", tokyo), "at UTC, plain");
        assert_eq!(localised("2026-11-21 17:15:09 UTC", tokyo), "2026-11-22 02:15:09 JST");
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let cases = [
            (400, "0.4 s"),
            (14_000, "14 s"),
            (75_000, "1 min 15 s"),
            (840_000, "14 min"),
            (11_100_000, "3 h 5 min"),
            (187_200_000, "2 d 4 h"),
        ];
        for (ms, text) in cases {
            assert_eq!(span(TimeDelta::milliseconds(ms)), text);
        }
    }

    #[test]
    fn a_start_time_is_understood_in_the_readers_zone() {
        let now = at("2026-11-21T18:00:00Z"); // 03:00 in Tokyo
        let tokyo = Tz::Asia__Tokyo;
        assert_eq!(parse("02:00", now, tokyo), Ok(at("2026-11-22T17:00:00Z")));
        assert_eq!(parse("04:00", now, tokyo), Ok(at("2026-11-21T19:00:00Z")));
        assert_eq!(parse("2026-11-23T02:00", now, tokyo), Ok(at("2026-11-22T17:00:00Z")));
        assert_eq!(parse("2026-11-23T02:00:00+01:00", now, tokyo), Ok(at("2026-11-23T01:00:00Z")));
        assert_eq!(parse("+90s", now, tokyo), Ok(at("2026-11-21T18:01:30Z")));
        assert!(parse("tomorrow", now, tokyo).unwrap_err().contains("write 02:00"));
    }

    #[test]
    fn a_time_in_the_gap_of_spring_is_the_first_after_it() {
        let now = at("2026-03-01T00:00:00Z");
        assert_eq!(parse("2026-03-29T02:30", now, Tz::Europe__Berlin), Ok(at("2026-03-29T01:00:00Z")));
    }

    #[test]
    fn the_zone_is_read_from_the_link() {
        assert_eq!(zone_of_link("/usr/share/zoneinfo/Asia/Tokyo"), Some(Tz::Asia__Tokyo));
        assert_eq!(zone_of_link("/etc/else"), None);
    }
}
