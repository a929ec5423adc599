//! Reports on their way out: in the order of their numbers, several under way at a time, each until the stream has it.
//! All of them lie on disk before they come here; there is no limit to how many wait.

use crate::claim::Input;
use crate::shell::Event;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use ordo_contract::report::ReportMessage;
use ordo_domain::run::Report;
use ordo_journal::{Bus, BusErrorKind, Headers, Outgoing};
use ordo_runtime::CancellationToken;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

/// Ends of different runs do not depend on each other; should one of these have to be sent again, those behind it may
/// lie before it in the stream.
const UNDER_WAY: usize = 64;

/// Publishes what comes until there is nobody who sends, or the bus is closed.
pub async fn run(
    bus: Bus,
    mut reports: UnboundedReceiver<Arc<ReportMessage>>,
    events: UnboundedSender<Event>,
    cancel: CancellationToken,
) {
    let mut waiting: VecDeque<Arc<ReportMessage>> = VecDeque::new();
    let mut under_way = FuturesOrdered::new();
    let mut alone = false;
    loop {
        while under_way.len() < UNDER_WAY && !alone {
            // Ready and Stopping say something about what is before and behind them.
            let Some(next) = waiting.front() else { break };
            alone = !matches!(next.report, Report::Ended { .. });
            if alone && !under_way.is_empty() {
                alone = false;
                break;
            }
            let Some(next) = waiting.pop_front() else { break };
            under_way.push_back(publish(&bus, next, &cancel));
        }
        tokio::select! {
            report = reports.recv() => match report {
                Some(report) => waiting.push_back(report),
                None => return,
            },
            Some(published) = under_way.next() => {
                alone = false;
                let Some(number) = published else { return };
                if events.send(Event::Input(Input::ReportAcked { number })).is_err() {
                    return;
                }
            }
        }
    }
}

/// The number when the stream has it; none when we are to stop.
async fn publish(bus: &Bus, report: Arc<ReportMessage>, cancel: &CancellationToken) -> Option<u64> {
    let subject = bus.names().report(report.agent.as_str(), report.kind());
    let headers = match &report.report {
        // An ack that got lost makes no second message.
        Report::Ended { run, .. } => Headers::new().message_id(&format!("ended-{run}")),
        _ => Headers::new(),
    };
    let payload = match serde_json::to_vec(&*report) {
        Ok(payload) => payload,
        Err(error) => {
            tracing::error!(number = report.number, %error, "report cannot be written as JSON and is dropped");
            return Some(report.number);
        }
    };
    match bus.publish(&Outgoing::new(subject, headers, payload), cancel).await {
        Ok(_) => Some(report.number),
        Err(error) if error.kind() == BusErrorKind::TooLarge => {
            tracing::error!(number = report.number, %error, "report is larger than the stream takes and is dropped");
            Some(report.number)
        }
        Err(_) => None,
    }
}
