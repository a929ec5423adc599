//! Maintenance: when alerts are silenced. What happens meanwhile is noted, and said when the window is over.

use super::scope::{Scope, Subject};
use crate::{DefinitionName, Instant, catalog::References};
use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Windows that follow each other without a gap are looked through so far.
const CHAINED: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Maintenance {
    pub name: DefinitionName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(flatten)]
    pub scope: Scope,
    /// At least one.
    pub windows: Vec<Window>,
    /// Of the windows; without it the site's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub zone: Option<Tz>,
}

/// In local time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Begins on these days; over midnight where `to` is not behind `from`.
    Weekly {
        weekdays: BTreeSet<Weekday>,
        from: NaiveTime,
        to: NaiveTime,
    },
    Once {
        from: NaiveDateTime,
        to: NaiveDateTime,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    pub const ALL: [Weekday; 7] = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];
    pub const WORDS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

    fn of(date: NaiveDate) -> Self {
        Self::ALL[date.weekday().num_days_from_monday() as usize]
    }
}

impl Maintenance {
    /// What it names of others.
    pub fn references(&self) -> References {
        self.scope.references()
    }

    /// Until when alerts about the subject are silenced at that time; `None`: they are not.
    pub fn silences(&self, subject: &Subject<'_>, at: Instant, site_zone: Tz) -> Option<Instant> {
        if self.scope.covers(subject) { self.open_until(at, site_zone) } else { None }
    }

    /// The end of the window that is open at that time, of those that follow it without a gap too.
    pub fn open_until(&self, at: Instant, site_zone: Tz) -> Option<Instant> {
        let zone = self.zone.unwrap_or(site_zone);
        let latest_end = |at: Instant| self.windows.iter().filter_map(|w| w.end_of_open(at, zone)).max();
        let mut end = latest_end(at)?;
        for _ in 0..CHAINED {
            match latest_end(end).filter(|next| *next > end) {
                Some(next) => end = next,
                None => break,
            }
        }
        Some(end)
    }
}

impl Window {
    fn end_of_open(&self, at: Instant, zone: Tz) -> Option<Instant> {
        match self {
            Window::Once { from, to } => {
                let (from, to) = (instant(*from, zone), instant(*to, zone));
                (from <= at && at < to).then_some(to)
            }
            Window::Weekly { weekdays, from, to } => {
                let today = at.with_timezone(&zone).date_naive();
                // One that began yesterday may reach over midnight.
                let days = [today.checked_sub_days(Days::new(1)), Some(today)];
                days.into_iter().flatten().filter(|day| weekdays.contains(&Weekday::of(*day))).find_map(|day| {
                    let last = if to > from { Some(day) } else { day.checked_add_days(Days::new(1)) };
                    let (from, to) = (instant(day.and_time(*from), zone), instant(last?.and_time(*to), zone));
                    (from <= at && at < to).then_some(to)
                })
            }
        }
    }
}

/// Design part 8: a time that does not exist is the first instant after the gap, one that exists twice the first.
fn instant(local: NaiveDateTime, zone: Tz) -> Instant {
    let mut local = local;
    // No gap is longer than a day.
    for _ in 0..=1_440 {
        if let Some(found) = zone.from_local_datetime(&local).earliest() {
            return found.to_utc();
        }
        local += TimeDelta::minutes(1);
    }
    local.and_utc()
}
