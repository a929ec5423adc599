//! The backlog into the stream LOGS. What the bus does not take is tried again, in the same order, for as long as it takes:
//! meanwhile the backlog fills, and counts what it has no room for.

use crate::backlog::Backlog;
use futures::StreamExt;
use ordo_contract::log::{LogRecord, SYSLOG};
use ordo_contract::name::SiteNames;
use ordo_journal::{Bus, Headers, Outgoing};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Lines under way at a time.
const WINDOW: usize = 64;
/// For one line.
const LIMIT: Duration = Duration::from_secs(5);
/// Between tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Publishes until told to stop. Then once more what is there, for at most a moment.
pub(crate) async fn publish(bus: &Bus, instance: &str, backlog: &Backlog, stop: &CancellationToken) {
    let mut number = 0;
    // Repeats of one process within the window of the stream are told by it.
    let begun = format!("{instance}-{:08x}", rand::random::<u32>());
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => break,
            batch = backlog.take() => batch,
        };
        let mut lines = outgoing(bus.names(), instance, &begun, &mut number, batch);
        let mut said = false;
        loop {
            lines = refused(bus, lines).await;
            if lines.is_empty() {
                break;
            }
            if !said {
                said = true;
                tracing::info!(lines = lines.len(), "the bus does not take log lines, trying on");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
    if !backlog.is_empty() || backlog.has_notes() {
        let lines = outgoing(bus.names(), instance, &begun, &mut number, backlog.take().await);
        let _ = tokio::time::timeout(Duration::from_secs(1), refused(bus, lines)).await;
    }
}

fn outgoing(
    names: &SiteNames,
    instance: &str,
    begun: &str,
    number: &mut u64,
    records: Vec<LogRecord>,
) -> Vec<Outgoing> {
    let one = |record: LogRecord| {
        *number += 1;
        // Our own notes are lines of our own instance.
        let role = if record.syslog.is_some() { SYSLOG } else { "log-notification" };
        let subject = names.log(role, instance, record.level.token());
        let body = serde_json::to_vec(&record).unwrap_or_default();
        Outgoing::new(subject, Headers::new().message_id(&format!("{begun}-{number}")), body)
    };
    records.into_iter().map(one).collect()
}

/// Publishes all, and returns those that are not known to be stored.
async fn refused(bus: &Bus, lines: Vec<Outgoing>) -> Vec<Outgoing> {
    let tried = futures::stream::iter(lines.into_iter().map(|line| async move {
        match bus.try_publish(&line, LIMIT).await {
            Ok(_) => None,
            Err(error) if error.kind() == ordo_journal::BusErrorKind::TooLarge => {
                tracing::warn!(%error, "a line is too large for the bus, dropped");
                None
            }
            Err(_) => Some(line),
        }
    }));
    tried.buffered(WINDOW).filter_map(std::future::ready).collect().await
}
