//! Answers to requests about notifications.

use crate::Store;
use crate::error::StoreError;
use crate::value::clean;
use ordo_contract::request::monitor::{
    Acknowledged, DeliveryLine, Incident, MailState, NotificationLine, NotificationListReply, NotificationListRequest,
    NotificationShowReply, Object,
};
use ordo_domain::alert::Kind;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

const LIMIT: u32 = 100;
const MOST: u32 = 1_000;

/// With the worst of its mails. A rule without recipients has no mail; what is gathered has none yet.
const LINE: &str = "SELECT n.id, n.at, n.kind, n.state, n.rules, n.facts::text, n.silenced_by, n.acknowledged_by, n.acknowledged_at, \
    n.comment, n.recovered_at, n.order_id, \
    EXISTS (SELECT 1 FROM monitor_gathered g WHERE g.notification = n.id AND NOT g.good), \
    (SELECT max(CASE d.state WHEN 'refused' THEN 3 WHEN 'waiting' THEN 2 ELSE 1 END) \
     FROM mails m JOIN deliveries d ON d.mail = m.id WHERE m.notifications @> ARRAY[n.id]) \
    FROM notifications n";

impl Store {
    /// Newest first. `what` says what happened in words.
    ///
    /// # Errors
    /// Of the database; a state that there is not.
    pub async fn notifications(
        &self,
        request: &NotificationListRequest,
        what: impl Fn(&Incident) -> String + Send + Sync,
    ) -> Result<NotificationListReply, StoreError> {
        if let Some(state) = request.state.as_deref().filter(|s| !["new", "acknowledged", "recovered"].contains(s)) {
            let what = format!("state {state:?} is not known: new, acknowledged or recovered");
            return Err(StoreError::Refused { what });
        }
        let client = self.reader().await?;
        let limit = i64::from(request.limit.unwrap_or(LIMIT).clamp(1, MOST));
        let kind = request.kind.map(Kind::word);
        let only_open = request.state.is_none() && !request.all && request.order.is_none();
        let sql = format!(
            "{LINE} WHERE ($1::text IS NULL OR n.state = $1) AND (NOT $2 OR n.state <> 'recovered') AND ($3::text IS NULL OR $3 = ANY(n.rules)) \
             AND ($4::text IS NULL OR n.kind = $4) AND ($5::text IS NULL OR n.workflow = $5) AND ($6::text IS NULL OR n.order_id = $6) \
             AND ($7::text IS NULL OR (n.at, n.id) < (SELECT b.at, b.id FROM notifications b WHERE b.id = $7)) \
             ORDER BY n.at DESC, n.id DESC LIMIT $8"
        );
        let more_than_asked = limit + 1;
        let values: [&(dyn ToSql + Sync); 8] = [
            &request.state,
            &only_open,
            &request.rule,
            &kind,
            &request.workflow,
            &request.order,
            &request.before,
            &more_than_asked,
        ];
        let rows = self.sorted("read notifications", client.query(&sql, &values).await)?;
        let mut notifications: Vec<NotificationLine> =
            rows.iter().filter_map(|row| line(row, &what)).map(|(line, _)| line).collect();
        let more = notifications.len() as i64 > limit;
        notifications.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(NotificationListReply { notifications, more })
    }

    /// # Errors
    /// Of the database.
    pub async fn notification(
        &self,
        id: &str,
        what: impl Fn(&Incident) -> String + Send + Sync,
    ) -> Result<Option<NotificationShowReply>, StoreError> {
        let client = self.reader().await?;
        let sql = format!("{LINE} WHERE n.id = $1");
        let row = self.sorted("read a notification", client.query_opt(&sql, &[&id]).await)?;
        let Some((line, facts)) = row.and_then(|row| line(&row, &what)) else { return Ok(None) };
        let sql = "SELECT m.id, m.kind, m.rule, d.recipient, d.state, d.tries, d.server, d.said, d.at FROM mails m \
            JOIN deliveries d ON d.mail = m.id WHERE m.notifications @> ARRAY[$1::text] ORDER BY m.at, m.id, d.recipient";
        let rows = self.sorted("read deliveries", client.query(sql, &[&id]).await)?;
        let delivery = |row: &Row| DeliveryLine {
            mail: row.get(0),
            kind: row.get(1),
            rule: row.get(2),
            recipient: row.get(3),
            state: row.get(4),
            tries: u32::try_from(row.get::<_, i32>(5)).unwrap_or_default(),
            server: row.get(6),
            said: row.get(7),
            at: row.get(8),
        };
        Ok(Some(NotificationShowReply { line, facts, deliveries: rows.iter().map(delivery).collect() }))
    }

    /// All of them or none; `Err` inside names one that is not there. What is recovered stays so, and the comment is kept.
    ///
    /// # Errors
    /// Of the database.
    pub async fn acknowledge(
        &self,
        ids: &[String],
        by: &str,
        comment: Option<&str>,
    ) -> Result<Result<(), String>, StoreError> {
        let mut client = self.writer().await?;
        let tx = self.sorted("begin a transaction", client.transaction().await)?;
        let sql = "UPDATE notifications SET state = CASE WHEN state = 'recovered' THEN state ELSE 'acknowledged' END, \
            acknowledged_by = $2, acknowledged_at = now(), comment = coalesce($3, comment) WHERE id = ANY($1) RETURNING id";
        let comment = comment.map(clean);
        let rows = self.sorted("acknowledge", tx.query(sql, &[&ids, &by, &comment]).await)?;
        let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        if let Some(missing) = ids.iter().find(|id| !found.contains(id)) {
            return Ok(Err(missing.clone()));
        }
        self.sorted("commit a transaction", tx.commit().await)?;
        Ok(Ok(()))
    }
}

fn line(row: &Row, what: &impl Fn(&Incident) -> String) -> Option<(NotificationLine, Incident)> {
    let mut incident: Incident = serde_json::from_str(row.get(5)).ok()?;
    incident.recovered_at = row.get(10);
    let silenced_by: Option<String> = row.get(6);
    let (is_gathered, worst): (bool, Option<i32>) = (row.get(12), row.get(13));
    let mail = match worst {
        Some(3) => MailState::Refused,
        Some(2) => MailState::Waiting,
        Some(_) => MailState::Accepted,
        None if is_gathered && silenced_by.is_some() => MailState::Silenced,
        None if is_gathered => MailState::Gathered,
        None => MailState::None,
    };
    let by: Option<String> = row.get(7);
    let acknowledged = by.zip(row.get(8)).map(|(by, at)| Acknowledged { by, at, comment: row.get(9) });
    let line = NotificationLine {
        id: row.get(0),
        at: row.get(1),
        kind: incident.kind,
        state: row.get(3),
        object: object(&incident),
        what: what(&incident),
        order: row.get(11),
        rules: row.get(4),
        silenced_by,
        acknowledged,
        recovered_at: incident.recovered_at,
        mail,
    };
    Some((line, incident))
}

fn object(incident: &Incident) -> String {
    match &incident.object {
        Object::Order(order) => match order.business_day {
            Some(day) => format!("{} {day}", order.workflow),
            None => order.workflow.clone(),
        },
        Object::Agent(agent) => format!("agent {}", agent.agent),
        Object::Role(role) => format!("role {}", role.role),
        Object::Controller(c) => format!("controller {}", c.instance),
        Object::Log(log) => format!("log of {}", log.host),
    }
}
