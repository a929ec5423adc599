//! Making the site's streams.

use crate::bus_site::Site;
use ordo_contract::bus_config::{Limits, all_streams};
use ordo_contract::name::{SiteNames, StreamKind};
use ordo_journal::{Bus, INCARNATION, is_provisioned, provision};
use ordo_testkit::{TestNats, User};
use serde_json::Value;

async fn ask(client: &async_nats::Client, subject: String) -> Value {
    let answer = client.request(subject, "".into()).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn provisioning_can_be_repeated_and_keeps_what_is_there() {
    let site = Site { nats: TestNats::start().await };
    let bus = site.bus(&User::Controller).await;
    assert!(!is_provisioned(&bus).await.unwrap());
    let limits = Limits::scaled_down(64);
    let first = provision(&bus, &limits).await.unwrap();
    assert_eq!((first.created.len(), first.updated.len(), first.unchanged), (12 + 9, 0, 0), "{first:?}");
    assert!(is_provisioned(&site.bus(&User::Proxy).await).await.unwrap());
    let incarnation = bus.incarnation(StreamKind::Journal).await.unwrap();
    assert_eq!(incarnation.len(), 12);
    let again = provision(&bus, &limits).await.unwrap();
    assert_eq!((again.created.len(), again.updated.len(), again.unchanged), (0, 0, 21), "{again:?}");
    let larger = Limits { reports: limits.reports * 2, ..limits };
    let changed = provision(&bus, &larger).await.unwrap();
    assert_eq!(changed.updated, ["ORDO-default-REPORTS"]);
    assert_eq!(bus.incarnation(StreamKind::Journal).await.unwrap(), incarnation);
    let made = bus.ensure_agent_consumers("etl").await.unwrap();
    assert_eq!(made.created.len(), 2);
    assert_eq!(bus.ensure_agent_consumers("etl").await.unwrap().unchanged, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_controllers_that_provision_at_once_agree() {
    let site = Site { nats: TestNats::start().await };
    let (one, two) = (site.bus(&User::Controller).await, site.bus(&User::Controller).await);
    let limits = Limits::scaled_down(64);
    let (a, b) = tokio::join!(provision(&one, &limits), provision(&two, &limits));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert!(a.updated.is_empty() && b.updated.is_empty(), "{a:?} {b:?}");
    let seen = one.incarnation(StreamKind::Journal).await.unwrap();
    assert_eq!(seen, two.incarnation(StreamKind::Journal).await.unwrap());
}

/// Everything that `nats stream ls`, `nats consumer report` and `nats kv ls` show says what it is for.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_knows_what_everything_is_for_and_how_it_is_kept() {
    let site = Site::start().await;
    let bus = site.bus(&User::Controller).await;
    bus.ensure_agent_consumers("etl").await.unwrap();
    let raw = site.nats.connect(&User::Controller).await;
    let names = site.nats.site();
    for spec in all_streams(names, &Limits::scaled_down(64)) {
        let info = ask(&raw, format!("$JS.API.STREAM.INFO.{}", spec.name)).await;
        let config = &info["config"];
        assert_eq!(config["description"], spec.description, "{}", spec.name);
        assert!(config["metadata"][INCARNATION].is_string(), "{}", spec.name);
        assert_eq!(config["max_bytes"].as_i64().unwrap(), spec.max_bytes.map_or(-1, |b| b as i64), "{}", spec.name);
        assert_eq!(config["storage"], "file");
        assert_eq!(config["deny_delete"].as_bool().unwrap_or_default(), spec.deny_delete, "{}", spec.name);
        let is_async = config["persist_mode"] == "async";
        assert_eq!(is_async, spec.async_persistence, "{}: {config}", spec.name);
    }
    let mut consumers = 0;
    for kind in [StreamKind::Journal, StreamKind::Output, StreamKind::Jobs, StreamKind::Logs, StreamKind::Notices] {
        let list = ask(&raw, format!("$JS.API.CONSUMER.LIST.{}", names.stream(kind))).await;
        for consumer in list["consumers"].as_array().unwrap() {
            assert!(consumer["config"]["description"].as_str().is_some_and(|d| d.len() > 20), "{consumer}");
            assert!(consumer["config"]["filter_subject"].is_string(), "{consumer}");
            consumers += 1;
        }
    }
    assert_eq!(consumers, 11);
    let deleted = ask(&raw, format!("$JS.API.STREAM.INFO.{}", names.stream(StreamKind::Journal))).await;
    assert_eq!(deleted["config"]["discard"], "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_on_one_server_do_not_see_each_other() {
    let site = Site::start().await;
    let mut config = site.config(&User::Controller);
    config.site = SiteNames::new("other").unwrap();
    // The credentials are for the site `default`: nothing can be made for another.
    let bus = Bus::connect(config).await.unwrap();
    let outcome = tokio::time::timeout(std::time::Duration::from_secs(2), provision(&bus, &Limits::default())).await;
    assert!(!matches!(outcome, Ok(Ok(_))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journals_headroom_is_a_figure() {
    let site = Site::start().await;
    let bus = site.bus(&User::Controller).await;
    let plenty = bus.headroom(1 << 30).await.unwrap();
    assert!(plenty.percent() < 5 && !plenty.is_scarce(), "{plenty:?}");
    let mut journal = ordo_journal::NatsJournal::new(&bus);
    for number in 0..4 {
        ordo_journal::Journal::append(&mut journal, number, vec![b'x'; 200 * 1024].into()).await.unwrap();
    }
    let scarce = bus.headroom(1 << 20).await.unwrap();
    assert!(scarce.is_scarce() || scarce.percent() > 70, "{scarce:?}");
    assert!(bus.headroom(900 * 1024).await.unwrap().is_scarce());
}
