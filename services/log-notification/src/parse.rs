//! A message of RFC 5424 or RFC 3164, or what somebody takes for one: nothing is refused, what is not understood is text.

use crate::clean::clean;
use chrono::{DateTime, Datelike, FixedOffset, TimeZone, Utc};
use ordo_domain::Instant;
use ordo_domain::log_rule::{Line, Severity};
use std::borrow::Cow;
use std::net::IpAddr;
use syslog_loose::{IncompleteDate, ProcId, Protocol, Variant, decompose_pri, parse_message_with_year_tz};

/// RFC 3164 part 4.3.3: what has no priority is user.notice.
const UNSAID: Severity = Severity::Notice;
const HOST: usize = 255;
/// RFC 5424 allows 48, 128 and 32; others do not count.
const WORD: usize = 128;
/// Characters of a text; a message has fewer bytes than that, unless much of it had to be written out.
const TEXT: usize = 16 * 1024;

/// When and where a message came in.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    pub at: Instant,
    /// Of this machine: what RFC 3164 leaves out.
    pub zone: FixedOffset,
    pub sender: IpAddr,
}

/// What is known of a message; all texts are clean.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed<'a> {
    pub severity: Severity,
    pub facility: Option<&'static str>,
    pub host: Cow<'a, str>,
    pub application: Cow<'a, str>,
    pub process: Option<Cow<'a, str>>,
    pub message_id: Option<Cow<'a, str>>,
    pub sent_at: Option<Instant>,
    pub text: Cow<'a, str>,
}

impl Parsed<'_> {
    pub fn line(&self) -> Line<'_> {
        Line { severity: self.severity, application: &self.application, host: &self.host, text: &self.text }
    }
}

/// Reads a message.
pub fn parse<'a>(text: &'a str, receipt: &Receipt) -> Parsed<'a> {
    let text = text.trim();
    let year = |date: IncompleteDate| year_of(date, receipt);
    let mut message = parse_message_with_year_tz(text, year, Some(receipt.zone), Variant::Either);
    if message.severity.is_none()
        && let Some((pri, rest)) = priority(text)
    {
        // Neither form, but its priority stands: `<11>text`, without time and host.
        (message.facility, message.severity) = decompose_pri(pri);
        if message.timestamp.is_none() {
            (message.hostname, message.appname, message.procid, message.msg) = tagged(rest);
        }
    } else if message.protocol == Protocol::RFC3164
        && message.appname.is_none()
        && let Some(word) = message.hostname
        && is_followed_by_colon(text, word)
    {
        // `TIME TAG: text`, as programs write it to their own machine.
        (message.hostname, message.appname) = (None, Some(word));
    }
    let short = |word: &'a str| clean(word, WORD);
    Parsed {
        severity: message.severity.map_or(UNSAID, |severity| Severity::from_code(severity as u8).unwrap_or(UNSAID)),
        facility: message.facility.map(|facility| facility.as_str()),
        host: message.hostname.map_or_else(|| receipt.sender.to_string().into(), |host| clean(host, HOST)),
        application: message.appname.map_or(Cow::Borrowed("-"), application),
        process: message.procid.map(|process| match process {
            ProcId::PID(number) => number.to_string().into(),
            ProcId::Name(name) => short(name),
        }),
        message_id: message.msgid.map(short),
        sent_at: message.timestamp.map(|at| at.to_utc()).filter(|at| (1970..10_000).contains(&at.year())),
        text: clean(message.msg.trim_start_matches('\u{feff}'), TEXT),
    }
}

/// Nobody outside can speak as one of Ordo's own.
fn application(name: &str) -> Cow<'_, str> {
    let name = clean(name, WORD);
    let is_ours = name.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case("ordo-"));
    if is_ours { Cow::Owned(format!("syslog/{name}")) } else { name }
}

/// `<0>` to `<191>` and what follows.
fn priority(text: &str) -> Option<(u8, &str)> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    let number = number.parse().ok().filter(|number| *number < 192)?;
    Some((number, rest))
}

type Tagged<'a> = (Option<&'a str>, Option<&'a str>, Option<ProcId<&'a str>>, &'a str);

/// `tag[process]: text` or `tag: text`, else all of it is text.
fn tagged(text: &str) -> Tagged<'_> {
    let text = text.trim_start();
    let nothing = (None, None, None, text);
    let Some((tag, rest)) = text.split_once(':') else { return nothing };
    let good = |word: &str| {
        (1..=48).contains(&word.len())
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/'))
    };
    let (name, process) = match tag.strip_suffix(']').and_then(|tag| tag.split_once('[')) {
        Some((name, process)) => (name, Some(process)),
        None => (tag, None),
    };
    if !good(name) || !process.is_none_or(good) || !rest.starts_with([' ', '\t']) {
        return nothing;
    }
    (None, Some(name), process.map(ProcId::from), rest.trim_start())
}

/// `word` is a part of `text`.
fn is_followed_by_colon(text: &str, word: &str) -> bool {
    let behind = (word.as_ptr() as usize + word.len()).checked_sub(text.as_ptr() as usize);
    behind.and_then(|behind| text.as_bytes().get(behind)) == Some(&b':')
}

/// The year that brings the date closest to now: a message of December comes in January, and from clocks that are ahead.
fn year_of((month, ..): IncompleteDate, receipt: &Receipt) -> i32 {
    let now: DateTime<FixedOffset> = receipt.zone.from_utc_datetime(&receipt.at.naive_utc());
    match (month, now.month()) {
        (10..=12, 1..=3) => now.year() - 1,
        (1..=3, 10..=12) => now.year() + 1,
        _ => now.year(),
    }
}

/// How far this machine's clock is from UTC.
pub fn local_zone(at: Instant) -> FixedOffset {
    let utc: DateTime<Utc> = at;
    *utc.with_timezone(&chrono::Local).offset()
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
