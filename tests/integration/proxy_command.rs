//! Commands through the proxy: decided once, refused with what would be right, never lost silently.

use crate::bus_site::{Site, soon};
use crate::proxy_site::*;
use ordo_contract::name::StreamKind;
use ordo_contract::request::{
    AddOrdersReply, DeployReply, DeployRequest, Nothing, OrderListReply, OrderListRequest, OrdersReply, OrdersRequest,
    WorkflowShowReply, proxy,
};
use ordo_domain::{command::DeployItem, limit};
use ordo_journal::{Headers, Outgoing, RequestError};
use ordo_testkit::User;
use serde_json::{Value, json};
use std::time::Duration;

async fn add(client: &ordo_cli::Client, body: Value) -> Result<AddOrdersReply, ordo_cli::CliError> {
    client.ask_for("proxy", proxy::ORDER_ADD, &body, Duration::from_secs(20)).await
}

async fn count(client: &ordo_cli::Client) -> usize {
    let reply: OrderListReply = client.ask("proxy", proxy::ORDER_LIST, &OrderListRequest::default()).await.unwrap();
    reply.orders.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_repeated_with_its_id_has_the_same_outcome_by_any_proxy() {
    let (site, stage, proxy, client) = play(&[BACKUP]).await;
    let body = json!({"workflow": "backup", "asked": {"id": "import-7", "reason": "first load"}});
    let AddOrdersReply::One { order, state } = add(&client, body.clone()).await.unwrap() else {
        panic!("not one order")
    };
    assert_eq!(state, "running");
    let second = Proxy::ready(&site, "p2").await;
    proxy.stop().await;
    let AddOrdersReply::One { order: again, .. } = add(&client, body).await.unwrap() else { panic!("not one order") };
    assert_eq!(again, order);
    let refused = json!({"workflow": "nowhere", "asked": {"id": "import-8"}});
    for _ in 0..2 {
        let (code, body) = refusal(add(&client, refused.clone()).await);
        assert_eq!((code, body.code.as_str()), (404, "workflow_unknown"));
    }
    assert_eq!(count(&client).await, 1);
    let stage = stage.stop().await;
    let by = &stage.replica.site.orders[&order].by;
    assert_eq!((by.user.as_str(), by.reason.as_deref()), ("ops", Some("first load")));
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_active_controller_a_command_is_pending_and_carried_out_later() {
    let (_site, stage, proxy, client) = play(&[BACKUP]).await;
    let stage = stage.stop().await;
    let body = json!({"workflow": "backup", "asked": {"id": "later-1"}});
    let reply = add(&client, body.clone()).await.unwrap();
    let AddOrdersReply::Pending { pending, id } = reply else { panic!("{reply:?}") };
    assert_eq!((pending.as_str(), id.as_str()), ("accepted, no controller active yet", "later-1"));
    let stage = stage.play();
    let AddOrdersReply::One { .. } = add(&client, body).await.unwrap() else { panic!("not carried out") };
    assert_eq!(count(&client).await, 1);
    stage.stop().await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_stops_does_not_deny_the_command_that_it_has_published() {
    let (site, stage, proxy, client) = play(&[BACKUP]).await;
    let stage = stage.stop().await;
    let bus = site.bus(&User::Controller).await;
    let last = bus.last_sequence(StreamKind::Commands).await.unwrap();
    let asking = tokio::spawn({
        let client = client.clone();
        async move { add(&client, json!({"workflow": "backup", "asked": {"id": "stop-1"}})).await }
    });
    ordo_testkit::wait_until(crate::bus_site::SOON, "the command is published", async || {
        bus.last_sequence(StreamKind::Commands).await.unwrap() > last
    })
    .await;
    proxy.stop().await;
    let reply = soon("the answer", asking).await.unwrap().unwrap();
    let AddOrdersReply::Pending { id, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(id.as_str(), "stop-1");
    let (stage, second) = (stage.play(), Proxy::ready(&site, "p2").await);
    let body = json!({"workflow": "backup", "asked": {"id": "stop-1"}});
    let AddOrdersReply::One { .. } = add(&client, body).await.unwrap() else { panic!("not carried out") };
    assert_eq!(count(&client).await, 1);
    stage.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_orders_are_all_sent_while_no_controller_is_active_and_added_once() {
    let (_site, stage, proxy, client) = play(&[NOTHING]).await;
    let stage = stage.stop().await;
    let orders: Vec<ordo_domain::order::command::NewOrder> =
        serde_json::from_value(vec![json!({"workflow": "nothing", "held": true}); 1_001].into()).unwrap();
    let look = ordo_cli::show::Look::plain();
    let asked = ordo_cli::command::order::asked(None, None).unwrap();
    let add_all = || ordo_cli::command::order::add_all(&client, orders.clone(), &asked, &look);
    let added = add_all().await.unwrap();
    assert_eq!((added.orders.len(), added.pending, Some(&added.id)), (0, 1_001, asked.id.as_ref()));
    let stage = stage.play();
    let again = add_all().await.unwrap();
    assert_eq!((again.orders.len(), again.pending), (1_001, 0));
    let stage = stage.stop().await;
    assert_eq!(stage.replica.site.orders.len(), 1_001);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_did_something_else_never_says_that_this_was_done() {
    let (_site, stage, proxy, client) = play(&[BACKUP, NOTHING]).await;
    let held = |id: &str| json!({"workflow": "nothing", "held": true, "asked": {"id": id}});
    let mut orders = Vec::new();
    for id in ["one", "two"] {
        let AddOrdersReply::One { order, .. } = add(&client, held(id)).await.unwrap() else { panic!("not one order") };
        orders.push(order);
    }
    let cancel = |order: &ordo_domain::OrderId, id: &str| json!({"orders": [order], "asked": {"id": id}});
    let first: OrdersReply = client.ask("proxy", proxy::ORDER_CANCEL, &cancel(&orders[0], "cancel-1")).await.unwrap();
    assert_eq!(first.orders[0].state, "cancelled");
    let two = json!({"orders": [{"workflow": "nothing"}, {"workflow": "nothing"}], "asked": {"id": "one"}});
    let cases = [
        (proxy::ORDER_CANCEL, cancel(&orders[1], "cancel-1")),
        (proxy::ORDER_CANCEL, cancel(&orders[1], "one")),
        (proxy::ORDER_ADD, two),
        (proxy::AGENT_ADD, json!({"agent": "other", "asked": {"id": "one"}})),
        (proxy::DEFINITION_REMOVE, json!({"items": [{"workflow": {"name": "backup"}}], "asked": {"id": "cancel-1"}})),
    ];
    for (endpoint, body) in cases {
        let (code, error) = refusal(client.ask::<_, Value>("proxy", endpoint, &body).await);
        assert_eq!(code, 400, "{endpoint} {body}: {}", error.message);
        assert!(error.message.contains("this id was used for"), "{endpoint} {body}: {}", error.message);
    }
    let stage = stage.stop().await;
    assert!(!stage.replica.site.orders[&orders[1]].state.is_terminated());
    assert!(stage.replica.site.workflows.contains_key("backup"));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_a_clear_error_and_changes_nothing() {
    let (_site, stage, proxy, client) = play(&[BACKUP, SALES]).await;
    let long = "x".repeat(limit::TITLE_BYTES + 1);
    let tags: Vec<String> = (0..=limit::TAGS).map(|n| format!("t{n}")).collect();
    let big = "x".repeat(limit::ORDER_VARIABLES_BYTES + 1);
    let many = vec![json!({"workflow": "backup"}); limit::ORDERS_PER_COMMAND + 1];
    let heavy = vec![json!({"workflow": "sales", "arguments": {"day": "x".repeat(60_000)}}); 5];
    let cases = [
        (json!({"workflow": "bakcup"}), 404, "is not deployed"),
        (json!({"workflow": "sales"}), 409, "parameter day of workflow sales is missing"),
        (json!({"workflow": "sales", "arguments": {"day": 1}}), 409, "must be a string, not a number"),
        (json!({"workflow": "sales", "arguments": {"day": "x", "dya": "y"}}), 409, "has no parameter dya"),
        (json!({"workflow": "sales", "arguments": {"day": big}}), 413, "the limit is"),
        (json!({"workflow": "backup", "title": long}), 413, "the limit is 400"),
        (json!({"workflow": "backup", "tags": tags}), 409, "the limit is 20"),
        (json!({"workflow": "backup", "name": "a b"}), 409, "is not a valid"),
        (json!({"workflow": "backup", "asked": {"reason": "x".repeat(401)}}), 413, "the reason is 401 bytes"),
        (json!({"workflow": "backup", "asked": {"id": "a b"}}), 400, "is not a valid command id"),
        (json!({"workflow": "a b"}), 400, "is not a valid workflow name"),
        (json!({"workflow": "backup", "tittle": "x"}), 400, "tittle"),
        (json!({"orders": many}), 409, "1001 orders in one command; the limit is 1000"),
        (json!({"orders": heavy}), 413, "the command is"),
        (json!({"orders": []}), 400, "at least one"),
        (json!([1]), 400, "expected is"),
    ];
    for (body, code, text) in cases {
        let shown: String = body.to_string().chars().take(80).collect();
        let (found, error) = refusal(add(&client, body).await);
        assert_eq!(found, code, "{shown}: {}", error.message);
        assert!(error.message.contains(text), "{shown}: {}", error.message);
    }
    for (endpoint, body, code) in [
        (proxy::ORDER_CANCEL, json!({"orders": ["20260101-A1-x"]}), 404),
        (proxy::ORDER_CANCEL, json!({"orders": []}), 409),
        (proxy::ORDER_CANCEL, json!({"orders": ["20260101-A1-x"], "position": "dump"}), 400),
        (proxy::ORDER_RESUME, json!({"orders": ["20260101-A1-x"], "kill": true}), 400),
        (proxy::ORDER_SHOW, json!({"order": "20260101-A1-x"}), 404),
        (proxy::ORDER_LIST, json!({"state": "runing"}), 400),
        (proxy::ORDER_LIST, json!({"limit": 1001}), 400),
        (proxy::WORKFLOW_SHOW, json!({"workflow": "nowhere"}), 404),
        (proxy::WORKFLOW_SHOW, json!({"workflow": "backup", "version": 9}), 404),
        (proxy::DEFINITION_PUT, json!({"body": "x".repeat(limit::SCRIPT_BYTES + 1)}), 413),
        (proxy::DEFINITION_DEPLOY, json!({"items": [{"workflow": {"name": "x", "hash": "0".repeat(64)}}]}), 404),
        (proxy::AGENT_ADD, json!({"agent": "etl"}), 409),
        (proxy::STATUS, json!({"what": 1}), 400),
    ] {
        let (found, error) = refusal(client.ask::<_, Value>("proxy", endpoint, &body).await);
        assert_eq!(found, code, "{endpoint} {body}: {}", error.message);
    }
    assert_eq!(count(&client).await, 0);
    let stage = stage.stop().await;
    assert_eq!(stage.replica.site.commands.by_id.len(), 2, "only the agent and the deployment were decided");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_difference_and_changes_nothing() {
    let (_site, stage, proxy, client) = play(&[BACKUP]).await;
    let before: WorkflowShowReply =
        client.ask("proxy", proxy::WORKFLOW_SHOW, &json!({"workflow": "backup"})).await.unwrap();
    assert_eq!((before.version, before.definition.title.as_deref()), (1, Some("夜間バックアップ")));
    let changed = BACKUP.replace("[./dump]", "[./dump, --fast]");
    let files = [ordo_cli::DeployText { file: "b.yaml".into(), text: changed.clone() }];
    let items = ordo_cli::command::deploy::check(&files).unwrap();
    let body = String::from_utf8(items[0].body.clone()).unwrap();
    let _: Value = client.ask("proxy", proxy::DEFINITION_PUT, &json!({ "body": body })).await.unwrap();
    let item = DeployItem::Workflow { name: "backup".parse().unwrap(), hash: items[0].hash.clone() };
    let request = DeployRequest { items: vec![item], dry_run: true, asked: Default::default() };
    let reply: DeployReply = client.ask("proxy", proxy::DEFINITION_DEPLOY, &request).await.unwrap();
    assert_eq!(reply.items[0].version, 2);
    assert!(reply.items[0].differences.iter().any(|line| line.contains("--fast")), "{:?}", reply.items[0]);
    let after: WorkflowShowReply =
        client.ask("proxy", proxy::WORKFLOW_SHOW, &json!({"workflow": "backup"})).await.unwrap();
    assert_eq!(after, before);
    let deployed = deploy(&client, &[&changed, SALES]).await.unwrap();
    let versions: Vec<(&str, u32)> = deployed.items.iter().map(|item| (item.name.as_str(), item.version)).collect();
    assert_eq!(versions, [("backup", 2), ("sales", 1)]);
    let same = deploy(&client, &[&changed]).await.unwrap();
    assert_eq!(same.items[0].change, ordo_contract::request::DeployChange::Unchanged);
    stage.stop().await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_no_file_would_give_is_not_deployed() {
    let (_site, stage, proxy, client) = play(&[BACKUP]).await;
    let good: WorkflowShowReply =
        client.ask("proxy", proxy::WORKFLOW_SHOW, &json!({"workflow": "backup"})).await.unwrap();
    let mut forged = serde_json::to_value(&good.definition).unwrap();
    forged["steps"][0]["instruction"]["job"]["action"]["command"]["arguments"] =
        json!(["./dump", "${ no such thing }"]);
    let stored: Value =
        client.ask("proxy", proxy::DEFINITION_PUT, &json!({ "body": forged.to_string() })).await.unwrap();
    let items = json!({"items": [{"workflow": {"name": "backup", "hash": stored["hash"]}}]});
    let (code, error) = refusal(client.ask::<_, Value>("proxy", proxy::DEFINITION_DEPLOY, &items).await);
    assert_eq!((code, error.code.as_str()), (409, "definition_invalid"), "{}", error.message);
    let other = json!({"items": [{"workflow": {"name": "sales", "hash": good.hash}}]});
    let (code, error) = refusal(client.ask::<_, Value>("proxy", proxy::DEFINITION_DEPLOY, &other).await);
    assert_eq!(code, 409);
    assert!(error.message.contains("is of workflow backup"), "{}", error.message);
    stage.stop().await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_orders_are_held_resumed_and_cancelled_at_once() {
    let (_site, stage, proxy, client) = play(&[BACKUP, NOTHING]).await;
    let orders = vec![json!({"workflow": "nothing", "held": true}); 3];
    let AddOrdersReply::Many { orders } = add(&client, json!({ "orders": orders })).await.unwrap() else {
        panic!("not many")
    };
    let request = |orders: &[ordo_domain::OrderId]| OrdersRequest {
        orders: orders.to_vec(),
        kill: false,
        position: None,
        asked: Default::default(),
    };
    let reply: OrdersReply = client.ask("proxy", proxy::ORDER_CANCEL, &request(&orders[..2])).await.unwrap();
    let states: Vec<&str> = reply.orders.iter().map(|line| line.state.as_str()).collect();
    assert_eq!(states, ["cancelled", "cancelled"]);
    let reply: OrdersReply = client.ask("proxy", proxy::ORDER_RESUME, &request(&orders[2..])).await.unwrap();
    assert_eq!(reply.orders[0].state, "finished");
    let (code, error) = refusal(client.ask::<_, OrdersReply>("proxy", proxy::ORDER_CANCEL, &request(&orders)).await);
    assert_eq!((code, error.code.as_str()), (409, "order_terminated"));
    stage.stop().await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_services_writes_commands_and_agents_have_no_door() {
    let (site, stage, proxy, _client) = play(&[BACKUP]).await;
    let last = site.bus(&User::Controller).await.last_sequence(StreamKind::Commands).await.unwrap();
    let person = site.person("ops").await;
    let subject = site.nats.site().command("order", "add");
    let forged = Outgoing::new(
        subject,
        Headers::new(),
        r#"{"id":"x","by":{"user":"root"},"at":"2026-11-22T00:00:00Z","command":{}}"#,
    );
    assert!(person.try_publish(&forged, Duration::from_secs(1)).await.is_err());
    let as_other = site.nats.site().request("root", "proxy", "order", "add");
    assert!(person.request(&as_other, r#"{"workflow":"backup"}"#, Duration::from_secs(1)).await.is_err());
    let agent = site.agent("etl").await;
    let asked = site.nats.site().request("agent-etl", "proxy", "order", "add");
    let Err(RequestError::Refused(error)) =
        agent.request(&asked, r#"{"workflow":"backup"}"#, Duration::from_secs(5)).await
    else {
        panic!("an agent was let in")
    };
    assert_eq!(error.code, 403);
    assert_eq!(site.bus(&User::Controller).await.last_sequence(StreamKind::Commands).await.unwrap(), last);
    stage.stop().await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_bus_is_said_and_nothing_is_pending() {
    let (site, stage, proxy, client) = play(&[BACKUP]).await;
    let stage = stage.stop().await;
    let bus = site.bus(&User::Proxy).await;
    let ballast =
        Outgoing::new(site.nats.site().command("order", "add"), Headers::new(), vec![b' '; limit::COMMAND_BYTES]);
    let filled = async { while bus.try_publish(&ballast, Duration::from_secs(2)).await.is_ok() {} };
    soon("a full stream", filled).await;
    let crumbs = Outgoing { payload: vec![b' '; 64].into(), ..ballast };
    soon("the last bytes", async { while bus.try_publish(&crumbs, Duration::from_secs(2)).await.is_ok() {} }).await;
    let (code, error) = refusal(add(&client, json!({"workflow": "backup", "asked": {"id": "full-1"}})).await);
    assert_eq!((code, error.code.as_str()), (503, "unavailable"));
    assert!(
        error.message.contains("maximum bytes") && error.message.contains("Repeat with the id full-1"),
        "{}",
        error.message
    );
    let _: Value = client.ask("proxy", proxy::STATUS, &Nothing {}).await.unwrap();
    assert!(stage.replica.site.orders.is_empty());
    drop(site as Site);
    proxy.kill().await;
}
