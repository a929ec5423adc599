//! Time as an argument. Everything that decides takes a `Clock`, so that tests and the simulation own the time.

use chrono::{DateTime, Utc};
use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime};

/// Wall time for what people read, time since boot for every span that must not jump.
pub trait Clock: Send + Sync + 'static {
    /// UTC now. May jump when the machine's clock is set: never measure a span with it.
    fn now(&self) -> DateTime<Utc>;

    /// CLOCK_BOOTTIME: runs on while the machine sleeps, so that a lease cannot look fresh after a suspend
    /// (CLOCK_MONOTONIC stands still then).
    fn boottime(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::<Utc>::from(SystemTime::now())
    }

    fn boottime(&self) -> Duration {
        boottime()
    }
}

/// CLOCK_BOOTTIME, comparable between processes of one machine.
pub fn boottime() -> Duration {
    match clock_gettime(ClockId::CLOCK_BOOTTIME) {
        Ok(spec) => Duration::from(spec),
        // Linux has had this clock since 2.6.39; a machine without it can run nothing of this safely.
        Err(error) => panic!("CLOCK_BOOTTIME cannot be read: {error}"),
    }
}
