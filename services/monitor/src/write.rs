//! Writes a mail when it is due: the facts of its notifications, what history adds, the thread that it belongs to.

use crate::background::background;
use crate::letter::compose::{self, Context};
use crate::letter::message::{Envelope, MessageError, build, message_id};
use crate::letter::{Background, Desk, Incident, Page, subject};
use ordo_domain::alert::{Kind, MailAddress};
use ordo_journal::Bus;
use ordo_store::{MailRow, Store, StoreError};
use std::time::Duration;

/// What every mail of this monitor has in common.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    pub(crate) desk: Desk,
    pub(crate) from: MailAddress,
    pub(crate) from_name: String,
    pub(crate) reply_to: Option<MailAddress>,
    pub(crate) facts_within: Duration,
}

/// Why a mail could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("its notifications are gone")]
    Gone,
}

impl Writer {
    /// The message; the one that was kept, where there is one.
    pub(crate) async fn content(&self, store: &Store, bus: &Bus, row: &MailRow) -> Result<Vec<u8>, WriteError> {
        if let Some(content) = &row.content {
            return Ok(content.clone());
        }
        let incidents = store.monitor_incidents(&row.notifications).await?;
        let first = incidents.first().ok_or(WriteError::Gone)?;
        let background = match row.kind.as_str() {
            "alert" => background(bus, first, self.facts_within).await,
            _ => Background::default(),
        };
        let mut context = Context { rule: row.rule.clone(), replies_to: None };
        if let Some(first) = row.replies_to.first() {
            context.replies_to = self.subject_of(store, first).await?;
        }
        let title = match &row.maintenance {
            Some(name) => store.monitor_maintenance(name).await?.and_then(|m| m.title),
            None => None,
        };
        let page = self.page(row, &context, &incidents, &background, title.as_deref());
        let message = build(&page, &self.envelope(row))?;
        Ok(store.monitor_mail_written(&row.id, &message).await?)
    }

    fn page(
        &self,
        row: &MailRow,
        context: &Context,
        incidents: &[Incident],
        background: &Background,
        title: Option<&str>,
    ) -> Page {
        let desk = &self.desk;
        let part = (row.parts > 1).then_some((row.part, row.parts));
        let recovered = || -> Vec<Incident> {
            incidents.iter().cloned().map(|i| Incident { kind: Kind::Recovered, ..i }).collect()
        };
        match (row.kind.as_str(), incidents) {
            ("alert", [one]) => compose::alert(desk, context, one, background),
            ("recovery", [one]) => compose::recovery(desk, context, one, one.recovered_at.unwrap_or(row.at)),
            ("recoveries", _) if row.replies_to.is_empty() => compose::digest(desk, context, &recovered(), part),
            ("recoveries", _) => compose::repeats(desk, context, &recovered()),
            ("repeats", _) => compose::repeats(desk, context, incidents),
            ("maintenance", _) => {
                let name = row.maintenance.as_deref().unwrap_or_default();
                compose::maintenance_over(desk, context, (name, title), incidents, row.at)
            }
            _ => compose::digest(desk, context, incidents, part),
        }
    }

    /// What the mail with that id is called; without asking history, which has no part in it.
    async fn subject_of(&self, store: &Store, mail: &str) -> Result<Option<String>, StoreError> {
        let Some(row) = store.monitor_mail(mail).await? else { return Ok(None) };
        let incidents = store.monitor_incidents(&row.notifications).await?;
        let Some(first) = incidents.first() else { return Ok(None) };
        if row.kind == "alert" {
            return Ok(Some(subject::of(&self.desk, first)));
        }
        let context = Context { rule: row.rule.clone(), replies_to: None };
        Ok(Some(self.page(&row, &context, &incidents, &Background::default(), None).subject))
    }

    fn envelope(&self, row: &MailRow) -> Envelope {
        let id = |mail: &str| message_id(&self.desk.site, mail, &self.from);
        Envelope {
            message_id: id(&row.id),
            from: self.from.clone(),
            from_name: self.from_name.clone(),
            to: row.recipients.iter().filter_map(|to| to.parse().ok()).collect(),
            reply_to: self.reply_to.clone(),
            references: row.replies_to.iter().map(|mail| id(mail)).collect(),
            date: row.at,
            marks: vec![
                ("X-Ordo-Site", self.desk.site.clone()),
                ("X-Ordo-Rule", row.rule.clone()),
                ("X-Ordo-Mail", row.kind.clone()),
            ],
        }
    }

    /// A test mail, sent at once.
    pub(crate) fn test(
        &self,
        page: &Page,
        id: &str,
        to: &MailAddress,
        at: ordo_domain::Instant,
    ) -> Result<Vec<u8>, MessageError> {
        let envelope = Envelope {
            message_id: message_id(&self.desk.site, id, &self.from),
            from: self.from.clone(),
            from_name: self.from_name.clone(),
            to: vec![to.clone()],
            reply_to: self.reply_to.clone(),
            references: Vec::new(),
            date: at,
            marks: vec![("X-Ordo-Site", self.desk.site.clone()), ("X-Ordo-Mail", "test".into())],
        };
        build(page, &envelope)
    }
}
