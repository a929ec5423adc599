//! The rules of a schedule on the time line.
//!
//! A rule with an hour means a time of the wall clock: where the clock leaves it out, it is the first instant behind the
//! gap; where the clock shows it twice, it is the first. A rule with `*` or a step in its hour means whatever the clock
//! shows while time passes: nothing in the gap, both times where it is put back. Rules that mean the same instant mean
//! one start. See design part 8.

use super::{Parameterisation, Rule, Schedule, wall_clock};
use crate::Instant;
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use chrono_tz::Tz;

/// One order of a schedule, to be started at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStart<'a> {
    pub instant: Instant,
    pub parameterisation: &'a Parameterisation,
    /// The date of the instant in the site's zone.
    pub business_day: NaiveDate,
}

impl PlannedStart<'_> {
    /// The date of an instant in the site's zone.
    pub fn business_day(site: Tz, instant: Instant) -> NaiveDate {
        wall_clock::shown(site, instant).date()
    }
}

impl Schedule {
    /// Every instant after `from` and up to `to`, in order and each once. What it costs depends on how many are taken, and
    /// little on how far apart they are.
    pub fn instants(&self, site: Tz, from: Instant, to: Instant) -> Instants<'_> {
        let zone = self.zone(site);
        let lines = self.times.iter().map(|rule| Line::new(self, rule, zone, from, to)).collect();
        Instants { lines }
    }

    /// The orders of these instants: whole instants, as many as fit into `limit` orders, the first always.
    pub fn starts(&self, site: Tz, from: Instant, to: Instant, limit: usize) -> Vec<PlannedStart<'_>> {
        let mut starts = Vec::new();
        for instant in self.instants(site, from, to) {
            if !starts.is_empty() && starts.len() + self.orders.len() > limit {
                break;
            }
            let business_day = PlannedStart::business_day(site, instant);
            let start = |parameterisation| PlannedStart { instant, parameterisation, business_day };
            starts.extend(self.orders.iter().map(start));
        }
        starts
    }
}

impl Rule {
    fn next_day(&self, from: NaiveDate, last: NaiveDate) -> Option<NaiveDate> {
        match self {
            Rule::Cron(cron) => cron.next_day(from, last),
            Rule::At(times) => times.next_day(from, last),
        }
    }

    fn next_time(&self, from: NaiveTime) -> Option<NaiveTime> {
        match self {
            Rule::Cron(cron) => cron.next_time(from),
            Rule::At(times) => times.next_time(from),
        }
    }

    fn follows_elapsed_time(&self) -> bool {
        match self {
            Rule::Cron(cron) => cron.follows_elapsed_time(),
            Rule::At(_) => false,
        }
    }
}

/// See [`Schedule::instants`].
#[derive(Debug, Clone)]
pub struct Instants<'a> {
    lines: Vec<Line<'a>>,
}

impl Iterator for Instants<'_> {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        let next = self.lines.iter().filter_map(|line| line.next).min()?;
        for line in &mut self.lines {
            while line.next == Some(next) {
                line.next = line.step();
            }
        }
        Some(next)
    }
}

/// One rule.
#[derive(Debug, Clone)]
struct Line<'a> {
    schedule: &'a Schedule,
    rule: &'a Rule,
    zone: Tz,
    next: Option<Instant>,
    after: Instant,
    to: Instant,
    at: At,
}

/// How far the rule was read.
#[derive(Debug, Clone)]
enum At {
    /// The next time of the wall clock to look at, and the last one.
    Wall {
        from: NaiveDateTime,
        last: NaiveDateTime,
    },
    /// The stretch of even time, and from where on in it.
    Elapsed {
        stretch: wall_clock::Stretch,
        from: Instant,
    },
    Over,
}

const SECOND: TimeDelta = TimeDelta::seconds(1);

impl<'a> Line<'a> {
    fn new(schedule: &'a Schedule, rule: &'a Rule, zone: Tz, after: Instant, to: Instant) -> Self {
        let at = if after >= to {
            At::Over
        } else if rule.follows_elapsed_time() {
            At::Elapsed { stretch: wall_clock::stretch(zone, after, to + SECOND), from: after }
        } else {
            At::Wall { from: wall_clock::latest_shown(zone, after), last: wall_clock::latest_shown(zone, to) }
        };
        let mut line = Self { schedule, rule, zone, next: None, after, to, at };
        line.next = line.step();
        line
    }

    fn step(&mut self) -> Option<Instant> {
        loop {
            let found = match &mut self.at {
                At::Over => return None,
                At::Wall { from, last } => match wall_time(self.schedule, self.rule, *from, *last) {
                    Some(time) => {
                        *from = time + SECOND;
                        wall_clock::first_shown(self.zone, time)
                    }
                    None => None,
                },
                At::Elapsed { stretch, from } => {
                    let offset = stretch.offset;
                    let last = stretch.to.naive_utc() + offset - TimeDelta::milliseconds(1);
                    match wall_time(self.schedule, self.rule, from.naive_utc() + offset, last) {
                        Some(time) => {
                            let found = (time - offset).and_utc();
                            *from = found + SECOND;
                            Some(found)
                        }
                        None if stretch.to <= self.to => {
                            *from = stretch.to;
                            *stretch = wall_clock::stretch(self.zone, stretch.to, self.to + SECOND);
                            continue;
                        }
                        None => None,
                    }
                }
            };
            match found {
                Some(found) if found <= self.after => {}
                Some(found) if found <= self.to => return Some(found),
                _ => self.at = At::Over,
            }
        }
    }
}

/// The next time of the wall clock from this one on, up to the last one, that the rule has on a day of the schedule.
fn wall_time(schedule: &Schedule, rule: &Rule, from: NaiveDateTime, last: NaiveDateTime) -> Option<NaiveDateTime> {
    let mut from = from;
    if let Some(first) = schedule.valid.from.filter(|first| from.date() < *first) {
        from = first.and_time(NaiveTime::MIN);
    }
    let last_day = schedule.valid.to.map_or(last.date(), |to| to.min(last.date()));
    loop {
        let day = rule.next_day(from.date(), last_day)?;
        let earliest = if day == from.date() { from.time() } else { NaiveTime::MIN };
        match rule.next_time(earliest) {
            Some(time) if !schedule.except.contains(&day) => return Some(day.and_time(time)).filter(|at| *at <= last),
            _ => from = day.succ_opt()?.and_time(NaiveTime::MIN),
        }
    }
}
