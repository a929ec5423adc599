//! Failed orders that nobody resumed, where the retention says so: the cleanup asks for each whether it still stands failed.

use crate::bus_site::Site;
use crate::cleanup_service::{LIMIT, Stage};
use crate::cleanup_store::{old_orders, sql};
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use ordo_contract::commit::{COMMIT_VERSION, Cause, Commit, Decision, chain_hash};
use ordo_contract::request::cleanup::CleanupRunLine;
use ordo_contract::request::{OrderRequest, OrderShowReply, proxy};
use ordo_domain::command::By;
use ordo_domain::controller::ControllerActivated;
use ordo_domain::definition::{self, WorkflowDeployed};
use ordo_domain::order::event::{OrderAdded, OrderFailed, WorkflowRef};
use ordo_domain::retention::RetentionKind;
use ordo_domain::{Event, Failure, InstanceId, OrderId, Span, UserName};
use ordo_journal::{Journal, NatsJournal};
use ordo_testkit::{DatabaseRole, User, wait_until};

const WORKFLOW: &str = "workflow: nightly
steps:
  - job: load
    agent: etl
    command: [\"true\"]
";

fn order(number: u32) -> OrderId {
    OrderId::new(format!("20200101-A{number}-old")).unwrap()
}

/// A journal in which the first order failed 100 days ago and the second one just now.
async fn journal(site: &Site) {
    let body = &definition::read("nightly.yaml", WORKFLOW).unwrap().items[0];
    site.bus(&User::Proxy).await.definitions().put_by_hash("nightly", &body.body).await.unwrap();
    let workflow = WorkflowRef { name: "nightly".parse().unwrap(), version: 1, hash: body.hash.clone() };
    let by = By { user: UserName::new("ops").unwrap(), reason: None };
    let failing = |number: u32| -> Vec<Event> {
        let added = OrderAdded {
            order: order(number),
            workflow: workflow.clone(),
            title: None,
            folder: None,
            tags: Default::default(),
            business_day: NaiveDate::from_ymd_opt(2020, 1, 1).unwrap(),
            priority: 0,
            due_at: None,
            held: false,
            late: Default::default(),
            arguments: Default::default(),
            start: None,
            overlap: Default::default(),
            by: by.clone(),
            counter: number.into(),
            command: None,
        };
        let failure = Failure::Late { late_by: Span::from_secs(9) };
        vec![added.into(), OrderFailed { order: order(number), position: None, failure }.into()]
    };
    let (instance, how) = (InstanceId::new("c9").unwrap(), "first start".to_owned());
    let (name, version, hash) = (workflow.name.clone(), 1, workflow.hash.clone());
    let begin = vec![
        ControllerActivated { epoch: 1, instance, how, event_level: 1 }.into(),
        WorkflowDeployed { workflow: name, version, hash, by: by.clone() }.into(),
    ];
    let old = Utc::now() - TimeDelta::days(100);
    let mut journal = NatsJournal::new(&site.bus(&User::Controller).await);
    let mut prev_hash = String::new();
    let commits: [(DateTime<Utc>, Vec<Event>); 3] = [(old, begin), (old, failing(1)), (Utc::now(), failing(2))];
    for (n, (at, events)) in (0..).zip(commits) {
        let decisions = vec![Decision { cause: Cause::Advance, entity: "site".into(), events }];
        let commit = Commit { v: COMMIT_VERSION, epoch: 1, at, build: "test".into(), prev_hash, decisions };
        let bytes = commit.encode().unwrap();
        prev_hash = chain_hash(&bytes);
        journal.append(n, Bytes::from(bytes)).await.unwrap();
    }
}

async fn state(stage: &Stage, number: u32) -> String {
    let request = OrderRequest { order: order(number) };
    let reply: Result<OrderShowReply, _> = stage.person.ask("proxy", proxy::ORDER_SHOW, &request).await;
    reply.map_or_else(|_| "unknown".to_owned(), |reply| reply.line.state)
}

fn cancelled(run: &CleanupRunLine) -> Option<u64> {
    let step = run.steps.iter().find(|step| step.kind == RetentionKind::FailedOrders).unwrap();
    assert_eq!((step.state.as_str(), step.note.as_deref()), ("done", None), "{run:#?}");
    step.counts.get("orders").copied()
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_orders_are_cancelled_where_they_still_stand_failed_for_as_long_as_the_retention_says() {
    let site = Site::start().await;
    journal(&site).await;
    let stage = Stage::start_on(site).await;
    // As the history has them: all failed long ago, which is not so of the second, and the third is not known any more.
    old_orders(&stage.postgres, "old", 3, Utc::now() - TimeDelta::days(100)).await;
    let failed = "UPDATE orders SET state = 'failed' WHERE parent IS NULL";
    sql(&stage.postgres, DatabaseRole::Owner, failed).await.unwrap();
    stage.deploy("retention: default\nwindow: { days: [] }\nkeep: { failed_orders: 30d }\n".into()).await;
    let cleanup = stage.cleanup("x1");
    wait_until(LIMIT, "the retention", async || stage.status().await.version == Some(1)).await;

    assert_eq!(cancelled(&stage.run(true).await), Some(1));
    assert_eq!((state(&stage, 1).await.as_str(), state(&stage, 2).await.as_str()), ("failed", "failed"));
    assert_eq!(cancelled(&stage.run(false).await), Some(1));
    assert_ne!(state(&stage, 1).await, "failed");
    assert_eq!(state(&stage, 2).await, "failed", "it failed a moment ago, whatever the history says");
    assert_eq!(cancelled(&stage.run(true).await), None);
    // Nothing of them goes before the history has seen their end.
    assert_eq!(crate::cleanup_store::rows(&stage.postgres, "orders").await, 6);
    cleanup.stop().await;
}
