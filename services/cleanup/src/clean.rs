//! One run: each kind in turn, batch by batch, with pauses for those who do the work of the day.

use crate::elsewhere::{self, Done};
use crate::policy;
use chrono::Utc;
use ordo_contract::name::StreamKind;
use ordo_domain::OrderId;
use ordo_domain::retention::RetentionKind;
use ordo_service::{Active, BackOff, Passing, Pause, Stop, chain};
use ordo_store::{CleanupRun, CleanupState, CleanupStep, StoreError, add_all};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A batch is to take about this: longer ones become smaller.
const BATCH_TIME: Duration = Duration::from_millis(300);
/// The least size of one.
const LEAST: u32 = 10;
/// The history is so far behind that every batch would make it worse: none until it is better.
const FAR_BEHIND: u64 = 20_000;
/// Seconds to wait for that before each batch: a history that is away for good must not end all cleaning up.
const LONGEST_WAIT: u32 = 60;
/// One more pause as long as the batch for each so many commits that the history is behind.
const BEHIND: u64 = 1_000;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Asked again so often before a step counts as failed.
const TRIES: u32 = 6;

/// Whether to go on.
enum Next {
    On,
    /// The window closed, or another instance ended the run.
    Leave,
}

/// `retention` changes when another one holds.
pub(crate) async fn carry_out(active: &Active, run: CleanupRun, retention: &watch::Receiver<u64>) -> Result<(), Stop> {
    tracing::info!(run = run.run, asked_by = run.asked_by, dry_run = run.dry_run, "cleaning up");
    let mut failed = run.steps.iter().any(|step| step.state == CleanupState::Failed);
    for step in &run.steps {
        if step.state != CleanupState::Waiting {
            continue;
        }
        let mut worker = Worker { active, run: &run, retention: retention.clone() };
        let mut step = step.clone();
        match worker.step(&mut step).await? {
            Next::On => failed |= step.state == CleanupState::Failed,
            Next::Leave => {
                tracing::info!(run = run.run, "the window closed, the rest comes in the next");
                return end(active, &run, CleanupState::Stopped).await;
            }
        }
    }
    end(active, &run, if failed { CleanupState::Failed } else { CleanupState::Done }).await
}

async fn end(active: &Active, run: &CleanupRun, state: CleanupState) -> Result<(), Stop> {
    active.retry(|| active.store().end_cleanup(run.run, state, Utc::now())).await?;
    tracing::info!(run = run.run, state = state.word(), "cleaned up");
    let unwell =
        (state == CleanupState::Failed).then(|| "the last cleanup failed in part: `ordo cleanup status`".into());
    active.status.note("cleanup", unwell);
    Ok(())
}

struct Worker<'a> {
    active: &'a Active,
    run: &'a CleanupRun,
    retention: watch::Receiver<u64>,
}

impl Worker<'_> {
    async fn step(&mut self, step: &mut CleanupStep) -> Result<Next, Stop> {
        if self.is_over() {
            return Ok(Next::Leave);
        }
        if self.is_kept_longer(step).await? {
            return Ok(Next::On);
        }
        if let Some(stream) = elsewhere::stream(step.kind) {
            let purge = || elsewhere::purge(self.active, stream, step.cut_off, self.run.dry_run);
            // What lies on the bus goes first; the rows of the same kind follow in batches.
            let done = match step.batches {
                0 => self.elsewhere(purge).await?,
                _ => Ok(Done::default()),
            };
            if step.batches == 0 {
                self.note(step, done, false).await?;
            }
            return if step.state == CleanupState::Waiting { self.rows(step).await } else { Ok(Next::On) };
        }
        match step.kind {
            RetentionKind::FailedOrders => self.failed_orders(step).await,
            RetentionKind::Snapshots => {
                let done = self.elsewhere(|| elsewhere::snapshots(self.active, step.cut_off, self.run.dry_run)).await?;
                self.note(step, done, true).await?;
                Ok(Next::On)
            }
            RetentionKind::Definitions => loop {
                let sweep = || elsewhere::definitions(self.active, step.cut_off, self.run.dry_run);
                let done = self.elsewhere(sweep).await?;
                let more = done.as_ref().is_ok_and(|done| done.more);
                self.note(step, done, !more).await?;
                if !more {
                    break Ok(Next::On);
                }
                if self.is_over() {
                    break Ok(Next::Leave);
                }
                self.yield_to_others(Duration::from_millis(100)).await?;
            },
            _ => self.rows(step).await,
        }
    }

    /// What was deployed since the run began, because it would take too much perhaps, holds at once.
    async fn is_kept_longer(&mut self, step: &mut CleanupStep) -> Result<bool, Stop> {
        self.retention.mark_unchanged();
        let policy = policy::known(self.active).await?;
        // The database keeps microseconds.
        let until = step.cut_off - chrono::TimeDelta::milliseconds(1);
        if policy.retention.cut_off(step.kind, self.run.started_at).is_some_and(|cut_off| cut_off >= until) {
            return Ok(false);
        }
        let version = policy.version.map_or_else(|| "the defaults".to_owned(), |version| format!("version {version}"));
        let note = Some(format!("kept for longer by {version} of the retention"));
        self.note(step, Ok(Done { note, ..Done::default() }), true).await?;
        Ok(true)
    }

    fn is_over(&self) -> bool {
        self.run.until.is_some_and(|until| Utc::now() >= until)
    }

    /// Deletes (or counts) rows until there are none left.
    async fn rows(&mut self, step: &mut CleanupStep) -> Result<Next, Stop> {
        let store = self.active.store();
        let mut size = self.run.batch.max(LEAST);
        let mut pause = Pause::new(BackOff::NEAR);
        while step.state == CleanupState::Waiting {
            if self.is_over() {
                return Ok(Next::Leave);
            }
            if self.retention.has_changed().unwrap_or(false) && self.is_kept_longer(step).await? {
                return Ok(Next::On);
            }
            let begun = Instant::now();
            match store.clean_batch(step, size, self.run.dry_run).await {
                Ok(_) => pause = Pause::new(BackOff::NEAR),
                Err(error) if error.passes() => {
                    self.active.status.failed(error.to(), chain(&error));
                    pause.wait(&self.active.stop).await?;
                    size = (size / 2).max(LEAST);
                    // The database knows whether the batch was carried out.
                    match self.read_again(step).await? {
                        Some(now) => *step = now,
                        None => return Ok(Next::Leave),
                    }
                    continue;
                }
                Err(error @ StoreError::Fenced { .. }) => return Err(error.into()),
                Err(error) => {
                    self.note(step, Err(chain(&error)), true).await?;
                    return Ok(Next::On);
                }
            }
            let took = begun.elapsed();
            size = size_after(took, size, self.run.batch.max(LEAST));
            if step.state == CleanupState::Waiting && !self.run.dry_run {
                self.yield_to_others(took).await?;
            }
        }
        Ok(Next::On)
    }

    async fn read_again(&self, step: &CleanupStep) -> Result<Option<CleanupStep>, Stop> {
        let run = self.active.retry(|| self.active.store().running_cleanup()).await?;
        let run = run.filter(|run| run.run == self.run.run);
        Ok(run.and_then(|run| run.steps.into_iter().find(|other| other.kind == step.kind)))
    }

    /// Failed orders, one by one: each is looked at again before it is cancelled.
    async fn failed_orders(&mut self, step: &mut CleanupStep) -> Result<Next, Stop> {
        let store = self.active.store();
        loop {
            if self.is_over() {
                return Ok(Next::Leave);
            }
            if self.retention.has_changed().unwrap_or(false) && self.is_kept_longer(step).await? {
                return Ok(Next::On);
            }
            let after = step.position.as_ref().and_then(|p| p.as_str()).and_then(|id| OrderId::new(id).ok());
            let (cut_off, size) = (step.cut_off, self.run.batch.min(100));
            let found = self.active.retry(|| store.old_failed_orders(cut_off, after.as_ref(), size)).await?;
            let mut done = Done::default();
            for order in &found {
                match self.elsewhere(|| elsewhere::cancel_failed(self.active, order, cut_off, self.run.dry_run)).await?
                {
                    Ok(true) => ordo_store::add(&mut done.counts, "orders", 1_u64),
                    Ok(false) => {}
                    Err(why) => done.note = Some(format!("{order}: {why}")),
                }
            }
            let last = found.len() < size as usize;
            let position = found.last().map(|order| serde_json::Value::from(order.as_str()));
            let mut after = step.clone();
            after.position = position;
            after.error = done.note.or(after.error);
            add_all(&mut after.counts, &done.counts);
            if last {
                after.state = CleanupState::Done;
            }
            self.write(step, after).await?;
            if last {
                return Ok(Next::On);
            }
            self.yield_to_others(Duration::from_millis(100)).await?;
        }
    }

    /// Asks others, again where they are away for a moment.
    async fn elsewhere<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<Result<T, String>, Stop>
    where
        F: Future<Output = Result<T, String>>,
    {
        let mut pause = Pause::new(BackOff { first: Duration::from_millis(300), longest: Duration::from_secs(3) });
        for tries in 1.. {
            let outcome = tokio::select! {
                () = self.active.stop.cancelled() => return Err(Stop::Told),
                outcome = ask() => outcome,
            };
            match outcome {
                Err(why) if tries < TRIES => {
                    tracing::debug!(why, tries, "asking again");
                    pause.wait(&self.active.stop).await?;
                }
                outcome => return Ok(outcome),
            }
        }
        Ok(Err("nobody was asked".to_owned()))
    }

    /// Notes what others did; `last`: that was all of this step.
    async fn note(&self, step: &mut CleanupStep, done: Result<Done, String>, last: bool) -> Result<(), Stop> {
        let mut after = step.clone();
        match done {
            Ok(done) => {
                add_all(&mut after.counts, &done.counts);
                after.error = done.note;
                if last {
                    after.state = CleanupState::Done;
                }
            }
            Err(why) => {
                tracing::warn!(kind = %step.kind, why, "not cleaned up");
                after.error = Some(why);
                after.state = CleanupState::Failed;
            }
        }
        self.write(step, after).await
    }

    async fn write(&self, step: &mut CleanupStep, after: CleanupStep) -> Result<(), Stop> {
        let mut pause = Pause::new(BackOff::NEAR);
        loop {
            match self.active.store().note_cleanup(step, after.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) if error.passes() => {
                    self.active.status.failed(error.to(), chain(&error));
                    pause.wait(&self.active.stop).await?;
                    match self.read_again(step).await? {
                        // It was written before the trouble came.
                        Some(now) if now.batches == step.batches + 1 => {
                            *step = now;
                            return Ok(());
                        }
                        _ => {}
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// As long as the batch took, longer where the history is behind: half of the time is the others', at least.
    async fn yield_to_others(&self, took: Duration) -> Result<(), Stop> {
        let mut behind = self.history_is_behind().await;
        for _ in 0..LONGEST_WAIT {
            if behind < FAR_BEHIND || self.is_over() {
                break;
            }
            self.rest(Duration::from_secs(1)).await?;
            behind = self.history_is_behind().await;
        }
        self.rest(pause_after(took, behind)).await
    }

    async fn rest(&self, pause: Duration) -> Result<(), Stop> {
        tokio::select! {
            () = self.active.stop.cancelled() => Err(Stop::Told),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    /// In commits; 0 where it is not known: then the database is not what is busy.
    async fn history_is_behind(&self) -> u64 {
        let journal = self.active.bus.names().stream(StreamKind::Journal);
        match self.active.bus.consumer_info(&journal, "history").await {
            Ok(Some(info)) => info.pending + info.unacknowledged,
            _ => 0,
        }
    }
}

/// As long as the batch took, and once more for each so many commits that the history is behind.
fn pause_after(took: Duration, behind: u64) -> Duration {
    let times = u32::try_from(behind / BEHIND).unwrap_or(u32::MAX).saturating_add(1);
    took.saturating_mul(times).min(LONGEST_PAUSE)
}

/// The next batch is half as large where the last took too long, and grows again up to `most`. Not below a quarter of it: on a
/// machine that is short of everything the round trips take the time, and small batches would get nowhere.
fn size_after(took: Duration, size: u32, most: u32) -> u32 {
    if took > BATCH_TIME * 2 {
        (size / 2).max(most / 4).max(LEAST)
    } else if took < BATCH_TIME / 2 {
        size.saturating_mul(2).min(most)
    } else {
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_yields_as_long_as_it_took_and_longer_while_the_history_is_behind() {
        let took = Duration::from_millis(200);
        assert_eq!(pause_after(took, 0), took);
        assert_eq!(pause_after(took, 999), took);
        assert_eq!(pause_after(took, 3_500), took * 4);
        assert_eq!(pause_after(took, FAR_BEHIND - 1), took * 20);
        assert_eq!(pause_after(took, u64::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn batches_that_take_too_long_become_smaller_and_grow_again() {
        let (slow, quick) = (Duration::from_secs(2), Duration::from_millis(10));
        assert_eq!(size_after(slow, 1_000, 1_000), 500);
        assert_eq!(size_after(slow, 250, 1_000), 250);
        assert_eq!(size_after(slow, LEAST, LEAST), LEAST);
        assert_eq!(size_after(BATCH_TIME, 500, 1_000), 500);
        assert_eq!(size_after(quick, 500, 1_000), 1_000);
        assert_eq!(size_after(quick, 1_000, 1_000), 1_000);
    }
}
