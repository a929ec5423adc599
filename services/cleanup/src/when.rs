//! When a run begins: in the window, once; when somebody asks; and what an earlier instance did not finish goes on.

use crate::clean;
use crate::policy::{self, Policy};
use chrono::{DateTime, Utc};
use ordo_domain::retention::RetentionKind;
use ordo_service::{Active, Stop};
use ordo_store::NewRun;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// A clock may be set: never wait longer than this.
const LOOK: Duration = Duration::from_secs(20);
/// Runs are forgotten after this.
const REMEMBERED: chrono::TimeDelta = chrono::TimeDelta::days(90);

/// Cleans up for good. `asked` changes with each "run now", `retention` when another one holds.
pub(crate) async fn keep_clean(
    active: &Active,
    begun: &Notify,
    mut asked: watch::Receiver<u64>,
    mut retention: watch::Receiver<u64>,
) -> Result<(), Stop> {
    loop {
        if let Some(run) = active.retry(|| active.store().running_cleanup()).await? {
            clean::carry_out(active, run, &retention).await?;
            continue;
        }
        retention.mark_unchanged();
        let policy = policy::known(active).await?;
        let now = Utc::now();
        if asked.has_changed().unwrap_or(false) {
            asked.mark_unchanged();
            let new = new_run(&policy, now, Some("run now".to_owned()), None, false);
            active.retry(|| active.store().begin_cleanup(&new)).await?;
            continue;
        }
        let window = &policy.retention.window;
        if let Some(closes) = window.closes(now)
            && !active.retry(|| active.store().cleaned_in_window(closes)).await?
        {
            active.retry(|| active.store().forget_cleanups(now - REMEMBERED)).await?;
            let new = new_run(&policy, now, None, Some(closes), false);
            active.retry(|| active.store().begin_cleanup(&new)).await?;
            continue;
        }
        let pause = window.opens(now).and_then(|opens| (opens - now).to_std().ok()).map_or(LOOK, |p| p.min(LOOK));
        tokio::select! {
            () = active.stop.cancelled() => return Err(Stop::Told),
            () = tokio::time::sleep(pause) => {}
            () = begun.notified() => {}
            Ok(()) = retention.changed() => {}
            Ok(()) = asked.changed() => asked.mark_changed(),
        }
    }
}

/// A run by what holds now: everything that is not kept forever.
pub(crate) fn new_run(
    policy: &Policy,
    now: DateTime<Utc>,
    asked_by: Option<String>,
    until: Option<DateTime<Utc>>,
    dry_run: bool,
) -> NewRun {
    let cut_off = |kind: RetentionKind| Some((kind, policy.retention.cut_off(kind, now)?));
    NewRun {
        asked_by,
        retention: policy.version,
        batch: policy.retention.batch,
        started_at: now,
        until,
        dry_run,
        steps: RetentionKind::ALL.into_iter().filter_map(cut_off).collect(),
    }
}
