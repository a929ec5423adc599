//! Every name on the bus, and the configuration behind each name as data. Nobody else builds a subject: a name that is
//! made in two places drifts apart, and rights (`right.rs`) are computed from these same functions.
//!
//! Text from outside that becomes part of a subject goes through [`token`], so that no name can reach over its own level.

use crate::bus_config::{BucketNames, ConsumerSpec, Limits, StreamSpec};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The streams of a site, in the order in which design part 2 lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamKind {
    Journal,
    Commands,
    Jobs,
    Reports,
    Output,
    Logs,
    Notices,
}

impl StreamKind {
    pub const ALL: [StreamKind; 7] = [
        StreamKind::Journal,
        StreamKind::Commands,
        StreamKind::Jobs,
        StreamKind::Reports,
        StreamKind::Output,
        StreamKind::Logs,
        StreamKind::Notices,
    ];

    fn suffix(self) -> &'static str {
        match self {
            StreamKind::Journal => "JOURNAL",
            StreamKind::Commands => "COMMANDS",
            StreamKind::Jobs => "JOBS",
            StreamKind::Reports => "REPORTS",
            StreamKind::Output => "OUTPUT",
            StreamKind::Logs => "LOGS",
            StreamKind::Notices => "NOTICES",
        }
    }
}

/// A site id that is not `[a-z0-9]{1,20}`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a site: 1 to 20 of a-z and 0-9 are allowed")]
pub struct InvalidSite(pub String);

/// The names of one site. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SiteNames {
    site: String,
}

/// Who asks what of whom, read back from the subject of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSubject {
    pub user: String,
    pub role: String,
    /// Set when one instance was asked, not whoever serves the role.
    pub instance: Option<String>,
    pub noun: String,
    pub verb: String,
}

/// What a subject of the stream REPORTS says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportSubject {
    Accepted { agent: String, run: String },
    Other { agent: String, kind: String },
}

/// `text` as one token of a subject: what is not allowed in names becomes `_`, nothing becomes empty.
pub fn token(text: &str) -> String {
    let clean: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':') { c } else { '_' }).collect();
    if clean.is_empty() { "_".to_owned() } else { clean }
}

/// True for the names of workflows, agents, instances, nodes and users: `[A-Za-z0-9_-]{1,40}`.
pub fn is_name(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// The user name, and at the same time the role token in requests, logs and buckets, of an agent.
pub fn agent_user(agent: &str) -> String {
    format!("agent-{}", token(agent))
}

/// The prefix under which a user receives replies; nobody else may subscribe there.
pub fn inbox_prefix(user: &str) -> String {
    format!("_INBOX_{}", token(user))
}

/// The bucket, 0 to 255, of a run's output. Stable for good: agents and history compute it apart.
pub fn output_hash(run: &str) -> u8 {
    Sha256::digest(run.as_bytes())[0]
}

impl SiteNames {
    pub fn new(site: &str) -> Result<Self, InvalidSite> {
        let fits = (1..=20).contains(&site.len()) && site.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if fits { Ok(Self { site: site.to_owned() }) } else { Err(InvalidSite(site.to_owned())) }
    }

    pub fn site(&self) -> &str {
        &self.site
    }

    fn subject(&self, rest: std::fmt::Arguments<'_>) -> String {
        format!("ordo.{}.{rest}", self.site)
    }

    // Streams.

    /// `ORDO-<site>-JOURNAL` and so on.
    pub fn stream(&self, kind: StreamKind) -> String {
        format!("ORDO-{}-{}", self.site, kind.suffix())
    }

    /// What a stream is configured with.
    pub fn stream_spec(&self, kind: StreamKind, limits: &Limits) -> StreamSpec {
        crate::bus_config::stream(self, kind, limits)
    }

    // Subjects of streams.

    pub fn journal(&self) -> String {
        self.subject(format_args!("journal"))
    }

    pub fn command(&self, noun: &str, verb: &str) -> String {
        self.subject(format_args!("command.{}.{}", token(noun), token(verb)))
    }

    pub fn commands(&self) -> String {
        self.subject(format_args!("command.*.*"))
    }

    pub fn job_start(&self, agent: &str, run: &str) -> String {
        self.subject(format_args!("job.{}.start.{}", token(agent), token(run)))
    }

    pub fn job_kill(&self, agent: &str, instance: &str) -> String {
        self.subject(format_args!("job.{}.kill.{}", token(agent), token(instance)))
    }

    /// Everything to start on any instance of an agent.
    pub fn job_starts(&self, agent: &str) -> String {
        self.subject(format_args!("job.{}.start.*", token(agent)))
    }

    /// Everything to kill on all instances of an agent.
    pub fn job_kills(&self, agent: &str) -> String {
        self.subject(format_args!("job.{}.kill.*", token(agent)))
    }

    pub fn jobs(&self) -> String {
        self.subject(format_args!("job.*.*.*"))
    }

    /// The claim of a run: the first message on this subject wins the run.
    pub fn report_accepted(&self, agent: &str, run: &str) -> String {
        self.subject(format_args!("report.{}.accepted.{}", token(agent), token(run)))
    }

    pub fn report(&self, agent: &str, kind: &str) -> String {
        self.subject(format_args!("report.{}.{}", token(agent), token(kind)))
    }

    pub fn reports(&self) -> String {
        self.subject(format_args!("report.>"))
    }

    /// Output of a run, spread over 256 subjects so that readers can filter without a subject per run.
    pub fn output(&self, agent: &str, run: &str) -> String {
        self.subject(format_args!("output.{}.{}", token(agent), output_hash(run)))
    }

    pub fn outputs(&self) -> String {
        self.subject(format_args!("output.*.*"))
    }

    /// `role` is the user's name: a service's role, or `agent-<name>`.
    pub fn log(&self, role: &str, instance: &str, level: &str) -> String {
        self.subject(format_args!("log.{}.{}.{}", token(role), token(instance), token(level)))
    }

    pub fn logs(&self) -> String {
        self.subject(format_args!("log.*.*.*"))
    }

    /// Reads the subject of a log line back: (role, instance).
    pub fn parse_log<'a>(&self, subject: &'a str) -> Option<(&'a str, &'a str)> {
        let rest = subject.strip_prefix("ordo.")?.strip_prefix(self.site.as_str())?.strip_prefix(".log.")?;
        let (role, rest) = rest.split_once('.')?;
        let (instance, level) = rest.split_once('.')?;
        (!level.contains('.')).then_some((role, instance))
    }

    pub fn notice(&self, kind: &str, what: &str) -> String {
        self.subject(format_args!("notice.{}.{}", token(kind), token(what)))
    }

    pub fn notices(&self) -> String {
        self.subject(format_args!("notice.>"))
    }

    /// Reads a report's subject back: which agent sent it, and whether it is a claim.
    pub fn parse_report(&self, subject: &str) -> Option<ReportSubject> {
        let rest = subject.strip_prefix(&format!("ordo.{}.report.", self.site))?;
        let tokens: Vec<&str> = rest.split('.').collect();
        match tokens.as_slice() {
            [agent, "accepted", run] => {
                Some(ReportSubject::Accepted { agent: (*agent).to_owned(), run: (*run).to_owned() })
            }
            [agent, kind] => Some(ReportSubject::Other { agent: (*agent).to_owned(), kind: (*kind).to_owned() }),
            _ => None,
        }
    }

    /// Reads a command's subject back: (noun, verb).
    pub fn parse_command<'a>(&self, subject: &'a str) -> Option<(&'a str, &'a str)> {
        let rest = subject.strip_prefix("ordo.")?.strip_prefix(self.site.as_str())?.strip_prefix(".command.")?;
        rest.split_once('.').filter(|(_, verb)| !verb.contains('.'))
    }

    // The live view for people: core NATS, not stored.

    pub fn feed(&self, noun: &str, id: &str, event: &str) -> String {
        self.subject(format_args!("feed.{}.{}.{}", token(noun), token(id), token(event)))
    }

    /// `ordo.<site>.feed.>`
    pub fn feeds(&self) -> String {
        self.subject(format_args!("feed.>"))
    }

    /// Every event of one order, or with `None` of all orders.
    pub fn feed_of_order(&self, order: Option<&str>) -> String {
        match order {
            Some(order) => self.subject(format_args!("feed.order.{}.*", token(order))),
            None => self.subject(format_args!("feed.order.>")),
        }
    }

    // Requests.

    /// Asks whoever serves `role`.
    pub fn request(&self, user: &str, role: &str, noun: &str, verb: &str) -> String {
        self.subject(format_args!("request.{}.{}.{}.{}", token(user), token(role), token(noun), token(verb)))
    }

    /// Asks one instance, also when it is not the active one.
    pub fn instance(&self, user: &str, role: &str, instance: &str, noun: &str, verb: &str) -> String {
        self.subject(format_args!(
            "instance.{}.{}.{}.{}.{}",
            token(user),
            token(role),
            token(instance),
            token(noun),
            token(verb)
        ))
    }

    /// What a role listens to for one verb, whoever asks.
    pub fn request_from_anybody(&self, role: &str, noun: &str, verb: &str) -> String {
        self.subject(format_args!("request.*.{}.{}.{}", token(role), token(noun), token(verb)))
    }

    /// What an instance listens to for one verb, whoever asks.
    pub fn instance_from_anybody(&self, role: &str, instance: &str, noun: &str, verb: &str) -> String {
        self.subject(format_args!("instance.*.{}.{}.{}.{}", token(role), token(instance), token(noun), token(verb)))
    }

    /// The question every instance answers while its process lives; "no responders" means that it is gone.
    pub fn instance_ping(&self, user: &str, role: &str, instance: &str) -> String {
        self.instance(user, role, instance, "instance", "ping")
    }

    /// Reads a request's subject back. The server lets a user publish only under its own name, so `user` is who asks.
    pub fn parse_request(&self, subject: &str) -> Option<RequestSubject> {
        let rest = subject.strip_prefix("ordo.")?.strip_prefix(self.site.as_str())?.strip_prefix('.')?;
        let tokens: Vec<&str> = rest.split('.').collect();
        let (user, role, instance, noun, verb) = match tokens.as_slice() {
            ["request", user, role, noun, verb] => (user, role, None, noun, verb),
            ["instance", user, role, instance, noun, verb] => (user, role, Some(instance), noun, verb),
            _ => return None,
        };
        Some(RequestSubject {
            user: (*user).to_owned(),
            role: (*role).to_owned(),
            instance: instance.map(|i| (*i).to_owned()),
            noun: (*noun).to_owned(),
            verb: (*verb).to_owned(),
        })
    }

    /// The name that `nats micro ls` shows.
    pub fn micro_service(&self, role: &str) -> String {
        format!("ordo-{}-{}", self.site, token(role))
    }

    // Buckets.

    pub fn lease_bucket(&self) -> String {
        format!("ordo-{}-lease", self.site)
    }

    pub fn instance_bucket(&self) -> String {
        format!("ordo-{}-instance", self.site)
    }

    pub fn desired_bucket(&self) -> String {
        format!("ordo-{}-desired", self.site)
    }

    pub fn snapshot_store(&self) -> String {
        format!("ordo-{}-snapshot", self.site)
    }

    pub fn definition_store(&self) -> String {
        format!("ordo-{}-definition", self.site)
    }

    /// The key of an instance in the instance bucket: `<role>.<instance>`, agents `agent-<name>.<instance>`.
    pub fn instance_key(&self, role: &str, instance: &str) -> String {
        format!("{}.{}", token(role), token(instance))
    }

    pub fn buckets(&self) -> BucketNames {
        BucketNames {
            lease: self.lease_bucket(),
            instance: self.instance_bucket(),
            desired: self.desired_bucket(),
            snapshot: self.snapshot_store(),
            definition: self.definition_store(),
        }
    }

    // Durable consumers.

    /// The durables of services, with the stream each reads.
    pub fn service_consumers(&self) -> Vec<(StreamKind, ConsumerSpec)> {
        crate::bus_config::service_consumers(self)
    }

    /// The durables of one agent name on JOBS: its starts (pulled by all instances) and its kills (pushed to all).
    pub fn agent_consumers(&self, agent: &str) -> [ConsumerSpec; 2] {
        crate::bus_config::agent_consumers(self, agent)
    }

    /// The durable from which every instance of an agent pulls its starts.
    pub fn starts_consumer(&self, agent: &str) -> String {
        agent_user(agent)
    }

    /// The durable that pushes kills to every instance of an agent; the one addressed acks.
    pub fn kills_consumer(&self, agent: &str) -> String {
        format!("kill-{}", token(agent))
    }

    /// Where the kills of an agent are pushed to.
    pub fn kill_delivery(&self, agent: &str) -> String {
        self.subject(format_args!("deliver.{}.kill", token(agent)))
    }
}

/// The stream behind a KV bucket.
pub fn kv_stream(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// The subject of a key of a KV bucket.
pub fn kv_subject(bucket: &str, key: &str) -> String {
    format!("$KV.{bucket}.{key}")
}

/// The stream behind an object store.
pub fn object_stream(store: &str) -> String {
    format!("OBJ_{store}")
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
