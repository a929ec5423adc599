//! Steps: the runs of orders.

use super::{Conditions, checked, from_json, page};
use crate::connect::Store;
use crate::error::StoreError;
use ordo_contract::request::{HistoryStep, HistoryStepsReply, HistoryStepsRequest};
use ordo_domain::run::report::{OutputSummary, Usage};
use ordo_domain::{AgentName, InstanceId, OrderId, RunId, WorkflowName};
use tokio_postgres::Row;

const COLUMNS: &str = "s.number, s.run_id, s.order_id, o.workflow, s.position, s.job, s.attempt, s.agent, s.instance, s.state, s.run_end, \
    s.exit_code, s.text, s.sent_at, CASE WHEN s.state = 'running' THEN s.claimed_at ELSE s.started_at END, s.ended_at, s.cpu_user_ms, \
    s.cpu_system_ms, s.memory_peak, s.output_bytes, s.output_lines, s.output_kept, s.output_chunks, s.results, \
    s.ended_at IS NOT NULL AND (s.output_chunks = 0 OR coalesce(l.complete, false))";

impl Store {
    /// Of one order oldest first, else newest first.
    pub async fn steps(&self, request: &HistoryStepsRequest) -> Result<HistoryStepsReply, StoreError> {
        let limit = page(request.limit);
        let mut conditions = Conditions::default();
        if let Some(order) = &request.order {
            conditions.and_within("s.order_id", order.as_str());
        }
        if let Some(agent) = &request.agent {
            conditions.and("s.agent = ?", agent.to_string());
        }
        if let Some(run) = &request.run {
            conditions.and("s.run_id = ?", run.to_string());
        }
        let oldest_first = request.order.is_some();
        if let Some(edge) = request.before {
            // The last number of the page before, whichever way the pages go.
            conditions.and(if oldest_first { "s.number > ?" } else { "s.number < ?" }, edge);
        }
        let sequence = self.sequence().await?;
        let sql = format!(
            "SELECT {COLUMNS} FROM steps s JOIN orders o ON o.order_id = s.order_id LEFT JOIN logs l ON l.run_id = s.run_id \
             WHERE {} ORDER BY s.number {} LIMIT {}",
            conditions.sql(),
            if oldest_first { "ASC" } else { "DESC" },
            limit + 1
        );
        let client = self.reader().await?;
        let rows = self.sorted("read steps", client.query(&sql, &conditions.values()).await)?;
        let mut steps = rows.iter().map(step).collect::<Result<Vec<_>, _>>()?;
        let more = steps.len() > limit;
        steps.truncate(limit);
        Ok(HistoryStepsReply { steps, more, sequence })
    }
}

fn count(row: &Row, column: usize) -> u64 {
    row.get::<_, Option<i64>>(column).and_then(|n| u64::try_from(n).ok()).unwrap_or_default()
}

fn step(row: &Row) -> Result<HistoryStep, StoreError> {
    let ended: Option<chrono::DateTime<chrono::Utc>> = row.get(15);
    let chunks = row.get::<_, Option<i32>>(22).and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
    Ok(HistoryStep {
        number: row.get(0),
        run: checked(RunId::new(row.get::<_, &str>(1)))?,
        order: checked(OrderId::new(row.get::<_, &str>(2)))?,
        workflow: checked(WorkflowName::new(row.get::<_, &str>(3)))?,
        position: row.get(4),
        job: row.get(5),
        attempt: u32::try_from(row.get::<_, i32>(6)).unwrap_or_default(),
        agent: checked(AgentName::new(row.get::<_, &str>(7)))?,
        instance: row.get::<_, Option<&str>>(8).map(|i| checked(InstanceId::new(i))).transpose()?,
        state: row.get(9),
        end: from_json(row.get(10))?,
        exit_code: row.get(11),
        text: row.get(12),
        sent_at: row.get(13),
        started_at: row.get(14),
        ended_at: ended,
        usage: ended.map(|_| Usage {
            cpu_user_ms: count(row, 16),
            cpu_system_ms: count(row, 17),
            memory_peak_bytes: count(row, 18),
        }),
        output: ended.map(|_| OutputSummary {
            bytes: count(row, 19),
            lines: count(row, 20),
            kept_bytes: count(row, 21),
            chunks,
        }),
        results: from_json(row.get(23))?.unwrap_or_default(),
        log_complete: row.get(24),
    })
}
