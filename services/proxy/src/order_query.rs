//! What is asked about orders: one, many, and "tell me when".

use crate::answer::Problem;
use crate::interest::{Topic, root};
use crate::serve::Proxy;
use ordo_contract::request::{
    AwaitRequest, ORDER_ENDED, OrderLine, OrderListReply, OrderListRequest, OrderRequest, OrderShowReply,
};
use ordo_domain::{Instant, OrderId, Refusal, Site, order::Order, order::OrderState, order::wait::Wait};
use ordo_runtime::{Clock, SystemClock};
use std::ops::Bound;
use std::time::Duration;

const USUAL: usize = 100;
const MOST: usize = 1_000;
/// An answer stays below the largest message of a server.
pub const PAGE_BYTES: usize = 640 * 1024;
/// Orders looked at under one lock: a filter that fits nothing must not stop the mirror.
const SCAN: usize = 20_000;
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// For the mirror to reach what another proxy has told already.
pub const CATCH_UP: Duration = Duration::from_secs(2);

/// A line about an order as it is at `now`.
pub fn line(site: &Site, order: &Order, now: Instant) -> OrderLine {
    let waits = site.explain(&order.id, now);
    OrderLine {
        order: order.id.clone(),
        workflow: order.workflow.name.clone(),
        version: order.workflow.version,
        title: order.title.clone(),
        state: order.state.word().to_owned(),
        suspended: order.suspended,
        position: order.position.as_ref().map(ToString::to_string),
        why: reason(&waits),
        business_day: order.business_day,
        priority: order.priority,
        due_at: order.due_at,
        added_at: order.added_at,
        started_at: order.started_at,
        since: order.since,
    }
}

/// The nearest reason, in words. None where it moves.
fn reason(waits: &[Wait]) -> Option<String> {
    let first = waits.iter().find(|wait| !matches!(wait, Wait::Running { .. } | Wait::Deciding))?;
    Some(first.to_string())
}

/// The first lines, as many as one answer takes.
pub fn within_a_page(lines: impl Iterator<Item = OrderLine>) -> Vec<OrderLine> {
    let mut bytes = 0;
    let fits = |line: &OrderLine| {
        bytes += serde_json::to_vec(line).map_or(0, |json| json.len());
        bytes <= PAGE_BYTES
    };
    lines.take_while(fits).collect()
}

/// All about one order.
fn show(site: &Site, order: &Order, sequence: u64, now: Instant) -> OrderShowReply {
    let children = match &order.state {
        OrderState::Forked { children, .. } => {
            let children = children.iter().filter_map(|child| site.orders.get(child));
            within_a_page(children.map(|child| line(site, child, now)))
        }
        _ => Vec::new(),
    };
    let results = order.results.iter().map(|(label, result)| {
        let mut values: serde_json::Map<String, serde_json::Value> = result
            .values
            .iter()
            .map(|(name, value)| (name.to_string(), serde_json::to_value(value).unwrap_or_default()))
            .collect();
        values.insert("return_code".to_owned(), result.return_code.into());
        (label.to_string(), serde_json::Value::Object(values))
    });
    OrderShowReply {
        line: line(site, order, now),
        waits: site.explain(&order.id, now).iter().filter_map(|wait| serde_json::to_value(wait).ok()).collect(),
        arguments: (*order.arguments).clone(),
        results: results.collect(),
        run: match &order.state {
            OrderState::Processing { run } => Some(run.clone()),
            _ => None,
        },
        attempt: order.attempt,
        tags: order.tags.iter().cloned().collect(),
        folder: order.folder.clone(),
        added_by: order.by.user.clone(),
        failure: match &order.state {
            OrderState::Failed { failure } => Some(failure.to_string()),
            _ => None,
        },
        children,
        sequence,
    }
}

impl Proxy {
    /// Orders without branches, in the order of their ids.
    pub fn order_list(&self, request: &OrderListRequest) -> Result<OrderListReply, Problem> {
        let limit = request.limit.map_or(USUAL, |limit| limit as usize);
        if !(1..=MOST).contains(&limit) {
            return Err(Problem::malformed(format!("limit is {limit}; 1 to {MOST} are possible, page with `after`")));
        }
        let filter = Filter::new(request)?;
        let now = SystemClock.now();
        let mut reply = OrderListReply { orders: Vec::new(), more: false, sequence: 0 };
        let (mut after, mut bytes) = (request.after.clone(), 0);
        loop {
            let scanned_all = self.mirror.read(|replica| {
                reply.sequence = replica.sequence;
                let from = after.as_ref().map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_str()));
                for (n, (id, order)) in replica.site.orders.range::<str, _>((from, Bound::Unbounded)).enumerate() {
                    if n == SCAN {
                        return false;
                    }
                    if order.parent.is_some() || !filter.fits(&replica.site, order, now) {
                        after = Some(id.clone());
                        continue;
                    }
                    let line = line(&replica.site, order, now);
                    bytes += serde_json::to_vec(&line).map_or(0, |json| json.len());
                    if reply.orders.len() == limit || (bytes > PAGE_BYTES && !reply.orders.is_empty()) {
                        reply.more = true;
                        return true;
                    }
                    reply.orders.push(line);
                    after = Some(id.clone());
                }
                true
            });
            if scanned_all {
                return Ok(reply);
            }
        }
    }

    pub async fn order_show(&self, request: &OrderRequest) -> Result<OrderShowReply, Problem> {
        if self.look(&request.order).is_none() {
            self.mirror.catch_up(&self.bus, CATCH_UP).await?;
        }
        // What is remembered of an order that has ended is a line: all about it is in the history.
        self.live(&request.order).ok_or_else(|| match self.mirror.ended(&request.order) {
            Some(line) => Problem::not_found(
                ORDER_ENDED,
                format!("order {} is {} and no longer in the state; the history has it", line.order, line.state),
            ),
            None => unknown(&request.order),
        })
    }

    fn live(&self, order: &OrderId) -> Option<OrderShowReply> {
        let now = SystemClock.now();
        self.mirror.read(|replica| {
            let order = replica.site.orders.get(order)?;
            Some(show(&replica.site, order, replica.sequence, now))
        })
    }

    /// What the order is, or was when it ended: then its state and little more.
    fn look(&self, order: &OrderId) -> Option<OrderShowReply> {
        self.live(order).or_else(|| self.mirror.ended(order).and_then(|line| gone(line, self.mirror.sequence())))
    }

    pub async fn order_await(&self, request: &AwaitRequest) -> Result<OrderShowReply, Problem> {
        let until = tokio::time::Instant::now() + Duration::from_millis(request.wait_ms).min(LONGEST_WAIT);
        let order = root(&request.order);
        if self.look(&request.order).is_none() {
            self.mirror.catch_up(&self.bus, CATCH_UP).await?;
        }
        let topic = Topic::Order(order.clone());
        loop {
            let woken = self.mirror.interests.register(topic.clone());
            let reply = self.look(&request.order).ok_or_else(|| unknown(&request.order))?;
            let over = matches!(reply.line.state.as_str(), "finished" | "cancelled" | "failed");
            let news = request.after.is_some_and(|after| self.mirror.interests.changed_after(&order, after));
            let timed_out = tokio::time::Instant::now() >= until;
            if over || news || timed_out {
                drop(woken);
                self.mirror.interests.tidy(&topic);
                return Ok(reply);
            }
            let _ = tokio::time::timeout_at(until, woken).await;
        }
    }
}

/// What is left of an order that history has taken over.
fn gone(line: OrderLine, sequence: u64) -> Option<OrderShowReply> {
    Some(OrderShowReply {
        line,
        waits: Vec::new(),
        arguments: Default::default(),
        results: Default::default(),
        run: None,
        attempt: 0,
        tags: Vec::new(),
        folder: None,
        added_by: ordo_domain::UserName::new("unknown").ok()?,
        failure: None,
        children: Vec::new(),
        sequence,
    })
}

fn unknown(order: &OrderId) -> Problem {
    Problem::refused(&Refusal::OrderUnknown { order: order.clone() })
}

struct Filter<'a> {
    request: &'a OrderListRequest,
}

/// Every word that an order's state can have.
const STATES: [&str; 10] =
    ["scheduled", "ready", "queued", "running", "processed", "retrying", "forked", "failed", "finished", "cancelled"];

impl<'a> Filter<'a> {
    fn new(request: &'a OrderListRequest) -> Result<Self, Problem> {
        match request.state.as_deref() {
            Some(state)
                if !STATES.contains(&state) && !matches!(state, "suspended" | "held" | "waiting" | "active") =>
            {
                let message = format!(
                    "{state:?} is no state; there are {}, suspended, held, waiting and active",
                    STATES.join(", ")
                );
                Err(Problem::malformed(message))
            }
            _ => Ok(Self { request }),
        }
    }

    fn fits(&self, site: &Site, order: &Order, now: Instant) -> bool {
        let request = self.request;
        request.workflow.as_ref().is_none_or(|workflow| order.workflow.name == *workflow)
            && request.tag.as_ref().is_none_or(|tag| order.tags.contains(tag))
            && request.state.as_deref().is_none_or(|state| match state {
                "suspended" => order.suspended,
                "held" => order.suspended && order.state == OrderState::Scheduled,
                "active" => !order.state.is_terminated(),
                "waiting" => !order.state.is_terminated() && reason(&site.explain(&order.id, now)).is_some(),
                word => order.state.word() == word,
            })
    }
}
