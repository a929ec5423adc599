//! The lease: three ways to take it over, hand-over, trouble, and the trap that makes it immortal.

use crate::bus_site::{SOON, Site, soon};
use ordo_journal::{Bus, Lease, LeaseConfig, LeaseEvent, Service, ServiceSpec, Takeover, confirm_loss, no_calls};
use ordo_testkit::User;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;

struct Instance {
    bus: Bus,
    lease: Lease,
    events: UnboundedReceiver<LeaseEvent>,
    service: Option<Service>,
}

impl Instance {
    async fn start(site: &Site, name: &str) -> Self {
        let bus = site.bus(&User::Controller).await;
        let service = bus.serve(spec(name), no_calls()).await.unwrap();
        let config = LeaseConfig::new(name.parse().unwrap(), "node-a".parse().unwrap());
        let (lease, events) = Lease::start(&bus, config);
        Self { bus, lease, events, service: Some(service) }
    }

    async fn next(&mut self) -> LeaseEvent {
        soon("a lease event", self.events.recv()).await.unwrap()
    }

    /// By which way it was gained.
    async fn gained(&mut self) -> Takeover {
        match self.next().await {
            LeaseEvent::Gained { by, .. } => by,
            event => panic!("{event:?}"),
        }
    }

    async fn lost(&mut self) -> String {
        loop {
            match self.next().await {
                LeaseEvent::Lost { why } => return why,
                LeaseEvent::Paused | LeaseEvent::Resumed { .. } => {}
                event => panic!("{event:?}"),
            }
        }
    }

    /// Lives on without renewing: as a process that hangs, whose connection still answers.
    fn hang(self) -> (Bus, Option<Service>) {
        (self.bus, self.service)
    }
}

fn spec(name: &str) -> ServiceSpec {
    ServiceSpec {
        role: "controller".into(),
        instance: name.into(),
        node: "node-a".into(),
        description: "A controller of a test".into(),
        version: "0.1.0".into(),
        at_a_time: 16,
        role_endpoints: vec![],
        instance_endpoints: vec![],
    }
}

async fn pair(site: &Site) -> (Instance, Instance) {
    let mut first = Instance::start(site, "c1").await;
    assert_eq!(first.gained().await, Takeover::Free);
    let second = Instance::start(site, "c2").await;
    (first, second)
}

/// Until the standby has seen who is active.
async fn follows(standby: &Instance) {
    let mut seen = standby.lease.seen();
    soon("the standby to see the holder", seen.wait_for(Option::is_some)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_holds_it_and_renews_it() {
    let site = Site::start().await;
    let (first, mut second) = pair(&site).await;
    follows(&second).await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        assert!(first.lease.holds() && !second.lease.holds());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(second.events.try_recv().is_err());
    let entry = second.bus.leases().get("controller").await.unwrap().unwrap();
    let value = String::from_utf8(entry.value.unwrap().to_vec()).unwrap();
    assert!(value.contains("\"active\":\"c1\"") && value.contains("since"), "{value}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_stops_renewing_is_replaced_by_its_marker() {
    let site = Site::start().await;
    let (first, mut second) = pair(&site).await;
    follows(&second).await;
    let started = Instant::now();
    let _alive = first.hang();
    assert_eq!(second.gained().await, Takeover::Marker);
    let took = started.elapsed();
    assert!(took < Duration::from_millis(3500), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_whose_process_is_gone_is_replaced_before_its_time_is_over() {
    let site = Site::start().await;
    let (first, mut second) = pair(&site).await;
    follows(&second).await;
    let started = Instant::now();
    first.bus.close_now();
    assert_eq!(second.gained().await, Takeover::NoResponders);
    let took = started.elapsed();
    assert!(took < Duration::from_millis(1900), "{took:?}");
}

/// A lease without a time to live (as the library's `update` would leave it) and a holder that answers but never
/// renews: only the clock of the standby helps.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_neither_expires_nor_moves_is_replaced_by_silence() {
    let site = Site::start().await;
    let bus = site.bus(&User::Controller).await;
    let _alive = bus.serve(spec("c1"), no_calls()).await.unwrap();
    let value = r#"{"active":"c1","node":"node-a","since":"2026-11-22T00:00:00Z"}"#;
    bus.leases().put("controller", value).await.unwrap();
    let mut second = Instance::start(&site, "c2").await;
    follows(&second).await;
    let started = Instant::now();
    assert_eq!(second.gained().await, Takeover::Silence);
    assert!(started.elapsed() > Duration::from_millis(2500), "{:?}", started.elapsed());
}

/// The trap: what the library's `update` writes has no time to live. Ours has, over a marker too.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_taken_over_a_marker_still_expires() {
    let site = Site::start().await;
    let (first, mut second) = pair(&site).await;
    follows(&second).await;
    let _alive = first.hang();
    assert_eq!(second.gained().await, Takeover::Marker);
    let bus = second.bus.clone();
    let _alive_too = second.hang();
    let started = Instant::now();
    ordo_testkit::wait_until(SOON, "the expiry", async || {
        bus.leases().get("controller").await.unwrap().is_some_and(|entry| entry.value.is_none())
    })
    .await;
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_is_quick_and_goes_to_the_one_named() {
    let site = Site::start().await;
    let (mut first, mut second) = pair(&site).await;
    let mut third = Instance::start(&site, "c3").await;
    follows(&second).await;
    follows(&third).await;
    let started = Instant::now();
    first.lease.hand_over(&"c3".parse().unwrap()).await.unwrap();
    assert_eq!(third.gained().await, Takeover::HandedOver);
    let took = started.elapsed();
    assert!(took < Duration::from_millis(700), "{took:?}");
    assert!(first.lost().await.contains("c3"));
    assert!(!first.lease.holds() && third.lease.holds());
    assert!(second.events.try_recv().is_err());
    // And back: the one that gave it away stands by like any other.
    third.lease.hand_over(&"c1".parse().unwrap()).await.unwrap();
    assert_eq!(first.gained().await, Takeover::HandedOver);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_to_nobody_there_is_taken_up_by_another() {
    let site = Site::start().await;
    let (mut first, mut second) = pair(&site).await;
    follows(&second).await;
    first.lease.hand_over(&"c9".parse().unwrap()).await.unwrap();
    let (mut by_first, mut by_second) = (None, None);
    assert!(first.lost().await.contains("c9"));
    tokio::select! {
        by = first.gained() => by_first = Some(by),
        by = second.gained() => by_second = Some(by),
    }
    assert_eq!(by_first.or(by_second), Some(Takeover::Marker));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_lease_is_taken_at_once() {
    let site = Site::start().await;
    let (mut first, mut second) = pair(&site).await;
    follows(&second).await;
    let started = Instant::now();
    first.lease.release().await.unwrap();
    assert_eq!(second.gained().await, Takeover::Marker);
    let took = started.elapsed();
    assert!(took < Duration::from_millis(700), "{took:?}");
    assert_eq!(first.lost().await, "released");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_role_waits_for_its_instance_or_for_a_person() {
    let site = Site::start().await;
    let (first, mut second) = pair(&site).await;
    follows(&second).await;
    first.lease.hold("ops", "new disk").await.unwrap();
    first.bus.close_now();
    drop(first);
    // Longer than every other way takes.
    let waited = tokio::time::timeout(Duration::from_millis(4500), second.events.recv()).await;
    assert!(waited.is_err(), "{waited:?}");
    let person = second.bus.clone();
    assert!(!confirm_loss(&person, &"c7".parse().unwrap()).await.unwrap());
    assert!(confirm_loss(&person, &"c1".parse().unwrap()).await.unwrap());
    assert_eq!(second.gained().await, Takeover::Marker);
    // And the one that comes back to a role it holds itself takes it at once.
    second.lease.hold("ops", "again").await.unwrap();
    drop(second);
    let mut again = Instance::start(&site, "c2").await;
    assert_eq!(again.gained().await, Takeover::OwnBefore);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_holder_keeps_its_lease_over_a_restart_of_the_server() {
    let mut site = Site::start().await;
    let (mut first, mut second) = pair(&site).await;
    follows(&second).await;
    // Longer than a lease lives.
    site.nats.stop().await;
    assert_eq!(first.next().await, LeaseEvent::Paused);
    assert!(!first.lease.holds());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    site.nats.start_again().await;
    let resumed = first.next().await;
    assert!(matches!(resumed, LeaseEvent::Resumed { .. }), "{resumed:?}");
    ordo_testkit::wait_until(SOON, "the lease to hold", async || first.lease.holds()).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(first.lease.holds() && second.events.try_recv().is_err());
    // The standby came through the restart as well.
    first.bus.close_now();
    second.gained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_no_candidate_leaves_it() {
    let site = Site::start().await;
    let (first, mut second) = pair(&site).await;
    second.lease.set_candidate(false);
    follows(&second).await;
    first.lease.release().await.unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(1500), second.events.recv()).await;
    assert!(waited.is_err(), "{waited:?}");
    second.lease.set_candidate(true);
    second.gained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_overs_in_a_row_work_by_every_way() {
    let site = Site::start().await;
    let (mut active, mut standby) = pair(&site).await;
    for round in 0..6 {
        follows(&standby).await;
        let next = Instance::start(&site, &format!("n{round}")).await;
        next.lease.set_candidate(false);
        match round % 3 {
            0 => active.lease.release().await.unwrap(),
            1 => active.bus.close_now(),
            // The standby is the one that was started in the round before.
            _ => active.lease.hand_over(&format!("n{}", round - 1).parse().unwrap()).await.unwrap(),
        }
        standby.gained().await;
        active = standby;
        standby = next;
        standby.lease.set_candidate(true);
    }
    assert!(active.lease.holds());
}
