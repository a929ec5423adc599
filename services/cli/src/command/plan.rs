//! `ordo plan …`: a day as a timeline.

use super::id;
use crate::{
    arguments::{PlanCommand, PlanShowArguments},
    client::Client,
    error::{CliError, Exit},
    show::{self, Align, Look, Table, harmless, text, time},
};
use chrono_tz::Tz;
use ordo_contract::request::{
    Nothing,
    daily_plan::{self, PlanLine, PlanRunReply, PlanShowReply, PlanShowRequest},
};
use ordo_domain::{DefinitionName, Instant};

const PAGE: u32 = 500;

pub async fn run(client: &Client, command: PlanCommand, look: &Look) -> Result<Exit, CliError> {
    match command {
        PlanCommand::Show(arguments) => show_day(client, &arguments, look).await,
        PlanCommand::Run => {
            let done: PlanRunReply = client.ask("daily-plan", daily_plan::PLAN_RUN, &Nothing {}).await?;
            show::print(look, &done, || run_view(&done));
            Ok(Exit::Done)
        }
    }
}

async fn show_day(client: &Client, arguments: &PlanShowArguments, look: &Look) -> Result<Exit, CliError> {
    let schedule: Option<DefinitionName> = arguments.schedule.as_deref().map(id).transpose()?;
    let mut request =
        PlanShowRequest { date: arguments.date, schedule, all: arguments.all, limit: Some(PAGE), after: None };
    let mut day: PlanShowReply = client.ask("daily-plan", daily_plan::PLAN_SHOW, &request).await?;
    while let Some(next) = day.next {
        request.after = Some(next);
        request.date = Some(day.date);
        let page: PlanShowReply = client.ask("daily-plan", daily_plan::PLAN_SHOW, &request).await?;
        day.starts.extend(page.starts);
        day.next = page.next;
    }
    show::print(look, &day, || day_view(&day, client.now(), look));
    Ok(Exit::Done)
}

/// In the zone of the site: the day is one of its days. A line shows where now is.
pub fn day_view(day: &PlanShowReply, now: Instant, look: &Look) -> String {
    let zone: Tz = day.zone.parse().unwrap_or(look.zone);
    let title = format!("{}  {}", look.bold(&day.date.format("%A, %Y-%m-%d").to_string()), zone.name());
    if day.starts.is_empty() {
        return format!("{title}\nnothing is planned for this day; `ordo schedule list` shows what is deployed\n");
    }
    let rows: Vec<[String; 6]> = day.starts.iter().map(|line| cells(line, zone, look)).collect();
    let mut table = Table::new([
        ("TIME", Align::Left),
        ("STATE", Align::Left),
        ("SCHEDULE", Align::Left),
        ("TOOK", Align::Right),
        ("ORDER", Align::Left),
        ("", Align::Left),
    ])
    .shortening([5]);
    for row in rows {
        table.row(row);
    }
    let shown_now = now.with_timezone(&zone).date_naive() == day.date;
    let before = day.starts.iter().filter(|line| line.at <= now).count();
    let mut out = format!("{title}\n");
    for (n, line) in table.print(look.width).lines().enumerate() {
        // The head is line 0.
        if shown_now && n == before + 1 {
            out.push_str(&now_line(now, zone, look));
        }
        out.push_str(line);
        out.push('\n');
    }
    if shown_now && before == day.starts.len() {
        out.push_str(&now_line(now, zone, look));
    }
    out.push_str(&summary(day, look));
    out
}

fn now_line(now: Instant, zone: Tz, look: &Look) -> String {
    format!("{}\n", look.dim(&format!("{} ── now ──", time::clock(now, zone))))
}

fn cells(line: &PlanLine, zone: Tz, look: &Look) -> [String; 6] {
    let mut when = time::clock(line.at, zone);
    if let Some(until) = line.until {
        when = format!("{when}-{}", time::clock(until, zone));
    }
    let times = if line.count > 1 { format!(" ×{}", text::grouped(line.count)) } else { String::new() };
    let order = match (&line.order, line.count) {
        (Some(order), _) => order.to_string(),
        (None, _) => String::new(),
    };
    let took = line.started_at.zip(line.ended_at).filter(|_| line.count == 1);
    [
        when,
        format!("{}{times}", look.state(&line.state)),
        series(line),
        took.map(|(started, ended)| time::span(ended - started)).unwrap_or_default(),
        order,
        remark(line, look),
    ]
}

fn series(line: &PlanLine) -> String {
    match line.parameterisation.as_str() {
        "default" => line.schedule.to_string(),
        other => format!("{} / {}", line.schedule, harmless(other)),
    }
}

fn remark(line: &PlanLine, look: &Look) -> String {
    let late = line.late_by.filter(|_| line.started_at.is_some()).map(|late| {
        let most = if line.count > 1 { "at most " } else { "" };
        format!("started {most}{} late", time::span(late.to_chrono()))
    });
    let reason = line.reason.as_deref().map(|reason| harmless(&time::localised(reason, look.zone)));
    [late, reason].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// What matters in the morning: what did not go well, counted.
fn summary(day: &PlanShowReply, look: &Look) -> String {
    let states = ["finished", "started", "submitted", "planned", "failed", "late", "skipped", "refused", "cancelled"];
    let count = |state: &str| -> u64 { day.starts.iter().filter(|l| l.state == state).map(|l| l.count).sum() };
    let parts: Vec<String> = states
        .iter()
        .map(|state| (state, count(state)))
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{} {}", text::grouped(count), state))
        .collect();
    let late: u64 = day.starts.iter().filter(|l| l.late_by.is_some() && l.started_at.is_some()).map(|l| l.count).sum();
    let late = if late > 0 { format!(", {} of them started late", text::grouped(late)) } else { String::new() };
    format!("{}\n", look.dim(&format!("{}{late}", parts.join(", "))))
}

pub fn run_view(done: &PlanRunReply) -> String {
    let starts = |count: u64| text::counted(count, "start", "starts");
    let parts = [
        (done.planned, format!("{} planned", starts(done.planned))),
        (done.withdrawn, format!("{} withdrawn", starts(done.withdrawn))),
        (done.submitted, format!("{} handed to the controller", starts(done.submitted))),
        (done.recalled, format!("{} asked back from it", starts(done.recalled))),
    ];
    let told: Vec<String> = parts.into_iter().filter(|(count, _)| *count > 0).map(|(_, text)| text).collect();
    match told.is_empty() {
        true => "the plan is up to date\n".to_owned(),
        false => format!("{}\n", told.join(", ")),
    }
}

pub(super) fn starts_table(starts: &[PlanLine], zone: Tz, look: &Look) -> String {
    let head = format!("START ({})", time::zone_name(starts.first().map(|l| l.at).unwrap_or_default(), zone));
    let mut table = Table::new([
        (&head, Align::Left),
        ("STATE", Align::Left),
        ("NAME", Align::Left),
        ("TOOK", Align::Right),
        ("ORDER", Align::Left),
        ("", Align::Left),
    ])
    .shortening([5]);
    for line in starts {
        let [_, state, _, took, order, remark] = cells(line, zone, look);
        let name = if line.parameterisation == "default" { String::new() } else { harmless(&line.parameterisation) };
        table.row([time::short(line.at, zone), state, name, took, order, remark]);
    }
    table.print(look.width)
}
