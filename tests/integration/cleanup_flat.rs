//! Notifications, mails and the plan: what is over goes, what may still be told, answered or sent stays, with all that it refers to.

use crate::cleanup_store::{clean, counts, days, old_orders, rows, sql, store};
use ordo_domain::retention::RetentionKind;
use ordo_store::Counts;
use ordo_testkit::{DatabaseRole, TestPostgres};

/// A notification; `more` are further columns with their values.
async fn notification(postgres: &TestPostgres, id: &str, kind: &str, age: u32, more: &[(&str, &str)]) {
    let names: String = more.iter().map(|(name, _)| format!(", {name}")).collect();
    let values: String = more.iter().map(|(_, value)| format!(", {value}")).collect();
    let text = format!(
        "INSERT INTO notifications (id, at, kind, rules, object, thing, facts{names}) \
         VALUES ('{id}', now() - interval '{age} days', '{kind}', '{{night}}', '{id}', 'thing', '{{}}'{values})"
    );
    sql(postgres, DatabaseRole::Owner, text).await.unwrap();
}

/// A mail to two people that tells of these.
async fn mail(postgres: &TestPostgres, id: &str, age: u32, notifications: &[&str]) {
    let list = notifications.join(",");
    let text = format!(
        "INSERT INTO mails (id, rule, kind, at, notifications, recipients) \
         VALUES ('{id}', 'night', 'alert', now() - interval '{age} days', '{{{list}}}', '{{a@b,c@d}}'); \
         INSERT INTO deliveries (mail, recipient, state, at) SELECT '{id}', to_, 'accepted', now() FROM unnest('{{a@b,c@d}}'::text[]) to_; \
         INSERT INTO outbox (service, key, kind, body, state, since, due_at, settled_at) SELECT 'monitor', 'mail/{id}/' || to_, 'mail', '{{}}', \
            'done', now(), now(), now() FROM unnest('{{a@b,c@d}}'::text[]) to_"
    );
    sql(postgres, DatabaseRole::Owner, text).await.unwrap();
}

/// Ids that are left, in one line.
async fn left(postgres: &TestPostgres, table: &str) -> String {
    let text = format!("SELECT coalesce(string_agg(id, ' ' ORDER BY id), '') FROM {table}");
    sql(postgres, DatabaseRole::Owner, text).await.unwrap()
}

async fn told(postgres: &TestPostgres) {
    old_orders(postgres, "standing", 1, days(100)).await;
    let standing = "UPDATE orders SET state = 'failed' WHERE parent IS NULL";
    sql(postgres, DatabaseRole::Owner, standing).await.unwrap();
    let ago = |days: u32| format!("now() - interval '{days} days'");
    notification(postgres, "old", "failed", 100, &[("order_id", "'20200101-A9-gone'")]).await;
    notification(postgres, "young", "failed", 10, &[("order_id", "'20200101-A9-gone'")]).await;
    // Nobody is mailed of the second of each.
    for id in ["standing", "standing-2"] {
        notification(postgres, id, "failed", 100, &[("order_id", "'20200101-A1-standing'")]).await;
    }
    for id in ["watched", "watched-2"] {
        notification(postgres, id, "runs_too_long", 100, &[("order_id", "'20200101-A8-watched'")]).await;
    }
    let watched = "INSERT INTO monitor_orders (order_id, body) VALUES ('20200101-A8-watched', '{}')";
    sql(postgres, DatabaseRole::Owner, watched).await.unwrap();
    for id in ["lately", "lately-2"] {
        notification(postgres, id, "failed", 100, &[("recovered_at", &ago(5)), ("state", "'recovered'")]).await;
    }
    for id in ["seen", "seen-2"] {
        notification(postgres, id, "failed", 100, &[("acknowledged_at", &ago(5)), ("state", "'acknowledged'")]).await;
    }
    notification(postgres, "back", "agent_away", 100, &[("recovered_at", &ago(95)), ("state", "'recovered'")]).await;
    for id in ["away", "away-2"] {
        notification(postgres, id, "agent_away", 100, &[("acknowledged_at", &ago(95)), ("state", "'acknowledged'")])
            .await;
    }
    for id in ["gathered", "gathered-2"] {
        notification(postgres, id, "failed", 100, &[]).await;
        let gathered = format!(
            "INSERT INTO monitor_gathered (rule, notification, good, bucket) VALUES ('night', '{id}', false, 'silence/works')"
        );
        sql(postgres, DatabaseRole::Owner, gathered).await.unwrap();
    }
    notification(postgres, "sending", "log", 100, &[]).await;
    notification(postgres, "digested", "failed", 100, &[]).await;
    for id in ["old", "young", "standing", "watched", "lately", "seen", "back", "away", "gathered", "sending"] {
        mail(postgres, &format!("m-{id}"), 100, &[id]).await;
    }
    mail(postgres, "m-digest", 100, &["digested", "old", "standing"]).await;
    mail(postgres, "m-empty", 100, &["nobody"]).await;
    mail(postgres, "m-test", 10, &["nobody"]).await;
    let sending = "UPDATE outbox SET state = 'waiting' WHERE key = 'mail/m-sending/c@d'";
    sql(postgres, DatabaseRole::Owner, sending).await.unwrap();
    let threads = "INSERT INTO monitor_threads (rule, kind, thing, business_day, changed_at, quiet_until) VALUES \
        ('night', 'failed', 'old', '2020-01-01', now() - interval '100 days', now() - interval '100 days'), \
        ('night', 'failed', 'young', '2020-01-01', now(), NULL), \
        ('night', 'failed', 'quiet', '2020-01-01', now() - interval '100 days', now() + interval '1 minute')";
    sql(postgres, DatabaseRole::Owner, threads).await.unwrap();
}

const KIND: RetentionKind = RetentionKind::Notifications;

#[tokio::test]
async fn notifications_go_with_their_mails_but_not_while_anything_may_come_of_them() {
    let postgres = TestPostgres::start().await;
    let store = store(&postgres);
    told(&postgres).await;
    // "old" is told of by a digest that is about a failure that stands, and stays with it.
    let dry = clean(&store, KIND, days(90), 2, true).await;
    assert_eq!(dry, counts([("mails", 3), ("notifications", 1), ("threads", 1)]));
    assert_eq!(clean(&store, KIND, days(90), 2, false).await, dry);
    assert_eq!(clean(&store, KIND, days(90), 2, true).await, Counts::new());
    assert_eq!(
        left(&postgres, "notifications").await,
        "away away-2 digested gathered gathered-2 lately lately-2 old seen seen-2 sending standing standing-2 watched watched-2 young"
    );
    assert_eq!(
        left(&postgres, "mails").await,
        "m-away m-digest m-gathered m-lately m-seen m-sending m-standing m-test m-watched m-young"
    );
    assert_eq!(rows(&postgres, "deliveries").await, 20);
    // When the order does not stand failed any more, what was told of it goes, and the digest with all that is in it.
    sql(&postgres, DatabaseRole::Owner, "UPDATE orders SET state = 'cancelled' WHERE parent IS NULL").await.unwrap();
    sql(&postgres, DatabaseRole::Owner, "UPDATE outbox SET state = 'given_up' WHERE state = 'waiting'").await.unwrap();
    let dry = clean(&store, KIND, days(90), 2, true).await;
    assert_eq!(dry, counts([("mails", 3), ("notifications", 5)]));
    assert_eq!(clean(&store, KIND, days(90), 2, false).await, dry);
    assert_eq!(
        left(&postgres, "notifications").await,
        "away away-2 gathered gathered-2 lately lately-2 seen seen-2 watched watched-2 young"
    );
}

/// A start of the plan so many days ago; `more` are further columns with their values.
async fn start(postgres: &TestPostgres, name: &str, schedule: &str, age: u32, state: &str, more: &[(&str, &str)]) {
    let names: String = more.iter().map(|(name, _)| format!(", {name}")).collect();
    let values: String = more.iter().map(|(_, value)| format!(", {value}")).collect();
    let text = format!(
        "INSERT INTO plan_starts (schedule, instant, parameterisation, business_day, workflow, version, state, submit_at{names}) \
         VALUES ('{schedule}', now() - interval '{age} days', '{name}', '2020-01-01', 'load', 1, '{state}', now() - interval '{age} days'{values})"
    );
    sql(postgres, DatabaseRole::Owner, text).await.unwrap();
}

async fn planned(postgres: &TestPostgres) {
    for (name, state) in [("failing", "failed"), ("running", "started"), ("gone", "cancelled")] {
        old_orders(postgres, name, 1, days(100)).await;
        let change = format!("UPDATE orders SET state = '{state}' WHERE order_id LIKE '%-{name}'");
        sql(postgres, DatabaseRole::Owner, change).await.unwrap();
    }
    let schedules = "INSERT INTO plan_schedules (schedule, version, hash, changed_at, planned_active, planned_through) VALUES \
        ('nightly', 1, 'h', now(), true, now() + interval '7 days'), ('behind', 1, 'h', now(), true, now() - interval '110 days'), \
        ('never', 1, 'h', now(), true, NULL), ('changed', 1, 'h', now(), true, now() + interval '7 days'), \
        ('removed', 1, 'h', now(), false, now() - interval '200 days'); \
        INSERT INTO plan_changes (schedule, sequence, index, at, change, version, hash, active) VALUES ('changed', 9, 0, now(), 'deployed', 2, 'h', true); \
        INSERT INTO plan_orders (fingerprint, body) SELECT n, '{}' FROM generate_series(1, 4) n; \
        INSERT INTO plan_skips (schedule, first, last, count, reason) SELECT s, now() - interval '120 days', now() - interval '100 days', 7, 'too many' \
            FROM unnest('{nightly,behind,never,changed,removed}'::text[]) s; \
        INSERT INTO plan_skips (schedule, first, last, count, reason) VALUES ('nightly', now() - interval '99 days', now(), 7, 'too many')";
    sql(postgres, DatabaseRole::Owner, schedules).await.unwrap();
    for state in ["finished", "late", "skipped", "cancelled", "withdrawn", "refused"] {
        start(postgres, state, "nightly", 100, state, &[("wanted", "3"), ("sent", "3")]).await;
    }
    start(postgres, "withdrawn", "removed", 100, "withdrawn", &[]).await;
    for state in ["planned", "sent", "submitted", "recalled", "started", "failed"] {
        start(postgres, &format!("is-{state}"), "nightly", 100, state, &[("wanted", "1"), ("sent", "2")]).await;
    }
    for schedule in ["behind", "never", "changed"] {
        start(postgres, schedule, schedule, 100, "finished", &[]).await;
    }
    start(postgres, "young", "nightly", 10, "finished", &[]).await;
    start(postgres, "long", "nightly", 100, "finished", &[("ended_at", "now() - interval '5 days'")]).await;
    start(postgres, "resumable", "nightly", 100, "failed", &[("order_id", "'20200101-A1-failing'")]).await;
    start(postgres, "running", "nightly", 100, "started", &[("order_id", "'20200101-A1-running'")]).await;
    start(postgres, "unseen", "nightly", 100, "failed", &[("order_id", "'20200101-A1-gone'")]).await;
    start(postgres, "unseen", "nightly", 101, "started", &[("order_id", "'20200101-A1-gone'")]).await;
}

#[tokio::test]
async fn days_of_the_plan_go_but_not_what_runs_waits_or_may_be_planned_again() {
    let postgres = TestPostgres::start().await;
    let store = store(&postgres);
    planned(&postgres).await;
    let dry = clean(&store, RetentionKind::Plan, days(30), 3, true).await;
    assert_eq!(dry, counts([("starts", 9), ("skips", 2), ("templates", 2)]));
    assert_eq!(clean(&store, RetentionKind::Plan, days(30), 3, false).await, dry);
    assert_eq!(clean(&store, RetentionKind::Plan, days(30), 3, true).await, Counts::new());
    let left = async |text: &str| sql(&postgres, DatabaseRole::Owner, text).await.unwrap();
    assert_eq!(
        left("SELECT string_agg(parameterisation, ' ' ORDER BY parameterisation COLLATE \"C\") FROM plan_starts").await,
        "behind changed is-failed is-planned is-recalled is-sent is-started is-submitted long never resumable running young"
    );
    assert_eq!(
        left("SELECT string_agg(schedule, ' ' ORDER BY schedule, first) FROM plan_skips").await,
        "behind changed never nightly"
    );
    assert_eq!(left("SELECT string_agg(fingerprint::text, ' ' ORDER BY fingerprint) FROM plan_orders").await, "1 2");
}
