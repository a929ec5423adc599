//! From a message of COMMANDS or REPORTS to what the engine can decide on. Nothing is thrown away here: what cannot be
//! read becomes [`Body::Malformed`], which ends in an event, so that the position moves on.

use crate::engine::{Body, Message};
use ordo_contract::{
    command::{CommandMessage, noun_verb},
    commit::Source,
    name::ReportSubject,
    name::SiteNames,
    report::ReportMessage,
};
use ordo_domain::{AgentName, limit, run::Report};
use serde::de::DeserializeOwned;

/// Reads a message as it was stored.
pub fn read(names: &SiteNames, source: Source, incarnation: &str, message: &ordo_journal::Message) -> Message {
    let body = match source {
        Source::Commands => command(names, message.subject(), message.payload()),
        Source::Reports => report(names, message.subject(), message.payload()),
    };
    Message { source, incarnation: incarnation.to_owned(), sequence: message.sequence, body }
}

/// The rights bind who may publish under which subject; the command in it must be the one that the subject names.
fn command(names: &SiteNames, subject: &str, payload: &[u8]) -> Body {
    match parse::<CommandMessage>(payload, limit::COMMAND_BYTES) {
        Ok(command) if names.parse_command(subject) != Some(noun_verb(&command.command)) => {
            Body::Malformed { agent: None, reason: format!("{subject} does not fit the command in it") }
        }
        Ok(command) => Body::Command(Box::new(command)),
        Err(reason) => Body::Malformed { agent: None, reason },
    }
}

/// The rights bind the agent of the subject; the body must agree with it, and a claim with the run in its subject.
fn report(names: &SiteNames, subject: &str, payload: &[u8]) -> Body {
    let Some(parts) = names.parse_report(subject) else {
        return Body::Malformed { agent: None, reason: format!("{subject} is no subject of a report") };
    };
    let (agent, run) = match &parts {
        ReportSubject::Accepted { agent, run } => (agent, Some(run.as_str())),
        ReportSubject::Other { agent, .. } => (agent, None),
    };
    let Ok(agent) = AgentName::new(agent) else {
        return Body::Malformed { agent: None, reason: format!("{subject} names no agent") };
    };
    let malformed = |reason| Body::Malformed { agent: Some(agent.clone()), reason };
    let report: ReportMessage = match parse(payload, limit::COMMAND_BYTES) {
        Ok(report) => report,
        Err(reason) => return malformed(reason),
    };
    let claimed = match &report.report {
        Report::Accepted { run } | Report::Refused { run } => Some(run.as_str()),
        _ => None,
    };
    if claimed != run {
        return malformed(format!("{subject} does not fit the report in it"));
    }
    Body::Report { agent, report: Box::new(report) }
}

fn parse<T: DeserializeOwned>(payload: &[u8], limit: usize) -> Result<T, String> {
    if payload.len() > limit {
        return Err(format!("{} bytes, the limit is {limit}", payload.len()));
    }
    serde_json::from_slice(payload).map_err(|e| format!("not readable: {e}"))
}
