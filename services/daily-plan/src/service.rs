//! What the daily plan is to the shell of services.

use crate::answer;
use crate::config::Config;
use crate::planner::{Planner, Runs};
use bytes::Bytes;
use chrono_tz::Tz;
use ordo_contract::request::daily_plan::{self, PlanRunReply};
use ordo_journal::{Call, CallError};
use ordo_service::{Active, Instance, LeasedService, Part, Stop, project};
use ordo_store::plan::PlanRows;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// For who asked to plan now.
const RUN: Duration = Duration::from_secs(8);

struct DailyPlan {
    zone: Tz,
    batch: usize,
    run: mpsc::UnboundedSender<oneshot::Sender<PlanRunReply>>,
    runs: Mutex<Runs>,
}

/// Runs the service until `shutdown`.
///
/// # Errors
/// What no waiting heals: unusable settings or credentials, a server that is too old, a database of another site.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let (run, runs) = mpsc::unbounded_channel();
    let service =
        DailyPlan { zone: config.zone()?, batch: config.batch_commits.max(1) as usize, run, runs: Mutex::new(runs) };
    ordo_service::run(service, config.role, Some(config.database), shutdown).await
}

impl LeasedService for DailyPlan {
    const ROLE: &'static str = "daily-plan";
    const RUNS: bool = true;

    fn description(&self, site: &str) -> String {
        format!("Plans the starts of schedules of site {site} and hands them to the controller")
    }

    fn endpoints(&self) -> Vec<(&'static str, &'static str)> {
        answer::endpoints()
    }

    fn active_endpoints(&self) -> Vec<(&'static str, &'static str)> {
        daily_plan::PLAN_RUN.split_once('.').into_iter().collect()
    }

    async fn answer(&self, here: &Instance, call: &Call) -> Result<Bytes, CallError> {
        if format!("{}.{}", call.noun, call.verb) == daily_plan::PLAN_RUN {
            return self.plan_now().await;
        }
        answer::answer(here, self.zone, call).await
    }

    async fn work(&self, active: &Active) -> Result<(), Stop> {
        let mut runs = self.runs.lock().await;
        let parts: Vec<Part<'_>> = vec![
            Box::pin(project::run(active, PlanRows, self.batch)),
            Box::pin(Planner::new(active, self.zone).run(&mut runs)),
        ];
        active.together(parts).await
    }
}

impl DailyPlan {
    async fn plan_now(&self) -> Result<Bytes, CallError> {
        let (asker, reply) = oneshot::channel();
        let _ = self.run.send(asker);
        match tokio::time::timeout(RUN, reply).await {
            Ok(Ok(done)) => ordo_service::answer::encode(&done),
            _ => Err(ordo_service::answer::unavailable(
                "it will be planned, but has not been yet: the database or the bus is away, or there is much to do",
            )),
        }
    }
}
