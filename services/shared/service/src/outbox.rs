//! Carries out what lies in the outbox: effects that were enqueued in the transaction of the rows they follow from.
//!
//! Effect first, then the mark: a crash in between makes it happen again, with the same key, by which whoever receives it
//! can tell. Those that fail are tried again ever more rarely, and at last given up, visibly: the row stays, the
//! heartbeat counts it, the log says it once.

use crate::active::Active;
use crate::retry::BackOff;
use crate::stop::Stop;
use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{FutureExt, TryFutureExt};
use ordo_store::Waiting;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Somebody else may have written into the table: never wait longer than this.
const LOOK: Duration = Duration::from_secs(10);
/// How often old ones are forgotten, and figures are taken that nobody told us of.
const TIDY: Duration = Duration::from_secs(600);
/// How often to look while most of what is allowed is under way.
const SLOW: Duration = Duration::from_millis(20);
/// Marked in one statement, at most.
const MARKS: usize = 500;

/// How effects are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxPolicy {
    /// Effects under way at a time.
    pub at_a_time: usize,
    /// Longest time for one; then it counts as failed.
    pub limit: Duration,
    pub back_off: BackOff,
    /// Given up when it failed and is so old.
    pub give_up_after: Duration,
    /// How long those that are done are known by their key. Longer than the journal is kept: what is derived again from
    /// it is not wanted again.
    pub keep: Duration,
}

impl Default for OutboxPolicy {
    fn default() -> Self {
        Self {
            at_a_time: 16,
            limit: Duration::from_secs(60),
            back_off: BackOff { first: Duration::from_millis(500), longest: Duration::from_secs(300) },
            give_up_after: Duration::from_secs(3 * 24 * 3600),
            keep: Duration::from_secs(15 * 24 * 3600),
        }
    }
}

/// Why an effect did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// It may go another time: by the policy's back-off.
    #[error("{0}")]
    Again(String),
    /// It may go another time, but not before so long (greylisting, say).
    #[error("{1}")]
    AgainIn(Duration, String),
    /// It will never go: given up at once.
    #[error("{0}")]
    Never(String),
}

/// Carries out the effects of this service until told to stop. `effect` gets each with its stable key.
///
/// # Errors
/// Told to stop, or what no waiting heals.
pub async fn run<F, E>(active: &Active, policy: OutboxPolicy, effect: F) -> Result<(), Stop>
where
    F: Fn(Waiting) -> E + Send + Sync,
    E: Future<Output = Result<(), Failed>> + Send,
{
    let (todo, given) = mpsc::unbounded_channel();
    let (told, ended) = mpsc::unbounded_channel();
    let now = Instant::now();
    let outbox = Outbox { active, policy, under_way: BTreeSet::new(), given_up: 0, look_at: now, looked_at: now };
    // Side by side: a database that is away must not hold up an effect in its middle.
    let ((), outcome) = tokio::join!(carry_out(&effect, policy.limit, given, told), outbox.run(todo, ended));
    outcome
}

type Ended = (Waiting, Result<(), Failed>);

/// Carries out what is given to it, all at a time, until no more comes and all is done.
async fn carry_out<F, E>(
    effect: &F,
    limit: Duration,
    mut given: mpsc::UnboundedReceiver<Waiting>,
    told: mpsc::UnboundedSender<Ended>,
) where
    F: Fn(Waiting) -> E + Sync,
    E: Future<Output = Result<(), Failed>> + Send,
{
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(due) = given.recv() => running.push(one(effect, due, limit)),
            Some(ended) = running.next(), if !running.is_empty() => drop(told.send(ended)),
            else => return,
        }
    }
}

async fn one<F, E>(effect: &F, due: Waiting, limit: Duration) -> Ended
where
    F: Fn(Waiting) -> E,
    E: Future<Output = Result<(), Failed>>,
{
    let working = AssertUnwindSafe(async { effect(due.clone()).await }).catch_unwind();
    let outcome = match tokio::time::timeout(limit, working).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Failed::Again("it panicked, see the log".to_owned())),
        Err(_) => Err(Failed::Again(format!("no end within {} s", limit.as_secs_f64()))),
    };
    (due, outcome)
}

/// What is known of the table.
struct Outbox<'a> {
    active: &'a Active,
    policy: OutboxPolicy,
    /// Their keys.
    under_way: BTreeSet<String>,
    given_up: u64,
    /// When there is, or may be, something to do.
    look_at: Instant,
    looked_at: Instant,
}

impl Outbox<'_> {
    async fn run(
        mut self,
        todo: mpsc::UnboundedSender<Waiting>,
        mut ended: mpsc::UnboundedReceiver<Ended>,
    ) -> Result<(), Stop> {
        let mut tidy_at = Instant::now();
        let outcome = loop {
            let mut now = Vec::new();
            let look_at = self.may_look_at();
            let turn = tokio::select! {
                () = self.active.stop.cancelled() => break Err(Stop::Told),
                count = ended.recv_many(&mut now, MARKS) => if count > 0 { self.settle(now).await } else { Ok(()) },
                () = self.active.wakes.outbox_woken() => self.woken().await,
                () = tokio::time::sleep_until(look_at.unwrap_or(tidy_at)), if look_at.is_some() => self.look(&todo).await,
                () = tokio::time::sleep_until(tidy_at) => {
                    tidy_at = Instant::now() + TIDY;
                    self.tidy().await
                }
            };
            if turn.is_err() {
                break turn;
            }
        };
        // What is under way may end: else it would happen twice. The shell drops us when it takes too long.
        drop(todo);
        while let Some(ended) = ended.recv().await {
            self.settle_at_the_end(ended).await;
        }
        // Whoever is active next says it.
        self.active.status.note("outbox", None);
        outcome
    }

    /// `None`: not before something ended. A look for each one that ended would be as many looks as effects.
    fn may_look_at(&self) -> Option<Instant> {
        let free = self.policy.at_a_time.max(1).saturating_sub(self.under_way.len());
        let soon = if 2 * free >= self.policy.at_a_time { self.look_at } else { self.looked_at + SLOW };
        (free > 0).then(|| self.look_at.max(soon))
    }

    async fn woken(&mut self) -> Result<(), Stop> {
        self.look_at = Instant::now();
        // Perhaps for those that were given up.
        if self.given_up > 0 { self.say().await } else { Ok(()) }
    }

    /// Gives what is due now, and notes when to look again.
    async fn look(&mut self, todo: &mpsc::UnboundedSender<Waiting>) -> Result<(), Stop> {
        let active = self.active;
        let except: Vec<String> = self.under_way.iter().cloned().collect();
        let free = self.policy.at_a_time.max(1).saturating_sub(except.len()).max(1);
        let mut next = active.retry(|| active.store().waiting_effects(active.role, &except, free)).await?;
        let now = Utc::now();
        let later = next.split_off(next.partition_point(|effect| effect.due_at <= now));
        self.looked_at = Instant::now();
        self.look_at = self.looked_at
            + match later.first() {
                Some(first) => (first.due_at - now).to_std().unwrap_or_default().min(LOOK),
                // More may be due than there was room for: looked for as soon as there is room.
                None if next.len() == free => Duration::ZERO,
                None => LOOK,
            };
        for due in next {
            self.under_way.insert(due.key.clone());
            let _ = todo.send(due);
        }
        Ok(())
    }

    async fn settle(&mut self, ended: Vec<Ended>) -> Result<(), Stop> {
        let active = self.active;
        let (good, bad): (Vec<Ended>, Vec<Ended>) = ended.into_iter().partition(|(_, outcome)| outcome.is_ok());
        let done: Vec<String> = good.into_iter().map(|(effect, _)| effect.key).collect();
        if !done.is_empty() {
            active.retry(|| active.store().effects_done(active.role, &done)).await?;
        }
        let mut gave_up = false;
        for (effect, outcome) in bad {
            if let Err(failed) = outcome {
                gave_up |= self.fail(&effect, &failed).await?;
            }
            self.under_way.remove(&effect.key);
        }
        for key in &done {
            self.under_way.remove(key);
        }
        if gave_up { self.say().await } else { Ok(()) }
    }

    /// Notes the failure; true when it was given up.
    async fn fail(&mut self, effect: &Waiting, failed: &Failed) -> Result<bool, Stop> {
        let active = self.active;
        let now = Utc::now();
        let again = self.again(effect, failed, now);
        let error = failed.to_string();
        let noted = active.retry(|| active.store().effect_failed(active.role, effect, again, &error)).await?;
        let (key, kind, tries) = (effect.key.as_str(), effect.kind.as_str(), effect.tries + 1);
        match again {
            _ if !noted => tracing::warn!(key, "an effect failed that is settled already, or is another's"),
            Some(again) => {
                let soon = Instant::now() + (again - now).to_std().unwrap_or_default();
                self.look_at = self.look_at.min(soon);
                // The first time only: what goes on failing is counted in the heartbeat.
                if effect.tries == 0 {
                    tracing::warn!(key, kind, error, %again, "an effect failed, trying again");
                } else {
                    tracing::debug!(key, kind, error, tries, %again, "an effect failed again");
                }
            }
            None => tracing::error!(key, kind, error, tries, "an effect was given up"),
        }
        Ok(noted && again.is_none())
    }

    /// When to try again; `None`: give up.
    fn again(&self, effect: &Waiting, failed: &Failed, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let pause = self.policy.back_off.pause(effect.tries + 1);
        let pause = match failed {
            Failed::Again(_) => pause,
            Failed::AgainIn(least, _) => pause.max(*least),
            Failed::Never(_) => return None,
        };
        let span = |span: Duration| TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX);
        (now - effect.since < span(self.policy.give_up_after)).then(|| now.checked_add_signed(span(pause))).flatten()
    }

    /// Once, without waiting for a database that is away: the effect comes again then, with its key.
    async fn settle_at_the_end(&mut self, (effect, outcome): Ended) {
        let (store, service, now) = (self.active.store(), self.active.role, Utc::now());
        let noted = match &outcome {
            Ok(()) => store.effects_done(service, std::slice::from_ref(&effect.key)).await,
            Err(failed) => {
                let again = self.again(&effect, failed, now);
                store.effect_failed(service, &effect, again, &failed.to_string()).map_ok(|_| ()).await
            }
        };
        if let Err(error) = noted {
            tracing::warn!(key = effect.key, error = crate::chain(&error), "the end of an effect is not noted");
        }
    }

    async fn tidy(&mut self) -> Result<(), Stop> {
        let active = self.active;
        let until = Utc::now() - TimeDelta::from_std(self.policy.keep).unwrap_or(TimeDelta::MAX);
        active.retry(|| active.store().forget_effects(active.role, until)).await?;
        self.say().await
    }

    async fn say(&mut self) -> Result<(), Stop> {
        let active = self.active;
        let figures = active.retry(|| active.store().outbox_figures(active.role)).await?;
        self.given_up = figures.given_up;
        let note = match figures.given_up {
            0 => None,
            1 => Some("1 effect given up".to_owned()),
            count => Some(format!("{count} effects given up")),
        };
        active.status.note("outbox", note);
        Ok(())
    }
}
