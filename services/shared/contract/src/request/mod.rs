//! Bodies of requests and replies. Subject `ordo.<site>.request.<user>.<role>.<noun>.<verb>`; the constants below are `<noun>.<verb>`.
//!
//! An error reply has the headers `Nats-Service-Error` and `Nats-Service-Error-Code` and an [`ErrorBody`].
//!
//! This file is longer than others: it is one list, which readers search as one. What the services that act by definitions
//! are asked is in the module of each.

pub mod catalog;
pub mod cleanup;
pub mod controller;
pub mod daily_plan;
pub mod log_notification;
pub mod monitor;

use chrono::NaiveDate;
use ordo_domain::{
    AgentName, CommandId, ContentHash, InstanceId, Instant, OrderId, Outcome, Refusal, RunId, UserName, Value,
    VariableName, WorkflowName,
    command::DeployItem,
    order::command::NewOrder,
    run::{RunEnd, report::OutputSummary, report::Usage},
    workflow::Parameter,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::heartbeat::Heartbeat;

/// Codes of error replies, in the manner of HTTP.
pub mod status {
    pub const MALFORMED: u16 = 400;
    pub const FORBIDDEN: u16 = 403;
    pub const NOT_FOUND: u16 = 404;
    pub const REFUSED: u16 = 409;
    pub const TOO_LARGE: u16 = 413;
    pub const INTERNAL: u16 = 500;
    /// Not now: no database, no bus, still reading the journal.
    pub const UNAVAILABLE: u16 = 503;
}

/// Code of a 404: the order was there and has ended; the history has it.
pub const ORDER_ENDED: &str = "order_ended";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// A stable word: the code of a refusal, or `malformed`, `unavailable`, ….
    pub code: String,
    /// For the person who reads it: what, where, and what would be right.
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

/// Served by the role `proxy`.
pub mod proxy {
    pub const ORDER_ADD: &str = "order.add";
    pub const ORDER_CANCEL: &str = "order.cancel";
    pub const ORDER_SUSPEND: &str = "order.suspend";
    pub const ORDER_RESUME: &str = "order.resume";
    pub const ORDER_LIST: &str = "order.list";
    pub const ORDER_SHOW: &str = "order.show";
    pub const ORDER_AWAIT: &str = "order.await";
    pub const DEFINITION_PUT: &str = "definition.put";
    pub const DEFINITION_KNOWN: &str = "definition.known";
    pub const DEFINITION_DEPLOY: &str = "definition.deploy";
    pub const WORKFLOW_LIST: &str = "workflow.list";
    pub const WORKFLOW_SHOW: &str = "workflow.show";
    pub const AGENT_LIST: &str = "agent.list";
    pub const AGENT_ADD: &str = "agent.add";
    pub const STATUS: &str = "site.status";
    // Bodies in the module catalog.
    pub const DEFINITION_LIST: &str = "definition.list";
    pub const DEFINITION_SHOW: &str = "definition.show";
    pub const DEFINITION_DEPLOYED: &str = "definition.deployed";
    pub const DEFINITION_REMOVE: &str = "definition.remove";
    pub const SCHEDULE_SUSPEND: &str = "schedule.suspend";
    pub const SCHEDULE_RESUME: &str = "schedule.resume";
}

/// Served by the role `history`.
pub mod history {
    pub const ORDER_LIST: &str = "order.list";
    pub const ORDER_SHOW: &str = "order.show";
    pub const STEP_LIST: &str = "step.list";
    pub const LOG_READ: &str = "log.read";
    pub const EVENT_LIST: &str = "event.list";
    /// Bodies in the module output.
    pub const OUTPUT_STORED: &str = "output.stored";
}

/// Served by every service of which one instance is active.
pub mod service {
    /// Of the role: the active instance does now what it would do later.
    pub const RUN: &str = "service.run";
    /// Of one instance: it stops in order and asks its supervisor to start it again.
    pub const RESTART: &str = "service.restart";
}

/// What was done about a request that concerns a service itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceReply {
    pub instance: String,
}

// ---- proxy: commands --------------------------------------------------------------------------------------------------

/// What every request that leads to a command may carry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    /// Give one to be able to repeat the request safely: the same id has the same outcome for 24 h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<CommandId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One order given by its own fields (`{"workflow":"backup"}`), or many under `orders`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AddOrdersRequest {
    Many(AddMany),
    One(AddOne),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddMany {
    pub orders: Vec<NewOrder>,
    #[serde(default)]
    pub asked: Asked,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AddOne {
    #[serde(flatten)]
    pub order: NewOrder,
    #[serde(default)]
    pub asked: Asked,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AddOrdersReply {
    One {
        order: OrderId,
        state: String,
    },
    Many {
        orders: Vec<OrderId>,
    },
    /// Nobody is active: it will be carried out; ask again with the same id.
    Pending {
        pending: String,
        id: CommandId,
    },
}

/// cancel, suspend; `position` is for resume only, `kill` for the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrdersRequest {
    pub orders: Vec<OrderId>,
    #[serde(default)]
    pub kill: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    #[serde(default)]
    pub asked: Asked,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrdersReply {
    /// As they are after the command.
    pub orders: Vec<OrderLine>,
    /// Set where nobody is active yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddAgentRequest {
    pub agent: AgentName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default)]
    pub asked: Asked,
}

// ---- proxy: definitions -----------------------------------------------------------------------------------------------

/// Stores a body under its hash: harmless, and needed before `definition.deploy` names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutRequest {
    /// The normalised JSON of a workflow or lock, or the text of a script.
    pub body: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PutReply {
    pub hash: ContentHash,
}

/// What is asked of all workflows comes in pages by name: ask on with the last name as `after` while there is `more`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkflowListRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<WorkflowName>,
}

/// What files are checked against; locks and agents with the first page.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct KnownReply {
    pub workflows: BTreeMap<WorkflowName, BTreeMap<VariableName, Parameter>>,
    pub locks: BTreeMap<String, u32>,
    pub agents: Vec<AgentName>,
    /// The workflows that each workflow calls: circles are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub calls: BTreeMap<WorkflowName, BTreeSet<WorkflowName>>,
    /// The largest weight that each workflow wants of each lock: a smaller capacity is refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<WorkflowName, BTreeMap<String, u32>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    pub items: Vec<DeployItem>,
    #[serde(default)]
    pub dry_run: bool,
    #[serde(default)]
    pub asked: Asked,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeployReply {
    pub items: Vec<DeployedItem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeployedItem {
    /// `workflow` or `lock`.
    pub kind: String,
    pub name: String,
    pub change: DeployChange,
    /// The new one (of a dry run: that it would get); the present one if unchanged.
    pub version: u32,
    /// In words, one a line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeployChange {
    New,
    Changed,
    Unchanged,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowLine {
    pub workflow: WorkflowName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    pub version: u32,
    pub deployed_at: Instant,
    /// Not terminated, of all versions.
    pub orders: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowListReply {
    pub workflows: Vec<WorkflowLine>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowShowRequest {
    pub workflow: WorkflowName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowShowReply {
    pub version: u32,
    pub versions: Vec<u32>,
    pub hash: ContentHash,
    pub deployed_at: Instant,
    pub definition: ordo_domain::workflow::Workflow,
}

// ---- proxy: queries ---------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OrderListRequest {
    /// One of the words of an order's state, or `suspended`, `waiting`, `active`; all that are in the state if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// At most 1,000; 100 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The last id of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<OrderId>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderListReply {
    pub orders: Vec<OrderLine>,
    /// There are more: ask again with `after` = the last id here.
    pub more: bool,
    /// The journal sequence this is true at.
    pub sequence: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderLine {
    pub order: OrderId,
    pub workflow: WorkflowName,
    pub version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A word of the order's state.
    pub state: String,
    pub suspended: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// Why it does not move, in words; none where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    pub business_day: NaiveDate,
    pub priority: i16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Instant>,
    pub added_at: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Instant>,
    pub since: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    pub order: OrderId,
}

/// From the live state; 404 where the order has left it (ask history).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderShowReply {
    #[serde(flatten)]
    pub line: OrderLine,
    /// Codes and arguments of what it waits for.
    #[serde(default)]
    pub waits: Vec<serde_json::Value>,
    #[serde(default)]
    pub arguments: BTreeMap<VariableName, Value>,
    /// By label: `return_code` and values.
    #[serde(default)]
    pub results: BTreeMap<String, serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    #[serde(default)]
    pub attempt: u32,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    pub added_by: UserName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Branches and called workflows.
    #[serde(default)]
    pub children: Vec<OrderLine>,
    pub sequence: u64,
}

/// Answers when the order has terminated or failed, or after `wait_ms` (at most 20,000) with what it is then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwaitRequest {
    pub order: OrderId,
    pub wait_ms: u64,
    /// Answer sooner when the journal has passed this sequence with a change of this order (or a branch): live progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Nothing {}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentListReply {
    pub agents: Vec<AgentLine>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentLine {
    pub agent: AgentName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    pub instances: Vec<AgentInstanceLine>,
    /// Sent, not claimed by any instance.
    pub waiting: u64,
    pub running: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentInstanceLine {
    pub instance: InstanceId,
    pub node: String,
    pub version: String,
    /// `ready`, `stopped`, `unknown`: by its last heartbeat.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    pub runs: u64,
    pub outbox: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatusReply {
    pub site: String,
    pub at: Instant,
    pub epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_controller: Option<InstanceId>,
    /// Of all roles, with the age of what is said in `at`.
    pub instances: Vec<Heartbeat>,
    /// Orders by state word.
    pub orders: BTreeMap<String, u64>,
    pub journal: JournalStatus,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JournalStatus {
    pub first: u64,
    pub last: u64,
    pub bytes: u64,
    /// Readers by durable name: messages behind.
    pub lag: BTreeMap<String, u64>,
}

// ---- history ----------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryOrdersRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub business_day: Option<NaiveDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Ids before this one, newest first: the last id of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
    /// Branches and called workflows too.
    pub children: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryOrdersReply {
    pub orders: Vec<HistoryOrder>,
    pub more: bool,
    pub sequence: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryOrder {
    /// For paging.
    pub number: i64,
    pub order: OrderId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<OrderId>,
    pub workflow: WorkflowName,
    pub version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    pub business_day: NaiveDate,
    /// A word of the order's state: running ones are `started`.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The outcome in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default)]
    pub arguments: BTreeMap<VariableName, Value>,
    #[serde(default)]
    pub results: BTreeMap<String, serde_json::Value>,
    pub added_by: UserName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_at: Option<Instant>,
    pub added_at: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryStepsRequest {
    /// With its branches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentName>,
    /// This one alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryStepsReply {
    /// One order: oldest first; else newest first.
    pub steps: Vec<HistoryStep>,
    pub more: bool,
    pub sequence: u64,
}

/// One run: an attempt of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryStep {
    pub number: i64,
    pub run: RunId,
    pub order: OrderId,
    pub workflow: WorkflowName,
    pub position: String,
    pub job: String,
    pub attempt: u32,
    pub agent: AgentName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// `sent`, `running`, `succeeded`, `warning`, `failed`, `lost`, `killed`.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<RunEnd>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    pub sent_at: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputSummary>,
    #[serde(default)]
    pub results: BTreeMap<VariableName, Value>,
    /// All that it printed is here.
    pub log_complete: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogReadRequest {
    /// With its branches; or one run.
    pub order: OrderId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The `next` of the reply before; empty from the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<LogPosition>,
}

/// The last chunk that was read of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogPosition {
    pub run: RunId,
    pub chunk: u32,
}

/// At most 256 KiB of text; ask again with `after` = `next` until `more` is false.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogReadReply {
    pub chunks: Vec<LogChunk>,
    pub next: Vec<LogPosition>,
    pub more: bool,
    /// The order has terminated and all its logs are complete: nothing will follow.
    pub ended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogChunk {
    pub run: RunId,
    pub order: OrderId,
    pub position: String,
    pub attempt: u32,
    pub chunk: u32,
    pub channel: String,
    pub at: Instant,
    /// Bytes that are no UTF-8 are replaced, also those of a character that the end of a chunk cuts in two.
    pub text: String,
    /// All bytes as hexadecimal digits, where `text` has some replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
    /// Left out before this chunk, because of the limit.
    #[serde(default)]
    pub omitted_bytes: u64,
}

impl LogChunk {
    /// What it shows of these bytes: `text` and `hex`.
    pub fn show(bytes: &[u8]) -> (String, Option<String>) {
        let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
        match std::str::from_utf8(bytes) {
            Ok(text) => (text.to_owned(), None),
            Err(_) => {
                let hex = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
                (String::from_utf8_lossy(bytes).into_owned(), Some(hex))
            }
        }
    }

    /// What was printed.
    pub fn bytes(&self) -> Vec<u8> {
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes = self.hex.as_ref().and_then(|hex| hex.as_bytes().chunks(2).map(byte).collect());
        bytes.unwrap_or_else(|| self.text.clone().into_bytes())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventListRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
    /// Journal sequence; events after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Without `after`: the newest this many. At most 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventListReply {
    /// Oldest first.
    pub events: Vec<EventLine>,
    pub more: bool,
}

/// Also the body of a feed message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventLine {
    /// In the journal.
    pub sequence: u64,
    /// Of the event within its commit, from 0.
    pub index: u32,
    pub at: Instant,
    pub epoch: u64,
    /// `{"OrderStarted": {…}}`
    pub event: serde_json::Value,
}
