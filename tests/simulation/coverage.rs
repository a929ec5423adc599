//! What the seeds have reached: a simulation that never meets a case proves nothing about it.

use ordo_contract::commit::Commit;
use ordo_domain::{Event, Site};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default, Clone)]
pub struct Coverage {
    /// (order state before, event).
    transitions: BTreeMap<(&'static str, &'static str), u64>,
    events: BTreeMap<&'static str, u64>,
    /// Where a controller was when it crashed.
    crash_points: BTreeMap<&'static str, u64>,
    /// And what its orders were doing: every step that an order can stand at, at every crash point.
    crashed_in: BTreeMap<(&'static str, &'static str), u64>,
    faults: BTreeMap<&'static str, u64>,
    pub seeds: u64,
    pub orders: u64,
}

/// Events that a simulated site cannot have: operations that come with later work.
const NOT_SIMULATED: [&str; 4] = ["RoleHeld", "ControllerHandedOver", "CommandFailed", "StateDigest"];

impl Coverage {
    pub fn commit(&mut self, before: &Site, commit: &Commit) {
        // Within a commit the state moves on; what counts is that each pair was met, not how often.
        let mut states: BTreeMap<_, &'static str> = BTreeMap::new();
        for event in commit.decisions.iter().flat_map(|d| &d.events) {
            *self.events.entry(event.name()).or_default() += 1;
            if matches!(event, Event::OrderAdded(_)) {
                self.orders += 1;
            }
            let Some(order) = event.order() else { continue };
            let state = *states
                .entry(order.clone())
                .or_insert_with(|| before.orders.get(order).map_or("new", |o| o.state.word()));
            *self.transitions.entry((state, event.name())).or_default() += 1;
            states.insert(order.clone(), after(event, state));
        }
    }

    pub fn crash_point(&mut self, point: &'static str, site: Option<&Site>) {
        *self.crash_points.entry(point).or_default() += 1;
        let states: BTreeSet<_> = site.iter().flat_map(|s| s.orders.values()).map(|o| o.state.word()).collect();
        for state in states {
            *self.crashed_in.entry((state, point)).or_default() += 1;
        }
    }

    pub fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    pub fn merge(&mut self, other: Self) {
        fn add<K: Ord>(to: &mut BTreeMap<K, u64>, from: BTreeMap<K, u64>) {
            for (key, count) in from {
                *to.entry(key).or_default() += count;
            }
        }
        add(&mut self.transitions, other.transitions);
        add(&mut self.events, other.events);
        add(&mut self.crash_points, other.crash_points);
        add(&mut self.faults, other.faults);
        add(&mut self.crashed_in, other.crashed_in);
        self.seeds += other.seeds;
        self.orders += other.orders;
    }

    /// What was never met and should have been.
    pub fn missing(&self) -> Vec<String> {
        let events = Event::NAMES.iter().filter(|n| !NOT_SIMULATED.contains(n) && !self.events.contains_key(*n));
        let points = CRASH_POINTS.iter().filter(|p| !self.crash_points.contains_key(*p));
        let faults = FAULTS.iter().filter(|f| !self.faults.contains_key(*f));
        let met: BTreeSet<_> = self.transitions.keys().copied().collect();
        let transitions = TRANSITIONS.iter().filter(|t| !met.contains(*t)).map(|(s, e)| format!("{e} in {s}"));
        events
            .map(|e| format!("event {e}"))
            .chain(points.map(|p| format!("crash while {p}")))
            .chain(faults.map(|f| format!("fault {f}")))
            .chain(transitions)
            .chain(self.crashes_missing())
            .collect()
    }

    fn crashes_missing(&self) -> impl Iterator<Item = String> {
        let pairs = RESTING.iter().flat_map(|state| CRASH_POINTS.iter().map(move |point| (*state, *point)));
        pairs
            .filter(|pair| !self.crashed_in.contains_key(pair))
            .map(|(s, p)| format!("crash while {p} with an order {s}"))
    }

    pub fn report(&self) -> String {
        let mut text = format!("{} seeds, {} orders\n", self.seeds, self.orders);
        for (title, map) in [("faults", &self.faults), ("crash points", &self.crash_points), ("events", &self.events)] {
            text.push_str(&format!("{title}:\n"));
            for (name, count) in map {
                text.push_str(&format!("  {count:>9} {name}\n"));
            }
        }
        text.push_str("orders at crashes:\n");
        for ((state, point), count) in &self.crashed_in {
            text.push_str(&format!("  {count:>9} {state} × {point}\n"));
        }
        text.push_str("transitions:\n");
        for ((state, event), count) in &self.transitions {
            text.push_str(&format!("  {count:>9} {state} × {event}\n"));
        }
        text
    }
}

pub const CRASH_POINTS: [&str; 6] =
    ["fencing", "draining reports", "idle", "a commit is in flight", "effects wait", "decided, not sent"];
/// Where orders rest between decisions: before their start, at a job, in a try, at a fork or call, and at a failure.
const RESTING: [&str; 6] = ["scheduled", "queued", "running", "retrying", "forked", "failed"];
const FAULTS: [&str; 5] =
    ["agent crash", "runner crash", "report twice", "controller crash", "two believe to be active"];

/// (state, event) pairs that must be met.
const TRANSITIONS: [(&str, &str); 30] = [
    ("scheduled", "OrderStarted"),
    ("scheduled", "OrderCancelled"),
    ("scheduled", "OrderFailed"),
    ("ready", "RunDispatched"),
    ("ready", "OrderQueued"),
    ("ready", "OrderMoved"),
    ("ready", "OrderForked"),
    ("ready", "OrderTried"),
    ("ready", "OrderCaught"),
    ("ready", "OrderRetrying"),
    ("ready", "OrderFailed"),
    ("ready", "OrderFinished"),
    ("ready", "OrderSuspended"),
    ("ready", "OrderCancelled"),
    ("queued", "RunDispatched"),
    ("queued", "OrderCancelled"),
    ("running", "RunEnded"),
    ("running", "OrderCancelRequested"),
    ("running", "OrderSuspendRequested"),
    ("processed", "OrderMoved"),
    ("processed", "OrderCaught"),
    ("processed", "OrderRetrying"),
    ("processed", "OrderFailed"),
    ("processed", "OrderFinished"),
    ("processed", "OrderCancelled"),
    ("retrying", "OrderAwoke"),
    ("retrying", "OrderCancelled"),
    ("forked", "OrderJoined"),
    ("forked", "OrderCancelRequested"),
    ("failed", "OrderResumed"),
];

fn after(event: &Event, state: &'static str) -> &'static str {
    match event {
        Event::OrderAdded(_) => "scheduled",
        Event::OrderStarted(_)
        | Event::OrderMoved(_)
        | Event::OrderTried(_)
        | Event::OrderCaught(_)
        | Event::OrderAwoke(_) => "ready",
        Event::OrderQueued(_) => "queued",
        Event::RunDispatched(_) => "running",
        Event::RunEnded(e) => {
            if e.outcome.is_some() {
                "processed"
            } else {
                "ready"
            }
        }
        Event::OrderForked(_) => "forked",
        Event::OrderJoined(_) => "processed",
        Event::OrderRetrying(_) => "retrying",
        Event::OrderFailed(_) => "failed",
        Event::OrderFinished(_) => "finished",
        Event::OrderCancelled(_) => "cancelled",
        Event::OrderResumed(_) if state == "failed" => "ready",
        _ => state,
    }
}
