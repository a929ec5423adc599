//! The mechanisms of services, with a service that does nothing else.

use crate::service_case as case;
use crate::service_probe::{POLICY, Probe};
use crate::service_site::{LIMIT, ServiceSite};
use ordo_contract::commit::chain_hash;
use ordo_contract::heartbeat::Activity;
use ordo_contract::name::StreamKind;
use ordo_contract::request::catalog::DeployedReply;
use ordo_contract::request::{ServiceReply, service};
use ordo_journal::{Call, CallError, ServiceSpec};
use ordo_testkit::{TestPostgres, User, wait_until};
use std::sync::Arc;

#[tokio::test]
async fn killed_at_every_point_it_does_all_and_repeats_only_what_was_under_way() {
    let mut site = ServiceSite::<Probe>::new(51).await;
    let deaths = case::killed_everywhere(&mut site).await;
    let repeats = Probe::repeats(&site);
    assert!(repeats <= deaths * POLICY.at_a_time, "{repeats} effects happened again in {deaths} deaths");
}

#[tokio::test]
async fn of_two_at_once_one_works_and_nothing_is_lost_when_it_goes() {
    let mut site = ServiceSite::<Probe>::new(52).await;
    case::two_at_once(&mut site).await;
    let repeats = Probe::repeats(&site);
    assert!(repeats <= 2 * POLICY.at_a_time, "{repeats} effects happened again");
}

#[tokio::test]
async fn the_bus_is_waited_for_and_nothing_happens_twice() {
    let mut site = ServiceSite::<Probe>::new(53).await;
    case::bus_away(&mut site).await;
    assert_eq!(Probe::repeats(&site), 0);
}

#[tokio::test]
async fn postgresql_is_waited_for_and_only_what_was_under_way_happens_twice() {
    let mut site = ServiceSite::<Probe>::with(54, TestPostgres::start_own().await).await;
    case::database_away(&mut site).await;
    let repeats = Probe::repeats(&site);
    assert!(repeats <= 2 * POLICY.at_a_time, "{repeats} effects happened again");
}

#[tokio::test]
async fn an_older_copy_of_the_rows_catches_up_under_the_same_keys() {
    let mut site = ServiceSite::<Probe>::new(55).await;
    case::restored(&mut site).await;
}

#[tokio::test]
async fn run_now_reaches_the_active_instance_whoever_is_asked_and_knows_who_asked() {
    let mut site = ServiceSite::<Probe>::new(56).await;
    site.live(3).await;
    let instances = [site.start("s1"), site.start("s2")];
    site.wait_done().await;
    wait_until(LIMIT, "one is active, one stands by", async || {
        let mut seen = Vec::new();
        for name in ["s1", "s2"] {
            seen.push(site.heartbeat(name).await.map(|beat| beat.activity));
        }
        seen.contains(&Some(Activity::Active)) && seen.contains(&Some(Activity::Standby))
    })
    .await;
    let active = match site.heartbeat("s1").await.unwrap().activity {
        Activity::Active => "s1",
        _ => "s2",
    };
    let other = if active == "s1" { "s2" } else { "s1" };
    // Often enough that both were asked.
    for _ in 0..20 {
        let reply = site.ask(None, "probe.active").await.unwrap();
        assert_eq!(serde_json::from_slice::<[String; 2]>(&reply).unwrap(), [active, "ops"]);
        let reply = site.ask(None, service::RUN).await.unwrap();
        assert_eq!(serde_json::from_slice::<ServiceReply>(&reply).unwrap().instance, active);
    }
    site.ask(Some(active), service::RUN).await.unwrap();
    let refused = site.ask(Some(other), service::RUN).await.unwrap_err();
    assert!(refused.code == 503 && refused.text.contains(&format!("{active} is")), "{refused:?}");
    wait_until(LIMIT, "the active one ran", async || {
        let runs = std::fs::read_to_string(site.folder.join("runs")).unwrap_or_default();
        assert!(runs.lines().all(|line| line == active), "{runs}");
        !runs.is_empty()
    })
    .await;
    // Not for strangers.
    let agent = site.site.agent("etl").await;
    let subject = agent.names().request("agent-etl", "history", "service", "run");
    let refused = agent.request(&subject, "{}", crate::bus_site::SOON).await.unwrap_err();
    assert!(refused.to_string().contains("agents"), "{refused}");
    for instance in instances {
        instance.stop().await;
    }
}

#[tokio::test]
async fn a_restart_hands_the_role_over_and_asks_the_supervisor_to_start_it_again() {
    let mut site = ServiceSite::<Probe>::new(57).await;
    let first = site.spawn("s1", None);
    site.live(5).await;
    site.wait_done().await;
    let second = site.start("s2");
    wait_until(LIMIT, "the second stands by", async || {
        site.heartbeat("s2").await.is_some_and(|beat| beat.activity == Activity::Standby)
    })
    .await;
    let begin = std::time::Instant::now();
    site.ask(Some("s1"), service::RESTART).await.unwrap();
    assert_eq!(first.wait().await.code(), Some(75));
    wait_until(LIMIT, "the second is active", async || {
        site.heartbeat("s2").await.is_some_and(|beat| beat.activity == Activity::Active)
    })
    .await;
    // By the released lease, not by its time running out and a look around.
    assert!(begin.elapsed() < std::time::Duration::from_secs(3), "{:?}", begin.elapsed());
    assert_eq!(site.heartbeat("s1").await.unwrap().activity, Activity::Stopping);
    site.live(5).await;
    site.wait_done().await;
    let error = {
        site.ask(Some("s2"), service::RESTART).await.unwrap();
        second.outcome().await.unwrap_err()
    };
    assert!(error.downcast_ref::<ordo_runtime::exit::RestartWanted>().is_some(), "{error:#}");
}

#[tokio::test]
async fn where_commits_are_gone_it_begins_anew_from_what_is_deployed() {
    let mut site = ServiceSite::<Probe>::new(58).await;
    let controller = site.site.bus(&User::Controller).await;
    let instance = site.start("s1");
    site.live(20).await;
    site.wait_done().await;
    instance.stop().await;
    site.live(20).await;
    controller.purge_journal(site.appended as u64 - 5).await.unwrap();
    let instance = site.start("s1");
    wait_until(LIMIT, "it says that it needs the proxy", async || {
        let note = site.heartbeat("s1").await.and_then(|beat| beat.note);
        note.is_some_and(|note| note.contains("rebuild needed") && note.contains("proxy"))
    })
    .await;
    let picture = DeployedReply {
        incarnation: site
            .person
            .stream_info(&site.person.names().stream(StreamKind::Journal))
            .await
            .unwrap()
            .incarnation,
        sequence: site.appended as u64,
        hash: chain_hash(site.life.commits.last().unwrap()),
        epoch: 1,
        at: None,
        definitions: Vec::new(),
    };
    let reply = bytes::Bytes::from(serde_json::to_vec(&picture).unwrap());
    let spec = ServiceSpec {
        role: "proxy".into(),
        instance: "p1".into(),
        node: "node-a".into(),
        description: "Stands for a proxy".into(),
        version: "1.0.0".into(),
        at_a_time: 1,
        role_endpoints: vec![("definition", "deployed")],
        instance_endpoints: Vec::new(),
    };
    let answering = move |_: Call| {
        let reply = reply.clone();
        Box::pin(async move { Ok::<_, CallError>(reply) }) as futures::future::BoxFuture<'static, _>
    };
    let _proxy = site.site.bus(&User::Proxy).await.serve(spec, Arc::new(answering)).await.unwrap();
    site.wait_caught_up().await;
    let began = std::fs::read_to_string(site.folder.join("began")).unwrap();
    assert_eq!(began, format!("{}\n", site.appended));
    // What comes then is read as ever.
    let begun = site.appended;
    site.live(20).await;
    site.wait_caught_up().await;
    assert!(site.appended > begun);
    wait_until(LIMIT, "trouble is over", async || {
        site.heartbeat("s1").await.is_some_and(|beat| beat.note.is_none() && beat.activity == Activity::Active)
    })
    .await;
    instance.stop().await;
}
