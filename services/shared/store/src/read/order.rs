//! Orders.

use super::{Conditions, checked, from_json, page};
use crate::connect::Store;
use crate::error::StoreError;
use crate::history::order::column;
use ordo_contract::request::{HistoryOrder, HistoryOrdersReply, HistoryOrdersRequest};
use ordo_domain::{OrderId, UserName, WorkflowName};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use tokio_postgres::Row;

const COLUMNS: &str = "o.number, o.order_id, o.parent, o.workflow, o.version, o.title, o.folder, o.tags, o.business_day, o.state, \
    o.outcome, o.text, coalesce(o.arguments, a.arguments), o.added_by, o.planned_at, o.added_at, o.started_at, o.ended_at";

const STATES: [&str; 5] = ["scheduled", "started", "failed", "finished", "cancelled"];

impl Store {
    /// Newest first.
    pub async fn orders(&self, request: &HistoryOrdersRequest) -> Result<HistoryOrdersReply, StoreError> {
        let limit = page(request.limit);
        let mut conditions = Conditions::default();
        if let Some(workflow) = &request.workflow {
            conditions.and("o.workflow = ?", workflow.to_string());
        }
        if let Some(state) = &request.state {
            if !STATES.contains(&state.as_str()) {
                let what = format!("no order of the history is {state:?}; its states are {}", STATES.join(", "));
                return Err(StoreError::Refused { what });
            }
            conditions.and("o.state = ?", state.clone());
        }
        if let Some(day) = request.business_day {
            // The id begins with the business day: a range of the primary key.
            let first = day.format("%Y%m%d").to_string();
            conditions.and("o.order_id >= ? || '-' AND o.order_id < ? || '.'", first);
            conditions.and("o.business_day = ?", day);
        }
        if let Some(before) = request.before {
            conditions.and("o.number < ?", before);
        }
        if !request.children {
            conditions.and_plain("o.parent IS NULL");
        }
        let sequence = self.sequence().await?;
        let mut orders = self.select_orders(&conditions, limit + 1).await?;
        let more = orders.len() > limit;
        orders.truncate(limit);
        Ok(HistoryOrdersReply { orders, more, sequence })
    }

    /// One order, `None` where it is not known.
    pub async fn order(&self, order: &OrderId) -> Result<Option<HistoryOrder>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.and("o.order_id = ?", order.to_string());
        Ok(self.select_orders(&conditions, 1).await?.pop())
    }

    async fn select_orders(&self, conditions: &Conditions, limit: usize) -> Result<Vec<HistoryOrder>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM orders o LEFT JOIN orders a ON a.order_id = o.scope WHERE {} ORDER BY o.number DESC LIMIT {limit}",
            conditions.sql()
        );
        let client = self.reader().await?;
        let rows = self.sorted("read orders", client.query(&sql, &conditions.values()).await)?;
        drop(client);
        let mut orders = rows.iter().map(order).collect::<Result<Vec<_>, _>>()?;
        let mut results = self.results(&orders).await?;
        for order in &mut orders {
            order.results = results.remove(order.order.as_str()).unwrap_or_default();
        }
        Ok(orders)
    }

    /// Results of the steps of each order and of its branches, by label; the last run of a step counts. Of a called
    /// workflow the caller sees only whether it ended well.
    async fn results(&self, orders: &[HistoryOrder]) -> Result<HashMap<String, BTreeMap<String, Value>>, StoreError> {
        let mut results: HashMap<String, BTreeMap<String, Value>> = HashMap::new();
        if orders.is_empty() {
            return Ok(results);
        }
        let sql = "SELECT r.order_id, s.job, s.return_code, s.results, s.number \
            FROM unnest($1::text[]) AS r (order_id) JOIN orders o ON o.order_id = r.order_id \
            JOIN orders c ON (c.order_id = r.order_id OR c.order_id >= r.order_id || ':' AND c.order_id < r.order_id || ';') \
                AND coalesce(c.scope, c.order_id) = coalesce(o.scope, o.order_id) \
            JOIN steps s ON s.order_id = c.order_id AND s.outcome IS NOT NULL \
            UNION ALL \
            SELECT r.order_id, regexp_replace(c.forked_at, '^.*/', ''), CASE c.state WHEN 'finished' THEN 0 ELSE 1 END, NULL, c.number \
            FROM unnest($1::text[]) AS r (order_id) JOIN orders o ON o.order_id = r.order_id \
            JOIN orders c ON c.order_id >= r.order_id || ':' AND c.order_id < r.order_id || ';' AND c.called AND c.ended_at IS NOT NULL \
            JOIN orders p ON p.order_id = c.parent AND coalesce(p.scope, p.order_id) = coalesce(o.scope, o.order_id) \
            ORDER BY 5";
        let ids: Vec<&str> = column!(orders, |o| o.order.as_str());
        let client = self.reader().await?;
        for row in self.sorted("read results", client.query(sql, &[&ids]).await)? {
            let (order, label, code, values): (String, String, Option<i32>, Option<Value>) =
                (row.get(0), row.get(1), row.get(2), row.get(3));
            let mut result = json!({ "return_code": code.unwrap_or_default() });
            if let (Some(values), Some(object)) = (values, result.as_object_mut()) {
                object.insert("values".to_owned(), values);
            }
            results.entry(order).or_default().insert(label, result);
        }
        Ok(results)
    }
}

fn order(row: &Row) -> Result<HistoryOrder, StoreError> {
    Ok(HistoryOrder {
        number: row.get(0),
        order: checked(OrderId::new(row.get::<_, &str>(1)))?,
        parent: row.get::<_, Option<&str>>(2).map(|p| checked(OrderId::new(p))).transpose()?,
        workflow: checked(WorkflowName::new(row.get::<_, &str>(3)))?,
        version: u32::try_from(row.get::<_, i32>(4)).unwrap_or_default(),
        title: row.get(5),
        folder: row.get(6),
        tags: row.get(7),
        business_day: row.get(8),
        state: row.get(9),
        outcome: from_json(row.get(10))?,
        text: row.get(11),
        arguments: from_json(row.get(12))?.unwrap_or_default(),
        results: BTreeMap::new(),
        added_by: checked(UserName::new(row.get::<_, &str>(13)))?,
        planned_at: row.get(14),
        added_at: row.get(15),
        started_at: row.get(16),
        ended_at: row.get(17),
    })
}
