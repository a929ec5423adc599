//! The monitor with its real servers: each failure is one notification and is told, whatever happens on the way.

use crate::monitor_site::{LIMIT, MonitorSite, failed};
use chrono::{TimeDelta, Utc};
use ordo_contract::heartbeat::{Activity, Heartbeat};
use ordo_contract::request::monitor::{
    AcknowledgeReply, AcknowledgeRequest, NOTIFICATION_ACKNOWLEDGE, NOTIFICATION_SHOW, NotificationRequest,
    NotificationShowReply, TEST_MAIL, TestMailReply, TestMailRequest,
};
use ordo_contract::request::{ServiceReply, service};
use ordo_domain::controller::{ControllerActivated, ControllerHandedOver};
use ordo_domain::order::event::{CancelReason, OrderCancelled};
use ordo_domain::{InstanceId, NodeName};
use ordo_testkit::smtp::{mail::unnamed, read_folder};
use ordo_testkit::{TestPostgres, User, wait_for, wait_until};
use std::time::Duration;

const RULE: &str = "rule: nights\non: [failed, recovered]\nnotify: [ops@example.org]\nfold: 2s\n";

fn ids(count: usize, workflow: &str) -> Vec<String> {
    (1..=count).map(|n| format!("20261122-D{n}-{workflow}")).collect()
}

#[tokio::test]
async fn a_failure_is_one_notification_and_one_mail_and_its_recovery_is_in_the_same_thread() {
    let mut it = MonitorSite::new().await;
    it.deploy(RULE).await;
    let monitor = it.start("m1");
    it.add_failing("20261122-D1-backup", "backup").await;
    let mails = it.wait_mails(1).await;
    assert_eq!(mails[0].subject(), "[ordo/default] backup 2026-11-22: work failed");
    assert_eq!(mails[0].to, ["ops@example.org"]);
    assert!(mails[0].names("20261122-D1-backup") && mails[0].text.contains("exit code 75"), "{}", mails[0].text);
    assert!(mails[0].text.contains("backup <title>") && mails[0].html.contains("backup &lt;title&gt;"));
    assert!(mails[0].text.contains("on agent etl (e1)"), "{}", mails[0].text);

    let notifications = it.notifications().await;
    assert_eq!(notifications.len(), 1);
    assert_eq!(
        (notifications[0].state.as_str(), notifications[0].rules.as_slice()),
        ("new", &["nights".to_owned()][..])
    );
    it.resume("20261122-D1-backup").await;
    it.finish("20261122-D1-backup").await;
    let mails = it.wait_mails(2).await;
    assert_eq!(mails[1].subject(), format!("Re: {}", mails[0].subject()));
    assert_eq!(mails[1].header("In-Reply-To"), Some(mails[0].message_id()));
    assert!(mails[1].text.starts_with("● Recovered "), "{}", mails[1].text);
    let notifications = it.notifications().await;
    assert_eq!((notifications.len(), notifications[0].state.as_str()), (1, "recovered"));
    assert_eq!(notifications[0].mail.word(), "accepted");
    monitor.stop().await;
}

#[tokio::test]
async fn a_notice_of_a_log_rule_is_one_notification_and_one_mail_however_often_it_comes() {
    let mut it = MonitorSite::new().await;
    it.deploy("rule: trouble\non: [log]\nnotify: [ops@example.org]\nfold: 2s\n").await;
    let monitor = it.start("m1");
    let line = "tape <drive> 3 is on fire\u{1b}[31m";
    let (said, other) = ("0123456789abcdef0123456789abcdef", "f123456789abcdef0123456789abcdef");
    it.notice(said, "tapes", line, 1).await;
    let mails = it.wait_mails(1).await;
    assert!(mails[0].text.contains("tape <drive> 3 is on fire"), "{}", mails[0].text);
    assert!(mails[0].html.contains("tape &lt;drive&gt; 3") && !mails[0].html.contains('\u{1b}'), "{}", mails[0].html);

    // Again with its repeats counted, then one of another rule: when that one is told, the first was passed over.
    monitor.kill().await;
    it.notice(said, "tapes", line, 40).await;
    it.notice_text("not a notice at all").await;
    it.notice(other, "robots", "arm lost", 1).await;
    let monitor = it.start("m2");
    wait_until(LIMIT, "the other one is told", async || it.smtp.mails().iter().any(|m| m.text.contains("arm lost")))
        .await;
    // Killed after it was sent and before that was noted, it is sent again: for a reader it is the same mail.
    let told: Vec<_> = it.smtp.mails().into_iter().filter(|m| m.text.contains("on fire")).collect();
    assert!(told.iter().all(|m| m.message_id() == told[0].message_id()), "one notice is told by two mails");
    let notifications = it.notifications().await;
    assert_eq!(notifications.len(), 2, "{notifications:?}");
    monitor.stop().await;
}

#[tokio::test]
async fn a_rerun_that_goes_well_makes_good_what_failed() {
    let mut it = MonitorSite::new().await;
    it.deploy(RULE).await;
    let monitor = it.start("m1");
    it.add_failing("20261122-D1-backup", "backup").await;
    it.wait_mails(1).await;
    for (order, workflow) in [("20261122-D2-other", "other"), ("20261122-D3-backup", "backup")] {
        it.add(order, workflow).await;
        it.start_order(order).await;
        it.finish(order).await;
    }
    let mails = it.wait_mails(2).await;
    assert!(mails[1].text.starts_with("● Recovered ") && mails[1].names("20261122-D1-backup"), "{}", mails[1].text);
    assert_eq!(it.notifications().await[0].state, "recovered");
    monitor.stop().await;
}

#[tokio::test]
async fn what_no_rule_wants_is_not_told_and_a_removed_rule_tells_nothing_more() {
    let mut it = MonitorSite::new().await;
    let rule = "rule: nights\nworkflows: [nightly-*]\non: [failed]\nnotify: [ops@example.org]\nfold: 0s\n";
    it.deploy(rule).await;
    let monitor = it.start("m1");
    it.add_failing("20261122-D1-backup", "backup").await;
    it.add_failing("20261122-D2-nightly-sales", "nightly-sales").await;
    it.wait_mails(1).await;
    it.remove(rule).await;
    it.add_failing("20261122-D3-nightly-sales", "nightly-sales").await;
    it.wait_caught_up().await;
    let notifications = it.notifications().await;
    assert_eq!(notifications.len(), 1);
    assert_eq!(notifications[0].order.as_deref(), Some("20261122-D2-nightly-sales"));
    monitor.stop().await;
}

#[tokio::test]
async fn repeats_are_folded_into_one_mail_that_names_each() {
    let mut it = MonitorSite::new().await;
    it.deploy(RULE).await;
    let monitor = it.start("m1");
    for order in ids(5, "backup") {
        it.add_failing(&order, "backup").await;
    }
    let mails = it.wait_mails(2).await;
    assert_eq!(mails.len(), 2, "the first at once, the rest together");
    assert_eq!(mails[1].subject(), format!("Re: {}", mails[0].subject()));
    assert_eq!(mails[1].header("References"), Some(mails[0].message_id()));
    let all = ids(5, "backup");
    assert_eq!(unnamed(&mails, all.iter().map(String::as_str)), Vec::<&str>::new());
    assert!(all[1..].iter().all(|order| mails[1].names(order)), "{}", mails[1].text);
    assert_eq!(it.notifications().await.len(), 5);
    monitor.stop().await;
}

#[tokio::test]
async fn one_failed_order_in_a_flood_of_a_thousand_is_found_by_the_reader() {
    let mut it = MonitorSite::new().await;
    it.deploy("rule: nights\non: [failed]\nnotify: [ops@example.org]\nfold: 0s\n").await;
    let monitor = it.start("m1");
    let mut orders = ids(999, "flood");
    orders.insert(700, "20261122-D1-payroll".to_owned());
    for order in &orders {
        let workflow = order.rsplit('-').next().unwrap().to_owned();
        let mut events = vec![it.added(order, &workflow).into()];
        events.extend(it.run_events(order, 75));
        events.push(failed(order));
        it.commit(events).await;
    }
    it.wait_caught_up().await;
    let mails = wait_for(Duration::from_secs(100), "every order is named", async || {
        let mails = it.smtp.mails();
        unnamed(&mails, orders.iter().map(String::as_str)).is_empty().then_some(mails)
    })
    .await;
    assert!(mails.len() <= 30, "{} mails for a thousand failures", mails.len());
    let digest = mails.iter().find(|mail| mail.names("20261122-D1-payroll")).unwrap();
    let place = digest.text.lines().position(|line| line.contains("20261122-D1-payroll")).unwrap();
    assert!(place < 20, "line {place} of\n{}", digest.text.lines().take(30).collect::<Vec<_>>().join("\n"));
    assert!(digest.subject().contains("orders failed on agent etl since"), "{}", digest.subject());
    assert_eq!(it.notifications().await.len(), 1_000);
    monitor.stop().await;
}

#[tokio::test]
async fn a_refused_recipient_does_not_keep_the_mail_from_the_others_and_is_shown() {
    let mut it = MonitorSite::new().await;
    it.smtp.script(|script| script.refuse = ["gone@example.org".to_owned()].into());
    it.smtp.script(|script| script.greylist = ["grey@example.org".to_owned()].into());
    it.deploy("rule: nights\non: [failed]\nnotify: [gone@example.org, grey@example.org, ops@example.org]\n").await;
    let monitor = it.start("m1");
    it.add_failing("20261122-D1-backup", "backup").await;
    let mails = it.wait_mails(2).await;
    let mut to: Vec<&str> = mails.iter().flat_map(|mail| &mail.to).map(String::as_str).collect();
    to.sort_unstable();
    assert_eq!(to, ["grey@example.org", "ops@example.org"]);
    assert_eq!(mails[0].message_id(), mails[1].message_id(), "one mail for all");
    let notification = it.notifications().await.remove(0).id;
    let shown = wait_for(LIMIT, "all deliveries are settled", async || {
        let request = NotificationRequest { notification: notification.clone() };
        let shown: NotificationShowReply = it.ask(NOTIFICATION_SHOW, &request).await.unwrap();
        shown.deliveries.iter().all(|d| d.state != "waiting").then_some(shown)
    })
    .await;
    let states: Vec<(&str, &str, u32)> =
        shown.deliveries.iter().map(|d| (d.recipient.as_str(), d.state.as_str(), d.tries)).collect();
    let wanted =
        [("gone@example.org", "refused", 1), ("grey@example.org", "accepted", 1), ("ops@example.org", "accepted", 0)];
    assert_eq!(states, wanted);
    assert!(shown.deliveries[0].said.as_ref().unwrap().contains("no such user"));
    assert_eq!(shown.line.mail.word(), "refused", "the worst of them is shown");

    // Somebody makes the mailbox, and says so.
    it.smtp.script(|script| script.refuse.clear());
    let _: ServiceReply = it.ask(service::RUN, &serde_json::json!({})).await.unwrap();
    let mails = it.wait_mails(3).await;
    assert_eq!(
        (mails[2].to.as_slice(), mails[2].message_id()),
        (&["gone@example.org".to_owned()][..], mails[0].message_id())
    );
    monitor.stop().await;
}

#[tokio::test]
async fn a_connection_cut_after_the_message_and_a_server_away_end_with_the_same_mail() {
    let mut it = MonitorSite::new().await;
    it.smtp.script(|script| script.cut_after_data = 2);
    it.deploy(RULE).await;
    let monitor = it.start("m1");
    it.add_failing("20261122-D1-backup", "backup").await;
    let mails = it.wait_mails(3).await;
    assert_eq!(mails.iter().map(|m| m.answered).collect::<Vec<_>>(), [false, false, true]);
    assert!(mails.iter().all(|m| m.message_id() == mails[0].message_id() && m.text == mails[0].text));
    it.smtp.script(|script| script.greeting = Some("421 away for a moment".into()));
    it.add_failing("20261122-D2-other", "other").await;
    it.wait_caught_up().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    it.smtp.script(|script| script.greeting = None);
    assert!(it.wait_mails(4).await[3].names("20261122-D2-other"));
    monitor.stop().await;
}

#[tokio::test]
async fn killed_at_any_time_each_failure_has_one_notification_and_repeated_mails_have_one_id() {
    let mut it = MonitorSite::new().await;
    it.deploy("rule: nights\non: [failed]\nnotify: [ops@example.org]\nfold: 1s\n").await;
    let orders = ids(24, "backup");
    for (n, order) in orders.iter().enumerate() {
        let monitor = it.start("m1");
        it.add_failing(order, &format!("backup{}", n % 3)).await;
        // Anywhere: connecting, in a transaction, between the mail and its mark.
        tokio::time::sleep(Duration::from_millis(120 + (n as u64 * 97) % 700)).await;
        monitor.kill().await;
    }
    let monitor = it.start("m1");
    it.wait_caught_up().await;
    // More than twenty within a minute wait for a digest.
    let mails = wait_for(Duration::from_secs(100), "every order is named", async || {
        let mails = it.smtp.mails();
        unnamed(&mails, orders.iter().map(String::as_str)).is_empty().then_some(mails)
    })
    .await;
    assert_eq!(it.notifications().await.len(), orders.len());
    // The same subject matter twice is the same mail twice.
    let mut by_text = std::collections::BTreeMap::new();
    for mail in &mails {
        let known = by_text.entry(mail.message_id()).or_insert(&mail.text);
        assert_eq!(*known, &mail.text, "one id, one text");
    }
    monitor.stop().await;
}

#[tokio::test]
async fn the_database_away_and_two_monitors_at_once_lose_and_repeat_nothing() {
    let mut it = MonitorSite::with(TestPostgres::start_own().await).await;
    it.deploy("rule: nights\non: [failed]\nnotify: [ops@example.org]\nfold: 1s\n").await;
    let monitors = [it.start("m1"), it.start("m2")];
    let orders = ids(12, "backup");
    for (n, order) in orders.iter().enumerate() {
        it.add_failing(order, "backup").await;
        if n == 5 {
            it.wait_mails(1).await;
            it.postgres.kill().await;
            it.add_failing("20261122-D99-away", "away").await;
            it.postgres.start_again().await;
        }
    }
    it.wait_caught_up().await;
    let all: Vec<&str> = orders.iter().map(String::as_str).chain(["20261122-D99-away"]).collect();
    wait_until(LIMIT, "every order is named", async || unnamed(&it.smtp.mails(), all.iter().copied()).is_empty()).await;
    assert_eq!(it.notifications().await.len(), 13);
    for monitor in monitors {
        monitor.stop().await;
    }
}

#[tokio::test]
async fn a_maintenance_silences_and_says_so_afterwards() {
    let mut it = MonitorSite::new().await;
    it.deploy("rule: nights\non: [failed, recovered]\nnotify: [ops@example.org]\n").await;
    let (from, to) = (Utc::now() - TimeDelta::minutes(1), Utc::now() + TimeDelta::seconds(8));
    let format = "%Y-%m-%dT%H:%M:%S";
    it.deploy(&format!(
        "maintenance: patches\ntitle: Patches of the night\nworkflows: ['backup*']\nwindows: [{{ from: '{}', to: '{}' }}]\n",
        from.format(format),
        to.format(format)
    ))
    .await;
    let monitor = it.start("m1");
    it.add_failing("20261122-D1-backup", "backup").await;
    it.add_failing("20261122-D2-backup2", "backup2").await;
    it.add_failing("20261122-D3-other", "other").await;
    it.resume("20261122-D2-backup2").await;
    it.finish("20261122-D2-backup2").await;
    let mails = it.wait_mails(2).await;
    assert!(mails[0].names("20261122-D3-other"), "what is not named is told at once: {}", mails[0].text);
    assert_eq!(
        mails[1].subject(),
        "[ordo/default] maintenance patches is over: 2 alerts were silenced, 1 still stand"
            .replace("1 still stand", "1 still stands")
    );
    assert!(
        mails[1].names("20261122-D1-backup") && mails[1].text.contains("Patches of the night"),
        "{}",
        mails[1].text
    );
    assert!(mails[1].at_ms as i64 >= to.timestamp_millis() - 1_000);
    let notifications = it.notifications().await;
    assert_eq!(notifications[0].silenced_by.as_deref(), Some("patches"));
    monitor.stop().await;
}

#[tokio::test]
async fn acknowledging_is_noted_with_name_and_comment_all_or_none() {
    let mut it = MonitorSite::new().await;
    it.deploy(RULE).await;
    let monitor = it.start("m1");
    it.add_failing("20261122-D1-backup", "backup").await;
    it.wait_mails(1).await;
    let id = it.notifications().await.remove(0).id;
    let request = |notifications: Vec<String>| AcknowledgeRequest { notifications, comment: Some("disk <b>".into()) };
    let missing =
        it.ask::<AcknowledgeReply>(NOTIFICATION_ACKNOWLEDGE, &request(vec![id.clone(), "nothing".into()])).await;
    assert_eq!(missing.unwrap_err().0, 404);
    assert_eq!(it.notifications().await[0].state, "new");
    let reply: AcknowledgeReply = it.ask(NOTIFICATION_ACKNOWLEDGE, &request(vec![id])).await.unwrap();
    let line = &reply.notifications[0];
    let acknowledged = line.acknowledged.as_ref().unwrap();
    assert_eq!((line.state.as_str(), acknowledged.by.as_str()), ("acknowledged", "ops"));
    assert_eq!(acknowledged.comment.as_deref(), Some("disk <b>"));
    monitor.stop().await;
}

#[tokio::test]
async fn what_lasts_too_long_is_told_when_it_does() {
    let mut it = MonitorSite::new().await;
    it.deploy(
        "rule: slow\non: [{ runs_too_long: { longer_than: 1s } }, { waits_too_long: { longer_than: 1s } }, \
         { not_started: { longer_than: 1s } }]\nnotify: [ops@example.org]\nfold: 0s\n",
    )
    .await;
    let monitor = it.start("m1");
    // One that is not started when it is due, one that runs on, and one that ends in time.
    let mut due = it.added("20261122-D1-due", "due");
    due.due_at = Some(Utc::now() + TimeDelta::seconds(1));
    it.commit(vec![due.into()]).await;
    it.add("20261122-D2-long", "long").await;
    it.start_order("20261122-D2-long").await;
    it.add("20261122-D3-quick", "quick").await;
    it.start_order("20261122-D3-quick").await;
    it.finish("20261122-D3-quick").await;
    let mails = it.wait_mails(2).await;
    let subjects: Vec<&str> = mails.iter().map(|m| m.subject()).collect();
    assert!(subjects.contains(&"[ordo/default] long 2026-11-22: runs longer than 1s"), "{subjects:?}");
    assert!(subjects.iter().any(|s| s.starts_with("[ordo/default] due 2026-11-22: not started (due ")), "{subjects:?}");
    it.start_order("20261122-D1-due").await;
    it.finish("20261122-D2-long").await;
    wait_until(LIMIT, "both are over", async || {
        it.notifications().await.iter().filter(|n| n.state == "recovered").count() >= 2
    })
    .await;
    assert!(it.notifications().await.iter().all(|n| n.order.as_deref() != Some("20261122-D3-quick")));
    monitor.stop().await;
}

#[tokio::test]
async fn what_was_over_before_the_monitor_was_back_is_not_told() {
    let mut it = MonitorSite::new().await;
    let rule = "rule: slow\non: [{ runs_too_long: { longer_than: 1s } }, { not_started: { longer_than: 1s } }, failed]\n\
                notify: [ops@example.org]\nfold: 0s\n";
    it.deploy(rule).await;
    let monitor = it.start("m1");
    let (punctual, quick) = ("20261122-D1-punctual", "20261122-D2-quick");
    let mut due = it.added(punctual, "punctual");
    let due_at = Utc::now() + TimeDelta::seconds(3);
    due.due_at = Some(due_at);
    it.commit(vec![due.into()]).await;
    it.add(quick, "quick").await;
    it.start_order(quick).await;
    it.wait_caught_up().await;
    monitor.kill().await;
    // Much happens while it is away, and its timers are overdue when it comes back.
    it.finish(quick).await;
    it.start_order(punctual).await;
    it.finish(punctual).await;
    for n in 0..400 {
        it.add(&format!("20261122-D{}-other", n + 3), "other").await;
    }
    it.add_failing("20261122-D500-last", "last").await;
    wait_until(LIMIT, "all timers are overdue", async || Utc::now() > due_at + TimeDelta::seconds(2)).await;
    let monitor = it.start("m2");
    let mails = it.wait_mails(1).await;
    assert!(mails[0].names("20261122-D500-last"), "{}", mails[0].text);
    let told: Vec<_> = it.notifications().await.into_iter().filter_map(|n| n.order).collect();
    assert_eq!(told, ["20261122-D500-last"], "nothing that was over is told");
    monitor.stop().await;
}

#[tokio::test]
async fn a_start_that_is_skipped_because_the_earlier_one_still_runs_is_told() {
    let mut it = MonitorSite::new().await;
    it.deploy("rule: nights\non: [not_started]\nnotify: [ops@example.org]\n").await;
    let monitor = it.start("m1");
    let (earlier, skipped) = ("20261122-D1-backup", "20261122-D2-backup");
    it.add(earlier, "backup").await;
    it.start_order(earlier).await;
    it.add(skipped, "backup").await;
    let reason = CancelReason::Overlap { earlier: earlier.parse().unwrap() };
    it.commit(vec![OrderCancelled { order: skipped.parse().unwrap(), reason }.into()]).await;
    let mails = it.wait_mails(1).await;
    assert!(mails[0].text.contains("skipped, 20261122-D1-backup still ran"), "{}", mails[0].text);
    monitor.stop().await;
}

#[tokio::test]
async fn what_is_older_than_a_day_wakes_nobody() {
    let mut it = MonitorSite::new().await;
    it.deploy(RULE).await;
    it.clock = Some(Utc::now() - TimeDelta::hours(25));
    it.add_failing("20261122-D1-backup", "backup").await;
    it.clock = None;
    let monitor = it.start("m1");
    it.add_failing("20261122-D2-backup", "backup").await;
    let mails = it.wait_mails(1).await;
    assert!(mails[0].names("20261122-D2-backup") && !mails[0].names("20261122-D1-backup"));
    assert_eq!(it.notifications().await.len(), 2, "it is noted all the same");
    monitor.stop().await;
}

fn beat(role: &str, instance: &str, activity: Activity) -> Vec<u8> {
    let at = Utc::now();
    let heartbeat = Heartbeat {
        role: role.into(),
        instance: instance.into(),
        node: NodeName::new("node-c").unwrap(),
        version: "1".into(),
        event_level: 1,
        activity,
        started_at: at,
        at,
        epoch: 1,
        links: Vec::new(),
        lag: None,
        agent: None,
        note: None,
    };
    serde_json::to_vec(&heartbeat).unwrap()
}

#[tokio::test]
async fn an_agent_that_falls_silent_is_told_once_and_that_it_is_back_too() {
    let mut it = MonitorSite::new().await;
    it.deploy("rule: agents\non: [agent_away, agent_back, role_without_active]\nnotify: [ops@example.org]\nfold: 0s\n")
        .await;
    let monitor = it.start("m1");
    let etl = it.site.agent("etl").await;
    let alive = async || {
        for _ in 0..10 {
            etl.put_heartbeat("e2", beat("agent-etl", "e2", Activity::Active)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(800)).await;
        }
    };
    alive().await;
    let mails = it.wait_mails(1).await;
    assert_eq!(mails[0].subject(), "[ordo/default] agent etl: e2 on node-c is away");
    tokio::time::sleep(Duration::from_secs(3)).await;
    alive().await;
    let mails = it.wait_mails(2).await;
    assert_eq!(mails[1].subject(), format!("Re: {}", mails[0].subject()));
    assert!(mails[1].text.starts_with("● Back "), "{}", mails[1].text);
    etl.put_heartbeat("e2", beat("agent-etl", "e2", Activity::Stopping)).await.unwrap();
    let controller = it.site.bus(&User::Controller).await;
    controller.put_heartbeat("c1", beat("controller", "c1", Activity::Active)).await.unwrap();
    let mails = it.wait_mails(3).await;
    assert_eq!(mails[2].subject(), "[ordo/default] no controller is active", "an orderly stop is no absence");
    monitor.stop().await;
}

#[tokio::test]
async fn a_fail_over_is_told_and_a_hand_over_is_not() {
    let mut it = MonitorSite::new().await;
    it.deploy("rule: controllers\non: [controller_failed_over]\nnotify: [ops@example.org]\nfold: 0s\n").await;
    let monitor = it.start("m1");
    let activated = |epoch, name: &str| ControllerActivated {
        epoch,
        instance: InstanceId::new(name).unwrap(),
        how: "silence".into(),
        event_level: 1,
    };
    it.commit(vec![activated(1, "c1").into()]).await;
    let to = Some(InstanceId::new("c2").unwrap());
    it.commit(vec![ControllerHandedOver { epoch: 1, from: InstanceId::new("c1").unwrap(), to }.into()]).await;
    it.commit(vec![activated(2, "c2").into()]).await;
    it.commit(vec![activated(3, "c2").into()]).await;
    it.commit(vec![activated(4, "c1").into()]).await;
    let mails = it.wait_mails(1).await;
    assert_eq!(mails[0].subject(), "[ordo/default] controller c1 took over from c2");
    assert_eq!(it.notifications().await.len(), 1);
    monitor.stop().await;
}

#[tokio::test]
async fn until_there_is_a_server_mails_are_files_and_a_test_mail_says_so() {
    let mut it = MonitorSite::new().await;
    it.deploy(RULE).await;
    let mut config = it.config("m1");
    config.mail.smtp.host = String::new();
    config.mail.folder = it.folder.join("mail");
    let monitor = it.start_with(config);
    it.wait_caught_up().await;
    it.wait_served().await;
    let reply: TestMailReply = it.ask(TEST_MAIL, &TestMailRequest::default()).await.unwrap();
    assert_eq!(reply.deliveries[0].recipient, "ops@example.org");
    assert!(reply.post.starts_with("folder "), "{}", reply.post);
    let mails = read_folder(&it.folder.join("mail"));
    assert_eq!(mails[0].subject(), "[ordo/default] test mail");
    it.add_failing("20261122-D1-backup", "backup").await;
    wait_until(LIMIT, "the failure is a file", async || {
        read_folder(&it.folder.join("mail")).iter().any(|mail| mail.names("20261122-D1-backup"))
    })
    .await;
    monitor.stop().await;
}
