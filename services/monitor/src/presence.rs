//! Who is there: heartbeats that stop, and roles in which nobody is active. Judged by this process's own clock, and never
//! while its own link to the bus is not sound: then everybody would look silent.

use crate::letter::{AgentFacts, Incident, Object, RoleFacts};
use chrono::{DateTime, TimeDelta, Utc};
use ordo_contract::heartbeat::{Activity, Heartbeat, PERIOD};
use ordo_domain::Span;
use ordo_domain::alert::{Kind, Rule, Subject};
use ordo_store::{Raised, Telling};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// Three missed heartbeats.
pub(crate) const SILENT: Duration = PERIOD.saturating_mul(3);
/// What was not heard of for so long is no part of the site any more.
const FORGOTTEN: TimeDelta = TimeDelta::days(1);

struct Known {
    beat: Heartbeat,
    heard: Instant,
    /// By the server's clock.
    stored_at: DateTime<Utc>,
}

/// What is known of all instances. Pure, but for the instants that come in.
pub(crate) struct Presence {
    known: BTreeMap<String, Known>,
    away: BTreeSet<String>,
    idle_since: BTreeMap<String, Instant>,
    idle: BTreeSet<String>,
    /// Nobody is judged before.
    quiet_until: Instant,
    ticked: Instant,
}

/// Something that may have to be told; whether a rule wants it is seen with the rules.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    Away(Incident),
    Back { object: String, at: DateTime<Utc> },
    NoneActive(Incident),
    ActiveAgain { role: String, at: DateTime<Utc> },
}

impl Presence {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            known: BTreeMap::new(),
            away: BTreeSet::new(),
            idle_since: BTreeMap::new(),
            idle: BTreeSet::new(),
            quiet_until: now + SILENT,
            ticked: now,
        }
    }

    /// The way to the bus was lost: what is heard after it counts from now.
    pub(crate) fn begin_anew(&mut self, now: Instant) {
        self.quiet_until = now + SILENT;
        self.ticked = now;
        self.known.values_mut().for_each(|known| known.heard = now);
        self.idle_since.clear();
    }

    /// Telling took its time: nobody is judged by what was not read meanwhile.
    pub(crate) fn waited(&mut self, now: Instant) {
        if now - self.ticked > PERIOD {
            self.begin_anew(now);
        }
    }

    /// A heartbeat; `key` is its key in the bucket, `None` that the key went away.
    pub(crate) fn heard(
        &mut self,
        key: &str,
        beat: Option<Heartbeat>,
        stored_at: DateTime<Utc>,
        now: Instant,
    ) -> Option<Seen> {
        let Some(beat) = beat else {
            self.known.remove(key);
            self.away.remove(key);
            return None;
        };
        let is_new = !self.known.contains_key(key);
        let is_there = beat.activity != Activity::Stopping;
        let fresh = Utc::now() - stored_at < TimeDelta::from_std(SILENT).unwrap_or_default();
        self.known.insert(key.to_owned(), Known { beat, heard: now, stored_at });
        let was_away = self.away.remove(key);
        // After a start it is not known what an earlier life of this process told.
        let tell = is_agent(key) && is_there && (was_away || (is_new && fresh));
        tell.then(|| Seen::Back { object: object(key), at: stored_at })
    }

    /// Looks who is missing.
    pub(crate) fn tick(&mut self, own_role: &str, now: Instant, at: DateTime<Utc>) -> Vec<Seen> {
        // A process that was stopped for a while has heard nobody meanwhile.
        if now - self.ticked > PERIOD {
            self.begin_anew(now);
        }
        self.ticked = now;
        if now < self.quiet_until {
            return Vec::new();
        }
        let mut seen = self.missing(now, at);
        seen.extend(self.roles(own_role, now, at));
        seen
    }

    fn missing(&mut self, now: Instant, at: DateTime<Utc>) -> Vec<Seen> {
        let mut seen = Vec::new();
        for (key, known) in &self.known {
            let silent = now - known.heard > SILENT;
            if !is_agent(key) || !silent || known.beat.activity == Activity::Stopping || self.away.contains(key) {
                continue;
            }
            seen.push((key.clone(), Seen::Away(self.away_incident(key, known, now, at))));
        }
        self.away.extend(seen.iter().map(|(key, _)| key.clone()));
        seen.into_iter().map(|(_, seen)| seen).collect()
    }

    fn away_incident(&self, key: &str, known: &Known, now: Instant, at: DateTime<Utc>) -> Incident {
        let agent = agent(key);
        let others = self.known.iter().filter(|(other, k)| {
            *other != key
                && self::agent(other) == agent
                && now - k.heard <= SILENT
                && k.beat.activity != Activity::Stopping
        });
        let facts = AgentFacts {
            agent: agent.to_owned(),
            instance: known.beat.instance.clone(),
            node: known.beat.node.to_string(),
            last_seen: Some(known.stored_at),
            runs: known.beat.agent.as_ref().map_or(0, |a| a.runs.len()),
            others: others.count(),
        };
        let noticed = (known.stored_at + TimeDelta::from_std(SILENT).unwrap_or_default()).min(at);
        let (day, second) = (known.stored_at.format("%Y%m%d"), known.stored_at.timestamp());
        Incident {
            id: format!("{day}-away-{agent}-{}-{second}", known.beat.instance),
            kind: Kind::AgentAway,
            at: noticed,
            object: Object::Agent(facts),
            text: String::new(),
            recovered_at: None,
        }
    }

    fn roles(&mut self, own_role: &str, now: Instant, at: DateTime<Utc>) -> Vec<Seen> {
        let mut roles: BTreeMap<String, bool> = BTreeMap::new();
        for (key, known) in self.known.iter().filter(|(key, k)| !is_agent(key) && at - k.stored_at < FORGOTTEN) {
            let role = key.split('.').next().unwrap_or(key);
            let active = known.beat.activity == Activity::Active && now - known.heard <= SILENT;
            *roles.entry(role.to_owned()).or_default() |= active;
        }
        let mut seen = Vec::new();
        for (role, is_active) in roles.into_iter().filter(|(role, _)| role != own_role) {
            if is_active {
                let first = !self.idle_since.contains_key(&role);
                let was_idle = self.idle.remove(&role);
                // As with agents: what an earlier life told is over.
                if was_idle || first {
                    seen.push(Seen::ActiveAgain { role: role.clone(), at });
                }
                self.idle_since.insert(role, now);
                continue;
            }
            // Since its last active instance fell silent; where the last one stopped in order, since that was seen.
            let begin = *self.idle_since.entry(role.clone()).or_insert(now);
            let since = self.last_active(&role).unwrap_or(begin);
            if now - since > SILENT && self.idle.insert(role.clone()) {
                let noticed = at - TimeDelta::from_std(now - since).unwrap_or_default();
                seen.push(Seen::NoneActive(self.role_incident(&role, noticed)));
            }
        }
        seen
    }

    fn last_active(&self, role: &str) -> Option<Instant> {
        let of_role = self.known.iter().filter(|(key, _)| key.split('.').next() == Some(role));
        of_role.filter(|(_, known)| known.beat.activity == Activity::Active).map(|(_, known)| known.heard).max()
    }

    fn role_incident(&self, role: &str, at: DateTime<Utc>) -> Incident {
        let of_role = self.known.iter().filter(|(key, _)| key.split('.').next() == Some(role));
        let instances = of_role.map(|(_, known)| {
            let word = match known.beat.activity {
                Activity::Stopping => "stopped",
                Activity::Standby => "standby",
                Activity::Starting => "starting",
                Activity::Active => "silent",
            };
            format!(
                "{} on {}: {word}, last seen {}",
                known.beat.instance,
                known.beat.node,
                known.stored_at.format("%H:%M:%S UTC")
            )
        });
        let facts = RoleFacts { role: role.to_owned(), instances: instances.collect() };
        Incident {
            id: format!("{}-role-{role}-{}", at.format("%Y%m%d"), at.timestamp()),
            kind: Kind::RoleWithoutActive,
            at,
            object: Object::Role(facts),
            text: String::new(),
            recovered_at: None,
        }
    }
}

/// `agent-etl.e1`
fn is_agent(key: &str) -> bool {
    key.starts_with("agent-")
}

fn agent(key: &str) -> &str {
    key.split('.').next().and_then(|role| role.strip_prefix("agent-")).unwrap_or_default()
}

fn object(key: &str) -> String {
    format!("agent/{}/{}", agent(key), key.split_once('.').map_or("", |(_, instance)| instance))
}

/// What of it rules want told.
pub(crate) fn telling(seen: Vec<Seen>, rules: &[Rule]) -> Vec<Telling> {
    let raise = |incident: Incident, object: String, thing: String, subject: &Subject<'_>| {
        let matching = rules.iter().filter(|rule| rule.matches(incident.kind, subject, None::<Span>));
        let rules: Vec<String> = matching.map(|rule| rule.name.to_string()).collect();
        let raised = Raised { incident, object, thing, business_day: None, series: None, rules };
        (!raised.rules.is_empty()).then(|| Telling::Raise(Box::new(raised)))
    };
    seen.into_iter()
        .filter_map(|seen| match seen {
            Seen::Away(incident) => {
                let Object::Agent(facts) = &incident.object else { return None };
                let (agent, instance) = (facts.agent.clone(), facts.instance.clone());
                let object = format!("agent/{agent}/{instance}");
                raise(incident, object, format!("{agent}/{instance}"), &Subject::agent(&agent))
            }
            Seen::Back { object, at } => Some(Telling::Recover { object, kinds: vec![Kind::AgentAway], at }),
            Seen::NoneActive(incident) => {
                let Object::Role(facts) = &incident.object else { return None };
                let role = facts.role.clone();
                raise(incident, format!("role/{role}"), role, &Subject::default())
            }
            Seen::ActiveAgain { role, at } => {
                Some(Telling::Recover { object: format!("role/{role}"), kinds: vec![Kind::RoleWithoutActive], at })
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn beat(role: &str, instance: &str, activity: &str) -> Heartbeat {
        let at = Utc::now();
        serde_json::from_value(json!({
            "role": role, "instance": instance, "node": "node-a", "version": "1", "event_level": 1, "activity": activity,
            "started_at": at, "at": at
        }))
        .unwrap()
    }

    struct World {
        presence: Presence,
        now: Instant,
        at: DateTime<Utc>,
    }

    impl World {
        fn new() -> Self {
            let now = Instant::now();
            Self { presence: Presence::new(now), now, at: Utc::now() }
        }

        fn beat(&mut self, key: &str, activity: &str) -> Option<Seen> {
            let (role, instance) = key.split_once('.').unwrap();
            self.presence.heard(key, Some(beat(role, instance, activity)), self.at, self.now)
        }

        /// Seconds pass, somebody beats meanwhile.
        fn pass(&mut self, seconds: u64, beating: &[(&str, &str)]) -> Vec<Seen> {
            let mut seen = Vec::new();
            for _ in 0..seconds {
                self.now += Duration::from_secs(1);
                self.at += TimeDelta::seconds(1);
                for (key, activity) in beating {
                    seen.extend(self.beat(key, activity));
                }
                seen.extend(self.presence.tick("monitor", self.now, self.at));
            }
            seen
        }
    }

    fn kinds(seen: &[Seen]) -> Vec<&'static str> {
        let word = |seen: &Seen| match seen {
            Seen::Away(_) => "away",
            Seen::Back { .. } => "back",
            Seen::NoneActive(_) => "none",
            Seen::ActiveAgain { .. } => "again",
        };
        seen.iter().map(word).collect()
    }

    #[test]
    fn an_agent_that_falls_silent_is_away_once_and_then_back() {
        let mut world = World::new();
        world.beat("agent-etl.e1", "active");
        assert_eq!(world.pass(20, &[("agent-etl.e1", "active")]), []);
        let seen = world.pass(60, &[]);
        assert_eq!(kinds(&seen), ["away"]);
        let Seen::Away(incident) = &seen[0] else { panic!() };
        assert!(incident.id.contains("-away-etl-e1-"), "{}", incident.id);
        assert!(
            matches!(world.beat("agent-etl.e1", "active"), Some(Seen::Back { object, .. }) if object == "agent/etl/e1")
        );
        assert_eq!(world.pass(10, &[("agent-etl.e1", "active")]), []);
    }

    #[test]
    fn an_agent_that_stopped_in_order_is_not_away() {
        let mut world = World::new();
        world.beat("agent-etl.e1", "stopping");
        assert_eq!(world.pass(60, &[]), []);
    }

    #[test]
    fn while_the_own_link_is_lost_nobody_is_away() {
        let mut world = World::new();
        world.beat("agent-etl.e1", "active");
        world.pass(10, &[("agent-etl.e1", "active")]);
        // The process stood still for a minute, or the bus was away.
        world.now += Duration::from_secs(60);
        world.at += TimeDelta::seconds(60);
        assert_eq!(world.pass(3, &[]), []);
        assert_eq!(world.pass(5, &[("agent-etl.e1", "active")]), []);
        world.presence.begin_anew(world.now);
        assert_eq!(world.pass(5, &[]), []);
        assert_eq!(kinds(&world.pass(10, &[])), ["away"]);
    }

    #[test]
    fn a_role_in_which_nobody_is_active_is_said_once_until_somebody_is() {
        let mut world = World::new();
        let both = [("controller.c1", "active"), ("controller.c2", "standby")];
        both.iter().for_each(|(key, activity)| drop(world.beat(key, activity)));
        assert_eq!(kinds(&world.pass(20, &both)), ["again"], "what an earlier life told is over");
        assert_eq!(kinds(&world.pass(60, &[("controller.c2", "standby")])), ["none"]);
        assert_eq!(kinds(&world.pass(5, &[("controller.c2", "active")])), ["again"]);
    }

    #[test]
    fn a_fail_over_in_time_is_no_role_without_active() {
        let mut world = World::new();
        world.pass(20, &[("controller.c1", "active"), ("controller.c2", "standby")]);
        assert_eq!(world.pass(4, &[("controller.c2", "standby")]), []);
        assert_eq!(world.pass(20, &[("controller.c2", "active")]), []);
    }
}
