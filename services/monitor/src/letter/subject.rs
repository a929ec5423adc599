//! Subjects, and one line about an incident.

use super::{Desk, Incident, Object, OrderFacts, clean, time};
use ordo_domain::alert::Kind;

/// Characters of a subject; phones show forty, programs that sort mail want all.
const LONGEST: usize = 180;

/// `[ordo/prod] …`, in one clean line.
pub fn subject(desk: &Desk, rest: &str) -> String {
    format!("[ordo/{}] {}", desk.site, clean::short(rest, LONGEST))
}

/// Of the mail about one incident.
pub fn of(desk: &Desk, incident: &Incident) -> String {
    let rest = match &incident.object {
        Object::Order(order) => format!("{}: {}", whose(order), what(desk, incident)),
        _ => what(desk, incident),
    };
    subject(desk, &rest)
}

/// Once: a reply to a reply is called as the first.
pub fn reply(subject: &str) -> String {
    if subject.starts_with("Re: ") { subject.to_owned() } else { format!("Re: {subject}") }
}

/// `nightly-sales 2026-11-22`
pub fn whose(order: &OrderFacts) -> String {
    match order.business_day {
        Some(day) => format!("{} {day}", order.workflow),
        None => order.workflow.clone(),
    }
}

/// What happened, for a line that has said to whom: `load failed in loads:west`, `not started (due 02:00)`.
pub fn what(desk: &Desk, incident: &Incident) -> String {
    let words = match &incident.object {
        Object::Order(order) => of_order(desk, incident, order),
        Object::Agent(agent) => {
            let word = if incident.kind == Kind::AgentBack { "is back" } else { "is away" };
            format!("agent {}: {} on {} {word}", agent.agent, agent.instance, agent.node)
        }
        Object::Role(role) if incident.kind == Kind::Recovered => format!("{} is active again", role.role),
        Object::Role(role) => format!("no {} is active", role.role),
        Object::Controller(c) => match &c.before {
            Some(before) => format!("controller {} took over from {before}", c.instance),
            None => format!("controller {} took over", c.instance),
        },
        Object::Log(log) if log.count > 1 => {
            format!("{} × {} on {}: {}", log.count, log.application, log.host, incident.text)
        }
        Object::Log(log) => format!("{} on {}: {}", log.application, log.host, incident.text),
    };
    clean::line(&words)
}

fn of_order(desk: &Desk, incident: &Incident, order: &OrderFacts) -> String {
    let due = order.due_at.map(|at| format!(" (due {})", time::on_day(at, desk.zone, order.business_day)));
    let due = due.unwrap_or_default();
    match incident.kind {
        Kind::Failed => failed(incident, order),
        Kind::StartedLate => format!("started late{due}"),
        Kind::NotStarted if incident.text.is_empty() => format!("not started{due}"),
        Kind::NotStarted => format!("not started{due}: {}", incident.text),
        Kind::RunsTooLong => format!("runs {}", incident.text),
        Kind::WaitsTooLong => match &order.position {
            Some(position) => format!("waits {} at {position}", incident.text),
            None => format!("waits {}", incident.text),
        },
        Kind::Recovered => "recovered".to_owned(),
        other => format!("{other} {}", incident.text),
    }
}

fn failed(incident: &Incident, order: &OrderFacts) -> String {
    let (branch, label) = match &order.position {
        Some(position) => match position.rsplit_once('/') {
            Some((branch, label)) => (Some(branch), label),
            None => (None, position.as_str()),
        },
        None => return format!("failed: {}", incident.text),
    };
    let place = branch.map(|branch| format!(" in {branch}")).unwrap_or_default();
    if order.said {
        return format!("{}{place}", clean::short(&incident.text, 100));
    }
    format!("{label} failed{place}")
}
