//! Durations as people write them: `250ms`, `10s`, `1m30s`, `2h`, `7d`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};

/// A duration in whole milliseconds, at most 10 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", description = "a duration such as 250ms, 10s, 1m30s, 2h or 7d")]
pub struct Span(u64);

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const MAX: u64 = 3_650 * 86_400_000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write a number with a unit, such as 250ms, 10s, 1m30s, 2h or 7d (at most 3650d)")]
pub struct InvalidSpan(pub String);

impl Span {
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }
    pub const fn from_secs(s: u64) -> Self {
        Self(s * 1_000)
    }
    /// Nothing below zero, and at most what can be written.
    pub fn from_chrono(delta: chrono::TimeDelta) -> Self {
        Self(u64::try_from(delta.num_milliseconds()).unwrap_or(0).min(MAX))
    }
    pub const fn as_millis(self) -> u64 {
        self.0
    }
    pub const fn to_std(self) -> Duration {
        Duration::from_millis(self.0)
    }
    pub fn to_chrono(self) -> chrono::TimeDelta {
        chrono::TimeDelta::milliseconds(i64::try_from(self.0).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, size) in UNITS {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl FromStr for Span {
    type Err = InvalidSpan;
    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let invalid = || InvalidSpan(text.chars().take(60).collect());
        let (mut rest, mut total, mut last) = (text.trim(), 0u64, u64::MAX);
        if rest.is_empty() {
            return Err(invalid());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..digits].parse().map_err(|_| invalid())?;
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let size = UNITS.iter().find(|(u, _)| *u == &rest[..letters]).map(|(_, s)| *s).ok_or_else(invalid)?;
            if size >= last {
                return Err(invalid());
            }
            last = size;
            rest = &rest[letters..];
            total = number
                .checked_mul(size)
                .and_then(|n| total.checked_add(n))
                .filter(|t| *t <= MAX)
                .ok_or_else(invalid)?;
        }
        Ok(Self(total))
    }
}

impl TryFrom<String> for Span {
    type Error = InvalidSpan;
    fn try_from(text: String) -> Result<Self, InvalidSpan> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}
