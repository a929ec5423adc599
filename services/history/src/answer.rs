//! Requests: answered by every instance, from the database, whoever is active.

use bytes::Bytes;
use ordo_contract::output::{StoredReply, StoredRequest};
use ordo_contract::request::{
    EventListReply, EventListRequest, HistoryOrdersReply, HistoryOrdersRequest, HistoryStepsReply, HistoryStepsRequest,
    LogReadReply, LogReadRequest, OrderRequest, history, status,
};
use ordo_journal::{Call, CallError};
use ordo_service::answer::{body, encode, error, failed, not_found, not_served};
use ordo_store::Store;
use serde::Serialize;

/// Runs in one question about stored output.
const RUNS: usize = 500;
/// Left of the server's largest payload for headers.
const ROOM: usize = 16 * 1024;

/// Noun and verb of everything that is answered here.
pub(crate) fn endpoints() -> Vec<(&'static str, &'static str)> {
    let all = [
        history::ORDER_LIST,
        history::ORDER_SHOW,
        history::STEP_LIST,
        history::LOG_READ,
        history::EVENT_LIST,
        history::OUTPUT_STORED,
    ];
    all.iter().filter_map(|subject| subject.split_once('.')).collect()
}

/// Answers from the database, with at most `largest` bytes.
pub(crate) async fn answer(store: &Store, call: &Call, largest: usize) -> Result<Bytes, CallError> {
    let largest = largest.saturating_sub(ROOM);
    match format!("{}.{}", call.noun, call.verb).as_str() {
        history::ORDER_LIST => {
            let request: HistoryOrdersRequest = body(call)?;
            fitting(store.orders(&request).await.map_err(failed)?, largest, cut_orders)
        }
        history::ORDER_SHOW => {
            let request: OrderRequest = body(call)?;
            match store.order(&request.order).await.map_err(failed)? {
                Some(order) => encode(&order),
                None => Err(unknown(&request.order)),
            }
        }
        history::STEP_LIST => {
            let request: HistoryStepsRequest = body(call)?;
            fitting(store.steps(&request).await.map_err(failed)?, largest, cut_steps)
        }
        history::LOG_READ => {
            let request: LogReadRequest = body(call)?;
            match store.log(&request).await.map_err(failed)? {
                Some(log) => fitting(log, largest, cut_log),
                None => Err(unknown(&request.order)),
            }
        }
        history::EVENT_LIST => {
            let request: EventListRequest = body(call)?;
            let newest = request.after.is_none();
            fitting(store.events(&request).await.map_err(failed)?, largest, |reply, keep| {
                cut_events(reply, keep, newest)
            })
        }
        history::OUTPUT_STORED => {
            let request: StoredRequest = body(call)?;
            if request.runs.len() > RUNS {
                let text = format!("{} runs in one request; at most {RUNS} may be asked for", request.runs.len());
                return Err(error(status::TOO_LARGE, "too_large", text));
            }
            encode(&StoredReply { runs: store.stored_output(&request.runs).await.map_err(failed)? })
        }
        _ => Err(not_served(call)),
    }
}

/// Cuts a list until it fits into a message; the asker sees that there is more and asks on.
fn fitting<T: Serialize>(
    mut reply: T,
    largest: usize,
    cut: impl Fn(&mut T, Option<usize>) -> usize,
) -> Result<Bytes, CallError> {
    loop {
        let bytes = encode(&reply)?;
        let count = cut(&mut reply, None);
        if bytes.len() <= largest || count <= 1 {
            return Ok(bytes);
        }
        cut(&mut reply, Some((count * largest / bytes.len()).clamp(1, count - 1)));
    }
}

fn cut_orders(reply: &mut HistoryOrdersReply, keep: Option<usize>) -> usize {
    if let Some(keep) = keep {
        reply.orders.truncate(keep);
        reply.more = true;
    }
    reply.orders.len()
}

fn cut_steps(reply: &mut HistoryStepsReply, keep: Option<usize>) -> usize {
    if let Some(keep) = keep {
        reply.steps.truncate(keep);
        reply.more = true;
    }
    reply.steps.len()
}

fn cut_log(reply: &mut LogReadReply, keep: Option<usize>) -> usize {
    if let Some(keep) = keep {
        for cut in reply.chunks.drain(keep..) {
            if let Some(position) = reply.next.iter_mut().find(|p| p.run == cut.run) {
                position.chunk = position.chunk.min(cut.chunk - 1);
            }
        }
        reply.more = true;
        reply.ended = false;
    }
    reply.chunks.len()
}

fn cut_events(reply: &mut EventListReply, keep: Option<usize>, newest: bool) -> usize {
    if let Some(keep) = keep {
        if newest {
            reply.events.drain(..reply.events.len() - keep);
        } else {
            let next = reply.events.get(keep).map(|e| e.sequence);
            reply.events.truncate(keep);
            // Pages end with a whole commit, see the store.
            let whole = reply.events.iter().take_while(|e| Some(e.sequence) != next).count();
            if whole > 0 {
                reply.events.truncate(whole);
            }
        }
        reply.more = true;
    }
    reply.events.len()
}

fn unknown(order: &ordo_domain::OrderId) -> CallError {
    not_found(
        "order_unknown",
        format!("order {order} is not in the history (yet); `ordo history orders` shows what is"),
    )
}
