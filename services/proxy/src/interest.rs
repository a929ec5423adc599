//! Who waits for what: command outcomes and changes of orders. Woken by the commit that brings it, not by polling.

use ordo_contract::commit::Commit;
use ordo_domain::{CommandId, Event, OrderId, Site};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Something that can happen and be waited for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    Command(CommandId),
    /// An order without branches in its id: what happens to a branch happens to it.
    Order(OrderId),
}

/// How many changes are remembered for those who ask what came after a sequence.
const REMEMBERED: usize = 65_536;

#[derive(Debug, Default)]
pub struct Interests {
    waiting: Mutex<HashMap<Topic, Vec<oneshot::Sender<()>>>>,
    changes: Mutex<Changes>,
}

#[derive(Debug, Default)]
struct Changes {
    /// Oldest first: (journal sequence, order without branches).
    recent: VecDeque<(u64, OrderId)>,
    /// Nothing is remembered of what happened up to here.
    forgotten_to: u64,
}

/// The order that a branch belongs to; the order itself if it is none.
pub fn root(order: &OrderId) -> OrderId {
    let id = order.as_str();
    match id.split_once(':') {
        Some((root, _)) => OrderId::new(root).unwrap_or_else(|_| order.clone()),
        None => order.clone(),
    }
}

impl Interests {
    /// Register first, then look, then wait: what happens in between wakes, too.
    pub fn register(&self, topic: Topic) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        let list = waiting.entry(topic).or_default();
        // Those who gave up leave their place.
        list.retain(|sender| !sender.is_closed());
        list.push(sender);
        receiver
    }

    /// Forgets a topic for which nobody waits any more.
    pub fn tidy(&self, topic: &Topic) {
        let mut waiting = lock(&self.waiting);
        if let Some(list) = waiting.get_mut(topic) {
            list.retain(|sender| !sender.is_closed());
            if list.is_empty() {
                waiting.remove(topic);
            }
        }
    }

    /// Wakes who waits for what this commit brought. `site` is the state after it.
    pub fn wake(&self, sequence: u64, commit: &Commit, site: &Site) {
        let mut topics = Vec::new();
        for event in commit.decisions.iter().flat_map(|decision| &decision.events) {
            topics_of(event, site, &mut topics);
        }
        let mut changes = lock(&self.changes);
        for topic in &topics {
            if let Topic::Order(order) = topic
                && changes.recent.back() != Some(&(sequence, order.clone()))
            {
                changes.recent.push_back((sequence, order.clone()));
            }
        }
        while changes.recent.len() > REMEMBERED {
            if let Some((gone, _)) = changes.recent.pop_front() {
                changes.forgotten_to = gone;
            }
        }
        drop(changes);
        let mut waiting = lock(&self.waiting);
        if waiting.is_empty() {
            return;
        }
        for topic in topics {
            for sender in waiting.remove(&topic).unwrap_or_default() {
                let _ = sender.send(());
            }
        }
    }

    /// Everybody looks again: the mirror was loaded anew.
    pub fn wake_all(&self, sequence: u64) {
        let mut changes = lock(&self.changes);
        changes.recent.clear();
        changes.forgotten_to = sequence;
        drop(changes);
        for (_, senders) in lock(&self.waiting).drain() {
            for sender in senders {
                let _ = sender.send(());
            }
        }
    }

    /// Whether this order or a branch changed after that sequence. True where it is not remembered.
    pub fn changed_after(&self, order: &OrderId, sequence: u64) -> bool {
        let changes = lock(&self.changes);
        if sequence < changes.forgotten_to {
            return true;
        }
        changes.recent.iter().rev().take_while(|(at, _)| *at > sequence).any(|(_, changed)| changed == order)
    }
}

fn topics_of(event: &Event, site: &Site, topics: &mut Vec<Topic>) {
    match event {
        Event::CommandAccepted(e) => topics.push(Topic::Command(e.command.clone())),
        Event::CommandRefused(e) => topics.extend(e.command.clone().map(Topic::Command)),
        Event::CommandFailed(e) => topics.extend(e.command.clone().map(Topic::Command)),
        Event::OrdersForgotten(e) => topics.extend(e.orders.iter().map(|order| Topic::Order(root(order)))),
        Event::RunClaimed(_) | Event::RunKillRequested(_) => {
            let order = event.run().and_then(|run| site.runs.get(run)).map(|run| root(&run.order));
            topics.extend(order.map(Topic::Order));
        }
        _ => {}
    }
    topics.extend(event.order().map(|order| Topic::Order(root(order))));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
