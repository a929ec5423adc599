//! The service: what every instance does, and what the active one does.

use crate::backlog::Backlog;
use crate::collect::{NOTICE, acknowledge, collect, tell};
use crate::config::Config;
use crate::intake::{Intake, Taken};
use crate::list;
use crate::publish::publish;
use crate::rules::Rules;
use crate::socket::Shared;
use bytes::Bytes;
use ordo_contract::name::StreamKind;
use ordo_contract::request::log_notification::{self, SyslogReply};
use ordo_journal::{Call, CallError};
use ordo_runtime::CancellationToken;
use ordo_service::{
    Active, BackOff, Failed, Instance, LeasedService, OutboxPolicy, Pause, Stop, answer, outbox, project,
};
use ordo_store::LogRuleRows;
use std::sync::{Arc, PoisonError};
use tokio::sync::watch;

/// Commits in one transaction, at most.
const COMMITS: usize = 500;

pub(crate) struct LogNotification {
    listener: Shared,
    backlog: Arc<Backlog>,
    rules: Arc<Rules>,
}

/// Runs an instance until `shutdown`.
///
/// # Errors
/// Settings that cannot be used, and what no waiting heals.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let backlog = Arc::new(Backlog::default());
    let stop = shutdown.child_token();
    let _ends_with_us = stop.clone().drop_guard();
    let listener = crate::listen(&config.syslog, &backlog, &stop)?;
    let service = LogNotification { listener, backlog, rules: Arc::new(Rules::new()) };
    ordo_service::run(service, config.role, Some(config.database), shutdown).await
}

impl LogNotification {
    fn intake(&self) -> &Intake {
        &self.listener.intake
    }

    fn show(&self) -> SyslogReply {
        let figures = self.intake().figures();
        SyslogReply {
            listening: self.listening(),
            rules: self.rules.now().names().cloned().collect(),
            taken: figures.taken,
            matched: figures.matched,
            kept: figures.kept,
            untaken: figures.untaken,
            unkept: figures.unkept,
        }
    }

    /// Waits until the rules are those of the journal: what lies in the stream already is not held against older ones.
    async fn rules_of_now(&self, active: &Active) -> Result<(), Stop> {
        let last = active.retry(|| active.bus.last_sequence(StreamKind::Journal)).await?;
        let mut written = active.wakes.written();
        tokio::select! {
            () = active.stop.cancelled() => return Err(Stop::Told),
            // An error: nobody writes any more, and we are told to stop.
            _ = written.wait_for(|written| *written >= last) => {}
        }
        let mut pause = Pause::new(BackOff::NEAR);
        while let Err(error) = self.rules.load(active, self.intake()).await {
            tracing::debug!(error, "log rules not read yet");
            pause.wait(&active.stop).await?;
        }
        Ok(())
    }

    fn listening(&self) -> Vec<String> {
        let bound = self.listener.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.iter().map(|(protocol, address)| format!("{protocol} {address}")).collect()
    }
}

/// What `ordo status` shows beside the instance, as long as there is a flood.
fn losses(before: Taken, now: Taken) -> Option<String> {
    let (untaken, unkept) = (now.untaken - before.untaken, now.unkept - before.unkept);
    let part = |count: u64, what: &str| (count > 0).then(|| format!("{count} messages {what}"));
    let parts: Vec<String> = part(untaken, "not taken").into_iter().chain(part(unkept, "not kept")).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

impl LeasedService for LogNotification {
    const ROLE: &'static str = "log-notification";

    fn description(&self, site: &str) -> String {
        format!("Notices from syslog and from the warnings of the instances of site {site}")
    }

    fn instance_endpoints(&self) -> Vec<(&'static str, &'static str)> {
        log_notification::SYSLOG_SHOW.split_once('.').into_iter().collect()
    }

    fn endpoints(&self) -> Vec<(&'static str, &'static str)> {
        log_notification::LOG_LIST.split_once('.').into_iter().collect()
    }

    async fn answer(&self, here: &Instance, call: &Call) -> Result<Bytes, CallError> {
        match format!("{}.{}", call.noun, call.verb).as_str() {
            log_notification::LOG_LIST => list::list(here, call).await,
            log_notification::SYSLOG_SHOW => answer::encode(&self.show()),
            _ => Err(answer::not_served(call)),
        }
    }

    async fn beside(&self, here: &Instance, stop: &CancellationToken) {
        let say = async {
            let mut tick = tokio::time::interval(self.intake().say_every());
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut before = self.intake().figures();
            loop {
                tick.tick().await;
                self.intake().say_losses();
                let now = self.intake().figures();
                here.status.note("syslog", losses(before, now));
                before = now;
            }
        };
        let keep = self.rules.keep(here, self.intake(), stop);
        let publish = publish(&here.bus, &here.settings.instance, &self.backlog, stop);
        tokio::select! {
            () = say => {}
            ((), ()) = async { tokio::join!(keep, publish) } => {}
        }
    }

    async fn work(&self, active: &Active) -> Result<(), Stop> {
        let rules = Arc::clone(&self.rules);
        let rows = LogRuleRows::new(move || rules.changed());
        let read = watch::Sender::new(0);
        let tell = |effect: ordo_store::Waiting| async move {
            if effect.kind == NOTICE { tell(active, effect).await } else { Err(Failed::Never("unknown".into())) }
        };
        active
            .together(vec![
                Box::pin(project::run(active, rows, COMMITS)),
                Box::pin(async {
                    self.rules_of_now(active).await?;
                    collect(active, &self.rules, &read).await
                }),
                Box::pin(acknowledge(active, read.subscribe())),
                Box::pin(outbox::run(active, OutboxPolicy::default(), tell)),
            ])
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_shown_as_long_as_it_lasts() {
        let before = Taken { taken: 9, untaken: 5, unkept: 7, ..Taken::default() };
        assert_eq!(losses(before, Taken { taken: 10, ..before }), None);
        assert_eq!(losses(before, Taken { untaken: 6, ..before }).as_deref(), Some("1 messages not taken"));
        let both = losses(before, Taken { untaken: 6, unkept: 9, ..before });
        assert_eq!(both.as_deref(), Some("1 messages not taken, 2 messages not kept"));
    }
}
