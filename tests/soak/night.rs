//! A site in which 50 schedules tick each second, and what kills its processes one after the other.

use chrono::{DateTime, Utc};
use ordo_cli::command::deploy::DeployText;
use ordo_contract::commit::Commit;
use ordo_contract::name::StreamKind;
use ordo_contract::replica::Replica;
use ordo_domain::{Event, Instant};
use ordo_journal::FollowFrom;
use ordo_tests::Up;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub const SCHEDULES: usize = 50;
/// One process at a time, so often: the site is whole again, as a rule, before the next one goes.
const BETWEEN_KILLS: Duration = Duration::from_secs(4);
/// For what was under way at the end.
const AFTERWARDS: Duration = Duration::from_secs(120);

/// The first schedules' orders fail when their second is a multiple of ten: something to be told of.
pub const FAILING: usize = 5;

pub struct Night {
    pub up: Up,
    /// Up to here ticks are counted.
    pub end: Instant,
}

/// How long schedules tick, from the environment.
pub fn length() -> Duration {
    let seconds = std::env::var("NIGHT").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(90))
}

pub fn schedule_name(n: usize) -> String {
    format!("tick-{n:02}")
}

fn definitions() -> String {
    let workflow = "workflow: tick\nparameters: { fails: { type: boolean, default: false } }\ndefaults: { agent: local }\n\
        steps:\n  - job: tick\n    env: { FAILS: \"${ fails }\" }\n    script: |\n      if [ \"$FAILS\" = true ] && [ $(( $(date +%s) % 10 )) = 0 ]; then echo it failed; exit 1; fi\n";
    let schedule = |n: usize| {
        format!(
            "---\nschedule: {}\nworkflow: tick\ntimes: [{{ cron: \"* * * * * *\" }}]\nplan_ahead: 60s\nsubmit_ahead: 10s\n\
             orders: [{{ name: default, arguments: {{ fails: {} }} }}]\n",
            schedule_name(n),
            n < FAILING
        )
    };
    format!("{workflow}{}", (0..SCHEDULES).map(schedule).collect::<String>())
}

impl Night {
    /// Lets it pass. `beside` is told the number of each round of kills, and does what else there is to do to the site.
    pub async fn pass(mut beside: impl AsyncFnMut(&Up, usize)) -> Self {
        let up = Up::start("soak");
        let client = up.client().await;
        let texts = [DeployText { file: "tick.yaml".into(), text: definitions() }];
        ordo_cli::command::deploy::deploy_texts(&client, &texts).await.unwrap_or_else(|e| panic!("deployed: {e}"));
        let until = tokio::time::Instant::now() + length();
        let mut killed: BTreeMap<String, u32> = BTreeMap::new();
        let mut round = 0;
        while tokio::time::Instant::now() < until {
            // All that there are, in turn: who was killed least.
            let next = up.processes().into_keys().min_by_key(|name| killed.get(name).copied().unwrap_or(0));
            if let Some(name) = next {
                *killed.entry(name.clone()).or_default() += 1;
                up.kill(&name);
            }
            beside(&up, round).await;
            round += 1;
            tokio::time::sleep(BETWEEN_KILLS).await;
        }
        println!("killed: {killed:?}");
        assert!(killed.contains_key("nats") && killed.contains_key("postgres"), "{killed:?}");
        let end = Utc::now();
        let night = Self { up, end };
        night.wait_for_morning().await;
        night
    }

    /// Every schedule has ticked beyond the end.
    async fn wait_for_morning(&self) {
        let begin = std::time::Instant::now();
        loop {
            let commits = self.journal().await;
            let beyond: BTreeSet<&str> =
                starts(&commits).filter(|(_, instant)| *instant > self.end).map(|(schedule, _)| schedule).collect();
            if beyond.len() == SCHEDULES {
                return;
            }
            assert!(begin.elapsed() < AFTERWARDS, "{} of {SCHEDULES} schedules tick on", beyond.len());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// The whole journal, chain and all.
    pub async fn journal(&self) -> Vec<Commit> {
        let bus = self.up.bus("controller").await;
        let last = bus.last_sequence(StreamKind::Journal).await.expect("the journal has an end");
        let mut follow = bus.follow(FollowFrom::journal(&bus, 1)).await.expect("the journal can be read");
        let (mut replica, mut commits) = (Replica::default(), Vec::new());
        while follow.position() <= last {
            for message in follow.batch(500).await.expect("the journal can be read") {
                commits.push(replica.take(message.sequence, message.payload()).expect("each commit fits"));
            }
        }
        commits
    }
}

pub fn events(commits: &[Commit]) -> impl Iterator<Item = (DateTime<Utc>, &Event)> {
    commits.iter().flat_map(|c| c.decisions.iter().flat_map(|d| &d.events).map(|event| (c.at, event)))
}

/// Starts that have an order.
pub fn starts(commits: &[Commit]) -> impl Iterator<Item = (&str, Instant)> {
    events(commits).filter_map(|(_, event)| match event {
        Event::OrderAdded(e) => e.start.as_ref().map(|start| (start.schedule.as_str(), start.instant)),
        _ => None,
    })
}
