//! What streams, consumers, buckets and object stores are configured with, as plain data: `journal` only translates it.
//! Kept apart from the bus library so that rights, provisioning, tests and documentation read one source.

use crate::name::{SiteNames, StreamKind, kv_stream, object_stream};
use ordo_domain::limit;
use std::time::Duration;

const MIB: u64 = 1024 * 1024;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Room for headers beside the largest payload of a stream.
const HEADER_ROOM: usize = 8 * 1024;
/// Largest chunk or message that the server takes by default is 1 MiB; objects are cut to this.
pub const OBJECT_CHUNK_BYTES: usize = 128 * 1024;
/// How long an unacknowledged message stays with its reader before it is given out again.
pub const ACK_WAIT: Duration = Duration::from_secs(10);

/// What happens to a message that does not fit any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// The sender is refused, waits and says so.
    New,
    /// The oldest go.
    Old,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    Limits,
    /// A message is gone once its reader acknowledged it.
    WorkQueue,
}

/// Configuration of a stream, also of the streams behind buckets and object stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    pub name: String,
    pub description: String,
    pub subjects: Vec<String>,
    pub retention: Retention,
    pub discard: Discard,
    /// `None` = no limit; only the journal.
    pub max_bytes: Option<u64>,
    pub max_age: Option<Duration>,
    pub max_message_bytes: Option<usize>,
    pub max_messages_per_subject: Option<u64>,
    /// Acknowledged before it is written. Never for facts.
    pub async_persistence: bool,
    pub deny_delete: bool,
    pub deny_purge: bool,
    /// Reads may be answered by a follower. Never where a read decides.
    pub allow_direct: bool,
    pub allow_rollup: bool,
    /// Messages may carry their own time to live; a marker tells watchers when it ran out, and is kept this long.
    pub marker_ttl: Option<Duration>,
    pub replicas: usize,
}

/// What an acknowledgement covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// One message.
    Each,
    /// It and everything before. Only for who reads strictly in order, else it covers what was never read.
    Through,
}

/// Configuration of a durable consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSpec {
    pub name: String,
    pub description: String,
    /// One filter each: two filters cost the most, and cannot be enforced by rights.
    pub filter: String,
    pub ack: Ack,
    pub ack_wait: Duration,
    pub max_ack_pending: i64,
    /// Set = pushed to this subject, to everybody who listens there.
    pub deliver_subject: Option<String>,
}

/// Sizes of a site's streams and buckets in bytes, and the replicas of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub commands: u64,
    pub jobs: u64,
    pub reports: u64,
    pub output: u64,
    pub logs: u64,
    pub notices: u64,
    pub buckets: u64,
    pub definitions: u64,
    pub snapshots: u64,
    /// The share of the disk that the journal may take before new orders are refused (at 80 % of it). Not a limit of
    /// the stream: a journal that drops or refuses by itself is no journal.
    pub journal_budget: u64,
    pub replicas: usize,
}

impl Default for Limits {
    /// Small enough for a laptop: the reservations together are about 6 GiB.
    fn default() -> Self {
        Self {
            commands: 1024 * MIB,
            jobs: 256 * MIB,
            reports: 1024 * MIB,
            output: 2048 * MIB,
            logs: 256 * MIB,
            notices: 64 * MIB,
            buckets: 32 * MIB,
            definitions: 256 * MIB,
            snapshots: 1024 * MIB,
            journal_budget: 4096 * MIB,
            replicas: 1,
        }
    }
}

impl Limits {
    /// The default divided by `by`, for tests; nothing goes below 4 MiB.
    pub fn scaled_down(by: u64) -> Self {
        let full = Self::default();
        let part = |bytes: u64| (bytes / by.max(1)).max(4 * MIB);
        Self {
            commands: part(full.commands),
            jobs: part(full.jobs),
            reports: part(full.reports),
            output: part(full.output),
            logs: part(full.logs),
            notices: part(full.notices),
            buckets: part(full.buckets),
            definitions: part(full.definitions),
            snapshots: part(full.snapshots),
            journal_budget: part(full.journal_budget),
            replicas: full.replicas,
        }
    }

    /// What the server must at least be allowed to store (`max_file_store`): all reservations and the journal's share.
    pub fn total(&self) -> u64 {
        self.commands
            + self.jobs
            + self.reports
            + self.output
            + self.logs
            + self.notices
            + 3 * self.buckets
            + self.definitions
            + self.snapshots
            + self.journal_budget
    }
}

/// Names of the buckets and stores of a site, together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketNames {
    pub lease: String,
    pub instance: String,
    pub desired: String,
    pub snapshot: String,
    pub definition: String,
}

/// Lines of one role, instance and level in LOGS.
pub const LINES_PER_SUBJECT: u64 = 4_000;

/// How long a message of JOBS waits for an agent. Shorter than [`CLAIM_AGE`]: a start must never outlive the claim that
/// guards it.
pub const JOB_AGE: Duration = Duration::from_secs(3 * 24 * 3600);
/// How long reports, and with them the claims, are kept.
pub const CLAIM_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

pub(crate) fn stream(names: &SiteNames, kind: StreamKind, limits: &Limits) -> StreamSpec {
    let base = StreamSpec {
        name: names.stream(kind),
        description: String::new(),
        subjects: Vec::new(),
        retention: Retention::Limits,
        discard: Discard::New,
        max_bytes: None,
        max_age: None,
        max_message_bytes: None,
        max_messages_per_subject: None,
        async_persistence: false,
        deny_delete: true,
        deny_purge: false,
        allow_direct: false,
        allow_rollup: false,
        marker_ttl: None,
        replicas: limits.replicas,
    };
    let described = |text: &str| format!("{text} (site {})", names.site());
    match kind {
        StreamKind::Journal => StreamSpec {
            description: described("The truth: every commit of the active controller, in order"),
            subjects: vec![names.journal()],
            max_message_bytes: Some(limit::COMMIT_BYTES + HEADER_ROOM),
            ..base
        },
        StreamKind::Commands => StreamSpec {
            description: described("What was asked of the controller, by whom and why; source of the audit trail"),
            subjects: vec![names.commands()],
            max_bytes: Some(limits.commands),
            max_age: Some(30 * DAY),
            max_message_bytes: Some(limit::COMMAND_BYTES + HEADER_ROOM),
            ..base
        },
        StreamKind::Jobs => StreamSpec {
            description: described("Jobs to start and to kill, each until an agent has taken it"),
            subjects: vec![names.jobs()],
            retention: Retention::WorkQueue,
            max_bytes: Some(limits.jobs),
            max_age: Some(JOB_AGE),
            max_message_bytes: Some(limit::JOB_MESSAGE_BYTES + HEADER_ROOM),
            deny_delete: false,
            ..base
        },
        StreamKind::Reports => StreamSpec {
            description: described("What agents say of runs: claims, ends, losses"),
            subjects: vec![names.reports()],
            max_bytes: Some(limits.reports),
            max_age: Some(CLAIM_AGE),
            // An agent reads back its own claim, and only that, by the one form of reading that rights can bind to a
            // subject. Safe although a follower may answer: every claim expects to be the first on its subject, so
            // what is found there is the one there will ever be.
            allow_direct: true,
            ..base
        },
        StreamKind::Output => StreamSpec {
            description: described("Output of jobs on its way to the history; raw bytes, who and where in the headers"),
            subjects: vec![names.outputs()],
            discard: Discard::Old,
            max_bytes: Some(limits.output),
            max_age: Some(2 * DAY),
            async_persistence: limits.replicas == 1,
            deny_delete: false,
            ..base
        },
        StreamKind::Logs => StreamSpec {
            description: described("Warnings and errors of every component, and what syslog brings of interest"),
            subjects: vec![names.logs()],
            discard: Discard::Old,
            max_bytes: Some(limits.logs),
            // A flood of one instance, or from outside, pushes out only its own lines.
            max_messages_per_subject: Some(LINES_PER_SUBJECT),
            max_age: Some(14 * DAY),
            async_persistence: limits.replicas == 1,
            deny_delete: false,
            ..base
        },
        StreamKind::Notices => StreamSpec {
            description: described("Alarms and messages for people, before they become mail"),
            subjects: vec![names.notices()],
            max_bytes: Some(limits.notices),
            max_age: Some(30 * DAY),
            ..base
        },
    }
}

fn bucket(
    bucket: &str,
    description: String,
    marker_ttl: Option<Duration>,
    direct: bool,
    limits: &Limits,
) -> StreamSpec {
    StreamSpec {
        name: kv_stream(bucket),
        description,
        subjects: vec![format!("$KV.{bucket}.>")],
        retention: Retention::Limits,
        discard: Discard::New,
        max_bytes: Some(limits.buckets),
        max_age: None,
        max_message_bytes: Some(256 * 1024),
        // History 1: with more, the marker's time to live would be the floor of every key's (ADR-43).
        max_messages_per_subject: Some(1),
        async_persistence: false,
        deny_delete: true,
        deny_purge: false,
        allow_direct: direct,
        allow_rollup: true,
        marker_ttl,
        replicas: limits.replicas,
    }
}

fn store(store: &str, description: String, bytes: u64, limits: &Limits) -> StreamSpec {
    StreamSpec {
        name: object_stream(store),
        description,
        subjects: vec![format!("$O.{store}.C.>"), format!("$O.{store}.M.>")],
        retention: Retention::Limits,
        discard: Discard::New,
        max_bytes: Some(bytes),
        max_age: None,
        max_message_bytes: None,
        max_messages_per_subject: None,
        async_persistence: false,
        deny_delete: false,
        deny_purge: false,
        allow_direct: true,
        allow_rollup: true,
        marker_ttl: None,
        replicas: limits.replicas,
    }
}

/// Every stream of a site, those behind buckets and object stores too: what provisioning creates.
pub fn all_streams(names: &SiteNames, limits: &Limits) -> Vec<StreamSpec> {
    let site = names.site();
    let mut all: Vec<StreamSpec> = StreamKind::ALL.into_iter().map(|kind| stream(names, kind, limits)).collect();
    all.push(bucket(
        &names.lease_bucket(),
        format!("Who is active in each role, and since when (site {site})"),
        Some(HOUR),
        false,
        limits,
    ));
    all.push(bucket(
        &names.instance_bucket(),
        format!("Heartbeats: what each instance knows of itself and of its links (site {site})"),
        None,
        false,
        limits,
    ));
    all.push(bucket(
        &names.desired_bucket(),
        format!("What was decided for instances, a projection of the journal (site {site})"),
        None,
        false,
        limits,
    ));
    all.push(store(
        &names.snapshot_store(),
        format!("Snapshots of the controller's state, named by journal sequence (site {site})"),
        limits.snapshots,
        limits,
    ));
    all.push(store(
        &names.definition_store(),
        format!("Workflow bodies and scripts, named by their SHA-256 (site {site})"),
        limits.definitions,
        limits,
    ));
    all
}

pub(crate) fn service_consumers(names: &SiteNames) -> Vec<(StreamKind, ConsumerSpec)> {
    let pull = |name: &str, description: &str, filter: String, ack: Ack| ConsumerSpec {
        name: name.to_owned(),
        description: format!("{description} (site {})", names.site()),
        filter,
        ack,
        ack_wait: ACK_WAIT,
        max_ack_pending: 50_000,
        deliver_subject: None,
    };
    vec![
        (
            StreamKind::Journal,
            pull("history", "The history writes the journal to PostgreSQL", names.journal(), Ack::Through),
        ),
        (
            StreamKind::Journal,
            pull("proxy", "The active proxy publishes events to the feed", names.journal(), Ack::Through),
        ),
        (
            StreamKind::Journal,
            pull(
                "daily-plan",
                "The daily plan reads schedules and what became of their orders",
                names.journal(),
                Ack::Through,
            ),
        ),
        (
            StreamKind::Journal,
            pull("monitor", "The monitor reads what people are to be told", names.journal(), Ack::Through),
        ),
        (StreamKind::Notices, pull("monitor-notices", "The monitor reads notices", names.notices(), Ack::Each)),
        (
            StreamKind::Journal,
            pull("log-notification", "The log notification reads its rules", names.journal(), Ack::Through),
        ),
        (
            StreamKind::Logs,
            pull("log-notification-logs", "The log notification reads warnings and errors", names.logs(), Ack::Each),
        ),
        (
            StreamKind::Journal,
            pull("cleanup", "The cleanup reads how long things are kept", names.journal(), Ack::Through),
        ),
        (
            StreamKind::Output,
            pull("history-output", "The history collects the output of jobs", names.outputs(), Ack::Each),
        ),
    ]
}

pub(crate) fn agent_consumers(names: &SiteNames, agent: &str) -> [ConsumerSpec; 2] {
    [
        ConsumerSpec {
            name: names.starts_consumer(agent),
            description: format!("Jobs for agent {agent}; each instance pulls as many as it has free slots"),
            filter: names.job_starts(agent),
            ack: Ack::Each,
            ack_wait: ACK_WAIT,
            max_ack_pending: 10_000,
            deliver_subject: None,
        },
        ConsumerSpec {
            name: names.kills_consumer(agent),
            description: format!("Kills for agent {agent}, seen by every instance, acknowledged by the one addressed"),
            filter: names.job_kills(agent),
            ack: Ack::Each,
            ack_wait: ACK_WAIT,
            max_ack_pending: 10_000,
            deliver_subject: Some(names.kill_delivery(agent)),
        },
    ]
}
