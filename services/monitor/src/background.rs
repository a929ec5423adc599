//! What history adds to a mail: the end of the log, the last good run and what is different since. Asked over the bus, for a
//! short time only: a mail without it is better than a late one.

use crate::letter::{Background, Incident, LastGood, LogTail, OrderFacts, clean};
use ordo_contract::request::{
    HistoryOrder, HistoryOrdersReply, HistoryOrdersRequest, HistoryStep, HistoryStepsReply, HistoryStepsRequest,
    LogPosition, LogReadReply, LogReadRequest, OrderRequest, history,
};
use ordo_domain::alert::Kind;
use ordo_domain::{OrderId, RunId};
use ordo_journal::Bus;
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;
use tokio::time::Instant;

/// Lines of the log, and characters of each.
const LINES: usize = 10;
const WIDTH: usize = 240;
/// Chunks from the end that are looked at.
const CHUNKS: u32 = 3;
const AGAIN: Duration = Duration::from_millis(60);

/// Asks for what belongs to the incident.
pub(crate) async fn background(bus: &Bus, incident: &Incident, within: Duration) -> Background {
    let Some(order) = incident.order().filter(|_| is_about_a_run(incident.kind)) else { return Background::default() };
    let asker = Asker { bus, until: Instant::now() + within };
    let (log, good) = tokio::join!(asker.log(order), asker.last_good(order));
    let mut background = good.unwrap_or_default();
    background.log = log;
    background
}

fn is_about_a_run(kind: Kind) -> bool {
    matches!(kind, Kind::Failed | Kind::RunsTooLong)
}

struct Asker<'a> {
    bus: &'a Bus,
    until: Instant,
}

impl Asker<'_> {
    async fn ask<Q: Serialize, A: DeserializeOwned>(&self, endpoint: &str, question: &Q) -> Option<A> {
        let (noun, verb) = endpoint.split_once('.')?;
        let subject = self.bus.names().request(self.bus.user(), "history", noun, verb);
        let left = self.until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        let answer = self.bus.request(&subject, serde_json::to_vec(question).ok()?, left).await.ok()?;
        serde_json::from_slice(&answer).ok()
    }

    fn is_over(&self) -> bool {
        Instant::now() + AGAIN >= self.until
    }

    /// The last lines, as soon as history has all of them; what it has when the time is over.
    async fn log(&self, order: &OrderFacts) -> Option<LogTail> {
        let run: RunId = order.run.as_ref()?.parse().ok()?;
        let id: OrderId = order.failed_order.as_ref().or(order.order.as_ref())?.parse().ok()?;
        let mut best = None;
        loop {
            let request = HistoryStepsRequest { run: Some(run.clone()), ..HistoryStepsRequest::default() };
            let reply: Option<HistoryStepsReply> = self.ask(history::STEP_LIST, &request).await;
            let step = reply.and_then(|reply| reply.steps.into_iter().next());
            if let Some(step) = step {
                let is_whole = step.log_complete;
                let tail = self.tail(&id, &step).await;
                if is_whole || self.is_over() {
                    return tail.or(best);
                }
                best = tail.or(best);
            }
            if self.is_over() {
                return best;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn tail(&self, order: &OrderId, step: &HistoryStep) -> Option<LogTail> {
        let chunks = step.output.as_ref().map_or(0, |output| output.chunks);
        let first = chunks.saturating_sub(CHUNKS);
        let after = if first > 0 { vec![LogPosition { run: step.run.clone(), chunk: first }] } else { Vec::new() };
        let request = LogReadRequest { order: order.clone(), run: Some(step.run.clone()), after };
        let reply: LogReadReply = self.ask(history::LOG_READ, &request).await?;
        let text: String = reply.chunks.iter().map(|chunk| chunk.text.as_str()).collect();
        if text.trim().is_empty() {
            return None;
        }
        let lines = clean::tail(&text, LINES, WIDTH);
        let cut = first > 0 || text.trim_end().split('\n').count() > lines.len();
        let attempt = if step.attempt > 1 { format!(", attempt {}", step.attempt) } else { String::new() };
        Some(LogTail { of: clean::short(&format!("{}{attempt}", step.job), 80), lines, cut })
    }

    /// The newest order of the workflow that went well, and what is different now.
    async fn last_good(&self, order: &OrderFacts) -> Option<Background> {
        let workflow = order.workflow.parse().ok()?;
        let request = HistoryOrdersRequest {
            workflow: Some(workflow),
            state: Some("finished".into()),
            limit: Some(1),
            ..HistoryOrdersRequest::default()
        };
        let reply: HistoryOrdersReply = self.ask(history::ORDER_LIST, &request).await?;
        let good = reply.orders.into_iter().next()?;
        let ended_at = good.ended_at?;
        let took = good.started_at.map(|started| ended_at - started);
        let mut changes = Vec::new();
        let this: Option<HistoryOrder> = match order.order.as_ref().and_then(|id| id.parse().ok()) {
            Some(order) => self.ask(history::ORDER_SHOW, &OrderRequest { order }).await,
            None => None,
        };
        if let Some(version) = order.version.filter(|version| *version != good.version) {
            changes.push(format!("workflow v{} → v{version}", good.version));
        }
        changes.extend(self.agent_change(order, &good).await);
        if let Some(this) = this {
            changes.extend(argument_changes(&good, &this));
        }
        let last_good = Some(LastGood { order: good.order.to_string(), ended_at, took });
        Some(Background { last_good, changes, log: None })
    }

    async fn agent_change(&self, order: &OrderFacts, good: &HistoryOrder) -> Option<String> {
        let (now, position) = (order.instance.as_ref()?, order.position.as_ref()?);
        let agent = order.agent.as_deref().unwrap_or_default();
        let request = HistoryStepsRequest { order: Some(good.order.clone()), ..HistoryStepsRequest::default() };
        let reply: HistoryStepsReply = self.ask(history::STEP_LIST, &request).await?;
        let then = reply.steps.iter().rev().find(|step| step.position == *position)?;
        let instance = then.instance.as_ref()?;
        let same = then.agent.as_str() == agent && instance.as_str() == now;
        (!same).then(|| format!("agent {} ({instance}) → {agent} ({now})", then.agent))
    }
}

/// Secrets are references and never among the arguments.
fn argument_changes(before: &HistoryOrder, now: &HistoryOrder) -> Vec<String> {
    let value = |order: &HistoryOrder, name: &str| {
        order.arguments.iter().find(|(n, _)| n.as_str() == name).map(|(_, v)| v.to_string())
    };
    let names = before.arguments.keys().chain(now.arguments.keys());
    let names: std::collections::BTreeSet<&str> = names.map(|name| name.as_str()).collect();
    let change = |name: &str| {
        let (then, now) = (value(before, name), value(now, name));
        let words = |value: Option<String>| value.map_or_else(|| "not given".to_owned(), |v| clean::short(&v, 60));
        (then != now).then(|| format!("{name}: {} → {}", words(then), words(now)))
    };
    names.into_iter().filter_map(change).take(5).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn order(arguments: serde_json::Value) -> HistoryOrder {
        serde_json::from_value(json!({
            "number": 1, "order": "20261122-P7-a", "workflow": "a", "version": 1, "business_day": "2026-11-22", "state": "finished",
            "arguments": arguments, "added_by": "ops", "added_at": "2026-11-22T00:00:00Z"
        }))
        .unwrap()
    }

    #[test]
    fn arguments_that_changed_are_said_with_both_values() {
        let (then, now) = (
            order(json!({"day": "2026-11-21", "same": 1})),
            order(json!({"day": "2026-11-22", "same": 1, "new": [1]})),
        );
        assert_eq!(argument_changes(&then, &now), ["day: 2026-11-21 → 2026-11-22", "new: not given → [1]"]);
    }
}
