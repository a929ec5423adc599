//! `ordo schedule …`

use super::{
    id,
    order::{asked_of, section},
    plan::starts_table,
};
use crate::{
    arguments::{PreviewArguments, ScheduleCommand, SchedulesArguments},
    client::Client,
    error::{CliError, Exit},
    show::{self, Align, Look, Table, harmless, text, time},
};
use chrono::{NaiveDate, TimeDelta};
use chrono_tz::Tz;
use ordo_contract::request::{
    Nothing,
    catalog::{DefinitionRemoveRequest, DoneReply, SchedulesRequest},
    daily_plan::{
        self, PreviewReply, PreviewRequest, ScheduleLine, ScheduleListReply, ScheduleRequest, ScheduleShowReply,
    },
    proxy,
};
use ordo_domain::{
    DefinitionName, Instant,
    catalog::{DefinitionKind, RemoveItem},
    plan::{Rule, Schedule, Weekdays},
};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

pub async fn run(client: &Client, command: ScheduleCommand, look: &Look) -> Result<Exit, CliError> {
    match command {
        ScheduleCommand::List => {
            let reply: ScheduleListReply = client.ask("daily-plan", daily_plan::SCHEDULE_LIST, &Nothing {}).await?;
            show::print(look, &reply.schedules, || list_view(&reply.schedules, client.now(), look));
        }
        ScheduleCommand::Show { schedule } => {
            let request = ScheduleRequest { schedule: id(&schedule)? };
            let reply: ScheduleShowReply = client.ask("daily-plan", daily_plan::SCHEDULE_SHOW, &request).await?;
            show::print(look, &reply, || show_view(&reply, client.now(), look));
        }
        ScheduleCommand::Suspend(arguments) => {
            act(client, proxy::SCHEDULE_SUSPEND, &arguments, "suspended", look).await?;
        }
        ScheduleCommand::Resume(arguments) => act(client, proxy::SCHEDULE_RESUME, &arguments, "resumed", look).await?,
        ScheduleCommand::Remove(arguments) => remove(client, &arguments, look).await?,
        ScheduleCommand::Preview(arguments) => preview(client, &arguments, look).await?,
    }
    Ok(Exit::Done)
}

fn names(arguments: &SchedulesArguments) -> Result<Vec<DefinitionName>, CliError> {
    arguments.schedules.iter().map(|name| id(name)).collect()
}

async fn act(
    client: &Client,
    endpoint: &str,
    arguments: &SchedulesArguments,
    done: &str,
    look: &Look,
) -> Result<(), CliError> {
    let request = SchedulesRequest { schedules: names(arguments)?, asked: asked_of(&arguments.asked)? };
    let reply: DoneReply = client.ask_for("proxy", endpoint, &request, PATIENCE).await?;
    show::print(look, &reply, || match &reply.pending {
        Some(pending) => format!("{}\n", harmless(pending)),
        None => arguments.schedules.iter().map(|name| format!("schedule {name} {done}\n")).collect(),
    });
    Ok(())
}

async fn remove(client: &Client, arguments: &SchedulesArguments, look: &Look) -> Result<(), CliError> {
    let item = |name| RemoveItem::Definition { kind: DefinitionKind::Schedule, name };
    let items = names(arguments)?.into_iter().map(item).collect();
    let request = DefinitionRemoveRequest { items, asked: asked_of(&arguments.asked)? };
    let reply: DoneReply = client.ask_for("proxy", proxy::DEFINITION_REMOVE, &request, PATIENCE).await?;
    show::print(look, &reply, || match &reply.pending {
        Some(pending) => format!("{}\n", harmless(pending)),
        None => arguments.schedules.iter().map(|name| format!("schedule {name} removed\n")).collect(),
    });
    Ok(())
}

async fn preview(client: &Client, arguments: &PreviewArguments, look: &Look) -> Result<(), CliError> {
    let at = |text: &str| time::parse(text, client.now(), look.zone).map_err(CliError::usage);
    let from = arguments.from.as_deref().map(at).transpose()?;
    // A day is meant with all its starts.
    let to = match &arguments.to {
        Some(text) => match text.trim().parse::<NaiveDate>().ok().and_then(|day| day.succ_opt()) {
            Some(next) => Some(at(&next.to_string())? - TimeDelta::milliseconds(1)),
            None => Some(at(text)?),
        },
        None => None,
    };
    let request = PreviewRequest { schedule: id(&arguments.schedule)?, from, to, limit: arguments.limit };
    let reply: PreviewReply = client.ask("daily-plan", daily_plan::SCHEDULE_PREVIEW, &request).await?;
    show::print(look, &reply, || preview_view(&reply, look));
    Ok(())
}

pub fn list_view(schedules: &[ScheduleLine], now: Instant, look: &Look) -> String {
    if schedules.is_empty() {
        return "no schedule is deployed; `ordo deploy FILE` deploys one\n".to_owned();
    }
    let next = format!("NEXT ({})", time::zone_name(now, look.zone));
    let mut table = Table::new([
        ("SCHEDULE", Align::Left),
        ("STATE", Align::Left),
        (&next, Align::Left),
        ("IN", Align::Right),
        ("AHEAD", Align::Right),
        ("LAST", Align::Left),
        ("WORKFLOW", Align::Left),
        ("TITLE", Align::Left),
    ])
    .shortening([7]);
    for line in schedules {
        table.row([
            line.schedule.to_string(),
            look.state(state(line)),
            line.next_at.map(|at| time::short(at, look.zone)).unwrap_or_default(),
            line.next_at.map(|at| time::span(at - now)).unwrap_or_default(),
            text::grouped(line.ahead),
            line.last_state.as_deref().map(|state| look.state(state)).unwrap_or_default(),
            line.workflow.as_ref().map(ToString::to_string).unwrap_or_default(),
            harmless(line.trouble.as_deref().or(line.title.as_deref()).unwrap_or_default()),
        ]);
    }
    table.print(look.width)
}

fn state(line: &ScheduleLine) -> &'static str {
    match (&line.trouble, line.suspended) {
        (Some(_), _) => "failed",
        (None, true) => "suspended",
        (None, false) => "active",
    }
}

pub fn show_view(reply: &ScheduleShowReply, now: Instant, look: &Look) -> String {
    let line = &reply.line;
    let mut out =
        format!("{}  version {}  {}\n", look.bold(line.schedule.as_str()), line.version, look.state(state(line)));
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            out.push_str(&format!("  {name:<10} {value}\n"));
        }
    };
    fact("trouble", harmless(line.trouble.as_deref().unwrap_or_default()));
    if let Some(schedule) = &reply.definition {
        facts(schedule, &mut fact);
    }
    fact("planned", planned(line, now, look));
    if let Some(schedule) = &reply.definition {
        let orders: Vec<String> = schedule.orders.iter().map(order).collect();
        section(&mut out, "Orders of each start", &orders);
    }
    let skips: Vec<String> = reply
        .skips
        .iter()
        .map(|skip| format!("{} to {}: {}", look.time(skip.first), look.time(skip.last), harmless(&skip.reason)))
        .collect();
    section(&mut out, "Not made up for", &skips);
    if !reply.starts.is_empty() {
        let zone = reply.definition.as_ref().and_then(|schedule| schedule.zone).unwrap_or(look.zone);
        out.push('\n');
        out.push_str(&starts_table(&reply.starts, zone, look));
    }
    out
}

fn facts(schedule: &Schedule, fact: &mut impl FnMut(&str, String)) {
    fact("title", harmless(schedule.title.as_deref().unwrap_or_default()));
    fact("workflow", schedule.workflow.to_string());
    fact("zone", schedule.zone.map(|zone| zone.name().to_owned()).unwrap_or_default());
    for rule in &schedule.times {
        fact("starts", rule_text(rule));
    }
    fact("except", schedule.except.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    let valid =
        [schedule.valid.from.map(|day| format!("from {day}")), schedule.valid.to.map(|day| format!("to {day}"))];
    fact("valid", valid.into_iter().flatten().collect::<Vec<_>>().join(" "));
    if let Some(late) = &schedule.late {
        let then = serde_json::to_value(late.then).unwrap_or_default();
        let then = then.as_str().unwrap_or_default();
        let grace = late.grace.map(|grace| format!("within {grace} it runs, then: ")).unwrap_or_default();
        fact("late", format!("{grace}{then}"));
    }
    let overlap = serde_json::to_value(schedule.overlap).unwrap_or_default();
    fact("overlap", overlap.as_str().unwrap_or_default().to_owned());
}

fn rule_text(rule: &Rule) -> String {
    match rule {
        Rule::Cron(cron) => format!("cron {cron}"),
        Rule::At(times) => {
            let at: Vec<String> = times.times.iter().map(ToString::to_string).collect();
            let days: Vec<String> = if times.weekdays == Weekdays::default() { vec![] } else { times.weekdays.into() };
            let on = if days.is_empty() { String::new() } else { format!(" on {}", days.join(", ")) };
            format!("at {}{on}", at.join(", "))
        }
    }
}

fn planned(line: &ScheduleLine, now: Instant, look: &Look) -> String {
    let through = line.planned_through.filter(|through| *through > now);
    let through = through.map(|at| format!(", through {}", look.time(at))).unwrap_or_default();
    let starts = text::counted(line.ahead, "start", "starts");
    format!("{starts} ahead, {} of them with the controller{through}", text::grouped(line.submitted))
}

fn order(order: &ordo_domain::plan::Parameterisation) -> String {
    let mut text = order.name.to_string();
    for (name, value) in &order.arguments {
        text.push_str(&format!("  {name}={}", harmless(&value.to_string())));
    }
    if let Some(priority) = order.priority {
        text.push_str(&format!("  priority {priority}"));
    }
    if let Some(title) = &order.title {
        text.push_str(&format!("  {}", harmless(title)));
    }
    text
}

/// In the zone of the schedule, and where the reader's is another one, in that too.
pub fn preview_view(reply: &PreviewReply, look: &Look) -> String {
    let zone: Tz = reply.zone.parse().unwrap_or(look.zone);
    if reply.instants.is_empty() {
        return "no start in this time\n".to_owned();
    }
    let mut out = String::new();
    for at in &reply.instants {
        let local = at.with_timezone(&zone).format("%a %Y-%m-%d %H:%M:%S %Z");
        let here = if zone == look.zone { String::new() } else { look.dim(&format!("   {}", look.time(*at))) };
        out.push_str(&format!("{local}{here}\n"));
    }
    if reply.orders.len() > 1 {
        out.push_str(&format!("each with {} orders: {}\n", reply.orders.len(), harmless(&reply.orders.join(", "))));
    }
    if reply.more {
        out.push_str("there are more: give --limit, or an earlier --to\n");
    }
    out
}
