//! The flood guard: how much is taken, in all and from each sender, and how much of it is stored. What goes beyond is
//! counted, by sender and reason, and said once in a while. It never stops anything.

use crate::config::SyslogConfig;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Senders that are told apart; the rest share one measure.
const SENDERS: usize = 4_096;
/// The same for those who may not send: an address is easily forged.
const STRANGERS: usize = 64;
/// A sender of whom nothing came for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(300);

/// So many in a second on average, and so many at once. By a clock that is never set.
#[derive(Debug, Clone)]
struct Measure {
    per_second: f64,
    most: f64,
    left: f64,
    at: Instant,
}

impl Measure {
    fn new(per_second: u32, most: u32, now: Instant) -> Self {
        let most = f64::from(most.max(1));
        Self { per_second: f64::from(per_second), most, left: most, at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.per_second).min(self.most);
        self.at = self.at.max(now);
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

/// Why a message was not taken, or not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Its sender is not among those from whom messages are taken.
    Stranger,
    /// A connection was refused: there are too many.
    Connection,
    /// Too many of this sender.
    OfSender,
    /// Too many of all.
    OfAll,
    /// The machine threw it away before it was read.
    Unread,
    /// Read and looked at, but too many of this sender, or of all, to be kept.
    Kept,
    /// Read and looked at, but the bus was away for too long.
    Bus,
}

impl Why {
    const COUNT: usize = 7;
    const ALL: [Why; Why::COUNT] =
        [Why::Stranger, Why::Connection, Why::OfSender, Why::OfAll, Why::Unread, Why::Kept, Why::Bus];

    /// Whether it was not even looked at.
    pub fn is_untaken(self) -> bool {
        !matches!(self, Why::Kept | Why::Bus)
    }
}

type Missed = [u64; Why::COUNT];

#[derive(Debug)]
struct Sender {
    taken: Measure,
    stored: Measure,
    matched: Measure,
    missed: Missed,
    seen: Instant,
}

/// What was missed of one sender since it was last asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// `None`: many of whom only the sum is known.
    pub sender: Option<IpAddr>,
    /// More than zero each.
    pub counts: Vec<(Why, u64)>,
}

impl Loss {
    pub fn sum(&self, which: impl Fn(Why) -> bool) -> u64 {
        self.counts.iter().filter(|(why, _)| which(*why)).map(|(_, count)| count).sum()
    }
}

/// What may still be taken, and what was not.
#[derive(Debug)]
pub struct Guard {
    limits: SyslogConfig,
    taken: Measure,
    stored: Measure,
    matched: Measure,
    senders: HashMap<IpAddr, Sender>,
    /// All senders beyond those.
    others: Sender,
    strangers: HashMap<IpAddr, u64>,
    other_strangers: u64,
}

fn sender(limits: &SyslogConfig, now: Instant) -> Sender {
    let (rate, stored) = (limits.messages_per_sender, limits.stored_per_sender);
    Sender {
        taken: Measure::new(rate, rate.saturating_mul(2), now),
        stored: Measure::new(stored, stored.saturating_mul(10), now),
        matched: Measure::new(stored, stored.saturating_mul(10), now),
        missed: [0; Why::COUNT],
        seen: now,
    }
}

impl Guard {
    pub fn new(limits: &SyslogConfig, now: Instant) -> Self {
        let (rate, stored) = (limits.messages, limits.stored);
        Self {
            taken: Measure::new(rate, rate.saturating_mul(2), now),
            stored: Measure::new(stored, stored.saturating_mul(10), now),
            matched: Measure::new(stored, stored.saturating_mul(10), now),
            senders: HashMap::new(),
            others: sender(limits, now),
            strangers: HashMap::new(),
            other_strangers: 0,
            limits: limits.clone(),
        }
    }

    fn sender(&mut self, address: IpAddr, now: Instant) -> &mut Sender {
        if self.senders.len() >= SENDERS && !self.senders.contains_key(&address) {
            return &mut self.others;
        }
        let sender = self.senders.entry(address).or_insert_with(|| sender(&self.limits, now));
        sender.seen = now;
        sender
    }

    /// Whether a message of this sender may be taken; if not, it is counted.
    pub fn may_take(&mut self, address: IpAddr, now: Instant) -> bool {
        let sender = self.sender(address, now);
        if !sender.taken.take(now) {
            sender.missed[Why::OfSender as usize] += 1;
            return false;
        }
        if !self.taken.take(now) {
            self.missed(address, Why::OfAll, 1, now);
            return false;
        }
        true
    }

    /// Whether a message may be stored; if not, it is counted. What a rule fits has a measure of its own, which what is
    /// only bad cannot use up.
    pub fn may_store(&mut self, address: IpAddr, is_matched: bool, now: Instant) -> bool {
        let sender = self.sender(address, now);
        let own = if is_matched { &mut sender.matched } else { &mut sender.stored };
        let of_sender = own.take(now);
        let of_all = if is_matched { &mut self.matched } else { &mut self.stored };
        if of_sender && of_all.take(now) {
            return true;
        }
        self.missed(address, Why::Kept, 1, now);
        false
    }

    pub fn missed(&mut self, address: IpAddr, why: Why, count: u64, now: Instant) {
        self.sender(address, now).missed[why as usize] += count;
    }

    /// Something of one who may not send.
    pub fn stranger(&mut self, address: IpAddr) {
        let has_room = self.strangers.len() < STRANGERS;
        match self.strangers.get_mut(&address) {
            Some(count) => *count += 1,
            None if has_room => drop(self.strangers.insert(address, 1)),
            None => self.other_strangers += 1,
        }
    }

    /// Lost, nobody knows of whom.
    pub fn lost_of_unknown(&mut self, why: Why, count: u64) {
        self.others.missed[why as usize] += count;
    }

    /// What was missed since the last time, the most first; at most `most` senders by name. Forgets who is silent.
    pub fn losses(&mut self, most: usize, now: Instant) -> Vec<Loss> {
        let mut losses = Vec::new();
        let mut rest: Missed = std::mem::take(&mut self.others.missed);
        for (address, sender) in &mut self.senders {
            losses.push((*address, std::mem::take(&mut sender.missed)));
        }
        for (address, count) in self.strangers.drain() {
            let mut missed = [0; Why::COUNT];
            missed[Why::Stranger as usize] = count;
            losses.push((address, missed));
        }
        rest[Why::Stranger as usize] += std::mem::take(&mut self.other_strangers);
        self.senders.retain(|_, sender| now.saturating_duration_since(sender.seen) < FORGOTTEN);
        losses.retain(|(_, missed)| missed.iter().any(|count| *count > 0));
        losses.sort_by_key(|(address, missed)| (std::cmp::Reverse(missed.iter().sum::<u64>()), *address));
        for (_, missed) in losses.iter().skip(most) {
            rest.iter_mut().zip(missed).for_each(|(sum, count)| *sum += count);
        }
        losses.truncate(most);
        let counts = |missed: Missed| {
            let all = Why::ALL.into_iter().map(|why| (why, missed[why as usize]));
            all.filter(|(_, count)| *count > 0).collect::<Vec<_>>()
        };
        let named = losses.into_iter().map(|(address, missed)| Loss { sender: Some(address), counts: counts(missed) });
        let unnamed = Some(Loss { sender: None, counts: counts(rest) }).filter(|loss| !loss.counts.is_empty());
        named.chain(unnamed).collect()
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
