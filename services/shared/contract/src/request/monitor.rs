//! What the monitor is asked, and notifications as facts.

use chrono::NaiveDate;
use ordo_domain::{Instant, alert::Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const NOTIFICATION_LIST: &str = "notification.list";
pub const NOTIFICATION_SHOW: &str = "notification.show";
pub const NOTIFICATION_ACKNOWLEDGE: &str = "notification.acknowledge";
pub const TEST_MAIL: &str = "monitor.test-mail";

// ---- requests and replies ---------------------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NotificationListRequest {
    /// `new`, `acknowledged` or `recovered`; all that are not recovered if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Recovered ones too, where no state is given.
    pub all: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// At most 1,000; 100 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Older than this one, newest first: the last id of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotificationListReply {
    /// Newest first.
    pub notifications: Vec<NotificationLine>,
    pub more: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotificationLine {
    pub id: String,
    pub at: Instant,
    pub kind: Kind,
    /// `new`, `acknowledged` or `recovered`.
    pub state: String,
    /// To whom it happened: a workflow and its business day, an agent, a role.
    pub object: String,
    /// What happened, in words.
    pub what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// That told of it.
    pub rules: Vec<String>,
    /// By which maintenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silenced_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledged>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_at: Option<Instant>,
    pub mail: MailState,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acknowledged {
    pub by: String,
    pub at: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// How its mails are, all recipients together: the worst of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailState {
    /// Nobody is to get one.
    None,
    /// Waits to be told together with others.
    Gathered,
    Silenced,
    /// On its way, or tried again.
    Waiting,
    Accepted,
    /// Some recipient will not get it.
    Refused,
}

impl MailState {
    pub fn word(self) -> &'static str {
        match self {
            MailState::None => "none",
            MailState::Gathered => "gathered",
            MailState::Silenced => "silenced",
            MailState::Waiting => "waiting",
            MailState::Accepted => "accepted",
            MailState::Refused => "refused",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotificationRequest {
    pub notification: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotificationShowReply {
    #[serde(flatten)]
    pub line: NotificationLine,
    pub facts: Incident,
    pub deliveries: Vec<DeliveryLine>,
}

/// One mail to one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryLine {
    /// Of the mail; its Message-ID is made of it.
    pub mail: String,
    /// `alert`, `repeats`, `digest`, `recovery`, `maintenance` or `test`.
    pub kind: String,
    pub rule: String,
    pub recipient: String,
    /// `waiting`, `accepted` or `refused`.
    pub state: String,
    /// That did not succeed.
    pub tries: u32,
    /// The server that was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// What it said, or why nothing came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    pub at: Instant,
}

/// All of them or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeRequest {
    pub notifications: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AcknowledgeReply {
    pub notifications: Vec<NotificationLine>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TestMailRequest {
    /// Everybody whom a rule names, if empty.
    pub to: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestMailReply {
    /// The servers, or the folder.
    pub post: String,
    pub deliveries: Vec<DeliveryLine>,
}

// ---- facts ------------------------------------------------------------------------------------------------------------

/// One notification as facts. Kept as JSON with its row: what a mail says is what was true when it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// Of the notification, to be pasted into a command.
    pub id: String,
    pub kind: Kind,
    /// When it happened.
    pub at: Instant,
    pub object: Object,
    /// What happened, in words: `exit code 75`. May be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_at: Option<Instant>,
}

/// What it happened to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    Order(Box<OrderFacts>),
    Agent(AgentFacts),
    Role(RoleFacts),
    Controller(ControllerFacts),
    Log(LogFacts),
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OrderFacts {
    /// Missing where no order came to be: a start that was skipped or could not be planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    pub workflow: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub business_day: Option<NaiveDate>,
    /// Where it stands: `loads:west/load`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// The order, itself or a branch, and the run whose log is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_order: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added_by: Option<String>,
    /// A `fail` step said so: the text alone says what happened.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub said: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AgentFacts {
    pub agent: String,
    pub instance: String,
    pub node: String,
    /// When it was last heard of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Instant>,
    /// Runs that it had then.
    pub runs: usize,
    /// Instances of this agent that are there.
    pub others: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RoleFacts {
    pub role: String,
    /// `h1 on node-a: silent`, one for each instance that is known.
    pub instances: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ControllerFacts {
    pub instance: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    pub epoch: u64,
    pub how: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogFacts {
    pub rule: String,
    pub host: String,
    pub application: String,
    pub severity: String,
    /// How many lines this stands for.
    pub count: u64,
}

impl Incident {
    pub fn order(&self) -> Option<&OrderFacts> {
        match &self.object {
            Object::Order(order) => Some(order),
            _ => None,
        }
    }
}
