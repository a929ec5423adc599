//! Notices of log rules, from the stream NOTICES, become notifications. Their ids make each one notification, however often
//! it comes; so an acknowledgement that is lost does no harm.

use crate::letter::{Incident, LogFacts, Object, clean};
use chrono_tz::Tz;
use ordo_contract::name::StreamKind;
use ordo_contract::notice::{LogNotice, Notice};
use ordo_domain::alert::{Kind, Rule, Subject};
use ordo_journal::{Ack, Durable};
use ordo_service::{Active, Stop};
use ordo_store::{Raised, Telling};
use std::time::Duration;

/// Notices in one transaction.
const BATCH: usize = 200;
const WAIT: Duration = Duration::from_secs(1);
/// Characters of a line.
const TEXT: usize = 400;

/// Until told to stop.
pub(crate) async fn run(active: &Active, zone: Tz) -> Result<(), Stop> {
    // A notice that no rule wants is passed over for good: first the rules.
    active.caught_up().await?;
    let stream = active.bus.names().stream(StreamKind::Notices);
    let mut durable = Durable::open(&active.bus, stream, "monitor-notices");
    loop {
        let batch = tokio::select! {
            () = active.stop.cancelled() => return Err(Stop::Told),
            batch = durable.batch(BATCH, WAIT) => batch?,
        };
        // Kinds that this build does not know are passed over.
        let notices: Vec<LogNotice> = batch
            .iter()
            .filter_map(|message| serde_json::from_slice::<Notice>(message.payload()).ok())
            .map(|Notice::Log(notice)| notice)
            .collect();
        if !notices.is_empty() {
            let left = active
                .retry(|| {
                    let notices = notices.clone();
                    active.store().monitor_tell(zone, move |rules| telling(&notices, rules))
                })
                .await?;
            active.wakes.left(left);
        }
        for message in &batch {
            if let Err(error) = active.bus.ack(message, Ack::Done).await {
                tracing::debug!(%error, "ack not sent");
            }
        }
    }
}

fn telling(notices: &[LogNotice], rules: &[Rule]) -> Vec<Telling> {
    let wanting: Vec<String> = rules
        .iter()
        .filter(|rule| rule.matches(Kind::Log, &Subject::default(), None))
        .map(|rule| rule.name.to_string())
        .collect();
    if wanting.is_empty() {
        return Vec::new();
    }
    let raise = |notice: &LogNotice| {
        let facts = LogFacts {
            rule: notice.rule.to_string(),
            host: notice.host.clone(),
            application: notice.application.clone(),
            severity: notice.severity.to_string(),
            count: notice.count,
        };
        let incident = Incident {
            id: format!("{}-log-{}", notice.first_at.format("%Y%m%d"), notice.id.get(..12).unwrap_or(&notice.id)),
            kind: Kind::Log,
            at: notice.first_at,
            object: Object::Log(facts),
            text: clean::short(&notice.text, TEXT),
            recovered_at: None,
        };
        let object = format!("log/{}", notice.rule);
        // What repeats: the same rule, program and host.
        let thing = format!("{}/{}/{}", notice.rule, notice.host, notice.application);
        Telling::Raise(Box::new(Raised {
            incident,
            object,
            thing,
            business_day: None,
            series: None,
            rules: wanting.clone(),
        }))
    };
    notices.iter().map(raise).collect()
}
