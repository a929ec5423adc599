//! The night: 50 schedules tick each second while everything is killed with -9 in turn, the servers among it, and the mail server
//! is away for a while. Afterwards each tick has one order, or an event that says why it has none; and somebody was told of each failure,
//! once.
//!
//! `NIGHT=600` is how many seconds long (`make soak`); a short one runs with the other tests.

mod mails;
mod night;
mod ticks;

use night::Night;

#[tokio::test(flavor = "multi_thread")]
async fn a_night_starts_each_tick_once_and_tells_of_each_failure_once_whatever_is_killed() {
    let night = Night::pass().await;
    let commits = night.journal().await;
    ticks::each_has_one_order_or_one_stated_reason(&night, &commits);
    mails::each_failure_is_told_once(&night, &commits).await;
}
