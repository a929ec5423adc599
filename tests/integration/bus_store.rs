//! Buckets, definitions and snapshots.

use crate::bus_site::{Site, chain, soon};
use ordo_journal::BusErrorKind;
use ordo_testkit::User;

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_are_written_by_each_and_read_by_who_needs_them() {
    let mut site = Site::start().await;
    let (agent, proxy) = (site.agent("etl").await, site.bus(&User::Proxy).await);
    assert!(proxy.instances().all().await.unwrap().is_empty());
    agent.put_heartbeat("i1", "one").await.unwrap();
    agent.put_heartbeat("i2", "two").await.unwrap();
    proxy.put_heartbeat("p1", "three").await.unwrap();
    agent.put_heartbeat("i1", "one again").await.unwrap();
    let all = proxy.instances().all().await.unwrap();
    let keys: Vec<&str> = all.keys().map(String::as_str).collect();
    assert_eq!(keys, ["agent-etl.i1", "agent-etl.i2", "proxy.p1"]);
    assert_eq!(all["agent-etl.i1"].value.as_deref(), Some(b"one again".as_slice()));
    assert!(all["agent-etl.i1"].stored_at.as_secs() > 1_700_000_000);
    let mut watch = proxy.instances().watch("agent-etl.*").await.unwrap();
    for expected in ["agent-etl.i2", "agent-etl.i1"] {
        assert_eq!(soon("a key", watch.next()).await.unwrap().key, expected);
    }
    assert!(watch.is_caught_up());
    agent.instances().delete("agent-etl.i2").await.unwrap();
    let gone = soon("the deletion", watch.next()).await.unwrap();
    assert_eq!((gone.key.as_str(), gone.value), ("agent-etl.i2", None));
    site.nats.kill().await;
    site.nats.start_again().await;
    ordo_testkit::wait_until(crate::bus_site::SOON, "a heartbeat", async || {
        agent.put_heartbeat("i1", "after").await.is_ok()
    })
    .await;
    let entry = soon("the heartbeat", watch.next()).await.unwrap();
    assert_eq!(entry.value.as_deref(), Some(b"after".as_slice()));
    assert_eq!(proxy.instances().all().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_stored_by_the_proxy_and_read_by_agents() {
    let site = Site::start().await;
    let (proxy, agent) = (site.bus(&User::Proxy).await, site.agent("etl").await);
    let body = "x".repeat(300 * 1024).into_bytes();
    let hash = proxy.definitions().put_by_hash("workflow backup", &body).await.unwrap();
    assert_eq!(proxy.definitions().put_by_hash("workflow backup", &body).await.unwrap(), hash);
    assert_eq!(agent.definition(&hash).await.unwrap().unwrap(), body);
    assert!(agent.definition(&"0".repeat(64)).await.unwrap().is_none());
    let empty = proxy.definitions().put_by_hash("nothing", b"").await.unwrap();
    assert_eq!(agent.definition(&empty).await.unwrap().unwrap(), "");
    let listed = proxy.definitions().list().await.unwrap();
    assert_eq!(
        listed.iter().map(|i| (i.name.as_str(), i.size)).collect::<Vec<_>>(),
        [(hash.as_str(), 300 * 1024), (empty.as_str(), 0)]
    );
    assert_eq!(listed[0].description.as_deref(), Some("workflow backup"));
    let error = proxy.definitions().put("huge", "", &vec![0; 3 * 1024 * 1024]).await.unwrap_err();
    assert_eq!(error.kind(), BusErrorKind::TooLarge);
    // What was overwritten leaves nothing behind, what was deleted is gone.
    proxy.definitions().put("name", "first", &body).await.unwrap();
    proxy.definitions().put("name", "second", b"short").await.unwrap();
    assert_eq!(agent.definitions().get("name").await.unwrap().unwrap(), "short");
    assert!(proxy.definitions().delete("name").await.unwrap());
    assert!(!proxy.definitions().delete("name").await.unwrap());
    assert!(agent.definitions().get("name").await.unwrap().is_none());
    assert!(agent.definitions().put("mine", "", b"x").await.is_err());
}

/// The format is that of other clients: what the library writes, ours reads, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn objects_are_those_of_every_nats_client() {
    let site = Site::start().await;
    let controller = site.bus(&User::Controller).await;
    controller.snapshots().put(7, "inc", 1, b"state".to_vec()).await.unwrap();
    let raw = site.nats.connect(&User::Controller).await;
    let stream = ordo_contract::name::object_stream(&site.nats.site().snapshot_store());
    let info = raw.request(format!("$JS.API.STREAM.INFO.{stream}"), r#"{"subjects_filter":">"}"#.into()).await.unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info.payload).unwrap();
    let subjects: Vec<&String> = info["state"]["subjects"].as_object().unwrap().keys().collect();
    // Base 64 of twenty digits.
    let meta = format!("$O.{}.M.MDAwMDAwMDAwMDAwMDAwMDAwMDc=", site.nats.site().snapshot_store());
    assert!(subjects.contains(&&meta), "{subjects:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_verified_and_a_broken_one_is_passed_over() {
    let site = Site::start().await;
    let (controller, proxy) = (site.bus(&User::Controller).await, site.bus(&User::Proxy).await);
    let state = |n: u8| vec![n; 3_000_000];
    for sequence in [10, 20, 30] {
        let head = controller.snapshots().put(sequence, "inc", 1, state(sequence as u8)).await.unwrap();
        assert_eq!((head.sequence, head.size), (sequence, 3_000_000));
    }
    controller.snapshots().put(40, "inc", 2, state(40)).await.unwrap();
    controller.snapshots().put(50, "another", 1, state(50)).await.unwrap();
    assert_eq!(proxy.snapshots().list().await.unwrap(), [50, 40, 30, 20, 10]);
    let (head, found) = proxy.snapshots().newest("inc", |format| format == 1).await.unwrap().unwrap();
    assert_eq!((head.sequence, found.len(), found[0]), (30, 3_000_000, 30));
    // Its information replaced by what points to garbage: first by somebody without the right to, then as a bad disk.
    let raw = site.nats.connect(&User::Controller).await;
    let store = site.nats.site().snapshot_store();
    let body =
        serde_json::json!({ "name": format!("{:020}", 30), "bucket": store, "nuid": "x", "size": 9, "chunks": 1 });
    raw.request(format!("$O.{store}.C.x"), "no state!".into()).await.unwrap();
    let meta = format!("$O.{store}.M.MDAwMDAwMDAwMDAwMDAwMDAwMzA=");
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Rollup", "sub");
    raw.request_with_headers(meta.clone(), headers.clone(), body.to_string().into()).await.unwrap();
    assert_eq!(proxy.snapshots().get(30).await.unwrap_err().kind(), BusErrorKind::NotFound);
    headers.insert(ordo_contract::right::ADDRESS_HEADER, meta.as_str());
    raw.request_with_headers(meta, headers, body.to_string().into()).await.unwrap();
    let error = proxy.snapshots().get(30).await.unwrap_err();
    assert_eq!(error.kind(), BusErrorKind::Corrupt, "{}", chain(&error));
    let (head, _) = proxy.snapshots().newest("inc", |format| format == 1).await.unwrap().unwrap();
    assert_eq!(head.sequence, 20);
    assert_eq!(controller.snapshots().prune(2).await.unwrap(), 3);
    assert_eq!(proxy.snapshots().list().await.unwrap(), [50, 40]);
    assert!(proxy.snapshots().newest("none", |_| true).await.unwrap().is_none());
}
