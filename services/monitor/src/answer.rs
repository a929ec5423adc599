//! Requests: about notifications, answered by every instance from the database; and the test mail, which the instance sends
//! that is asked.

use crate::letter::{compose, subject};
use crate::post::Outcome;
use crate::service::Mailer;
use bytes::Bytes;
use chrono::Utc;
use ordo_contract::request::monitor::{
    self, AcknowledgeReply, AcknowledgeRequest, DeliveryLine, Incident, NotificationListRequest, NotificationRequest,
    TestMailReply, TestMailRequest,
};
use ordo_domain::alert::MailAddress;
use ordo_domain::limit;
use ordo_journal::{Call, CallError};
use ordo_service::{Instance, answer};

/// Notifications in one request.
const MANY: usize = 1_000;
/// Test mails in one request.
const TESTS: usize = 50;

pub(crate) async fn answer(mailer: &Mailer, here: &Instance, call: &Call) -> Result<Bytes, CallError> {
    let what = |incident: &Incident| subject::what(&mailer.writer.desk, incident);
    let store = here.store();
    match format!("{}.{}", call.noun, call.verb).as_str() {
        monitor::NOTIFICATION_LIST => {
            let request: NotificationListRequest = answer::body(call)?;
            answer::encode(&store.notifications(&request, what).await.map_err(answer::failed)?)
        }
        monitor::NOTIFICATION_SHOW => {
            let NotificationRequest { notification } = answer::body(call)?;
            match store.notification(&notification, what).await.map_err(answer::failed)? {
                Some(reply) => answer::encode(&reply),
                None => Err(unknown(&notification)),
            }
        }
        monitor::NOTIFICATION_ACKNOWLEDGE => {
            let request: AcknowledgeRequest = answer::body(call)?;
            acknowledge(mailer, here, call, request).await
        }
        monitor::TEST_MAIL => {
            let request: TestMailRequest = answer::body(call)?;
            answer::encode(&test_mail(mailer, here, call, request).await?)
        }
        _ => Err(answer::not_served(call)),
    }
}

fn unknown(notification: &str) -> CallError {
    let text = format!("there is no notification {notification:?}; `ordo notification list --all` shows what there is");
    answer::not_found("notification_unknown", text)
}

async fn acknowledge(
    mailer: &Mailer,
    here: &Instance,
    call: &Call,
    request: AcknowledgeRequest,
) -> Result<Bytes, CallError> {
    let AcknowledgeRequest { notifications, comment } = request;
    if notifications.is_empty() || notifications.len() > MANY {
        return Err(answer::malformed(format!("{} notifications; name 1 to {MANY}", notifications.len())));
    }
    if comment.as_ref().is_some_and(|c| c.len() > limit::REASON_BYTES) {
        return Err(answer::malformed(format!("the comment is longer than {} bytes", limit::REASON_BYTES)));
    }
    let store = here.store();
    let done = store.acknowledge(&notifications, &call.user, comment.as_deref()).await.map_err(answer::failed)?;
    done.map_err(|missing| unknown(&missing))?;
    let what = |incident: &Incident| subject::what(&mailer.writer.desk, incident);
    let mut reply = AcknowledgeReply { notifications: Vec::with_capacity(notifications.len()) };
    for id in &notifications {
        let shown = store.notification(id, what).await.map_err(answer::failed)?;
        reply.notifications.extend(shown.map(|shown| shown.line));
    }
    answer::encode(&reply)
}

async fn test_mail(
    mailer: &Mailer,
    here: &Instance,
    call: &Call,
    request: TestMailRequest,
) -> Result<TestMailReply, CallError> {
    let to: Vec<MailAddress> = if request.to.is_empty() {
        here.store().monitor_recipients().await.map_err(answer::failed)?
    } else {
        let parsed: Result<Vec<MailAddress>, _> = request.to.iter().map(|to| to.parse()).collect();
        parsed.map_err(|e: ordo_domain::alert::InvalidAddress| answer::malformed(e.to_string()))?
    };
    if to.is_empty() {
        return Err(answer::malformed("no rule names anybody: say whom the test mail is for"));
    }
    if to.len() > TESTS {
        return Err(answer::malformed(format!("{} recipients; at most {TESTS}", to.len())));
    }
    let now = Utc::now();
    let instance = &here.settings.instance;
    let page = compose::test(&mailer.writer.desk, instance, &call.user, now);
    let id = format!("test-{instance}-{}", now.timestamp_millis());
    let mut deliveries = Vec::new();
    for recipient in to {
        let message = mailer.writer.test(&page, &id, &recipient, now);
        let message = message.map_err(|e| answer::malformed(e.to_string()))?;
        let outcome = mailer.post.send(&mailer.writer.from, &recipient, &id, &message).await;
        let state = match &outcome {
            Outcome::Accepted { .. } => "accepted",
            Outcome::Later { .. } => "later",
            Outcome::Refused { .. } => "refused",
            Outcome::Trouble { .. } => "trouble",
        };
        deliveries.push(DeliveryLine {
            mail: id.clone(),
            kind: "test".into(),
            rule: String::new(),
            recipient: recipient.to_string(),
            state: state.into(),
            tries: u32::from(!outcome.is_accepted()),
            server: Some(outcome.server().to_owned()),
            said: Some(outcome.words().to_owned()),
            at: Utc::now(),
        });
    }
    Ok(TestMailReply { post: mailer.post.describe(), deliveries })
}
