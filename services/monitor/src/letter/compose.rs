//! The page of each kind of mail.

use super::{
    Action, Background, Desk, Fact, Incident, LogFacts, Object, OrderFacts, Page, Tone, clean, group, subject, time,
};
use chrono::NaiveDate;
use ordo_domain::{Instant, alert::Kind};

/// Characters of one fact.
const FACT: usize = 300;
/// Workflows that the heading of a digest names.
const SOME: usize = 8;

/// The rule that tells, and the thread that this is part of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    pub rule: String,
    /// The subject of the thread's first mail, where this is a later one.
    pub replies_to: Option<String>,
}

/// The first mail about something.
pub fn alert(desk: &Desk, context: &Context, incident: &Incident, background: &Background) -> Page {
    let mut page = Page {
        subject: subject::of(desk, incident),
        tone: tone(incident.kind),
        lead: lead(desk, incident),
        heading: heading(incident),
        summary: summary(desk, incident),
        facts: facts(desk, incident, background),
        groups: Vec::new(),
        log: background.log.clone(),
        action: action(desk, incident),
        notes: notes(desk, context, Some(incident)),
    };
    if let Some(first) = &context.replies_to {
        page.subject = subject::reply(first);
    }
    page
}

/// What had failed went well. The first line says when, and after how long.
pub fn recovery(desk: &Desk, context: &Context, incident: &Incident, at: Instant) -> Page {
    let took = time::span(at - incident.at);
    let word = if incident.kind == Kind::AgentAway { "Back" } else { "Recovered" };
    let mut facts = Vec::new();
    let day = day_of(incident);
    push(
        &mut facts,
        "Was",
        format!("{} since {}", subject::what(desk, incident), time::on_day(incident.at, desk.zone, day)),
    );
    if let Some(order) = incident.order() {
        who(&mut facts, order);
        push_id(&mut facts, "Order", order.order.as_deref());
    }
    let first = context.replies_to.clone().unwrap_or_else(|| subject::of(desk, incident));
    Page {
        subject: subject::reply(&first),
        tone: Tone::Good,
        lead: format!("{word} {} after {took}", time::clock(at, desk.zone)),
        heading: heading(incident),
        summary: "Nothing to do.".to_owned(),
        facts,
        groups: Vec::new(),
        log: None,
        action: None,
        notes: notes(desk, context, None),
    }
}

/// What repeated within the time of folding: all of it in the thread of the first.
pub fn repeats(desk: &Desk, context: &Context, incidents: &[Incident]) -> Page {
    let first = incidents.first();
    let since = first.map(|i| time::clock(i.at, desk.zone)).unwrap_or_default();
    let of = first.and_then(Incident::order).map(subject::whose);
    let lead = match (incidents.len(), &of) {
        (1, Some(of)) => format!("Once more since {since}: {of}"),
        (n, Some(of)) => format!("{n} more since {since}: {of}"),
        (n, None) => format!("{n} more since {since}"),
    };
    let subject = match (&context.replies_to, first) {
        (Some(first), _) => subject::reply(first),
        (None, Some(first)) => subject::of(desk, first),
        (None, None) => subject::subject(desk, &lead),
    };
    Page { subject, ..many(desk, context, incidents, lead) }
}

/// Many at once.
pub fn digest(desk: &Desk, context: &Context, incidents: &[Incident], part: Option<(usize, usize)>) -> Page {
    let lead = headline(desk, incidents);
    let part = part.map(|(n, of)| format!(" ({n} of {of})")).unwrap_or_default();
    let subject = subject::subject(desk, &format!("{lead}{part}"));
    Page { subject, ..many(desk, context, incidents, lead) }
}

/// `37 orders failed on agent etl since 02:00`
pub fn headline(desk: &Desk, incidents: &[Incident]) -> String {
    let count = incidents.len();
    let Some(first) = incidents.first() else { return "nothing happened".to_owned() };
    let since = incidents.iter().map(|i| i.at).min().unwrap_or(first.at);
    let day = day_of(first);
    let since = time::on_day(since, desk.zone, day.or(Some(since.with_timezone(&desk.zone).date_naive())));
    let same = |of: fn(&OrderFacts) -> Option<&str>| {
        let value = first.order().and_then(of)?;
        incidents.iter().all(|i| i.order().and_then(of) == Some(value)).then_some(value)
    };
    let kind = incidents.iter().all(|i| i.kind == first.kind).then_some(first.kind);
    let what = match kind {
        Some(Kind::Failed) => "failed",
        Some(Kind::StartedLate) => "started late",
        Some(Kind::NotStarted) => "not started",
        Some(Kind::RunsTooLong) => "run too long",
        Some(Kind::WaitsTooLong) => "wait too long",
        Some(Kind::Recovered) => "recovered",
        _ => return format!("{count} alerts since {since}"),
    };
    let orders = if count == 1 { "order" } else { "orders" };
    if let Some(workflow) = same(|o| Some(o.workflow.as_str())) {
        return format!("{count} {orders} of {workflow} {what} since {since}");
    }
    match same(|o| o.agent.as_deref()) {
        Some(agent) => format!("{count} {orders} {what} on agent {agent} since {since}"),
        None => format!("{count} {orders} {what} since {since}"),
    }
}

/// Said when a window is over, if anything was silenced.
pub fn maintenance_over(
    desk: &Desk,
    context: &Context,
    maintenance: (&str, Option<&str>),
    silenced: &[Incident],
    ended_at: Instant,
) -> Page {
    let (name, title) = maintenance;
    let still = silenced.iter().filter(|i| i.recovered_at.is_none()).count();
    let count = match silenced.len() {
        1 => "1 alert was silenced".to_owned(),
        n => format!("{n} alerts were silenced"),
    };
    let stand = match still {
        0 => "nothing of it stands any more".to_owned(),
        1 => "1 still stands".to_owned(),
        n => format!("{n} still stand"),
    };
    let lead = format!("Maintenance {name} ended {}: {count}", time::clock(ended_at, desk.zone));
    let subject = subject::subject(desk, &format!("maintenance {name} is over: {count}, {stand}"));
    let heading = title.map_or_else(|| format!("Maintenance {name}"), |title| clean::short(title, FACT));
    let tone = if still == 0 { Tone::Plain } else { Tone::Warning };
    Page { subject, tone, heading, summary: stand, ..many(desk, context, silenced, lead) }
}

/// Whether mail works at all.
pub fn test(desk: &Desk, from_instance: &str, asked_by: &str, at: Instant) -> Page {
    let mut facts = Vec::new();
    push(&mut facts, "Site", desk.site.clone());
    push(&mut facts, "Sent", format!("{} by monitor {from_instance}", time::full(at, desk.zone)));
    push(&mut facts, "Asked by", asked_by.to_owned());
    Page {
        subject: subject::subject(desk, "test mail"),
        tone: Tone::Good,
        lead: "Mail works".to_owned(),
        heading: format!("Test mail of site {}", desk.site),
        summary: "If you read this, alerts of this site reach you.".to_owned(),
        facts,
        groups: Vec::new(),
        log: None,
        action: Some(Action {
            what: "See what is told to whom:".into(),
            command: desk.command("definition list rule"),
        }),
        notes: Vec::new(),
    }
}

fn many(desk: &Desk, context: &Context, incidents: &[Incident], lead: String) -> Page {
    let groups = group(desk, incidents);
    let kinds = groups.len();
    let summary = match kinds {
        0 | 1 => String::new(),
        n => format!("{n} different things; the rare ones come first."),
    };
    let worst = incidents.iter().map(|i| tone(i.kind)).find(|t| *t == Tone::Bad);
    let mut facts = Vec::new();
    if let (Some(first), Some(last)) = (incidents.first(), incidents.last()) {
        push(&mut facts, "First", time::full(first.at, desk.zone));
        push(&mut facts, "Last", time::full(last.at, desk.zone));
    }
    let workflows: std::collections::BTreeSet<&str> =
        incidents.iter().filter_map(Incident::order).map(|o| o.workflow.as_str()).collect();
    let heading = match (workflows.len(), incidents.first().and_then(Incident::order)) {
        (1, Some(order)) => order_heading(order),
        (0, _) => counted(incidents.len(), "alert", "alerts"),
        (n, _) => {
            let some = workflows.iter().take(SOME).copied().collect::<Vec<_>>().join(", ");
            let more = if n > SOME { format!(" and {} more", n - SOME) } else { String::new() };
            format!("{n} workflows: {some}{more}")
        }
    };
    let command = match context.rule.as_str() {
        "" => desk.command("notification list --state new"),
        rule => desk.command(&format!("notification list --state new --rule {rule}")),
    };
    Page {
        subject: String::new(),
        tone: worst.unwrap_or(Tone::Warning),
        lead,
        heading,
        summary,
        facts,
        groups,
        log: None,
        action: Some(Action { what: "See what still stands:".into(), command }),
        notes: notes(desk, context, None),
    }
}

fn tone(kind: Kind) -> Tone {
    match kind {
        Kind::Failed | Kind::AgentAway | Kind::RoleWithoutActive | Kind::NotStarted => Tone::Bad,
        Kind::StartedLate | Kind::RunsTooLong | Kind::WaitsTooLong | Kind::ControllerFailedOver | Kind::Log => {
            Tone::Warning
        }
        Kind::Recovered | Kind::AgentBack => Tone::Good,
    }
}

fn lead(desk: &Desk, incident: &Incident) -> String {
    let at = time::clock(incident.at, desk.zone);
    let started = incident.order().and_then(|o| o.started_at);
    let day = day_of(incident);
    let due = incident.order().and_then(|o| o.due_at).map(|due| time::on_day(due, desk.zone, day));
    match incident.kind {
        Kind::Failed => match started {
            Some(started) => format!("Failed {at}, {} after its start", time::span(incident.at - started)),
            None => format!("Failed {at}, before it started"),
        },
        Kind::NotStarted => match due {
            Some(due) => format!("Not started, due {due}"),
            None => format!("Not started ({at})"),
        },
        Kind::StartedLate => match due {
            Some(due) => format!("Started {at}, due {due}"),
            None => format!("Started late, {at}"),
        },
        Kind::RunsTooLong => format!("Runs {}, noticed {at}", incident.text),
        Kind::WaitsTooLong => format!("Waits {}, noticed {at}", incident.text),
        Kind::AgentAway => format!("Away, noticed {at}"),
        Kind::RoleWithoutActive => format!("Nobody active, noticed {at}"),
        Kind::ControllerFailedOver => format!("Fail-over {at}"),
        Kind::Log => format!("Log notice {at}"),
        Kind::Recovered => format!("Recovered {at}"),
        Kind::AgentBack => format!("Back {at}"),
    }
}

fn heading(incident: &Incident) -> String {
    match &incident.object {
        Object::Order(order) => order_heading(order),
        Object::Agent(agent) => format!("Agent {}", agent.agent),
        Object::Role(role) => format!("Role {}", role.role),
        Object::Controller(_) => "Controller".to_owned(),
        Object::Log(log) => format!("Log of {} on {}", clean::short(&log.application, 80), clean::short(&log.host, 80)),
    }
}

fn order_heading(order: &OrderFacts) -> String {
    match &order.title {
        Some(title) => clean::short(title, FACT),
        None => order.workflow.clone(),
    }
}

fn summary(desk: &Desk, incident: &Incident) -> String {
    let what = subject::what(desk, incident);
    match &incident.object {
        Object::Order(order) => {
            let whose = subject::whose(order);
            match incident.kind {
                Kind::Failed if !order.said && !incident.text.is_empty() && order.position.is_some() => {
                    format!("{whose}: {what}: {}", clean::short(&incident.text, FACT))
                }
                _ => format!("{whose}: {what}"),
            }
        }
        Object::Log(_) => clean::short(&incident.text, FACT),
        _ => what,
    }
}

fn facts(desk: &Desk, incident: &Incident, background: &Background) -> Vec<Fact> {
    let mut facts = Vec::new();
    match &incident.object {
        Object::Order(order) => order_facts(desk, incident, order, background, &mut facts),
        Object::Agent(agent) => {
            push(&mut facts, "Instance", format!("{} on {}", agent.instance, agent.node));
            if let Some(seen) = agent.last_seen {
                push(&mut facts, "Last seen", time::full(seen, desk.zone));
            }
            let left = match agent.others {
                0 => "no other instance: jobs for this agent wait".to_owned(),
                1 => "1 other instance works on".to_owned(),
                n => format!("{n} other instances work on"),
            };
            push(&mut facts, "Hit", format!("{}; {left}", counted(agent.runs, "run there", "runs there")));
        }
        Object::Role(role) => {
            push(&mut facts, "Since", time::full(incident.at, desk.zone));
            push(&mut facts, "Instances", lines(&role.instances));
        }
        Object::Controller(c) => {
            push(&mut facts, "Since", time::full(incident.at, desk.zone));
            push(&mut facts, "Now", format!("{} in epoch {}", c.instance, c.epoch));
            push(&mut facts, "Before", c.before.clone().unwrap_or_else(|| "not known".into()));
            push(&mut facts, "How", c.how.clone());
        }
        Object::Log(log) => log_facts(desk, incident, log, &mut facts),
    }
    facts
}

fn order_facts(desk: &Desk, incident: &Incident, order: &OrderFacts, background: &Background, facts: &mut Vec<Fact>) {
    let zone = desk.zone;
    if let Some(position) = &order.position {
        let attempt = order.attempt.filter(|n| *n > 1).map(|n| format!(", attempt {n}")).unwrap_or_default();
        let agent = match (&order.agent, &order.instance) {
            (Some(agent), Some(instance)) => format!(", on agent {agent} ({instance})"),
            (Some(agent), None) => format!(", on agent {agent}"),
            _ => String::new(),
        };
        push(facts, "Step", format!("{position}{attempt}{agent}"));
    }
    let started = order.started_at.map(|at| format!("\nstarted {}", time::full(at, zone))).unwrap_or_default();
    push(facts, "Since", format!("{}{started}", time::full(incident.at, zone)));
    who(facts, order);
    if let Some(due) = order.due_at {
        push(facts, "Due", time::full(due, zone));
    }
    if let Some(good) = &background.last_good {
        let took = good.took.map(|took| format!(", took {}", time::span(took))).unwrap_or_default();
        push(facts, "Last good", format!("{}{took}", time::full(good.ended_at, zone)));
        let changes = match background.changes.as_slice() {
            [] => "nothing: same version, agent and arguments".to_owned(),
            changes => lines(changes),
        };
        push(facts, "Changed", changes);
    }
    push_id(facts, "Order", order.order.as_deref());
}

fn who(facts: &mut Vec<Fact>, order: &OrderFacts) {
    let version = order.version.map(|v| format!(" v{v}")).unwrap_or_default();
    let mut hit = vec![format!("workflow {}{version}", order.workflow)];
    hit.extend(order.business_day.map(|day: NaiveDate| format!("business day {day}")));
    hit.extend(order.folder.as_ref().map(|folder| format!("folder {folder}")));
    if !order.tags.is_empty() {
        hit.push(format!("tags {}", order.tags.join(", ")));
    }
    match (&order.schedule, &order.added_by) {
        (Some(schedule), _) => hit.push(format!("schedule {schedule}")),
        (None, Some(by)) => hit.push(format!("added by {by}")),
        (None, None) => {}
    }
    push(facts, "Hit", hit.join(" · "));
}

fn log_facts(desk: &Desk, incident: &Incident, log: &LogFacts, facts: &mut Vec<Fact>) {
    push(facts, "Since", time::full(incident.at, desk.zone));
    push(facts, "Host", log.host.clone());
    push(facts, "Program", log.application.clone());
    push(facts, "Severity", log.severity.clone());
    push(facts, "Log rule", log.rule.clone());
    if log.count > 1 {
        push(facts, "Lines", log.count.to_string());
    }
}

fn action(desk: &Desk, incident: &Incident) -> Option<Action> {
    let (what, rest) = match &incident.object {
        Object::Order(order) => {
            let Some(id) = &order.order else {
                return Some(Action { what: "See what is planned:".into(), command: desk.command("plan show") });
            };
            match incident.kind {
                Kind::Failed => ("Repaired the cause? Try the failed step again:", format!("order resume {id}")),
                _ => ("See why:", format!("order show {id}")),
            }
        }
        Object::Agent(agent) => ("See what ran there:", format!("history steps --agent {}", agent.agent)),
        Object::Role(_) | Object::Controller(_) => ("See who is there:", "status".to_owned()),
        Object::Log(_) => ("See the log:", "log tail".to_owned()),
    };
    Some(Action { what: what.to_owned(), command: desk.command(&rest) })
}

fn notes(desk: &Desk, context: &Context, incident: Option<&Incident>) -> Vec<String> {
    let mut notes = Vec::new();
    if !context.rule.is_empty() {
        notes.push(format!("Rule {} of site {} told you this.", context.rule, desk.site));
    }
    if let Some(incident) = incident {
        let acknowledge = desk.command(&format!("notification acknowledge {}", incident.id));
        notes.push(format!("I take care of it: {acknowledge}"));
    }
    notes
}

fn day_of(incident: &Incident) -> Option<NaiveDate> {
    incident.order().and_then(|order| order.business_day)
}

fn counted(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// Several things in one fact, one a line.
fn lines(values: &[String]) -> String {
    values.iter().map(|v| clean::short(v, FACT)).collect::<Vec<_>>().join("\n")
}

/// Each line of the value is made harmless; empty values are left out.
fn push(facts: &mut Vec<Fact>, label: &'static str, value: String) {
    let value = value.split('\n').map(|line| clean::short(line, FACT)).collect::<Vec<_>>().join("\n");
    if !value.trim().is_empty() {
        facts.push(Fact { label, value, is_id: false });
    }
}

fn push_id(facts: &mut Vec<Fact>, label: &'static str, value: Option<&str>) {
    if let Some(value) = value {
        facts.push(Fact { label, value: clean::short(value, FACT), is_id: true });
    }
}
