//! The live view: one line an event, by one proxy at a time.

use crate::bus_site::{SOON, soon};
use crate::proxy_site::*;
use ordo_cli::{Exit, WatchOptions, show::Look, watch_order};
use ordo_contract::request::{EventLine, Nothing, StatusReply, proxy};
use ordo_journal::Listener;
use ordo_testkit::wait_until;
use serde_json::{Value, json};
use std::time::Duration;

/// Hears until an event of that name comes.
async fn hear_until(feed: &mut Listener, name: &str) -> Vec<(String, EventLine)> {
    let mut heard = Vec::new();
    soon(name, async {
        loop {
            let message = feed.next().await.unwrap();
            let line: EventLine = serde_json::from_slice(&message.payload).unwrap();
            let last = message.subject.ends_with(name);
            heard.push((message.subject, line));
            if last {
                return;
            }
        }
    })
    .await;
    heard
}

async fn add(client: &ordo_cli::Client) -> String {
    let reply: Value = client
        .ask_for("proxy", proxy::ORDER_ADD, &json!({"workflow": "nothing"}), Duration::from_secs(20))
        .await
        .unwrap();
    reply["order"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_an_order_is_on_the_feed_once_while_two_proxies_run() {
    let (site, stage, first, client) = play(&[NOTHING]).await;
    let second = Proxy::ready(&site, "p2").await;
    let mut feed = client.listen(&client.names().feed_of_order(None)).await.unwrap();
    let order = add(&client).await;
    let heard = hear_until(&mut feed, "OrderFinished").await;
    let subjects: Vec<String> = heard.iter().map(|(subject, _)| subject.clone()).collect();
    let of = |event: &str| format!("ordo.default.feed.order.{order}.{event}");
    assert_eq!(subjects, [of("OrderAdded"), of("OrderStarted"), of("OrderFinished")]);
    let (_, added) = &heard[0];
    assert_eq!(added.event["OrderAdded"]["order"], order.as_str());
    assert!(heard.is_sorted_by_key(|(_, line)| (line.sequence, line.index)));
    // The first one has the lease: its process is gone, and the other goes on.
    first.kill().await;
    let order = add(&client).await;
    let heard = hear_until(&mut feed, "OrderFinished").await;
    assert!(heard.iter().any(|(subject, _)| subject.contains(&order)), "{heard:?}");
    stage.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_an_order_ends_with_its_exit_code() {
    let (_site, stage, proxy, client) = play(&[NOTHING, BACKUP]).await;
    let look = Look::plain();
    let order = add(&client).await.parse().unwrap();
    let ended = soon("the end", watch_order(&client, &order, &WatchOptions::default(), &look)).await.unwrap();
    assert_eq!((ended.exit(), ended.state.as_str()), (Exit::Done, "finished"));
    let stays: Value = client.ask("proxy", proxy::ORDER_ADD, &json!({"workflow": "backup"})).await.unwrap();
    let stays = stays["order"].as_str().unwrap().parse().unwrap();
    let limit = WatchOptions { timeout: Some(Duration::from_millis(300)), quiet: true, ..WatchOptions::default() };
    let ended = soon("the timeout", watch_order(&client, &stays, &limit, &look)).await.unwrap();
    assert_eq!(ended.exit(), Exit::WaitTimedOut);
    let held: Value =
        client.ask("proxy", proxy::ORDER_ADD, &json!({"workflow": "nothing", "held": true})).await.unwrap();
    let held: ordo_domain::OrderId = held["order"].as_str().unwrap().parse().unwrap();
    let watching = tokio::spawn({
        let (client, held) = (client.clone(), held.clone());
        async move { watch_order(&client, &held, &WatchOptions::default(), &Look::plain()).await }
    });
    let _: Value = client.ask("proxy", proxy::ORDER_CANCEL, &json!({"orders": [held]})).await.unwrap();
    let ended = soon("the cancellation", watching).await.unwrap().unwrap();
    assert_eq!(ended.exit(), Exit::OrderCancelled);
    let unknown =
        watch_order(&client, &"20260101-A1-x".parse().unwrap(), &WatchOptions::default(), &look).await.unwrap_err();
    assert_eq!(unknown.exit(), Exit::NotFound);
    stage.stop().await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_who_is_there_and_who_was() {
    let (site, stage, first, client) = play(&[]).await;
    let second = Proxy::ready(&site, "p2").await;
    let activity = async |instance: &str| {
        let status: StatusReply = client.ask("proxy", proxy::STATUS, &Nothing {}).await.unwrap();
        let beat = status.instances.into_iter().find(|beat| beat.role == "proxy" && beat.instance == instance);
        beat.map(|beat| serde_json::to_value(beat.activity).unwrap().as_str().unwrap().to_owned())
    };
    wait_until(SOON, "both proxies are seen", async || {
        activity("p1").await.as_deref() == Some("active") && activity("p2").await.as_deref() == Some("active")
    })
    .await;
    first.stop().await;
    wait_until(SOON, "the first has stopped in order", async || activity("p1").await.as_deref() == Some("stopping"))
        .await;
    let status: StatusReply = client.ask("proxy", proxy::STATUS, &Nothing {}).await.unwrap();
    assert_eq!((status.epoch, status.active_controller), (1, None), "no heartbeat of a controller was heard");
    assert!(status.journal.last >= 2 && status.journal.lag.contains_key("proxy"), "{:?}", status.journal);
    stage.stop().await;
    second.stop().await;
}
