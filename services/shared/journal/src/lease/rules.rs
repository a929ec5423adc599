//! When a standby may try to take a lease. Pure: time is an argument.

use super::LeaseTimes;
use super::key::Seen;
use ordo_contract::lease::LeaseValue;
use ordo_domain::InstanceId;
use std::time::Duration;

/// By which way a lease was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// Nobody had it.
    Free,
    /// Its time ran out, or it was released, and the marker said so.
    Marker,
    /// No new revision for longer than a lease lives.
    Silence,
    /// The holder's process is gone: nobody answers for it.
    NoResponders,
    /// The holder gave it to us.
    HandedOver,
    /// It was ours before: this process is the successor of the one that held it.
    OwnBefore,
}

/// What a standby knows.
pub(super) struct View<'a> {
    pub(super) me: &'a InstanceId,
    pub(super) seen: &'a Seen,
    /// Since when, on our own clock.
    pub(super) seen_at: Duration,
    pub(super) now: Duration,
    /// Since when our own connection stands; `None` = it does not.
    pub(super) connected_at: Option<Duration>,
    /// The connection was made anew at least once: others may just be reconnecting.
    pub(super) reconnected: bool,
    /// An instance for which nobody answers.
    pub(super) gone: Option<&'a InstanceId>,
    pub(super) times: &'a LeaseTimes,
}

impl View<'_> {
    /// Whether to try now, by which way. Whatever it says: only the write decides.
    pub(super) fn may_take(&self) -> Option<Takeover> {
        let connected_at = self.connected_at?;
        if self.reconnected && self.now < connected_at + self.times.settle {
            return None;
        }
        // Silence that we could not have heard broken is none.
        let silent = self.now >= self.seen_at.max(connected_at) + self.times.silence;
        if self.seen.unreadable {
            return silent.then_some(Takeover::Silence);
        }
        match &self.seen.value {
            None if self.seen.revision == 0 => Some(Takeover::Free),
            None => Some(Takeover::Marker),
            Some(LeaseValue::Active { to: Some(to), .. }) if to == self.me => Some(Takeover::HandedOver),
            Some(LeaseValue::Active { to: Some(_), .. }) => silent.then_some(Takeover::Silence),
            Some(LeaseValue::Active { active, .. }) if active == self.me => Some(Takeover::OwnBefore),
            Some(LeaseValue::Active { active, .. }) if Some(active) == self.gone => Some(Takeover::NoResponders),
            Some(LeaseValue::Active { .. }) => silent.then_some(Takeover::Silence),
            Some(LeaseValue::Held { held_by, .. }) => (held_by == self.me).then_some(Takeover::OwnBefore),
        }
    }

    /// Whom to ask whether it is still there.
    pub(super) fn suspect(&self) -> Option<&InstanceId> {
        match &self.seen.value {
            Some(LeaseValue::Active { active, to: None, .. }) if active != self.me => Some(active),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> InstanceId {
        InstanceId::new(text).unwrap()
    }

    fn seen(json: serde_json::Value) -> Seen {
        Seen { revision: 5, value: Some(serde_json::from_value(json).unwrap()), ..Seen::nothing() }
    }

    fn active(instance: &str, to: Option<&str>) -> Seen {
        let mut json = serde_json::json!({ "active": instance, "node": "n", "since": "2026-11-22T00:00:00Z" });
        if let Some(to) = to {
            json["to"] = to.into();
        }
        seen(json)
    }

    /// As c2, `ms` after the key was seen, on a connection that stands since long.
    fn after(ms: u64, seen: &Seen, gone: Option<&InstanceId>) -> Option<Takeover> {
        let (me, times, start) = (id("c2"), LeaseTimes::default(), Duration::from_secs(100));
        let now = start + Duration::from_millis(ms);
        View {
            me: &me,
            seen,
            seen_at: start,
            now,
            connected_at: Some(Duration::ZERO),
            reconnected: true,
            gone,
            times: &times,
        }
        .may_take()
    }

    #[test]
    fn a_free_key_is_taken_at_once() {
        assert_eq!(after(0, &Seen::nothing(), None), Some(Takeover::Free));
        assert_eq!(after(0, &Seen { revision: 9, ..Seen::nothing() }, None), Some(Takeover::Marker));
    }

    #[test]
    fn a_renewed_lease_is_left_alone_until_silence() {
        assert_eq!(after(2999, &active("c1", None), None), None);
        assert_eq!(after(3000, &active("c1", None), None), Some(Takeover::Silence));
    }

    #[test]
    fn a_holder_for_which_nobody_answers_is_replaced() {
        assert_eq!(after(0, &active("c1", None), Some(&id("c1"))), Some(Takeover::NoResponders));
        assert_eq!(after(0, &active("c1", None), Some(&id("c3"))), None);
    }

    #[test]
    fn a_hand_over_is_for_the_one_named() {
        assert_eq!(after(0, &active("c1", Some("c2")), None), Some(Takeover::HandedOver));
        assert_eq!(after(0, &active("c1", Some("c3")), Some(&id("c1"))), None);
        assert_eq!(after(0, &active("c2", Some("c3")), None), None);
        assert_eq!(after(3000, &active("c1", Some("c3")), None), Some(Takeover::Silence));
    }

    #[test]
    fn a_held_role_is_for_its_instance_only() {
        let held = |by: &str| seen(serde_json::json!({ "held_by": by, "who": "ops", "why": "disk" }));
        assert_eq!(after(1_000_000, &held("c1"), Some(&id("c1"))), None);
        assert_eq!(after(0, &held("c2"), None), Some(Takeover::OwnBefore));
    }

    #[test]
    fn what_cannot_be_read_is_held_by_somebody() {
        let unreadable = Seen { revision: 5, unreadable: true, ..Seen::nothing() };
        assert_eq!(after(0, &unreadable, None), None);
        assert_eq!(after(3000, &unreadable, None), Some(Takeover::Silence));
    }

    #[test]
    fn after_its_own_reconnect_a_standby_lets_the_holder_renew_first() {
        let (me, times, seen) = (id("c2"), LeaseTimes::default(), active("c1", None));
        let mut view = View {
            me: &me,
            seen: &seen,
            seen_at: Duration::ZERO,
            now: Duration::from_millis(10_100),
            connected_at: Some(Duration::from_secs(10)),
            reconnected: true,
            gone: Some(&id("c1")),
            times: &times,
        };
        assert_eq!(view.may_take(), None, "settling");
        view.now = Duration::from_millis(10_700);
        assert_eq!(view.may_take(), Some(Takeover::NoResponders));
        view.gone = None;
        assert_eq!(view.may_take(), None, "silence counts from the reconnect");
        view.now = Duration::from_secs(13);
        assert_eq!(view.may_take(), Some(Takeover::Silence));
        view.connected_at = None;
        assert_eq!(view.may_take(), None, "not connected");
    }
}
