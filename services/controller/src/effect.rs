//! Carries out what follows a commit, in the order of the commits, after its ack. Each effect is conditional or harmless
//! when it comes late or twice; what a crash cuts off here is done again after the next activation.

use crate::job;
use ordo_contract::{name::SiteNames, report::ReportMessage};
use ordo_domain::{InstanceId, Instant, RunId, Site, effect::Effect, limit, run::Report};
use ordo_journal::{Bus, BusError, Headers, Outgoing};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// An effect with all that it needs, taken from the state when it was released.
#[derive(Debug)]
pub enum Task {
    Publish(Outgoing),
    /// Claims a run for nobody.
    Refuse(Outgoing),
    AdmitAgent(String),
}

/// Makes the task of an effect; none where it is no longer true.
pub fn task(names: &SiteNames, site: &Site, instance: &InstanceId, now: Instant, effect: &Effect) -> Option<Task> {
    match effect {
        Effect::SendJob { run } => {
            let message = job::message(site, run)?;
            let subject = names.job_start(message.agent.as_str(), run.as_str());
            let payload = encode(&message)?;
            if payload.len() > limit::JOB_MESSAGE_BYTES + 2048 {
                tracing::error!(run_id = %run, bytes = payload.len(), "job message is too large, not sent");
                return None;
            }
            Some(Task::Publish(Outgoing::new(subject, Headers::new(), payload)))
        }
        Effect::KillRun { run, agent, instance } => {
            let subject = names.job_kill(agent.as_str(), instance.as_str());
            Some(Task::Publish(Outgoing::new(subject, Headers::new(), encode(&job::kill(site, run))?)))
        }
        Effect::RefuseRun { run, agent } => {
            let report = refusal(site, run, agent, instance, now);
            let subject = names.report_accepted(agent.as_str(), run.as_str());
            Some(Task::Refuse(Outgoing::new(subject, Headers::new(), encode(&report)?)))
        }
        Effect::AdmitAgent { agent } => Some(Task::AdmitAgent(agent.to_string())),
        Effect::OrderTerminated { .. } => None,
    }
}

fn refusal(
    site: &Site,
    run: &RunId,
    agent: &ordo_domain::AgentName,
    instance: &InstanceId,
    now: Instant,
) -> ReportMessage {
    ReportMessage {
        v: 1,
        agent: agent.clone(),
        instance: instance.clone(),
        number: 0,
        at: now,
        epoch: site.epoch,
        report: Report::Refused { run: run.clone() },
    }
}

fn encode<T: serde::Serialize>(message: &T) -> Option<Vec<u8>> {
    serde_json::to_vec(message).inspect_err(|error| tracing::error!(%error, "effect cannot be written")).ok()
}

/// Where tasks go.
pub struct Tasks {
    tasks: mpsc::UnboundedSender<Task>,
    /// Given and not carried out.
    waiting: Arc<AtomicUsize>,
}

impl Tasks {
    /// Carries tasks out in their order until this is dropped or `cancel`.
    pub fn perform(bus: Bus, cancel: CancellationToken) -> Self {
        let (tasks, given) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        tokio::spawn(perform(bus, given, waiting.clone(), cancel));
        Self { tasks, waiting }
    }

    pub fn give(&self, task: Task) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _ = self.tasks.send(task);
    }

    /// All that was given is carried out. While JOBS is full it is not, and giving the same again would never end.
    pub fn are_done(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }
}

/// Works through tasks. Runs of publishes go out together.
async fn perform(
    bus: Bus,
    mut tasks: mpsc::UnboundedReceiver<Task>,
    waiting: Arc<AtomicUsize>,
    cancel: CancellationToken,
) {
    let mut batch = Vec::new();
    loop {
        let count = tasks.recv_many(&mut batch, 512).await;
        if count == 0 {
            return;
        }
        let mut publishes = Vec::new();
        for task in batch.drain(..) {
            let outcome = match task {
                Task::Publish(message) => {
                    publishes.push(message);
                    continue;
                }
                // Losing means that an instance was faster: the kill of a claimed run follows from its claim.
                Task::Refuse(message) => bus.publish_first(&message, &cancel).await.map(drop),
                Task::AdmitAgent(agent) => admit(&bus, &agent, &cancel).await,
            };
            report(outcome);
        }
        if !publishes.is_empty() {
            report(bus.publish_all(publishes, &cancel).await);
        }
        waiting.fetch_sub(count, Ordering::Relaxed);
    }
}

async fn admit(bus: &Bus, agent: &str, cancel: &CancellationToken) -> Result<(), BusError> {
    loop {
        match bus.ensure_agent_consumers(agent).await {
            Err(error) if error.is_passing() && !cancel.is_cancelled() => {
                tracing::warn!(agent, %error, "consumer of the agent not made yet");
                tokio::select! {
                    () = cancel.cancelled() => return Err(error),
                    () = tokio::time::sleep(std::time::Duration::from_millis(500)) => {}
                }
            }
            outcome => return outcome.map(drop),
        }
    }
}

fn report(outcome: Result<(), BusError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "effect not carried out; it follows after the next activation");
    }
}
