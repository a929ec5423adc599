//! Requests: answered by every instance, from the database, whoever is active.

use bytes::Bytes;
use chrono::TimeDelta;
use chrono_tz::Tz;
use ordo_contract::name::StreamKind;
use ordo_contract::request::daily_plan::{
    self, PlanShowReply, PlanShowRequest, PreviewReply, PreviewRequest, ScheduleListReply, ScheduleRequest,
    ScheduleShowReply,
};
use ordo_domain::DefinitionName;
use ordo_domain::plan::PlannedStart;
use ordo_journal::{Call, CallError};
use ordo_runtime::{Clock, SystemClock};
use ordo_service::Instance;
use ordo_service::answer::{body, encode, failed, malformed, not_found, not_served};
use ordo_store::Rows;
use ordo_store::plan::PlanRows;

const LINES: (u32, u32) = (200, 1_000);
const INSTANTS: (u32, u32) = (100, 1_000);
/// Before and after now.
const AROUND: i64 = 10;

pub(crate) fn endpoints() -> Vec<(&'static str, &'static str)> {
    let all =
        [daily_plan::PLAN_SHOW, daily_plan::SCHEDULE_LIST, daily_plan::SCHEDULE_SHOW, daily_plan::SCHEDULE_PREVIEW];
    all.iter().filter_map(|subject| subject.split_once('.')).collect()
}

pub(crate) async fn answer(here: &Instance, site: Tz, call: &Call) -> Result<Bytes, CallError> {
    match format!("{}.{}", call.noun, call.verb).as_str() {
        daily_plan::PLAN_SHOW => plan_show(here, site, body(call)?).await,
        daily_plan::SCHEDULE_LIST => {
            let lines = here.store().schedule_lines(SystemClock.now(), None).await.map_err(failed)?;
            encode(&ScheduleListReply { schedules: lines.into_iter().map(|(line, _)| line).collect() })
        }
        daily_plan::SCHEDULE_SHOW => schedule_show(here, body(call)?).await,
        daily_plan::SCHEDULE_PREVIEW => preview(here, site, body(call)?).await,
        _ => Err(not_served(call)),
    }
}

async fn plan_show(here: &Instance, site: Tz, request: PlanShowRequest) -> Result<Bytes, CallError> {
    let (store, limit) = (here.store(), request.limit.unwrap_or(LINES.0).clamp(1, LINES.1));
    let date = request.date.unwrap_or_else(|| PlannedStart::business_day(site, SystemClock.now()));
    let after = request.after.unwrap_or(0);
    let stream = here.bus.names().stream(StreamKind::Journal);
    let position = store.position(PlanRows::READER, &stream).await.map_err(failed)?;
    let mut starts =
        store.plan_of_day(date, request.schedule.as_ref(), request.all, limit + 1, after).await.map_err(failed)?;
    let more = starts.len() > limit as usize;
    starts.truncate(limit as usize);
    encode(&PlanShowReply {
        date,
        zone: site.name().to_owned(),
        starts,
        next: more.then_some(after + u64::from(limit)),
        sequence: position.map_or(0, |position| position.sequence),
    })
}

async fn schedule_show(here: &Instance, request: ScheduleRequest) -> Result<Bytes, CallError> {
    let (store, now) = (here.store(), SystemClock.now());
    let found = store.schedule_lines(now, Some(&request.schedule)).await.map_err(failed)?;
    let Some((line, definition)) = found.into_iter().next() else { return Err(unknown(&request.schedule)) };
    let starts = store.starts_around(&request.schedule, now, AROUND).await.map_err(failed)?;
    let skips = store.skipped_starts(&request.schedule).await.map_err(failed)?;
    encode(&ScheduleShowReply { line, definition, starts, skips })
}

async fn preview(here: &Instance, site: Tz, request: PreviewRequest) -> Result<Bytes, CallError> {
    let now = SystemClock.now();
    let found = here.store().schedule_lines(now, Some(&request.schedule)).await.map_err(failed)?;
    let Some((_, definition)) = found.into_iter().next() else { return Err(unknown(&request.schedule)) };
    let Some(schedule) = definition else {
        return Err(not_found(
            "schedule_not_read",
            format!(
                "the definition of schedule {} could not be read yet; `ordo schedule show` says why",
                request.schedule
            ),
        ));
    };
    let from = request.from.unwrap_or(now);
    let to = request.to.unwrap_or(from + TimeDelta::days(7));
    if to < from {
        return Err(malformed("`to` lies before `from`"));
    }
    let limit = request.limit.unwrap_or(INSTANTS.0).clamp(1, INSTANTS.1) as usize;
    let mut instants: Vec<_> = schedule.instants(site, from, to).take(limit + 1).collect();
    let more = instants.len() > limit;
    instants.truncate(limit);
    encode(&PreviewReply {
        zone: schedule.zone(site).name().to_owned(),
        orders: schedule.orders.iter().map(|order| order.name.to_string()).collect(),
        instants,
        more,
    })
}

fn unknown(schedule: &DefinitionName) -> CallError {
    let text = format!(
        "schedule {schedule} is not deployed, or the daily plan has not read of it yet; `ordo schedule list` shows what is"
    );
    not_found("schedule_unknown", text)
}
