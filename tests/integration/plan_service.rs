//! The daily plan with its real servers and a real controller: each start once, whatever happens.

use crate::plan_site::{LIMIT, PlanSite, Running, ticking};
use chrono::{TimeDelta, Timelike, Utc};
use ordo_contract::request::daily_plan::{
    self, PlanShowRequest, PreviewReply, PreviewRequest, ScheduleListReply, ScheduleRequest, ScheduleShowReply,
};
use ordo_domain::order::event::CancelReason;
use ordo_domain::{DefinitionName, Event};
use ordo_testkit::wait_until;
use std::time::Duration;

async fn ordered(it: &PlanSite, schedule: &str, count: usize) {
    wait_until(LIMIT, "orders are added", async || it.orders(schedule).await.len() >= count).await;
}

fn name(text: &str) -> DefinitionName {
    DefinitionName::new(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_second_has_one_order_while_instances_are_killed_and_started() {
    let it = PlanSite::new().await;
    let mut running: Vec<Running> = vec![it.plan("d1"), it.plan("d2")];
    it.deploy("tick.yaml", &ticking("tick", "")).await;
    let begin = Utc::now();
    for round in 0..8u64 {
        ordered(&it, "tick", 1 + round as usize).await;
        tokio::time::sleep(Duration::from_millis(150 * (1 + round * 7 % 5))).await;
        let which = (round % 2) as usize;
        running.remove(which).kill().await;
        let again = if round == 3 {
            "d3"
        } else if which == 0 {
            "d1"
        } else {
            "d2"
        };
        running.insert(which, it.plan(again));
        it.plan_now().await;
    }
    let end = Utc::now();
    wait_until(LIMIT, "the last second is ordered", async || {
        it.orders("tick").await.keys().any(|start| start.instant > end)
    })
    .await;
    it.assert_each_second_once("tick", begin, end).await;
    for instance in running {
        instance.stop().await;
    }
}

/// The tables of the plan with the position, as a dump has them.
const SAVE: &str = "CREATE SCHEMA saved; \
    CREATE TABLE saved.plan_schedules AS SELECT * FROM plan_schedules; CREATE TABLE saved.plan_changes AS SELECT * FROM plan_changes; \
    CREATE TABLE saved.plan_orders AS SELECT * FROM plan_orders; CREATE TABLE saved.plan_starts AS SELECT * FROM plan_starts; \
    CREATE TABLE saved.plan_skips AS SELECT * FROM plan_skips; CREATE TABLE saved.plan_notes AS SELECT * FROM plan_notes; \
    CREATE TABLE saved.projections AS SELECT * FROM projections WHERE reader = 'daily-plan';";
const RESTORE: &str = "BEGIN; TRUNCATE plan_schedules, plan_changes, plan_orders, plan_starts, plan_skips, plan_notes; \
    INSERT INTO plan_schedules SELECT * FROM saved.plan_schedules; INSERT INTO plan_changes SELECT * FROM saved.plan_changes; \
    INSERT INTO plan_orders SELECT * FROM saved.plan_orders; INSERT INTO plan_starts SELECT * FROM saved.plan_starts; \
    INSERT INTO plan_skips SELECT * FROM saved.plan_skips; INSERT INTO plan_notes SELECT * FROM saved.plan_notes; \
    DELETE FROM projections WHERE reader = 'daily-plan'; INSERT INTO projections SELECT * FROM saved.projections; COMMIT;";

#[tokio::test(flavor = "multi_thread")]
async fn rows_restored_from_an_older_copy_make_no_start_twice_and_none_not_at_all() {
    let it = PlanSite::new().await;
    let first = it.plan("d1");
    it.deploy("tick.yaml", &ticking("tick", "")).await;
    let begin = Utc::now();
    ordered(&it, "tick", 4).await;
    it.sql(|client| client.batch_execute(SAVE)).await;
    ordered(&it, "tick", 8).await;
    // Something else happens that the copy knows nothing of: taken back, planned again with other arguments.
    it.deploy("tick.yaml", &ticking("tick", "orders: [{ name: default, arguments: { keep: 2 } }]")).await;
    ordered(&it, "tick", 12).await;
    first.kill().await;
    it.sql(|client| client.batch_execute(RESTORE)).await;
    let second = it.plan("d2");
    let end = Utc::now() + TimeDelta::seconds(2);
    wait_until(LIMIT, "the last second is ordered", async || {
        it.orders("tick").await.keys().any(|start| start.instant > end)
    })
    .await;
    it.assert_each_second_once("tick", begin, end).await;
    // What is ahead is what the present version asks for.
    let now = Utc::now();
    let ahead = it.rows("tick").await.into_iter().filter(|(at, ..)| *at > now).count();
    assert!(ahead > 10, "{ahead} starts ahead");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_lost_altogether_are_made_again_from_the_journal() {
    let it = PlanSite::new().await;
    let first = it.plan("d1");
    it.deploy("tick.yaml", &ticking("tick", "")).await;
    let begin = Utc::now();
    ordered(&it, "tick", 6).await;
    first.kill().await;
    it.sql(|client| {
        client.batch_execute(
            "TRUNCATE plan_schedules, plan_changes, plan_orders, plan_starts, plan_skips, plan_notes; DELETE FROM projections WHERE reader = 'daily-plan'",
        )
    })
    .await;
    let second = it.plan("d1");
    let end = Utc::now() + TimeDelta::seconds(1);
    wait_until(LIMIT, "the last second is ordered", async || {
        it.orders("tick").await.keys().any(|start| start.instant > end)
    })
    .await;
    it.assert_each_second_once("tick", begin, end).await;
    second.stop().await;
}

/// Some hours from now, in UTC.
fn later(hours: i64) -> String {
    let at = Utc::now() + TimeDelta::hours(hours);
    format!("{:02}:{:02}", at.hour(), at.minute())
}

fn daily(times: &[String], more: &str) -> String {
    format!("schedule: daily\nworkflow: quick\ntimes: [{{ at: {times:?} }}]\nsubmit_ahead: 12h\n{more}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_changes_what_is_planned_and_only_what_it_must() {
    let it = PlanSite::new().await;
    let plan = it.plan("d1");
    let (soon, late) = (later(2), later(5));
    it.deploy("daily.yaml", &daily(&[soon.clone(), late.clone()], "")).await;
    ordered(&it, "daily", 2).await;
    let before = it.orders("daily").await;
    let rows = it.rows("daily").await;
    assert_eq!(rows.len(), 14, "seven days of two starts: {rows:?}");
    // A title of the schedule alone is in every order; another day of validity is in none.
    it.deploy("daily.yaml", &daily(&[soon.clone(), late.clone()], "valid: { to: 2199-12-31 }")).await;
    it.plan_now().await;
    assert_eq!(it.orders("daily").await, before);
    assert_eq!(it.rows("daily").await.len(), 14);
    // One of the times goes: its order is taken back, the other one stays as it is.
    it.deploy("daily.yaml", &daily(std::slice::from_ref(&late), "")).await;
    wait_until(LIMIT, "one order is taken back", async || it.orders("daily").await.len() == 1).await;
    let after = it.orders("daily").await;
    assert!(after.iter().all(|(start, of)| before.get(start) == Some(of)), "{before:?}\n{after:?}");
    // Other arguments: the same start, another order.
    it.deploy("daily.yaml", &daily(std::slice::from_ref(&late), "orders: [{ name: default, arguments: { keep: 9 } }]"))
        .await;
    wait_until(LIMIT, "the order is another one", async || {
        let now = it.orders("daily").await;
        now.len() == 1 && now != after
    })
    .await;
    let added =
        it.journal().await.into_iter().flat_map(|c| c.decisions).flat_map(|d| d.events).filter_map(|e| match e {
            Event::OrderAdded(e) if e.start.is_some() => Some(e),
            _ => None,
        });
    assert_eq!(added.last().unwrap().arguments.values().next().unwrap().to_string(), "9");
    // And back again within a moment: a start that was taken back can be planned once more.
    it.deploy("daily.yaml", &daily(&[soon, late], "")).await;
    ordered(&it, "daily", 2).await;
    plan.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_schedule_takes_back_its_starts_and_a_resumed_one_makes_those_to_come() {
    let it = PlanSite::new().await;
    let plan = it.plan("d1");
    it.deploy("tick.yaml", &ticking("tick", "")).await;
    ordered(&it, "tick", 3).await;
    it.suspend("tick").await;
    // A start whose time came before it could be taken back is made.
    wait_until(LIMIT, "nothing is ahead", async || it.rows("tick").await.iter().all(|(at, ..)| *at <= Utc::now()))
        .await;
    let suspended = Utc::now();
    let reply: ScheduleListReply =
        it.client.ask("daily-plan", daily_plan::SCHEDULE_LIST, &serde_json::json!({})).await.unwrap();
    assert!(reply.schedules[0].suspended && reply.schedules[0].next_at.is_none());
    // Long enough for a start that should not be.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    it.resume("tick").await;
    let resumed = Utc::now();
    wait_until(LIMIT, "it starts again", async || it.orders("tick").await.keys().any(|s| s.instant > resumed)).await;
    let orders = it.orders("tick").await;
    let between = |at: chrono::DateTime<Utc>| at > suspended && at < resumed - TimeDelta::milliseconds(500);
    assert!(orders.keys().all(|start| !between(start.instant)), "{suspended} {resumed} {orders:?}");
    it.assert_each_second_once("tick", resumed, resumed + TimeDelta::seconds(1)).await;
    plan.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_outage_missed_follows_the_late_policy_and_too_many_are_skipped_with_one_event() {
    let it = PlanSite::new().await;
    let plan = it.plan("d1");
    it.deploy("tick.yaml", &ticking("tick", "late: { grace: 2s, then: skip }\nmax_starts: 5")).await;
    ordered(&it, "tick", 3).await;
    plan.kill().await;
    let begin = Utc::now();
    // Longer than what is planned ahead, than the grace, and than what is made up for.
    tokio::time::sleep(Duration::from_secs(14)).await;
    let plan = it.plan("d1");
    let back = Utc::now();
    wait_until(LIMIT, "it goes on", async || it.orders("tick").await.keys().any(|s| s.instant > back)).await;
    let events: Vec<Event> = it.journal().await.into_iter().flat_map(|c| c.decisions).flat_map(|d| d.events).collect();
    let late = events
        .iter()
        .filter(|e| matches!(e, Event::OrderCancelled(e) if matches!(e.reason, CancelReason::Late { .. })));
    assert!(late.count() > 0, "some were submitted and too late");
    let skipped: Vec<_> = events
        .iter()
        .filter_map(|e| match e {
            Event::StartSkipped(e) => Some(e),
            _ => None,
        })
        .collect();
    assert_eq!(skipped.len(), 1, "{skipped:?}");
    // Each second has an order or lies in the stretch that was skipped.
    let (first, last) = (skipped[0].start.instant, skipped[0].until.unwrap());
    assert_eq!(skipped[0].count as i64, (last - first).num_seconds() + 1);
    let orders = it.orders("tick").await;
    for second in begin.timestamp() + 1..=back.timestamp() {
        let has = orders.keys().any(|start| start.instant.timestamp() == second);
        let skips = first.timestamp() <= second && second <= last.timestamp();
        assert!(has != skips, "{second}: an order {has}, skipped {skips}");
    }
    wait_until(LIMIT, "the plan says late", async || it.lines("tick").await.iter().any(|l| l.state == "late")).await;
    let show: ScheduleShowReply = it
        .client
        .ask("daily-plan", daily_plan::SCHEDULE_SHOW, &ScheduleRequest { schedule: name("tick") })
        .await
        .unwrap();
    assert_eq!(show.skips.len(), 1);
    plan.stop().await;
}

/// Nobody serves its agent: its orders run until they are cancelled.
const LONG: &str = "workflow: long\nsteps: [{ job: sleep, agent: local, script: sleep 1000 }]\n";

#[tokio::test(flavor = "multi_thread")]
async fn while_an_order_runs_the_next_ones_are_skipped_or_wait_as_the_schedule_says() {
    let it = PlanSite::new().await;
    let plan = it.plan("d1");
    let agent = serde_json::json!({ "agent": "local" });
    it.client.ask::<_, serde_json::Value>("proxy", "agent.add", &agent).await.unwrap();
    let text = |name: &str, overlap: &str| {
        ticking(name, &format!("overlap: {overlap}")).replace("workflow: quick", "workflow: long")
    };
    it.deploy("long.yaml", &format!("{LONG}---\n{}---\n{}", text("skips", "skip"), text("waits", "wait"))).await;
    wait_until(LIMIT, "some were skipped", async || {
        it.lines("skips").await.iter().filter(|line| line.state == "skipped").count() >= 2
    })
    .await;
    let lines = it.lines("skips").await;
    let running: Vec<_> = lines.iter().filter(|line| line.state == "started").collect();
    assert_eq!(running.len(), 1, "{lines:?}");
    let skipped = lines.iter().find(|line| line.state == "skipped").unwrap();
    let earlier = running[0].order.clone().unwrap();
    assert_eq!(skipped.reason.as_deref(), Some(format!("{earlier} still ran").as_str()));
    wait_until(LIMIT, "some wait", async || {
        let lines = it.lines("waits").await;
        lines.iter().filter(|l| l.reason.as_deref().is_some_and(|r| r.contains("waits until"))).count() >= 2
    })
    .await;
    let lines = it.lines("waits").await;
    assert_eq!(lines.iter().filter(|line| line.state == "started").count(), 1);
    plan.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_the_workflow_refuses_is_an_event_and_is_made_when_the_workflow_takes_it() {
    let it = PlanSite::new().await;
    let plan = it.plan("d1");
    let at = later(6);
    it.deploy("daily.yaml", &daily(std::slice::from_ref(&at), "").replace("submit_ahead: 12h", "submit_ahead: 1s"))
        .await;
    it.plan_now().await;
    // The workflow wants what no schedule gives.
    it.deploy("quick.yaml", "workflow: quick\nparameters: { must: { type: string } }\nsteps: [{ finish: done }]\n")
        .await;
    it.sql(|client| client.batch_execute("UPDATE plan_starts SET submit_at = now()")).await;
    it.plan_now().await;
    wait_until(LIMIT, "all are refused, one by one", async || {
        let rows = it.rows("daily").await;
        rows.len() == 7 && rows.iter().all(|(_, state, _)| state == "refused")
    })
    .await;
    wait_until(LIMIT, "each is an event", async || {
        let commits = it.journal().await;
        let events = commits.iter().flat_map(|c| &c.decisions).flat_map(|d| &d.events);
        events.filter(|e| matches!(e, Event::StartNotPlanned(e) if e.reason.contains("must"))).count() == 7
    })
    .await;
    it.deploy("quick.yaml", crate::plan_site::QUICK).await;
    ordered(&it, "daily", 7).await;
    plan.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_the_plan_of_a_day_and_when_a_schedule_would_start() {
    let it = PlanSite::new().await;
    let plan = it.plan("d1");
    let yaml = "schedule: nightly\ntitle: 夜間\nworkflow: quick\nzone: Europe/Berlin\ntimes: [{ at: [\"02:30\"] }]\norders: [{ name: small, arguments: { keep: 3 } }, { name: large }]\n";
    it.deploy("nightly.yaml", yaml).await;
    it.deploy("tick.yaml", &ticking("tick", "")).await;
    ordered(&it, "tick", 9).await;
    let preview = PreviewRequest {
        schedule: name("nightly"),
        from: Some("2026-03-27T12:00:00Z".parse().unwrap()),
        to: Some("2026-03-30T12:00:00Z".parse().unwrap()),
        limit: None,
    };
    let preview: PreviewReply = it.client.ask("daily-plan", daily_plan::SCHEDULE_PREVIEW, &preview).await.unwrap();
    let shown: Vec<String> = preview.instants.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["2026-03-28 01:30:00 UTC", "2026-03-29 01:00:00 UTC", "2026-03-30 00:30:00 UTC"]);
    assert_eq!((preview.zone.as_str(), preview.orders.len()), ("Europe/Berlin", 2));
    // The ticks of an hour that are alike are one line; asked for all, each is one.
    let tomorrow = Some((Utc::now() + TimeDelta::days(2)).date_naive());
    let day = it.show(&PlanShowRequest { date: tomorrow, ..Default::default() }).await;
    assert_eq!(day.starts.len(), 2);
    assert!(day.starts.iter().all(|line| line.schedule == name("nightly") && line.state == "planned"));
    let today = it.show(&PlanShowRequest { schedule: Some(name("tick")), ..Default::default() }).await;
    assert!(today.starts.iter().any(|line| line.count > 6 && line.until.is_some()), "{:?}", today.starts);
    let page = PlanShowRequest { schedule: Some(name("tick")), all: true, limit: Some(4), ..Default::default() };
    let first = it.show(&page).await;
    let second = it.show(&PlanShowRequest { after: first.next, ..page }).await;
    assert!(first.starts.len() == 4 && first.starts[3].at < second.starts[0].at);
    let list: ScheduleListReply =
        it.client.ask("daily-plan", daily_plan::SCHEDULE_LIST, &serde_json::json!({})).await.unwrap();
    let nightly = &list.schedules[0];
    assert_eq!((nightly.schedule.as_str(), nightly.ahead, nightly.title.as_deref()), ("nightly", 14, Some("夜間")));
    let unknown = ScheduleRequest { schedule: name("nobody") };
    let error =
        it.client.ask::<_, ScheduleShowReply>("daily-plan", daily_plan::SCHEDULE_SHOW, &unknown).await.unwrap_err();
    assert!(error.to_string().contains("not deployed"), "{error}");
    plan.stop().await;
}
