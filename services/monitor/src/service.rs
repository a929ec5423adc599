//! The service: the journal into notifications, timers, who is there, notices of log rules, and the mails of it all.

use crate::config::Config;
use crate::letter::Desk;
use crate::post::{Outcome, Post};
use crate::write::{WriteError, Writer};
use crate::{answer, notices, watch};
use anyhow::Context;
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use chrono_tz::Tz;
use ordo_contract::request::monitor;
use ordo_journal::{Bus, Call, CallError};
use ordo_runtime::CancellationToken;
use ordo_service::{
    Active, BackOff, Failed, Instance, LeasedService, OutboxPolicy, Stop, chain, outbox, project, timers,
};
use ordo_store::{Bodies, DeliveryEnd, Fault, MailEffect, MonitorRows, MonitorTimers, StoreError, Waiting};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// After trouble that a person must repair.
const TROUBLED: Duration = Duration::from_secs(60);

/// Runs the monitor until `shutdown`.
///
/// # Errors
/// What no waiting heals: unusable settings or credentials.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let role = config.role.clone().resolve("monitor").context("settings of the monitor")?;
    let zone = config.zone()?;
    let mail = &config.mail;
    let from_name = if mail.from_name.is_empty() { format!("Ordo {}", role.site) } else { mail.from_name.clone() };
    let writer = Writer {
        desk: Desk { site: role.site.clone(), zone },
        from: mail.from()?,
        from_name,
        reply_to: mail.reply_to()?,
        facts_within: Duration::from_millis(mail.facts_within_ms),
    };
    let post = mail.post(&role.data)?;
    tracing::info!(post = post.describe(), "mails go there");
    let (batch, database) = (config.batch_commits as usize, config.database.clone());
    let give_up = Duration::from_secs(u64::from(mail.give_up_hours.max(1)) * 3600);
    let mailer = Mailer { writer, post, give_up, trouble: Mutex::default() };
    ordo_service::run(Monitor { mailer: Arc::new(mailer), zone, batch }, role, Some(database), shutdown).await
}

pub(crate) struct Monitor {
    pub(crate) mailer: Arc<Mailer>,
    zone: Tz,
    batch: usize,
}

/// Writes and sends.
pub(crate) struct Mailer {
    pub(crate) writer: Writer,
    pub(crate) post: Post,
    give_up: Duration,
    /// Why mails do not go, as it was said last.
    trouble: Mutex<Option<String>>,
}

impl LeasedService for Monitor {
    const ROLE: &'static str = "monitor";
    const RUNS: bool = true;

    fn description(&self, site: &str) -> String {
        format!("Tells people of site {site} what they have to know, by mail")
    }

    fn endpoints(&self) -> Vec<(&'static str, &'static str)> {
        let all = [
            monitor::NOTIFICATION_LIST,
            monitor::NOTIFICATION_SHOW,
            monitor::NOTIFICATION_ACKNOWLEDGE,
            monitor::TEST_MAIL,
        ];
        all.iter().filter_map(|subject| subject.split_once('.')).collect()
    }

    async fn answer(&self, here: &Instance, call: &Call) -> Result<Bytes, CallError> {
        answer::answer(&self.mailer, here, call).await
    }

    async fn work(&self, active: &Active) -> Result<(), Stop> {
        let policy = OutboxPolicy {
            at_a_time: 8,
            limit: Duration::from_secs(600),
            back_off: BackOff { first: Duration::from_millis(1_000), longest: Duration::from_secs(300) },
            give_up_after: self.mailer.give_up,
            ..OutboxPolicy::default()
        };
        let rows = MonitorRows::new(bodies(&active.bus, &active.stop), self.zone);
        let effect = |waiting: Waiting| {
            let (mailer, here) = (self.mailer.clone(), active.instance.clone());
            async move { mailer.carry_out(&here, &waiting).await }
        };
        active
            .together(vec![
                Box::pin(project::run(active, rows, self.batch)),
                Box::pin(timers::run(active, MonitorTimers::new(self.zone))),
                Box::pin(outbox::run(active, policy, effect)),
                Box::pin(watch::run(active, self.zone)),
                Box::pin(notices::run(active, self.zone)),
                Box::pin(try_again(active)),
            ])
            .await
    }
}

/// "Run now": somebody repaired what kept mails from going.
async fn try_again(active: &Active) -> Result<(), Stop> {
    let mut asked = active.wakes.runs();
    loop {
        tokio::select! {
            () = active.stop.cancelled() => return Err(Stop::Told),
            changed = asked.changed() => changed.map_err(|_| Stop::Told)?,
        }
        let count = active.retry(|| active.store().effects_again(active.role, None)).await?;
        tracing::info!(count, "mails that were given up are tried again");
        active.wakes.outbox();
    }
}

/// Definitions from the bus, waited for while it is away.
fn bodies(bus: &Bus, stop: &CancellationToken) -> Bodies {
    let (bus, stop) = (bus.clone(), stop.clone());
    Box::new(move |hash| {
        let (bus, stop) = (bus.clone(), stop.clone());
        Box::pin(async move {
            loop {
                let error = match bus.definition(hash.as_str()).await {
                    Ok(body) => return Ok(body.map(|bytes| bytes.to_vec())),
                    Err(error) => error,
                };
                if !error.is_passing() || stop.is_cancelled() {
                    let source = Fault { code: None, message: chain(&error) };
                    return Err(StoreError::Unreachable {
                        at: "the bus".into(),
                        attempt: "fetch a definition",
                        source,
                    });
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        })
    })
}

impl Mailer {
    /// Keeps why mails do not go; whether that is new.
    fn is_in_trouble(&self, why: Option<&str>) -> bool {
        let mut said = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = said.as_deref() != why;
        *said = why.map(str::to_owned);
        is_new
    }

    /// One mail to one recipient.
    async fn carry_out(&self, here: &Instance, waiting: &Waiting) -> Result<(), Failed> {
        let MailEffect { mail, recipient } =
            MailEffect::of(waiting).map_err(|e| Failed::Never(format!("not readable: {e}")))?;
        let store = here.store();
        let again = |error: StoreError| Failed::Again(chain(&error));
        let row = store.monitor_mail(&mail).await.map_err(again)?;
        let row = row.ok_or_else(|| Failed::Never("the mail is gone".to_owned()))?;
        let content = match self.writer.content(store, &here.bus, &row).await {
            Ok(content) => content,
            Err(WriteError::Store(error)) => return Err(again(error)),
            Err(error) => {
                let end = DeliveryEnd { state: "refused", server: String::new(), said: error.to_string() };
                store.monitor_delivered(&mail, &recipient, &end).await.map_err(again)?;
                return Err(Failed::Never(error.to_string()));
            }
        };
        let outcome = self.post.send(&self.writer.from, &recipient, &mail, &content).await;
        let is_too_old = (Utc::now() - waiting.since) > TimeDelta::from_std(self.give_up).unwrap_or(TimeDelta::MAX);
        let state = match &outcome {
            Outcome::Accepted { .. } => "accepted",
            Outcome::Refused { .. } => "refused",
            Outcome::Later { .. } | Outcome::Trouble { .. } if is_too_old => "refused",
            Outcome::Later { .. } | Outcome::Trouble { .. } => "waiting",
        };
        let (server, said) = (outcome.server().to_owned(), outcome.words().to_owned());
        store.monitor_delivered(&mail, &recipient, &DeliveryEnd { state, server, said }).await.map_err(again)?;
        match outcome {
            Outcome::Accepted { .. } => {
                self.is_in_trouble(None);
                Ok(())
            }
            Outcome::Refused { why, server } => {
                tracing::warn!(mail, %recipient, server, why, "mail refused");
                Err(Failed::Never(why))
            }
            Outcome::Later { why, .. } => Err(Failed::Again(why)),
            Outcome::Trouble { why, server } => {
                // Once, and not for each of a thousand mails and tries.
                if self.is_in_trouble(Some(&why)) {
                    tracing::error!(server, why, "mail cannot be sent: look at the settings of the monitor");
                }
                Err(Failed::AgainIn(TROUBLED, why))
            }
        }
    }
}
