//! What others do for the cleanup: the controller takes away what lies on the bus, the proxy cancels failed orders.

use ordo_contract::request::{
    Asked, OrderRequest, OrderShowReply, OrdersReply, OrdersRequest,
    controller::{
        DEFINITION_SWEEP, DefinitionSweepRequest, PurgedStream, SNAPSHOT_SWEEP, STREAM_PURGE, SnapshotSweepRequest,
        StreamPurgeReply, StreamPurgeRequest, SweepReply,
    },
    proxy, status,
};
use ordo_domain::{ContentHash, Instant, OrderId, retention::RetentionKind};
use ordo_journal::RequestError;
use ordo_service::{Active, Instance, chain};
use ordo_store::{Counts, add};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// For answers that need work.
const LIMIT: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) counts: Counts,
    /// What was left, and why.
    pub(crate) note: Option<String>,
    /// There is more of it.
    pub(crate) more: bool,
}

/// Asks whoever serves the role.
///
/// # Errors
/// In words, for people.
pub(crate) async fn ask<Q: Serialize, A: DeserializeOwned>(
    here: &Instance,
    role: &str,
    what: &str,
    question: &Q,
) -> Result<A, String> {
    let missing = || format!("{role} knows nothing of what {what} asks for");
    find(here, role, what, question).await?.ok_or_else(missing)
}

/// The same, where it may be that there is nothing.
async fn find<Q: Serialize, A: DeserializeOwned>(
    here: &Instance,
    role: &str,
    what: &str,
    question: &Q,
) -> Result<Option<A>, String> {
    let (noun, verb) = what.split_once('.').unwrap_or((what, ""));
    let subject = here.bus.names().request(here.role, role, noun, verb);
    let body = serde_json::to_vec(question).map_err(|e| format!("{what} cannot be written: {e}"))?;
    let answer = match here.bus.request(&subject, body, LIMIT).await {
        Ok(answer) => answer,
        Err(RequestError::Refused(error)) if error.code == status::NOT_FOUND => return Ok(None),
        Err(RequestError::Refused(error)) => return Err(error.text),
        Err(RequestError::NoResponders { .. }) => return Err(format!("no {role} is there")),
        Err(RequestError::Bus(error)) => return Err(chain(&error)),
    };
    let answer = serde_json::from_slice(&answer);
    answer.map(Some).map_err(|e| format!("the answer of {role} to {what} is not understood: {e}"))
}

/// The stream that goes with a kind.
pub(crate) fn stream(kind: RetentionKind) -> Option<PurgedStream> {
    match kind {
        RetentionKind::Journal => Some(PurgedStream::Journal),
        RetentionKind::Commands => Some(PurgedStream::Commands),
        RetentionKind::Reports => Some(PurgedStream::Reports),
        RetentionKind::Output => Some(PurgedStream::Output),
        RetentionKind::Logs => Some(PurgedStream::Logs),
        RetentionKind::Notifications => Some(PurgedStream::Notices),
        RetentionKind::FailedOrders
        | RetentionKind::Orders
        | RetentionKind::Events
        | RetentionKind::Plan
        | RetentionKind::Snapshots
        | RetentionKind::Definitions => None,
    }
}

pub(crate) async fn purge(
    active: &Active,
    stream: PurgedStream,
    before: Instant,
    dry_run: bool,
) -> Result<Done, String> {
    let request = StreamPurgeRequest { stream, before, dry_run };
    let reply: StreamPurgeReply = ask(active, "controller", STREAM_PURGE, &request).await?;
    let mut done = Done { note: reply.held_by.map(|by| format!("held by {by}")), ..Done::default() };
    add(&mut done.counts, "messages", reply.messages);
    add(&mut done.counts, "message_bytes", if reply.messages == 0 { 0 } else { reply.bytes });
    Ok(done)
}

pub(crate) async fn snapshots(active: &Active, before: Instant, dry_run: bool) -> Result<Done, String> {
    let request = SnapshotSweepRequest { before, dry_run };
    Ok(swept(ask(active, "controller", SNAPSHOT_SWEEP, &request).await?))
}

/// Bodies that nothing uses: no version that is deployed, no order that lives, and none in the history.
pub(crate) async fn definitions(active: &Active, before: Instant, dry_run: bool) -> Result<Done, String> {
    let hashes = active.store().workflows_in_history().await.map_err(|e| chain(&e))?;
    let keep = hashes.iter().filter_map(|hash| ContentHash::new(hash).ok()).collect();
    let request = DefinitionSweepRequest { before, keep, dry_run };
    Ok(swept(ask(active, "controller", DEFINITION_SWEEP, &request).await?))
}

fn swept(reply: SweepReply) -> Done {
    let mut done = Done { more: reply.more, ..Done::default() };
    add(&mut done.counts, "objects", reply.objects);
    add(&mut done.counts, "object_bytes", reply.bytes);
    done
}

/// Cancels an order that still stands failed since before the cut-off; false where it does not any more.
pub(crate) async fn cancel_failed(
    active: &Active,
    order: &OrderId,
    cut_off: Instant,
    dry_run: bool,
) -> Result<bool, String> {
    let question = OrderRequest { order: order.clone() };
    // The history may be behind: who was resumed meanwhile goes on.
    let found: Option<OrderShowReply> = find(active, "proxy", proxy::ORDER_SHOW, &question).await?;
    let Some(now) = found else { return Ok(false) };
    if now.line.state != "failed" || now.line.since >= cut_off {
        return Ok(false);
    }
    if dry_run {
        return Ok(true);
    }
    let reason = Some(format!("failed since before {}, as the retention says", cut_off.to_rfc3339()));
    let asked = Asked { id: None, reason };
    let request = OrdersRequest { orders: vec![order.clone()], kill: false, position: None, asked };
    let _: OrdersReply = ask(active, "proxy", proxy::ORDER_CANCEL, &request).await?;
    Ok(true)
}
