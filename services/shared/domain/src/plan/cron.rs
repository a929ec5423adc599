//! Cron expressions, as crontab(5) has them, with seconds and years where they are wanted.
//!
//! Five fields (minute, hour, day of month, month, weekday), six (a second before them) or seven (a year behind). A
//! field is `*` or a list of numbers and ranges, each with a step where one is given: `*/5`, `8-18/2`, `7/10` (from 7 to
//! the end). Months and weekdays have names, too; 0 and 7 are Sunday. Where neither day field begins with `*`, a day fits
//! that fits one of the two; else it must fit both. That is the rule of crontab(5), and so is what `*` means in it.
//!
//! Read and matched here, not by the crate `cron`: that one numbers weekdays from 1, refuses five fields and 0, joins the day
//! fields by AND, and goes over changes of the clock in a way of its own. To translate, every field had to be read anyway.

use chrono::{Datelike, NaiveDate, NaiveTime, Timelike, Weekday};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{collections::BTreeSet, fmt, ops::Range, str::FromStr};

/// Longer ones are a mistake.
const BYTES: usize = 400;
const YEARS: (u32, u32) = (1970, 2199);

/// A cron expression that was read. Equal are those that are written alike, blanks apart.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", description = "a cron expression of 5, 6 (seconds first) or 7 fields (a year last)")]
pub struct Cron {
    text: String,
    seconds: Bits,
    minutes: Bits,
    hours: Bits,
    days: Bits,
    months: Bits,
    /// 0 is Sunday.
    weekdays: Bits,
    /// None: every year.
    years: Option<BTreeSet<u32>>,
    /// Both day fields are restricted: one of them is enough.
    either_day: bool,
    follows_elapsed_time: bool,
}

/// A set of numbers below 64.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Bits(u64);

impl Bits {
    fn has(self, n: u32) -> bool {
        n < 64 && self.0 >> n & 1 == 1
    }
    /// The least one that is at least `n`.
    fn from(self, n: u32) -> Option<u32> {
        let rest = if n < 64 { self.0 >> n << n } else { 0 };
        (rest != 0).then(|| rest.trailing_zeros())
    }
    fn least(self) -> u32 {
        self.from(0).unwrap_or(0)
    }
}

/// What is wrong in a cron expression, and where in its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidCron {
    pub at: Range<usize>,
    pub message: String,
    pub help: Option<String>,
}

struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    words: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 7] = [
    Field { name: "second", least: 0, most: 59, words: &[] },
    Field { name: "minute", least: 0, most: 59, words: &[] },
    Field { name: "hour", least: 0, most: 23, words: &[] },
    Field { name: "day of month", least: 1, most: 31, words: &[] },
    Field { name: "month", least: 1, most: 12, words: MONTHS },
    Field { name: "weekday", least: 0, most: 7, words: DAYS },
    Field { name: "year", least: YEARS.0, most: YEARS.1, words: &[] },
];
const LONGEST_MONTHS: [u32; 13] = [0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl Cron {
    /// Whether it counts hours as they pass, over a change of the clock: `*` or a step in its hour, or every hour named.
    pub fn follows_elapsed_time(&self) -> bool {
        self.follows_elapsed_time
    }

    /// The first day from this one on that has a start, up to `last`.
    pub fn next_day(&self, from: NaiveDate, last: NaiveDate) -> Option<NaiveDate> {
        let mut day = from;
        while day <= last {
            let year = u32::try_from(day.year()).unwrap_or(0);
            if !self.years.as_ref().is_none_or(|years| years.contains(&year)) {
                let next = self.years.as_ref()?.range(year + 1..).next()?;
                day = NaiveDate::from_ymd_opt(i32::try_from(*next).ok()?, 1, 1)?;
            } else if !self.months.has(day.month()) {
                day = match self.months.from(day.month() + 1) {
                    Some(month) => NaiveDate::from_ymd_opt(day.year(), month, 1)?,
                    None => NaiveDate::from_ymd_opt(day.year() + 1, self.months.least(), 1)?,
                };
            } else if self.fits_day(day) {
                return Some(day);
            } else {
                day = day.succ_opt()?;
            }
        }
        None
    }

    fn fits_day(&self, day: NaiveDate) -> bool {
        let (of_month, of_week) = (self.days.has(day.day()), self.weekdays.has(number(day.weekday())));
        if self.either_day { of_month || of_week } else { of_month && of_week }
    }

    /// The first time of a day that has a start, at or after this one.
    pub fn next_time(&self, from: NaiveTime) -> Option<NaiveTime> {
        let at = NaiveTime::from_hms_opt;
        let (least_minute, least_second) = (self.minutes.least(), self.seconds.least());
        // A fraction of a second has its next start in the next second.
        let from_second = from.second() + u32::from(from.nanosecond() > 0);
        if self.hours.has(from.hour()) {
            if self.minutes.has(from.minute())
                && let Some(second) = self.seconds.from(from_second)
            {
                return at(from.hour(), from.minute(), second);
            }
            if let Some(minute) = self.minutes.from(from.minute() + 1) {
                return at(from.hour(), minute, least_second);
            }
        }
        at(self.hours.from(from.hour() + 1)?, least_minute, least_second)
    }
}

/// As crontab counts: Sunday is 0.
pub(super) fn number(day: Weekday) -> u32 {
    day.num_days_from_sunday()
}

impl FromStr for Cron {
    type Err = InvalidCron;

    fn from_str(text: &str) -> Result<Self, InvalidCron> {
        let whole = 0..text.len();
        let wrong =
            |message: String, help: &str| InvalidCron { at: whole.clone(), message, help: Some(help.to_owned()) };
        if text.len() > BYTES {
            return Err(wrong(format!("a cron expression of {} bytes; the limit is {BYTES}", text.len()), "use `at:`"));
        }
        if text.trim_start().starts_with('@') {
            let help = "write the fields, such as \"0 0 * * *\" for every midnight";
            return Err(wrong(format!("{:?} is no cron expression here", text.trim()), help));
        }
        let fields = words(text);
        let first = match fields.len() {
            5 => 1,
            6 | 7 => 0,
            n => {
                let help = "five: minute hour day month weekday; six: a second before them; seven: a year behind";
                return Err(wrong(format!("a cron expression has 5, 6 or 7 fields, not {n}"), help));
            }
        };
        let mut sets: Vec<BTreeSet<u32>> = Vec::with_capacity(7);
        if first == 1 {
            sets.push(BTreeSet::from([0]));
        }
        for (field, (at, word)) in FIELDS[first..].iter().zip(&fields) {
            sets.push(set(field, *at, word)?);
        }
        let word = |n: usize| fields.get(n - first).map_or("*", |(_, word)| *word);
        let years = (fields.len() == 7 && word(6) != "*").then(|| sets[6].clone());
        let bits = |n: usize| Bits(sets[n].iter().fold(0, |bits, n| bits | 1 << n));
        // 7 is Sunday as well.
        let weekdays = bits(5);
        let weekdays = Bits((weekdays.0 | weekdays.0 >> 7 & 1) & 0x7f);
        let hours = bits(2);
        let cron = Cron {
            text: fields.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(" "),
            seconds: bits(0),
            minutes: bits(1),
            hours,
            days: bits(3),
            months: bits(4),
            weekdays,
            years,
            either_day: !word(3).starts_with('*') && !word(5).starts_with('*'),
            follows_elapsed_time: word(2).contains(['*', '/']) || hours.0 == 0xff_ffff,
        };
        cron.comes_at_all(&fields, first)?;
        Ok(cron)
    }
}

impl Cron {
    /// A day of the month that none of its months has, such as 30 February.
    fn comes_at_all(&self, fields: &[(usize, &str)], first: usize) -> Result<(), InvalidCron> {
        let fits = |month: usize| self.months.has(month as u32) && self.days.least() <= LONGEST_MONTHS[month];
        if self.either_day || (1..=12).any(fits) {
            return Ok(());
        }
        let (at, word) = fields[3 - first];
        Err(InvalidCron {
            at: at..at + word.len(),
            message: format!("day {} never comes in the months {}", word, fields[4 - first].1),
            help: None,
        })
    }
}

/// The words of a text with their places.
fn words(text: &str) -> Vec<(usize, &str)> {
    let start = text.as_ptr() as usize;
    text.split_whitespace().map(|word| (word.as_ptr() as usize - start, word)).collect()
}

fn set(field: &Field, at: usize, text: &str) -> Result<BTreeSet<u32>, InvalidCron> {
    let mut set = BTreeSet::new();
    let mut at = at;
    for part in text.split(',') {
        let (least, most, step) = part_of(field, at, part)?;
        set.extend((least..=most).step_by(step as usize));
        at += part.len() + 1;
    }
    Ok(set)
}

/// `*`, a number or a range, each with a step or without one.
fn part_of(field: &Field, at: usize, part: &str) -> Result<(u32, u32, u32), InvalidCron> {
    let wrong = |message: String, help: Option<String>| InvalidCron { at: at..at + part.len().max(1), message, help };
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let last = field.most;
    let number = |text: &str| value(field, text).map_err(|message| wrong(message, hint(field, part)));
    let (least, most) = match range.split_once('-') {
        _ if range == "*" => (field.least, last),
        Some((least, most)) => (number(least)?, number(most)?),
        None => {
            let n = number(range)?;
            (n, if step.is_some() { n.max(last) } else { n })
        }
    };
    if least > most {
        let help = match field.words.len() {
            7 if most == 0 => "a range goes upward: Sunday is 7 at its end",
            _ => "a range goes upward: write two, with a comma between them",
        };
        return Err(wrong(format!("the {} range {range} goes downward", field.name), Some(help.to_owned())));
    }
    let step = match step.map(str::parse::<u32>) {
        None => 1,
        Some(Ok(step)) if step > 0 && step <= field.most => step,
        Some(_) => {
            let message = format!("the step of {part} is no number from 1 to {}", field.most);
            return Err(wrong(message, Some("such as */5 or 10-40/10".to_owned())));
        }
    };
    Ok((least, most, step))
}

fn value(field: &Field, text: &str) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    if let Some(n) = field.words.iter().position(|word| *word == lower) {
        return Ok(field.least + n as u32);
    }
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(n) if digits && (field.least..=field.most).contains(&n) => Ok(n),
        _ => Err(format!("{text:?} is no {}", field.name)),
    }
}

/// What would be right, also for what other schedulers write.
fn hint(field: &Field, part: &str) -> Option<String> {
    let foreign = |c: &str| part.to_ascii_uppercase().contains(c);
    Some(match field.name {
        "day of month" | "weekday" if part.contains('?') => "write * for any day".to_owned(),
        "day of month" if foreign("L") || foreign("W") => "there is no L and no W; days are numbers".to_owned(),
        "weekday" if part.contains('#') || foreign("L") => {
            "there is no # and no L; weekdays are 0-7 or sun-sat".to_owned()
        }
        "weekday" => "a weekday is 0-7 (0 and 7 are Sunday) or sun, mon, tue, wed, thu, fri, sat".to_owned(),
        "month" => "a month is 1-12 or jan-dec".to_owned(),
        "hour" => "an hour is a number from 0 to 23".to_owned(),
        name => format!("a {name} is a number from {} to {}", field.least, field.most),
    })
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({:?})", self.text)
    }
}

impl Serialize for Cron {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Cron {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(|e: InvalidCron| de::Error::custom(format!("{text:?}: {e}")))
    }
}
