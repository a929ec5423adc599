//! Rows of the small tables: definitions, agents, controllers, commands. A handful in a batch at most, except commands.

use super::order::column;
use crate::connect::Store;
use crate::error::StoreError;
use crate::projection::signed;
use crate::value::{JsonText, clean, jsonb};
use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use ordo_domain::command::By;
use ordo_domain::{AgentName, CommandId, Event, InstanceId};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What became of a command.
pub(crate) struct CommandRow<'a> {
    pub(crate) sequence: i64,
    pub(crate) index: i32,
    pub(crate) at: DateTime<Utc>,
    pub(crate) command: Option<CommandId>,
    pub(crate) result: &'static str,
    pub(crate) code: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) by: Option<By>,
    pub(crate) outcome: JsonText<'static>,
    pub(crate) cause: &'a str,
}

/// The last word of a batch on an instance of an agent.
#[derive(Default)]
pub(crate) struct InstanceRow {
    node: Option<String>,
    version: Option<String>,
    ready: bool,
    ready_at: Option<DateTime<Utc>>,
    stopped_at: Option<DateTime<Utc>>,
}

/// Events whose rows are written one by one: they are rare.
pub(crate) struct RareRow {
    pub(crate) at: DateTime<Utc>,
    pub(crate) epoch: u64,
    pub(crate) event: Event,
}

#[derive(Default)]
pub(crate) struct SiteRows<'a> {
    pub(crate) rare: Vec<RareRow>,
    pub(crate) instances: BTreeMap<(AgentName, InstanceId), InstanceRow>,
    pub(crate) commands: Vec<CommandRow<'a>>,
}

impl SiteRows<'_> {
    /// Takes the event where it belongs to these tables.
    pub(crate) fn take(&mut self, event: &Event, at: DateTime<Utc>, epoch: u64) {
        match event {
            Event::AgentReady(e) => {
                let row = self.instances.entry((e.agent.clone(), e.instance.clone())).or_default();
                row.node = Some(e.node.to_string());
                row.version = Some(clean(&e.version));
                row.ready = true;
                row.ready_at = Some(at);
            }
            Event::AgentStopped(e) => {
                let row = self.instances.entry((e.agent.clone(), e.instance.clone())).or_default();
                row.ready = false;
                row.stopped_at = Some(at);
            }
            Event::WorkflowDeployed(_)
            | Event::LockDeployed(_)
            | Event::AgentAdded(_)
            | Event::ControllerActivated(_)
            | Event::ControllerHandedOver(_)
            | Event::RoleHeld(_) => self.rare.push(RareRow { at, epoch, event: event.clone() }),
            _ => {}
        }
    }
}

impl Store {
    pub(crate) async fn write_site(&self, tx: &Transaction<'_>, rows: &SiteRows<'_>) -> Result<(), StoreError> {
        for row in &rows.rare {
            self.write_rare(tx, row).await?;
        }
        self.write_instances(tx, &rows.instances).await?;
        self.write_commands(tx, &rows.commands).await
    }

    async fn write_rare(&self, tx: &Transaction<'_>, row: &RareRow) -> Result<(), StoreError> {
        let (at, epoch) = (row.at, signed(row.epoch));
        let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        let reason = |by: &By| by.reason.as_deref().map(clean);
        let done = match &row.event {
            Event::WorkflowDeployed(e) => {
                let sql = "INSERT INTO workflows VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
                let (by, why) = (e.by.user.as_str(), reason(&e.by));
                tx.execute(sql, &[&e.workflow.as_str(), &number(e.version), &e.hash.as_str(), &at, &by, &why]).await
            }
            Event::LockDeployed(e) => {
                let sql = "INSERT INTO locks VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
                let (title, capacity) = (e.lock.title.as_deref().map(clean), i64::from(e.lock.capacity));
                tx.execute(sql, &[&e.lock.name.as_str(), &number(e.version), &e.hash.as_str(), &title, &capacity, &at])
                    .await
            }
            Event::AgentAdded(e) => {
                let sql = "INSERT INTO agents VALUES ($1, $2, $3, $4, $5) ON CONFLICT (agent) DO UPDATE SET title = excluded.title, \
                           added_at = excluded.added_at, added_by = excluded.added_by, reason = excluded.reason";
                let title = e.title.as_deref().map(clean);
                tx.execute(sql, &[&e.agent.as_str(), &title, &at, &e.by.user.as_str(), &reason(&e.by)]).await
            }
            Event::ControllerActivated(e) => {
                let sql = "INSERT INTO controllers (epoch, instance, how, event_level, activated_at) VALUES ($1, $2, $3, $4, $5) \
                           ON CONFLICT DO NOTHING";
                tx.execute(sql, &[&signed(e.epoch), &e.instance.as_str(), &clean(&e.how), &number(e.event_level), &at])
                    .await
            }
            Event::ControllerHandedOver(e) => {
                let sql = "UPDATE controllers SET handed_over_at = $2, handed_over_to = $3 WHERE epoch = $1";
                tx.execute(sql, &[&signed(e.epoch), &at, &e.to.as_ref().map(InstanceId::as_str)]).await
            }
            Event::RoleHeld(e) => {
                let sql = "UPDATE controllers SET held_at = $2, held_by = $3, held_why = $4 WHERE epoch = $1";
                tx.execute(sql, &[&epoch, &at, &clean(&e.who), &clean(&e.why)]).await
            }
            _ => Ok(0),
        };
        self.sorted("write definitions, agents and controllers", done).map(|_| ())
    }

    async fn write_instances(
        &self,
        tx: &Transaction<'_>,
        instances: &BTreeMap<(AgentName, InstanceId), InstanceRow>,
    ) -> Result<(), StoreError> {
        if instances.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = instances.iter().collect();
        let sql = "INSERT INTO agent_instances SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::boolean[], \
            $6::timestamptz[], $7::timestamptz[]) ON CONFLICT (agent, instance) DO UPDATE SET \
            node = coalesce(excluded.node, agent_instances.node), version = coalesce(excluded.version, agent_instances.version), \
            ready = excluded.ready, ready_at = coalesce(excluded.ready_at, agent_instances.ready_at), \
            stopped_at = coalesce(excluded.stopped_at, agent_instances.stopped_at)";
        let done = tx
            .execute(
                sql,
                &[
                    &column!(rows, |((agent, _), _)| agent.as_str()),
                    &column!(rows, |((_, instance), _)| instance.as_str()),
                    &column!(rows, |(_, r)| r.node.as_deref()),
                    &column!(rows, |(_, r)| r.version.as_deref()),
                    &column!(rows, |(_, r)| r.ready),
                    &column!(rows, |(_, r)| r.ready_at),
                    &column!(rows, |(_, r)| r.stopped_at),
                ],
            )
            .await;
        self.sorted("write instances of agents", done).map(|_| ())
    }

    async fn write_commands(&self, tx: &Transaction<'_>, rows: &[CommandRow<'_>]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let sql = "INSERT INTO commands (sequence, index, at, command_id, result, code, text, asked_by, reason, outcome, cause) \
            SELECT * FROM unnest($1::bigint[], $2::int[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], \
            $9::text[], $10::jsonb[], $11::jsonb[]) ON CONFLICT DO NOTHING";
        let statement = self.sorted("prepare writing commands", tx.prepare_cached(sql).await)?;
        let done = tx
            .execute(
                &statement,
                &[
                    &column!(rows, |r| r.sequence),
                    &column!(rows, |r| r.index),
                    &column!(rows, |r| r.at),
                    &column!(rows, |r| r.command.as_ref().map(CommandId::as_str)),
                    &column!(rows, |r| r.result),
                    &column!(rows, |r| r.code.as_deref()),
                    &column!(rows, |r| r.text.as_deref().map(clean)),
                    &column!(rows, |r| r.by.as_ref().map(|by| by.user.as_str())),
                    &column!(rows, |r| r.by.as_ref().and_then(|by| by.reason.as_deref()).map(clean)),
                    &column!(rows, |r| &r.outcome),
                    &column!(rows, |r| JsonText(Cow::Borrowed(r.cause))),
                ],
            )
            .await;
        self.sorted("write commands", done).map(|_| ())
    }
}

/// Refusals and failures as rows: the code is the one of their JSON.
pub(crate) fn code_of(value: &impl serde::Serialize) -> Option<String> {
    let value = serde_json::to_value(value).ok()?;
    value.get("code")?.as_str().map(ToOwned::to_owned)
}

pub(crate) fn outcome_of(value: &impl serde::Serialize) -> JsonText<'static> {
    jsonb(value)
}
