//! When the cleanup may work: on these weekdays, from one time of day to another, in a zone.
//!
//! Times are read in local time and then mapped (design part 8): one that does not exist is the first instant after the
//! gap, one that exists twice is the first.

use crate::Instant;
use chrono::{DateTime, Datelike, Days, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// So many days ahead a window is looked for: more than a week, because a change of the clocks may take one away.
const AHEAD: u64 = 15;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// On which it opens. None at all: never by itself.
    pub days: BTreeSet<Day>,
    pub from: Time,
    /// Not after `from`: on the day after. The same: a whole day.
    pub to: Time,
    #[schemars(with = "String")]
    pub zone: chrono_tz::Tz,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    pub const ALL: [Day; 7] = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];
    pub const WORDS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

    fn of(date: NaiveDate) -> Self {
        Self::ALL[date.weekday().num_days_from_monday() as usize]
    }

    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// A time of day, `HH:MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", description = "a time of day such as 01:30, from 00:00 to 23:59")]
pub struct Time {
    hour: u8,
    minute: u8,
}

/// A text that is no time of day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time of day: write it like 01:30, from 00:00 to 23:59")]
pub struct InvalidTime(pub String);

impl Time {
    /// None beyond 23:59.
    pub fn new(hour: u8, minute: u8) -> Option<Self> {
        (hour < 24 && minute < 60).then_some(Self { hour, minute })
    }

    pub fn hour(self) -> u8 {
        self.hour
    }

    pub fn minute(self) -> u8 {
        self.minute
    }

    fn naive(self) -> NaiveTime {
        NaiveTime::from_hms_opt(u32::from(self.hour), u32::from(self.minute), 0).unwrap_or_default()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

impl FromStr for Time {
    type Err = InvalidTime;
    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let invalid = || InvalidTime(text.chars().take(40).collect());
        let (hour, minute) = text.trim().split_once(':').ok_or_else(invalid)?;
        let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(hour) || !digits(minute) {
            return Err(invalid());
        }
        let number = |part: &str| part.parse().map_err(|_| invalid());
        Self::new(number(hour)?, number(minute)?).ok_or_else(invalid)
    }
}

impl TryFrom<String> for Time {
    type Error = InvalidTime;
    fn try_from(text: String) -> Result<Self, InvalidTime> {
        text.parse()
    }
}

impl From<Time> for String {
    fn from(time: Time) -> String {
        time.to_string()
    }
}

impl Default for Window {
    /// Every night from 1 to 4 o'clock UTC, as JS7 has it.
    fn default() -> Self {
        Self {
            days: Day::ALL.into(),
            from: Time { hour: 1, minute: 0 },
            to: Time { hour: 4, minute: 0 },
            zone: chrono_tz::UTC,
        }
    }
}

impl Window {
    /// When the window that is open at `now` closes; none when it is not open. Where one begins as another ends, the
    /// last one's end.
    pub fn closes(&self, now: Instant) -> Option<Instant> {
        let mut closes = None;
        for (opens, ends) in self.around(now) {
            let open = closes.unwrap_or(now);
            if opens <= open && open < ends || closes == Some(opens) {
                closes = Some(ends);
            }
        }
        // Windows that follow each other without a gap never close; a week of it is as good as always.
        closes
    }

    /// When it opens next, after `now` and not open then already.
    pub fn opens(&self, now: Instant) -> Option<Instant> {
        self.around(now).map(|(opens, _)| opens).find(|opens| *opens > now)
    }

    /// The windows of the day before and the days after, empty ones left out.
    fn around(&self, now: Instant) -> impl Iterator<Item = (Instant, Instant)> {
        let today = now.with_timezone(&self.zone).date_naive();
        let first = today.pred_opt().unwrap_or(today);
        (0..AHEAD).filter_map(move |n| {
            let date = first.checked_add_days(Days::new(n))?;
            if !self.days.contains(&Day::of(date)) {
                return None;
            }
            let last = if self.to <= self.from { date.succ_opt()? } else { date };
            let (opens, ends) = (self.instant(date, self.from)?, self.instant(last, self.to)?);
            (opens < ends).then_some((opens, ends))
        })
    }

    fn instant(&self, date: NaiveDate, time: Time) -> Option<Instant> {
        first_instant(self.zone, date.and_time(time.naive()))
    }
}

/// The instant of a local time: the first where it exists twice, the first after the gap where it does not exist.
fn first_instant(zone: chrono_tz::Tz, local: NaiveDateTime) -> Option<DateTime<Utc>> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.to_utc()),
        // Gaps begin and end at whole minutes in every zone since clocks are set by law, and last a day at most.
        LocalResult::None => (1..=25 * 60).find_map(|minutes| {
            match zone.from_local_datetime(&local.checked_add_signed(TimeDelta::minutes(minutes))?) {
                LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.to_utc()),
                LocalResult::None => None,
            }
        }),
    }
}
