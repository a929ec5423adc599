//! Times of day on some weekdays.

use super::cron::number;
use chrono::{Datelike, NaiveDate, NaiveTime, Timelike, Weekday};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// Starts at each of these times, on each of these weekdays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimesOfDay {
    pub times: BTreeSet<TimeOfDay>,
    #[serde(default, skip_serializing_if = "Weekdays::are_all")]
    pub weekdays: Weekdays,
}

impl TimesOfDay {
    pub(super) fn next_day(&self, from: NaiveDate, last: NaiveDate) -> Option<NaiveDate> {
        from.iter_days().take(7).take_while(|day| *day <= last).find(|day| self.weekdays.has(day.weekday()))
    }

    pub(super) fn next_time(&self, from: NaiveTime) -> Option<NaiveTime> {
        let last = self.times.range(TimeOfDay(from)..).next()?;
        Some(last.0)
    }
}

/// `06:00` or `18:30:15`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", description = "a time of day, 00:00 to 23:59 or 00:00:00 to 23:59:59")]
pub struct TimeOfDay(NaiveTime);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time of day: write hours and minutes such as 06:00, or with seconds 18:30:15")]
pub struct InvalidTime(pub String);

impl TimeOfDay {
    pub fn time(self) -> NaiveTime {
        self.0
    }
}

impl FromStr for TimeOfDay {
    type Err = InvalidTime;
    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let invalid = || InvalidTime(text.chars().take(40).collect());
        let parts: Vec<&str> = text.trim().split(':').collect();
        let number = |part: &&str| {
            let two = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            two.then(|| part.parse::<u32>().ok()).flatten()
        };
        let numbers: Vec<u32> = parts.iter().map(number).collect::<Option<_>>().ok_or_else(invalid)?;
        let (hour, minute, second) = match numbers[..] {
            [hour, minute] => (hour, minute, 0),
            [hour, minute, second] => (hour, minute, second),
            _ => return Err(invalid()),
        };
        NaiveTime::from_hms_opt(hour, minute, second).map(Self).ok_or_else(invalid)
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = if self.0.second() == 0 { "" } else { ":%S" };
        write!(f, "{}", self.0.format(&format!("%H:%M{seconds}")))
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = InvalidTime;
    fn try_from(text: String) -> Result<Self, InvalidTime> {
        text.parse()
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> String {
        time.to_string()
    }
}

/// Some days of the week: written as a list of `mon`, `tue`, … and ranges such as `mon-fri` or `sat-mon`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
#[schemars(with = "Vec<String>")]
pub struct Weekdays(u8);

const NAMES: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

impl Default for Weekdays {
    fn default() -> Self {
        Self(0x7f)
    }
}

impl Weekdays {
    pub const NONE: Weekdays = Weekdays(0);

    pub fn has(self, day: Weekday) -> bool {
        self.0 >> number(day) & 1 == 1
    }

    pub fn are_all(&self) -> bool {
        self.0 == 0x7f
    }

    pub fn with(self, other: Weekdays) -> Self {
        Self(self.0 | other.0)
    }

    /// One day or one range. None: it names none.
    pub fn parse(text: &str) -> Option<Self> {
        let day = |text: &str| {
            let text = text.trim().to_ascii_lowercase();
            NAMES.iter().position(|name| *name == text || name[..3] == text)
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(text)?, day(text)?),
        };
        let count = (last + 7 - first) % 7;
        Some(Self((first..=first + count).fold(0, |bits, n| bits | 1 << (n % 7))))
    }
}

impl TryFrom<Vec<String>> for Weekdays {
    type Error = String;
    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        texts.iter().try_fold(Self::NONE, |days, text| {
            Ok(days.with(Self::parse(text).ok_or_else(|| format!("{text:?} is no weekday"))?))
        })
    }
}

impl From<Weekdays> for Vec<String> {
    fn from(days: Weekdays) -> Self {
        // As people count: from Monday.
        let week = (1..=7).map(|n| n % 7);
        week.filter(|n| days.0 >> n & 1 == 1).map(|n: usize| NAMES[n][..3].to_owned()).collect()
    }
}
