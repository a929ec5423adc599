//! Planned orders of one schedule and parameterisation, and what a new one does while an earlier one still runs.

use super::{Order, OrderState, command::Overlap, event::*};
use crate::{Event, Instant, OrderId, Site};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What orders come one after the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Series {
    pub schedule: String,
    pub parameterisation: String,
}

/// Those of a series that can be in another's way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Members {
    /// Started, and neither ended nor failed.
    #[serde(default)]
    pub running: BTreeSet<OrderId>,
    /// Behind a running one, by the time of their planned start.
    #[serde(default)]
    pub waiting: BTreeSet<(Instant, OrderId)>,
}

/// JSON wants text keys: written as pairs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(Series, Members)>", into = "Vec<(Series, Members)>")]
pub struct SeriesIndex(pub BTreeMap<Series, Members>);

impl From<Vec<(Series, Members)>> for SeriesIndex {
    fn from(pairs: Vec<(Series, Members)>) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl From<SeriesIndex> for Vec<(Series, Members)> {
    fn from(index: SeriesIndex) -> Self {
        index.0.into_iter().collect()
    }
}

/// Where an order stands in its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Running,
    Waiting(Instant),
}

impl Order {
    /// Of a planned order.
    pub fn series(&self) -> Option<Series> {
        let start = self.start.as_ref()?;
        Some(Series { schedule: start.schedule.clone(), parameterisation: start.parameterisation.clone() })
    }

    /// None: it is in nobody's way.
    pub fn place_in_series(&self) -> Option<Place> {
        let start = self.start.as_ref()?;
        match self.state {
            OrderState::Scheduled => self.behind.as_ref().map(|_| Place::Waiting(start.instant)),
            _ if self.state.is_ended() => None,
            _ => self.started_at.map(|_| Place::Running),
        }
    }
}

impl SeriesIndex {
    pub(super) fn moved(&mut self, series: Series, order: &OrderId, from: Option<Place>, to: Option<Place>) {
        let members = self.0.entry(series.clone()).or_default();
        match from {
            Some(Place::Running) => drop(members.running.remove(order)),
            Some(Place::Waiting(at)) => drop(members.waiting.remove(&(at, order.clone()))),
            None => {}
        }
        match to {
            Some(Place::Running) => drop(members.running.insert(order.clone())),
            Some(Place::Waiting(at)) => drop(members.waiting.insert((at, order.clone()))),
            None => {}
        }
        if members.running.is_empty() && members.waiting.is_empty() {
            self.0.remove(&series);
        }
    }
}

/// The order that this one must not overtake: a running one, or the first of those that wait.
pub(super) fn earlier<'a>(site: &'a Site, order: &Order) -> Option<&'a OrderId> {
    let members = site.series.0.get(&order.series()?)?;
    let running = members.running.iter().find(|other| **other != order.id);
    let at = order.start.as_ref()?.instant;
    running.or_else(|| {
        let (_, first) = members.waiting.first()?;
        let before = members.waiting.first().is_some_and(|(then, id)| (*then, id) < (at, &order.id));
        before.then_some(first)
    })
}

/// Whose turn may have come when this order left its place.
pub(crate) fn next_in<'a>(site: &'a Site, order: &Order) -> Option<&'a OrderId> {
    site.series.0.get(&order.series()?)?.waiting.first().map(|(_, order)| order)
}

/// What it does instead of starting, where an earlier one is in its way; none where it may start. `Some(vec![])`: it goes
/// on waiting.
pub(super) fn held_back(site: &Site, order: &Order) -> Option<Vec<Event>> {
    let earlier = match order.overlap {
        Overlap::Start => return None,
        Overlap::Skip | Overlap::Wait => earlier(site, order)?,
    };
    Some(match order.overlap {
        Overlap::Wait if order.behind.is_some() => vec![],
        Overlap::Wait => vec![OrderWaits { order: order.id.clone(), earlier: earlier.clone() }.into()],
        Overlap::Start | Overlap::Skip => {
            let reason = CancelReason::Overlap { earlier: earlier.clone() };
            vec![OrderCancelled { order: order.id.clone(), reason }.into()]
        }
    })
}
