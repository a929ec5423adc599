//! Requests: the status by every instance, a run by the active one.

use crate::when::new_run;
use crate::{Cleanup, policy};
use bytes::Bytes;
use chrono::Utc;
use ordo_contract::request::{cleanup as request, status};
use ordo_journal::{Call, CallError};
use ordo_service::{Instance, answer};
use ordo_store::{CleanupRun, CleanupStep};
use std::sync::atomic::Ordering;

/// Runs that the status shows.
const SHOWN: u32 = 10;

pub(crate) async fn answer(here: &Instance, call: &Call, service: &Cleanup) -> Result<Bytes, CallError> {
    match format!("{}.{}", call.noun, call.verb).as_str() {
        request::RUN => run(here, call, service).await,
        request::STATUS => {
            let policy = policy::current(here).await.map_err(not_known)?;
            let (now, window) = (Utc::now(), &policy.retention.window);
            let runs = here.store().last_cleanups(SHOWN).await.map_err(answer::failed)?;
            answer::encode(&request::CleanupStatusReply {
                at: now,
                closes_at: window.closes(now),
                opens_at: window.opens(now),
                version: policy.version,
                retention: policy.retention,
                runs: runs.into_iter().map(line).collect(),
            })
        }
        _ => Err(answer::not_served(call)),
    }
}

async fn run(here: &Instance, call: &Call, service: &Cleanup) -> Result<Bytes, CallError> {
    let asked: request::CleanupRunRequest = answer::body(call)?;
    if !service.ready.load(Ordering::Relaxed) {
        return Err(answer::unavailable("the cleanup does not know yet which retention holds; try again"));
    }
    let policy = policy::current(here).await.map_err(not_known)?;
    let new = new_run(&policy, Utc::now(), Some(call.user.clone()), None, asked.dry_run);
    let (run, is_new) = here.store().begin_cleanup(&new).await.map_err(answer::failed)?;
    if run.dry_run != asked.dry_run {
        let what = if run.dry_run { "a dry run" } else { "a run" };
        let text = format!("{what} is under way since {}; `ordo cleanup status` shows how far it is", run.started_at);
        return Err(answer::error(status::REFUSED, "busy", text));
    }
    service.begun.notify_one();
    answer::encode(&request::CleanupRunReply { run: line(run), joined: !is_new })
}

fn not_known(why: policy::NotKnown) -> CallError {
    answer::unavailable(format!("the retention is not known now: {why}"))
}

fn line(run: CleanupRun) -> request::CleanupRunLine {
    request::CleanupRunLine {
        run: run.run,
        state: run.state.word().to_owned(),
        dry_run: run.dry_run,
        asked_by: run.asked_by,
        started_at: run.started_at,
        until: run.until,
        ended_at: run.ended_at,
        steps: run.steps.into_iter().map(step).collect(),
    }
}

fn step(step: CleanupStep) -> request::CleanupStepLine {
    request::CleanupStepLine {
        kind: step.kind,
        cut_off: step.cut_off,
        state: step.state.word().to_owned(),
        counts: step.counts,
        note: step.error,
        moved_at: step.moved_at,
    }
}
