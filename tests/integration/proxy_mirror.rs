//! The mirror: complete or silent. A gap or a broken chain makes it load anew, an unknown event stops it.

use crate::bus_site::{SOON, Site, soon};
use crate::proxy_site::*;
use ordo_contract::commit::Cause;
use ordo_contract::request::{
    AwaitRequest, Nothing, OrderListReply, OrderListRequest, OrderShowReply, StatusReply, WorkflowListReply, proxy,
};
use ordo_domain::{OrderId, command::By, order::event::OrdersForgotten};
use ordo_runtime::{Clock, SystemClock};
use ordo_testkit::wait_until;
use serde_json::json;
use std::time::Duration;

fn added(name: &str) -> ordo_domain::Event {
    let by = By { user: "ops".parse().unwrap(), reason: None };
    ordo_domain::agent::AgentAdded { agent: name.parse().unwrap(), title: None, by }.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_and_the_journal_behind_it_make_the_state() {
    let site = Site::start().await;
    let mut stage = Stage::open(&site).await;
    for n in 0..5 {
        stage.commit(Cause::Upkeep, vec![added(&format!("before{n}"))]).await;
    }
    stage.snapshot().await;
    stage.bus.purge_journal(stage.replica.sequence - 1).await.unwrap();
    stage.commit(Cause::Upkeep, vec![added("behind")]).await;
    let proxy = Proxy::ready(&site, "p1").await;
    let client = person(&site, "ops").await;
    let agents = proxy.ask(&client, "agent.list").await.unwrap();
    assert_eq!(agents["agents"].as_array().unwrap().len(), 6);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_means_no_answers_until_a_snapshot_closes_it() {
    let site = Site::start().await;
    let mut stage = Stage::open(&site).await;
    for n in 0..5 {
        stage.commit(Cause::Upkeep, vec![added(&format!("a{n}"))]).await;
    }
    // No snapshot, and the beginning is gone: nobody knows the state.
    stage.bus.purge_journal(3).await.unwrap();
    let proxy = Proxy::start(&site, "p1");
    let client = person(&site, "ops").await;
    let mut told = String::new();
    wait_until(SOON, "the proxy says what is wrong", async || {
        told = proxy.ask(&client, "agent.list").await.err().unwrap_or_default();
        told.contains("loads the state anew")
    })
    .await;
    assert!(!proxy.task.is_finished());
    stage.snapshot().await;
    wait_until(SOON, "the proxy answers again", async || proxy.is_ready(&client).await).await;
    assert_eq!(proxy.ask(&client, "agent.list").await.unwrap()["agents"].as_array().unwrap().len(), 5);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_does_not_follow_the_one_before_is_never_applied() {
    let site = Site::start().await;
    let mut stage = Stage::open(&site).await;
    let proxy = Proxy::ready(&site, "p1").await;
    let client = person(&site, "ops").await;
    let mut foreign = stage.as_commit(SystemClock.now(), Cause::Upkeep, vec![added("intruder")]);
    foreign.prev_hash = "0".repeat(32);
    let sequence = stage.append(foreign.encode().unwrap()).await;
    wait_until(SOON, "the proxy is silent", async || !proxy.is_ready(&client).await).await;
    // A state that somebody verified, behind the foreign commit.
    stage.replica.sequence = sequence;
    stage.snapshot().await;
    stage.commit(Cause::Upkeep, vec![added("friend")]).await;
    wait_until(SOON, "the proxy answers again", async || proxy.is_ready(&client).await).await;
    let agents = proxy.ask(&client, "agent.list").await.unwrap();
    assert_eq!(agents["agents"][0]["agent"], "friend");
    assert_eq!(agents["agents"].as_array().unwrap().len(), 1);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_newer_ordo_stops_the_proxy_with_a_clear_error() {
    let site = Site::start().await;
    let mut stage = Stage::open(&site).await;
    let proxy = Proxy::ready(&site, "p1").await;
    let commit = stage.as_commit(SystemClock.now(), Cause::Upkeep, vec![added("x")]);
    let text = String::from_utf8(commit.encode().unwrap()).unwrap().replace("AgentAdded", "AgentTeleported");
    stage.append(text).await;
    let error = soon("the end of the proxy", proxy.task).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("install the version"), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("cannot be read"), "{source}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_bus_is_waited_out() {
    let (mut site, stage, proxy, client) = play(&[BACKUP]).await;
    let mut stage = stage.stop().await;
    site.nats.kill().await;
    site.nats.start_again().await;
    stage.commit(Cause::Upkeep, vec![added("after")]).await;
    wait_until(SOON, "the proxy knows what came after", async || {
        proxy.ask(&client, "agent.list").await.is_ok_and(|agents| agents["agents"].as_array().unwrap().len() == 2)
    })
    .await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_orders_are_listed_page_by_page() {
    let (_site, stage, proxy, client) = play(&[NOTHING]).await;
    let mut orders = vec![json!({"workflow": "nothing", "held": true, "tags": ["bulk"]}); 10_000];
    orders[5_000]["tags"] = json!(["needle"]);
    let orders: Vec<ordo_domain::order::command::NewOrder> = serde_json::from_value(orders.into()).unwrap();
    let look = ordo_cli::show::Look::plain();
    let added = ordo_cli::command::order::add_all(&client, orders, &Default::default(), &look).await.unwrap().orders;
    assert_eq!(added.len(), 10_000);
    let (mut listed, mut after) = (Vec::<OrderId>::new(), None);
    let mut pages = 0;
    loop {
        let request = OrderListRequest { limit: Some(1_000), after: after.clone(), ..Default::default() };
        let page: OrderListReply = client.ask("proxy", proxy::ORDER_LIST, &request).await.unwrap();
        pages += 1;
        listed.extend(page.orders.into_iter().map(|line| line.order));
        after = listed.last().cloned();
        if !page.more {
            break;
        }
    }
    assert!(pages >= 10, "{pages} pages");
    assert!(listed.is_sorted(), "in the order of their ids");
    let mut sorted = added.clone();
    sorted.sort();
    assert_eq!(listed, sorted);
    let find = |state: Option<&str>, tag: Option<&str>| OrderListRequest {
        state: state.map(str::to_owned),
        tag: tag.map(str::to_owned),
        ..Default::default()
    };
    let needle: OrderListReply =
        client.ask("proxy", proxy::ORDER_LIST, &find(Some("held"), Some("needle"))).await.unwrap();
    assert_eq!((needle.orders.len(), needle.more), (1, false));
    assert!(needle.orders[0].why.as_deref().unwrap_or_default().starts_with("held since"), "{:?}", needle.orders[0]);
    let none: OrderListReply = client.ask("proxy", proxy::ORDER_LIST, &find(Some("failed"), None)).await.unwrap();
    assert!(none.orders.is_empty() && !none.more);
    let status: StatusReply = client.ask("proxy", proxy::STATUS, &Nothing {}).await.unwrap();
    assert_eq!(status.orders["scheduled"], 10_000);
    let workflows: WorkflowListReply = client.ask("proxy", proxy::WORKFLOW_LIST, &Nothing {}).await.unwrap();
    assert_eq!(workflows.workflows[0].orders, 10_000);
    stage.stop().await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_workflows_than_one_answer_takes_are_listed_and_deployed_upon() {
    let (_site, stage, proxy, client) = play(&[]).await;
    let tags = (0..20).map(|n| format!("tag-{n:036}")).collect::<Vec<_>>().join(", ");
    let of = |n: usize| {
        let title = format!("number {n}");
        let text = "x".repeat(1_500);
        format!(
            "workflow: many-{n:04}\ntitle: {title}\ntags: [{tags}]\nparameters:\n  text: {{ type: string, default: {text} }}\nsteps:\n  - finish: done\n"
        )
    };
    let texts: Vec<String> = (0..750).map(of).collect();
    for part in texts.chunks(250) {
        let part: Vec<&str> = part.iter().map(String::as_str).collect();
        deploy(&client, &part).await.unwrap();
    }
    let first: WorkflowListReply = client.ask("proxy", proxy::WORKFLOW_LIST, &Nothing {}).await.unwrap();
    assert!(first.more && first.workflows.len() < 750, "{}", first.workflows.len());
    let all = ordo_cli::command::workflow::list_all(&client).await.unwrap();
    assert_eq!((all.workflows.len(), all.more), (750, false));
    assert!(all.workflows.is_sorted_by(|a, b| a.workflow < b.workflow));
    // What a new one calls lies on the last page.
    let calls = "workflow: a-caller\nsteps:\n  - call: many-0749\n";
    deploy(&client, &[calls]).await.unwrap();
    stage.stop().await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_an_order_is_woken_by_its_end_and_told_it_afterwards() {
    let (_site, stage, proxy, client) = play(&[NOTHING]).await;
    let body = json!({"workflow": "nothing", "held": true});
    let reply: serde_json::Value = client.ask("proxy", proxy::ORDER_ADD, &body).await.unwrap();
    let order: OrderId = serde_json::from_value(reply["order"].clone()).unwrap();
    let request = |wait_ms, after| AwaitRequest { order: order.clone(), wait_ms, after };
    let now: OrderShowReply = client.ask("proxy", proxy::ORDER_AWAIT, &request(1, None)).await.unwrap();
    assert_eq!((now.line.state.as_str(), now.line.suspended), ("scheduled", true));
    let waiting = tokio::spawn({
        let (client, request) = (client.clone(), request(20_000, Some(now.sequence)));
        async move {
            client.ask_for::<_, OrderShowReply>("proxy", proxy::ORDER_AWAIT, &request, Duration::from_secs(30)).await
        }
    });
    let _: serde_json::Value = client.ask("proxy", proxy::ORDER_RESUME, &json!({"orders": [order]})).await.unwrap();
    let ended = soon("the answer", waiting).await.unwrap().unwrap();
    assert_eq!(ended.line.state, "finished");
    let mut stage = stage.stop().await;
    stage.commit(Cause::Upkeep, vec![OrdersForgotten { orders: vec![order.clone()] }.into()]).await;
    wait_until(SOON, "the order is gone from the list", async || {
        let list: OrderListReply = client.ask("proxy", proxy::ORDER_LIST, &OrderListRequest::default()).await.unwrap();
        list.orders.is_empty()
    })
    .await;
    let late: OrderShowReply = client.ask("proxy", proxy::ORDER_AWAIT, &request(5_000, None)).await.unwrap();
    assert_eq!(late.line.state, "finished");
    // Who wants to see all of it is sent to the history, not shown a hollow one.
    let show = client.ask::<_, OrderShowReply>("proxy", proxy::ORDER_SHOW, &json!({ "order": order })).await;
    let (code, error) = refusal(show);
    assert_eq!((code, error.code.as_str()), (404, ordo_contract::request::ORDER_ENDED), "{}", error.message);
    proxy.stop().await;
}
