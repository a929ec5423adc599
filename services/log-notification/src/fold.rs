//! Repeats of a line become one notice with a count: told at once, and once more when the time of its fold is over and
//! there were repeats. Pure: what is open can be written down and found again, so that a restart neither tells twice nor
//! forgets a count.

use crate::clean::clean;
use chrono::{DateTime, TimeDelta};
use ordo_contract::log::LogRecord;
use ordo_contract::notice::LogNotice;
use ordo_domain::log_rule::{LONGEST_FOLD, LogRule, normalised};
use ordo_domain::{ContentHash, Instant};
use std::collections::{BTreeSet, HashMap};

/// Folds that may be open. What is new beyond that is folded by its rule alone.
const OPEN: usize = 5_000;
/// Characters of a text in a notice.
const TEXT: usize = 2_000;
/// Clocks that show something else are taken for these: every database knows them.
const EARLIEST: Instant = DateTime::UNIX_EPOCH;
const LATEST: Instant = DateTime::from_timestamp(4_102_444_800, 0).expect("the year 2100");

/// A notice whose repeats are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    pub notice: LogNotice,
    /// The count that was told last.
    pub told: u64,
    pub until: Instant,
}

/// A line of the stream LOGS.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub record: &'a LogRecord,
    /// Third and fourth token of its subject.
    pub role: &'a str,
    pub instance: &'a str,
    /// Of the stream, and the line's place in it: what makes an id the same every time.
    pub incarnation: &'a str,
    pub sequence: u64,
}

impl Source<'_> {
    pub fn application(&self) -> String {
        self.record.application(self.role)
    }

    pub fn host(&self) -> String {
        let host = if self.record.host.is_empty() { self.instance } else { &self.record.host };
        clean(host, 255).into_owned()
    }

    pub fn text(&self) -> String {
        clean(&self.record.text(), TEXT).into_owned()
    }
}

/// What is to be written down: folds by key, and the keys of those that are over.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub open: Vec<(String, Fold)>,
    pub over: Vec<String>,
}

/// The open folds.
#[derive(Debug, Default)]
pub struct Folds {
    open: HashMap<String, Fold>,
    /// Whose time is over first.
    due: BTreeSet<(Instant, String)>,
    /// Keys of what is not yet written down.
    changed: BTreeSet<String>,
}

impl Folds {
    /// As they were written down.
    pub fn restored(folds: impl IntoIterator<Item = (String, Fold)>) -> Self {
        let open: HashMap<String, Fold> = folds.into_iter().collect();
        let due = open.iter().map(|(key, fold)| (fold.until, key.clone())).collect();
        Self { open, due, changed: BTreeSet::new() }
    }

    /// Takes a line that the rule fits. A notice is to be told when it is no repeat.
    pub fn take(&mut self, rule: &LogRule, source: Source<'_>, told: &mut Vec<LogNotice>) {
        let (host, application, text) = (source.host(), source.application(), source.text());
        let at = source.record.at.clamp(EARLIEST, LATEST);
        let mut key = hashed(&[rule.name.as_str(), &host, &application, &normalised(&text)]);
        if self.open.len() >= OPEN && !self.open.contains_key(&key) {
            key = hashed(&[rule.name.as_str()]);
        }
        match self.open.get_mut(&key) {
            Some(fold) if at < fold.until => {
                let notice = &mut fold.notice;
                notice.count += 1;
                notice.last_at = notice.last_at.max(at);
                notice.severity = notice.severity.min(source.record.level);
                self.changed.insert(key);
                return;
            }
            Some(_) => self.close(&key, told),
            None => {}
        }
        let notice = LogNotice {
            id: hashed(&[&key, source.incarnation, &source.sequence.to_string()]),
            rule: rule.name.clone(),
            title: rule.notice.clone(),
            severity: source.record.level,
            host,
            application,
            text,
            first_at: at,
            last_at: at,
            count: 1,
        };
        told.push(notice.clone());
        let until = at + rule.fold.to_chrono().min(LONGEST_FOLD.to_chrono());
        if until > at {
            self.due.insert((until, key.clone()));
            self.open.insert(key.clone(), Fold { notice, told: 1, until });
            self.changed.insert(key);
        }
    }

    /// Ends those whose time is over. `now` is the time up to which all lines are known.
    pub fn end(&mut self, now: Instant, told: &mut Vec<LogNotice>) {
        while let Some((until, key)) = self.due.first()
            && *until <= now
        {
            let key = key.clone();
            self.close(&key, told);
        }
    }

    fn close(&mut self, key: &str, told: &mut Vec<LogNotice>) {
        let Some(fold) = self.open.remove(key) else { return };
        self.due.remove(&(fold.until, key.to_owned()));
        self.changed.insert(key.to_owned());
        if fold.notice.count > fold.told {
            told.push(fold.notice);
        }
    }

    /// How long until the next is over.
    pub fn next_end(&self, now: Instant) -> Option<TimeDelta> {
        self.due.first().map(|(until, _)| (*until - now).max(TimeDelta::zero()))
    }

    /// What changed since the last time.
    pub fn changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for key in std::mem::take(&mut self.changed) {
            match self.open.get(&key) {
                Some(fold) => changes.open.push((key, fold.clone())),
                None => changes.over.push(key),
            }
        }
        changes
    }

    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

/// 32 hex digits of the parts.
fn hashed(parts: &[&str]) -> String {
    let hash = ContentHash::of(parts.join("\0").as_bytes());
    hash.as_str().chars().take(32).collect()
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
