//! Requests, answers and discovery.

use crate::bus_site::{Site, soon};
use futures::{FutureExt, StreamExt};
use ordo_journal::{Bus, Call, CallError, Handler, RequestError, Service, ServiceSpec};
use ordo_testkit::User;
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);

fn echo(name: &'static str) -> Handler {
    Arc::new(move |call: Call| {
        async move {
            match call.verb.as_str() {
                "refuse" => Err(CallError::new(409, "order is\nfinished").with_body(r#"{"code":"OrderTerminated"}"#)),
                "slow" => {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    Ok("{}".into())
                }
                _ if &call.body[..] == b"long" => Ok(vec![b' '; 2 << 20].into()),
                _ => {
                    let instance = call.instance.as_deref().unwrap_or("-");
                    Ok(format!("{name} {} {instance} {}", call.user, String::from_utf8_lossy(&call.body)).into())
                }
            }
        }
        .boxed()
    })
}

async fn proxy(site: &Site, name: &'static str) -> (Bus, Service) {
    let bus = site.bus(&User::Proxy).await;
    let spec = ServiceSpec {
        role: "proxy".into(),
        instance: name.into(),
        node: "node-a".into(),
        description: "Everybody's door to the controllers".into(),
        version: "0.1.0".into(),
        at_a_time: 64,
        role_endpoints: vec![("order", "add"), ("order", "refuse"), ("order", "slow")],
        instance_endpoints: vec![("instance", "status")],
    };
    let service = bus.serve(spec, echo(name)).await.unwrap();
    (bus, service)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_known_and_answers_and_refusals_come_back() {
    let site = Site::start().await;
    let (_bus, _service) = proxy(&site, "p1").await;
    let ops = site.person("ops").await;
    let names = site.nats.site();
    let answer = ops.request(&names.request("ops", "proxy", "order", "add"), "hello", LIMIT).await.unwrap();
    assert_eq!(answer, "p1 ops - hello");
    match ops.request(&names.request("ops", "proxy", "order", "refuse"), "", LIMIT).await {
        Err(RequestError::Refused(error)) => {
            assert_eq!((error.code, error.text.as_str()), (409, "order is finished"));
            assert_eq!(error.body, r#"{"code":"OrderTerminated"}"#);
        }
        outcome => panic!("{outcome:?}"),
    }
    let answer = ops.request(&names.instance("ops", "proxy", "p1", "instance", "status"), "?", LIMIT).await.unwrap();
    assert_eq!(answer, "p1 ops p1 ?");
    let outcome = ops.request(&names.request("ops", "proxy", "order", "fly"), "", LIMIT).await;
    assert!(matches!(outcome, Err(RequestError::NoResponders { .. })), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_the_bus_does_not_take_is_an_error_and_no_silence() {
    let site = Site::start().await;
    let (_bus, _service) = proxy(&site, "p1").await;
    let ops = site.person("ops").await;
    let subject = site.nats.site().request("ops", "proxy", "order", "add");
    match ops.request(&subject, "long", LIMIT).await {
        Err(RequestError::Refused(error)) => {
            assert_eq!(error.code, 413);
            assert!(error.text.contains("2097152 bytes") && error.text.contains("ask for less"), "{}", error.text);
        }
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_instance_answers_for_the_role_and_one_for_itself() {
    let site = Site::start().await;
    let (one, _first) = proxy(&site, "p1").await;
    let (_two, _second) = proxy(&site, "p2").await;
    let ops = site.person("ops").await;
    let subject = site.nats.site().request("ops", "proxy", "order", "add");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let answer = ops.request(&subject, "", LIMIT).await.unwrap();
        seen.insert(answer[..2].to_vec());
    }
    assert_eq!(seen.len(), 2);
    assert!(ops.ping("proxy", "p1", LIMIT).await.unwrap());
    one.close_now();
    ordo_testkit::wait_until(LIMIT, "p1 to be gone", async || {
        // A ping that reached the dying connection is never answered: that proves nothing.
        !ops.ping("proxy", "p1", Duration::from_millis(200)).await.unwrap_or(true)
    })
    .await;
    assert!(ops.ping("proxy", "p2", LIMIT).await.unwrap());
    for _ in 0..10 {
        assert_eq!(&ops.request(&subject, "", LIMIT).await.unwrap()[..2], b"p2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_hold_up_neither_others_nor_the_ping() {
    let site = Site::start().await;
    let (_bus, _service) = proxy(&site, "p1").await;
    let ops = site.person("ops").await;
    let slow = site.nats.site().request("ops", "proxy", "order", "slow");
    let started = std::time::Instant::now();
    let all = futures::future::join_all((0..40).map(|_| ops.request(&slow, "", LIMIT)));
    let (answers, ping) = tokio::join!(all, ops.ping("proxy", "p1", LIMIT));
    assert!(ping.unwrap() && answers.into_iter().all(|a| a.is_ok()));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_micro_finds_every_instance() {
    let site = Site::start().await;
    let (_one, _first) = proxy(&site, "p1").await;
    let (_two, second) = proxy(&site, "p2").await;
    let cli = site.nats.connect(&User::Person("ops".into())).await;
    let inbox = cli.new_inbox();
    let mut answers = cli.subscribe(inbox.clone()).await.unwrap();
    cli.publish_with_reply("$SRV.INFO", inbox, "".into()).await.unwrap();
    let mut found = Vec::new();
    while found.len() < 2 {
        let answer = soon("an answer", answers.next()).await.unwrap();
        let info: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(info["name"], "ordo-default-proxy");
        let instance = info["metadata"]["instance"].as_str().unwrap();
        let description = format!("Everybody's door to the controllers ({instance} on node-a)");
        assert_eq!(info["description"], description.as_str());
        assert_eq!(info["endpoints"].as_array().unwrap().len(), 5, "{info}");
        found.push(info["metadata"]["instance"].as_str().unwrap().to_owned());
    }
    found.sort_unstable();
    assert_eq!(found, ["p1", "p2"]);
    drop(second);
    let subject = site.nats.site().instance("ops", "proxy", "p2", "instance", "status");
    let ops = site.person("ops").await;
    ordo_testkit::wait_until(LIMIT, "p2 to stop", async || {
        matches!(ops.request(&subject, "", LIMIT).await, Err(RequestError::NoResponders { .. }))
    })
    .await;
}
