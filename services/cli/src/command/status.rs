//! `ordo status`: who is active, how well, and how much is going on. Nothing is green that was not heard of in time.

use crate::{
    client::Client,
    error::{CliError, Exit},
    show::{self, Align, Look, Table, Tone, harmless, text, time},
};
use chrono::TimeDelta;
use ordo_contract::{
    heartbeat::{Activity, Heartbeat, PERIOD},
    request::{Nothing, StatusReply, proxy},
};

/// Yellow: a reader this far behind.
const LAGGING: u64 = 1_000;

pub async fn run(client: &Client, look: &Look) -> Result<Exit, CliError> {
    let reply: StatusReply = client.ask("proxy", proxy::STATUS, &Nothing {}).await?;
    show::print(look, &reply, || view(&reply, look));
    Ok(if is_healthy(&reply) { Exit::Done } else { Exit::Failed })
}

/// Health of one instance, with the word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Healthy,
    Unwell,
    /// Stopped in order: nothing is wrong with that.
    Stopped,
    Unknown,
}

impl Health {
    fn sign(self) -> (&'static str, Tone) {
        match self {
            Health::Healthy => ("●", Tone::Good),
            Health::Unwell => ("◐", Tone::Warning),
            Health::Stopped => ("○", Tone::Faint),
            Health::Unknown => ("✖", Tone::Bad),
        }
    }
}

pub fn health(heartbeat: &Heartbeat, reply: &StatusReply) -> Health {
    let silent = TimeDelta::from_std(PERIOD * 3).unwrap_or(TimeDelta::seconds(6));
    if heartbeat.activity == Activity::Stopping {
        return Health::Stopped;
    }
    if reply.at - heartbeat.at > silent {
        return Health::Unknown;
    }
    let well = heartbeat.links.iter().all(|link| link.ok)
        && heartbeat.lag.unwrap_or(0) < LAGGING
        && heartbeat.activity != Activity::Starting
        && heartbeat.note.is_none();
    if well { Health::Healthy } else { Health::Unwell }
}

fn is_healthy(reply: &StatusReply) -> bool {
    reply.active_controller.is_some()
        && reply.instances.iter().all(|heartbeat| matches!(health(heartbeat, reply), Health::Healthy | Health::Stopped))
}

pub fn view(reply: &StatusReply, look: &Look) -> String {
    let mut table = Table::new([
        ("", Align::Left),
        ("INSTANCE", Align::Left),
        ("STATE", Align::Left),
        ("NODE", Align::Left),
        ("LINKS", Align::Left),
        ("NOTE", Align::Left),
        ("HEARD", Align::Left),
    ])
    .shortening([5]);
    let mut instances: Vec<&Heartbeat> = reply.instances.iter().collect();
    instances.sort_by_key(|heartbeat| (rank(&heartbeat.role), heartbeat.role.clone(), heartbeat.instance.clone()));
    for heartbeat in instances {
        let (glyph, word) = glyph_and_word(heartbeat, reply, look);
        table.row([
            glyph,
            name(heartbeat),
            word,
            heartbeat.node.to_string(),
            links(heartbeat),
            notes(heartbeat),
            format!("{} ago", time::age(heartbeat.at, reply.at)),
        ]);
    }
    let mut out = if table.is_empty() { String::new() } else { table.print(look.width) };
    if !reply.instances.iter().any(|heartbeat| heartbeat.role == "controller" && is_heard(heartbeat, reply)) {
        out.push_str(&look.paint(Tone::Bad, "✖ no controller is heard of: nothing is decided until one runs"));
        out.push('\n');
    }
    let active = reply.active_controller.as_ref().map_or_else(|| "nobody active".to_owned(), |c| format!("active {c}"));
    out.push_str(&format!("\nsite {}, epoch {}, {active}\n", reply.site, reply.epoch));
    let orders: Vec<String> =
        reply.orders.iter().filter(|(_, n)| **n > 0).map(|(word, n)| format!("{} {word}", text::grouped(*n))).collect();
    out.push_str(&format!("orders   {}\n", if orders.is_empty() { "none".to_owned() } else { orders.join(", ") }));
    let journal = &reply.journal;
    let lag: Vec<String> = journal.lag.iter().map(|(reader, n)| format!("{reader} {}", text::grouped(*n))).collect();
    out.push_str(&format!(
        "journal  {} to {}, {}",
        text::grouped(journal.first),
        text::grouped(journal.last),
        text::bytes(journal.bytes)
    ));
    if !lag.is_empty() {
        out.push_str(&format!("; behind: {}", lag.join(", ")));
    }
    out.push('\n');
    out
}

/// How an instance is, as a sign and as a word.
pub fn glyph_and_word(heartbeat: &Heartbeat, reply: &StatusReply, look: &Look) -> (String, String) {
    let health = health(heartbeat, reply);
    let (glyph, tone) = health.sign();
    let word = match (health, heartbeat.activity) {
        (Health::Unknown, _) => "unknown",
        (_, Activity::Starting) => "starting",
        (_, Activity::Active) => "active",
        (_, Activity::Standby) => "standby",
        (_, Activity::Stopping) => "stopped",
    };
    (look.paint(tone, glyph), look.paint(tone, word))
}

/// It lives, well or not.
pub fn is_heard(heartbeat: &Heartbeat, reply: &StatusReply) -> bool {
    matches!(health(heartbeat, reply), Health::Healthy | Health::Unwell)
}

/// `controller/c1`, `agent/etl#2`.
fn name(heartbeat: &Heartbeat) -> String {
    let (role, instance) = (harmless(&heartbeat.role), harmless(&heartbeat.instance));
    match role.strip_prefix("agent-") {
        Some(agent) => format!("agent/{agent}#{instance}"),
        None => format!("{role}/{instance}"),
    }
}

fn rank(role: &str) -> u8 {
    match role {
        "controller" => 0,
        "proxy" => 1,
        "history" => 2,
        role if role.starts_with("agent-") => 4,
        _ => 3,
    }
}

fn links(heartbeat: &Heartbeat) -> String {
    let of = |link: &ordo_contract::heartbeat::Link| match (link.ok, link.rtt_ms, &link.error) {
        (true, Some(ms), _) => format!("{} ok {ms:.1} ms", harmless(&link.to)),
        (true, None, _) => format!("{} ok", harmless(&link.to)),
        (false, _, Some(error)) => format!("{} ✖ {}", harmless(&link.to), harmless(error)),
        (false, _, None) => format!("{} ✖ failed", harmless(&link.to)),
    };
    heartbeat.links.iter().map(of).collect::<Vec<_>>().join(", ")
}

fn notes(heartbeat: &Heartbeat) -> String {
    let mut notes = Vec::new();
    notes.extend(heartbeat.lag.filter(|lag| *lag > 0).map(|lag| format!("lag {}", text::grouped(lag))));
    if let Some(agent) = &heartbeat.agent {
        notes.push(format!("{} of {} slots", agent.runs.len(), agent.slots));
        if agent.outbox > 0 {
            notes.push(format!("{} in the outbox", text::counted(agent.outbox, "report", "reports")));
        }
    }
    notes.extend(heartbeat.note.as_deref().map(harmless));
    notes.join(", ")
}
