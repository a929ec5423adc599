//! The history service with its real servers: what it stores, what it answers, how it says that it cannot go on.

use crate::history_site::{HistorySite, LIMIT};
use ordo_contract::heartbeat::Activity;
use ordo_contract::output::{StoredReply, StoredRequest};
use ordo_contract::request::{
    EventListReply, EventListRequest, HistoryOrder, HistoryOrdersReply, HistoryOrdersRequest, HistoryStepsReply,
    HistoryStepsRequest, LogReadReply, LogReadRequest, OrderRequest, history,
};
use ordo_domain::{OrderId, RunId};
use ordo_testkit::{User, wait_for, wait_until};

#[tokio::test]
async fn the_journal_and_the_output_come_into_the_database_and_people_can_ask() {
    let mut it = HistorySite::new(31).await;
    let instance = it.start("h1");
    it.live(150).await;
    it.assert_told().await;
    it.wait_served().await;

    let request = HistoryOrdersRequest { limit: Some(3), ..Default::default() };
    let orders: HistoryOrdersReply = it.ask(history::ORDER_LIST, &request).await.unwrap();
    assert!(orders.orders.len() == 3 && orders.more);
    assert!(orders.orders[0].number > orders.orders[1].number && orders.orders.iter().all(|o| o.parent.is_none()));
    let failed = HistoryOrdersRequest { state: Some("failed".into()), children: true, ..Default::default() };
    let failed: HistoryOrdersReply = it.ask(history::ORDER_LIST, &failed).await.unwrap();
    assert!(failed.orders.iter().all(|o| o.state == "failed" && o.text.is_some()));
    let of_day =
        HistoryOrdersRequest { business_day: chrono::NaiveDate::from_ymd_opt(2026, 11, 21), ..Default::default() };
    let of_day: HistoryOrdersReply = it.ask(history::ORDER_LIST, &of_day).await.unwrap();
    assert!(of_day.orders.is_empty());

    let (run, expected) = it.life.runs.iter().next().unwrap();
    let order = expected.order.clone();
    let shown: HistoryOrder = it.ask(history::ORDER_SHOW, &OrderRequest { order: order.clone() }).await.unwrap();
    assert_eq!(shown.order, order);
    let steps = HistoryStepsRequest { order: Some(order.clone()), ..Default::default() };
    let steps: HistoryStepsReply = it.ask(history::STEP_LIST, &steps).await.unwrap();
    assert!(steps.steps.iter().any(|s| s.run == *run));
    let events = EventListRequest { order: Some(order.clone()), after: None, limit: Some(500) };
    let events: EventListReply = it.ask(history::EVENT_LIST, &events).await.unwrap();
    assert!(events.events.iter().any(|e| e.event.get("RunClaimed").is_some()), "a claim is an event of its order too");

    let etl = it.site.agent("etl").await;
    it.print(&etl, run, 1, b"first\n").await;
    it.print(&etl, run, 2, b"second\n").await;
    let stored = StoredRequest { runs: vec![run.clone()] };
    wait_until(LIMIT, "chunks are stored", async || {
        let reply: StoredReply = it.ask(history::OUTPUT_STORED, &stored).await.unwrap();
        reply.runs[0].through == 2
    })
    .await;
    let log = LogReadRequest { order: order.clone(), run: None, after: vec![] };
    let log: LogReadReply = it.ask(history::LOG_READ, &log).await.unwrap();
    assert_eq!(log.chunks.iter().map(|c| c.text.as_str()).collect::<String>(), "first\nsecond\n");

    let unknown = OrderRequest { order: OrderId::new("20261122-P999-nothing").unwrap() };
    let (code, body) = it.ask::<HistoryOrder>(history::ORDER_SHOW, &unknown).await.unwrap_err();
    assert_eq!((code, body.code.as_str()), (404, "order_unknown"));
    let (code, _) = it.ask::<HistoryOrder>(history::ORDER_LIST, &serde_json::json!({ "stat": 1 })).await.unwrap_err();
    assert_eq!(code, 400);
    let wrong = HistoryOrdersRequest { state: Some("happy".into()), ..Default::default() };
    let (code, body) = it.ask::<HistoryOrder>(history::ORDER_LIST, &wrong).await.unwrap_err();
    assert!(code == 400 && body.message.contains("finished"), "{}", body.message);
    let many = StoredRequest { runs: (0..501).map(RunId::from_bits).collect() };
    assert_eq!(it.ask::<StoredReply>(history::OUTPUT_STORED, &many).await.unwrap_err().0, 413);

    let beat = wait_for(LIMIT, "a heartbeat with figures", async || {
        it.heartbeat("h1").await.filter(|beat| beat.lag == Some(0) && beat.links.iter().all(|l| l.ok))
    })
    .await;
    assert_eq!((beat.activity, beat.epoch, beat.note), (Activity::Active, it.life.site.epoch, None));
    assert_eq!(beat.links.iter().map(|l| l.to.as_str()).collect::<Vec<_>>(), ["NATS", "PostgreSQL"]);
    instance.stop().await;
}

#[tokio::test]
async fn output_that_overtakes_its_dispatch_waits_for_it_and_forged_output_is_refused() {
    let mut it = HistorySite::new(32).await;
    let instance = it.start("h1");
    it.wait_served().await;
    it.life.live(60);
    let run = it.life.runs.keys().next().unwrap().clone();
    let (etl, rogue) = (it.site.agent("etl").await, it.site.agent("rogue").await);
    it.print(&etl, &run, 1, b"early\n").await;
    let headers =
        ordo_journal::Headers::new().set(ordo_contract::output::RUN, &run).set(ordo_contract::output::CHUNK, 2);
    let forged = ordo_journal::Outgoing::new(rogue.names().output("rogue", run.as_str()), headers, "forged\n");
    rogue.publish(&forged, &Default::default()).await.unwrap();
    it.live(1).await;
    it.assert_told().await;
    it.print(&etl, &run, 3, b"late\n").await;
    let stored = StoredRequest { runs: vec![run] };
    let seen = wait_for(LIMIT, "the early and the late chunk are stored", async || {
        let reply: StoredReply = it.ask(history::OUTPUT_STORED, &stored).await.unwrap();
        Some(reply.runs[0].clone()).filter(|r| r.through >= 1 && !r.also.is_empty())
    })
    .await;
    assert_eq!((seen.through, seen.also), (1, vec![3]));
    instance.stop().await;
}

#[tokio::test]
async fn commits_that_are_gone_before_they_were_read_are_said_loudly_and_never_passed_over() {
    let mut it = HistorySite::new(33).await;
    it.live(30).await;
    let controller = it.site.bus(&User::Controller).await;
    controller.purge_journal(10).await.unwrap();
    let instance = it.start("h1");
    let note =
        wait_for(LIMIT, "a heartbeat that says it", async || it.heartbeat("h1").await.and_then(|beat| beat.note)).await;
    assert!(note.contains("rebuild needed"), "{note}");
    let store = it.store();
    let orders = store.orders(&HistoryOrdersRequest::default()).await.unwrap();
    assert!(orders.orders.is_empty() && orders.sequence == 0);
    it.wait_served().await;
    let health = ordo_runtime::health::probe(&it.config("h1").role.data, "history", true);
    assert!(health.unwrap_err().to_string().contains("rebuild needed"));
    instance.stop().await;
}

#[tokio::test]
async fn the_database_of_another_site_is_refused() {
    let it = HistorySite::new(34).await;
    let admin = ordo_store::Store::open(&ordo_store::Connect::new(it.config("h1").database.url, None)).unwrap();
    admin.bind_site("prod").await.unwrap();
    let refused = it.start("h1").outcome().await.unwrap_err();
    assert!(format!("{refused:#}").contains("site prod"), "{refused:#}");
}
