//! Slow and obvious: what a wall clock shows is compared with the rule, second by second. Shares no code with the rules.

use crate::Instant;
use chrono::{Datelike, NaiveDateTime, TimeDelta, Timelike};
use chrono_tz::Tz;

/// A rule as it is written.
#[derive(Debug, Clone)]
pub enum Written {
    Cron(String),
    /// `HH:MM:SS`, and weekdays as crontab numbers them.
    At(Vec<String>, Vec<u32>),
}

impl Written {
    fn fits(&self, time: NaiveDateTime) -> bool {
        match self {
            Written::At(times, weekdays) => {
                weekdays.contains(&time.weekday().num_days_from_sunday())
                    && times.contains(&time.format("%H:%M:%S").to_string())
            }
            Written::Cron(text) => fits_cron(text, time),
        }
    }

    fn follows_elapsed_time(&self) -> bool {
        let Written::Cron(text) = self else { return false };
        let fields: Vec<&str> = text.split(' ').collect();
        let hour = if fields.len() == 5 { fields[1] } else { fields[2] };
        hour.contains('*') || hour.contains('/') || (0..24).all(|h| fits_field(hour, h, 23))
    }
}

fn fits_cron(text: &str, time: NaiveDateTime) -> bool {
    let mut fields: Vec<&str> = text.split(' ').collect();
    if fields.len() == 5 {
        fields.insert(0, "0");
    }
    if fields.len() == 6 {
        fields.push("*");
    }
    let weekday = time.weekday().num_days_from_sunday();
    let day_of_month = fits_field(fields[3], time.day(), 31);
    let day_of_week = fits_field(fields[5], weekday, 6) || weekday == 0 && fits_field(fields[5], 7, 7);
    let restricted = |field: &str| !field.starts_with('*');
    let day = if restricted(fields[3]) && restricted(fields[5]) {
        day_of_month || day_of_week
    } else {
        day_of_month && day_of_week
    };
    day && fits_field(fields[0], time.second(), 59)
        && fits_field(fields[1], time.minute(), 59)
        && fits_field(fields[2], time.hour(), 23)
        && fits_field(fields[4], time.month(), 12)
        && fits_field(fields[6], time.year() as u32, 9999)
}

fn fits_field(field: &str, n: u32, last: u32) -> bool {
    field.split(',').any(|part| {
        let (range, step) = part.split_once('/').unwrap_or((part, ""));
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (named(from), named(to)),
            None if range == "*" => (if last == 31 || last == 12 { 1 } else { 0 }, last),
            None if step.is_empty() => (named(range), named(range)),
            None => (named(range), last),
        };
        let step = if step.is_empty() { 1 } else { step.parse().unwrap() };
        from <= n && n <= to && (n - from).is_multiple_of(step)
    })
}

fn named(text: &str) -> u32 {
    let names = "sun mon tue wed thu fri sat - jan feb mar apr may jun jul aug sep oct nov dec";
    let place = names.split(' ').position(|name| name.eq_ignore_ascii_case(text));
    match place {
        Some(n) if n < 7 => n as u32,
        Some(n) => n as u32 - 7,
        None => text.parse().unwrap(),
    }
}

/// Every start after `from`, up to `to`.
pub fn starts(
    rules: &[Written],
    zone: Tz,
    from: Instant,
    to: Instant,
    is_day: impl Fn(NaiveDateTime) -> bool,
) -> Vec<Instant> {
    let second = TimeDelta::seconds(1);
    let mut found = Vec::new();
    let shown = |at: Instant| at.with_timezone(&zone).naive_local();
    // The latest that the clock has shown: what it shows for the second time is not later.
    let mut at = from - TimeDelta::hours(26);
    let mut latest = shown(at);
    while at < to {
        at += second;
        let now = shown(at);
        let mut starts = false;
        for rule in rules {
            if rule.follows_elapsed_time() {
                starts |= rule.fits(now) && is_day(now);
            } else {
                // All that the clock has passed since, or jumped over.
                let mut time = latest + second;
                while time <= now {
                    starts |= rule.fits(time) && is_day(time);
                    time += second;
                }
            }
        }
        latest = latest.max(now);
        if starts && at > from {
            found.push(at);
        }
    }
    found
}
