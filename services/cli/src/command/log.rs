//! `ordo log`: the warnings and errors of Ordo's instances, and what syslog brought.

use crate::{
    arguments::{LogArguments, LogCommand},
    client::{Client, PROMPT},
    error::{CliError, Exit},
    show::{Look, Tone, harmless, line, text, time},
};
use ordo_contract::request::log_notification::{LOG_LIST, LogListLine, LogListReply, LogListRequest};
use ordo_domain::log_rule::Severity;
use std::time::Duration;

const ROLE: &str = "log-notification";
/// Lines that are shown if nobody says how many.
const USUAL: u32 = 50;
/// Before the live ones.
const BEFORE: u32 = 10;
/// In one answer.
const PAGE: u32 = 1_000;
/// Between questions while following.
const PERIOD: Duration = Duration::from_millis(500);

pub async fn run(client: &Client, command: LogCommand, look: &Look) -> Result<Exit, CliError> {
    match command {
        LogCommand::List { which, after, limit } => list(client, &which, after, limit, look).await,
        LogCommand::Tail { which, limit } => tail(client, &which, limit.unwrap_or(BEFORE), look).await,
    }
}

fn request(which: &LogArguments) -> LogListRequest {
    LogListRequest {
        after: None,
        limit: None,
        level: which.level,
        role: which.role.clone(),
        host: which.host.clone(),
        application: which.application.clone(),
        pattern: which.grep.clone(),
    }
}

async fn list(
    client: &Client,
    which: &LogArguments,
    after: Option<u64>,
    limit: Option<u32>,
    look: &Look,
) -> Result<Exit, CliError> {
    let wanted = limit.unwrap_or(USUAL);
    let mut request = LogListRequest { after, ..request(which) };
    let mut shown = 0;
    loop {
        request.limit = Some((wanted - shown).min(PAGE));
        let page: LogListReply = client.ask(ROLE, LOG_LIST, &request).await?;
        page.lines.iter().for_each(|line| say(line, look));
        shown += u32::try_from(page.lines.len()).unwrap_or(u32::MAX);
        // The newest are one answer: what lies before them is asked for by `after`.
        if !page.more || request.after.is_none() || shown >= wanted {
            break;
        }
        request.after = Some(page.next);
    }
    if shown == 0 && !look.json {
        eprintln!("no such lines");
    }
    Ok(Exit::Done)
}

async fn tail(client: &Client, which: &LogArguments, before: u32, look: &Look) -> Result<Exit, CliError> {
    let mut request = LogListRequest { limit: Some(before.clamp(1, PAGE)), ..request(which) };
    loop {
        let page: Option<LogListReply> = client.ask_patiently(ROLE, LOG_LIST, &request, PROMPT, None).await?;
        let Some(page) = page else { return Err(CliError::failed("no answer any more")) };
        let skip = if request.after.is_none() && before == 0 { page.lines.len() } else { 0 };
        page.lines.iter().skip(skip).for_each(|line| say(line, look));
        request.after = Some(page.next);
        request.limit = Some(PAGE);
        if !page.more {
            tokio::time::sleep(PERIOD).await;
        }
    }
}

fn say(entry: &LogListLine, look: &Look) {
    if look.json {
        line(&serde_json::to_string(entry).unwrap_or_default());
    } else {
        line(&view(entry, look));
    }
}

/// `02:14:09  ✖ error      db1  sshd[4711]: no such user`
pub fn view(entry: &LogListLine, look: &Look) -> String {
    let record = &entry.record;
    let (glyph, tone) = match record.level {
        Severity::Emergency | Severity::Alert | Severity::Critical | Severity::Error => ("✖", Tone::Bad),
        Severity::Warning => ("▲", Tone::Warning),
        Severity::Notice | Severity::Info | Severity::Debug => ("·", Tone::Plain),
    };
    let (from, process) = match &record.syslog {
        Some(facts) => (harmless(&facts.application), facts.process.clone()),
        None => (harmless(&record.application(&entry.role)), Some(entry.instance.clone())),
    };
    let process = process.map(|process| format!("[{}]", harmless(&process))).unwrap_or_default();
    let host = if record.host.is_empty() { "-".to_owned() } else { harmless(&record.host) };
    let row = format!(
        "{}  {}  {host}  {}: {}",
        look.dim(&time::short(record.at, look.zone)),
        look.paint(tone, &format!("{glyph} {:<9}", record.level)),
        look.bold(&format!("{from}{process}")),
        harmless(&record.text())
    );
    if look.colour { row } else { text::shorten(row.trim_end(), look.width) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordo_contract::log::{LogRecord, SyslogFacts};

    #[test]
    fn a_line_of_somebody_cannot_move_the_cursor_or_turn_the_text() {
        let entry = LogListLine {
            sequence: 7,
            role: "syslog".into(),
            instance: "l1".into(),
            record: LogRecord {
                at: chrono::DateTime::UNIX_EPOCH,
                level: Severity::Warning,
                target: String::new(),
                message: "a\x1b[2J\nb\u{202e}c".into(),
                fields: serde_json::Map::new(),
                host: "ho\x07st".into(),
                syslog: Some(SyslogFacts {
                    application: "s\x1bshd".into(),
                    process: Some("4\r2".into()),
                    ..SyslogFacts::default()
                }),
            },
        };
        let shown = view(&entry, &Look::plain());
        assert!(shown.ends_with("▲ warning    ho\\u{7}st  s\\u{1b}shd[4\\r2]: a\\u{1b}[2J\\nb\\u{202e}c"), "{shown}");
    }
}
