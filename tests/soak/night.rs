//! A site in which 50 schedules tick each second, and what kills its processes one after the other.

use crate::mails::Post;
use chrono::{DateTime, Utc};
use ordo_cli::command::deploy::DeployText;
use ordo_contract::commit::Commit;
use ordo_contract::name::StreamKind;
use ordo_contract::replica::Replica;
use ordo_domain::Event;
use ordo_journal::FollowFrom;
use ordo_testkit::TestFolder;
use ordo_tests::Up;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub const SCHEDULES: usize = 50;
/// One process at a time, so often: the site is whole again, as a rule, before the next one goes.
const BETWEEN_KILLS: Duration = Duration::from_secs(4);
/// For what was under way at the end.
pub const AFTERWARDS: Duration = Duration::from_secs(120);

/// The orders of so many schedules fail when they run in a second that is a multiple of ten: something to be told of.
const FAILING: usize = 5;

/// Repeats are folded, but not beyond what a test waits for.
const RULE: &str = "rule: failures\non: [failed]\nnotify: [ops@example.org]\nfold: 10s\n";

pub struct Night {
    pub up: Up,
    pub post: Post,
    /// Up to here ticks are counted.
    pub end: DateTime<Utc>,
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
    format!("{RULE}---\n{workflow}{}", (0..SCHEDULES).map(schedule).collect::<String>())
}

impl Night {
    /// Lets it pass.
    pub async fn pass() -> Self {
        let folder = TestFolder::new("soak");
        let mut post = Post::start(folder.path());
        let port = post.port.to_string();
        let mail = [("HOST", "127.0.0.1"), ("PORT", &port), ("TLS", "none"), ("HELLO", "localhost")];
        let mail = mail.map(|(name, value)| (format!("ORDO_MAIL_SMTP_{name}"), value.to_owned()));
        let environment: Vec<(&str, &str)> = mail.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let up = Up::start_in(folder, &environment);
        let client = up.client().await;
        let texts = [DeployText { file: "tick.yaml".into(), text: definitions() }];
        ordo_cli::command::deploy::deploy_texts(&client, &texts).await.unwrap_or_else(|e| panic!("deployed: {e}"));
        let (begin, length) = (Instant::now(), length());
        let mut killed: BTreeMap<String, u32> = BTreeMap::new();
        while begin.elapsed() < length {
            // All that there are, in turn: who was killed least.
            let next = up.processes().into_keys().min_by_key(|name| killed.get(name).copied().unwrap_or(0));
            if let Some(name) = next {
                *killed.entry(name.clone()).or_default() += 1;
                up.kill(&name);
            }
            // A fifth of the night: two of ten minutes.
            if (length.mul_f64(0.3)..length.mul_f64(0.5)).contains(&begin.elapsed()) {
                post.go_away();
            } else {
                post.come_back();
            }
            tokio::time::sleep(BETWEEN_KILLS).await;
        }
        post.come_back();
        println!("killed: {killed:?}");
        assert!(killed.contains_key("nats") && killed.contains_key("postgres"), "{killed:?}");
        let night = Self { up, post, end: Utc::now() };
        night.wait_for_morning().await;
        night
    }

    /// Every schedule has ticked beyond the end.
    async fn wait_for_morning(&self) {
        let begin = Instant::now();
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
pub fn starts(commits: &[Commit]) -> impl Iterator<Item = (&str, DateTime<Utc>)> {
    events(commits).filter_map(|(_, event)| match event {
        Event::OrderAdded(e) => e.start.as_ref().map(|start| (start.schedule.as_str(), start.instant)),
        _ => None,
    })
}
