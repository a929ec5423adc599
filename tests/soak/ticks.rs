//! Each tick has exactly one order, or lies in a stretch that an event says was skipped.

use crate::night::{Night, SCHEDULES, events, schedule_name};
use chrono::{DateTime, Utc};
use ordo_contract::commit::Commit;
use ordo_domain::order::event::CancelReason;
use ordo_domain::{Event, OrderId};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
struct Ticks {
    deployed_at: Option<DateTime<Utc>>,
    /// By second.
    orders: BTreeMap<i64, Vec<OrderId>>,
    skipped: Vec<(i64, i64)>,
}

fn ticks(commits: &[Commit]) -> (BTreeMap<String, Ticks>, usize) {
    let mut all: BTreeMap<String, Ticks> = BTreeMap::new();
    let mut late = 0;
    for (at, event) in events(commits) {
        match event {
            Event::DefinitionDeployed(e) => {
                all.entry(e.name.to_string()).or_default().deployed_at.get_or_insert(at);
            }
            Event::OrderAdded(e) => {
                if let Some(start) = &e.start {
                    let of = all.entry(start.schedule.clone()).or_default();
                    of.orders.entry(start.instant.timestamp()).or_default().push(e.order.clone());
                }
            }
            Event::OrderCancelled(e) if e.reason == CancelReason::Replanned => {
                panic!("{} was taken back, and nobody changed its schedule", e.order)
            }
            Event::OrderStarted(e) if e.late_by.is_some() => late += 1,
            Event::StartSkipped(e) => {
                let last = e.until.unwrap_or(e.start.instant);
                let of = all.entry(e.start.schedule.clone()).or_default();
                of.skipped.push((e.start.instant.timestamp(), last.timestamp()));
            }
            _ => {}
        }
    }
    (all, late)
}

pub fn each_has_one_order_or_one_stated_reason(night: &Night, commits: &[Commit]) {
    let (ticks, late) = ticks(commits);
    let mut counted = 0;
    for n in 0..SCHEDULES {
        let name = schedule_name(n);
        let of = ticks.get(&name).unwrap_or_else(|| panic!("{name} has not ticked"));
        let begin = of.deployed_at.unwrap_or_else(|| panic!("{name} was not deployed"));
        for second in begin.timestamp() + 1..=night.end.timestamp() {
            let orders = of.orders.get(&second).map_or(0, Vec::len);
            let skips = of.skipped.iter().filter(|(first, last)| (*first..=*last).contains(&second)).count();
            assert_eq!(orders + skips, 1, "{name} at {second}: {orders} orders, {skips} stretches that were skipped");
            counted += 1;
        }
    }
    println!(
        "{counted} ticks of {SCHEDULES} schedules, each once; {late} started more than a second late, which is an event"
    );
    assert!(counted > 1_000, "only {counted}");
}
