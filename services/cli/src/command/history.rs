//! `ordo history …`: what has been.

use super::{id, optional_id, order::section};
use crate::{
    arguments::{HistoryCommand, HistoryOrdersArguments, HistoryStepsArguments},
    client::Client,
    error::{CliError, Exit},
    show::{self, Align, Look, Table, harmless, text, time},
};
use ordo_contract::request::{
    HistoryOrder, HistoryOrdersReply, HistoryOrdersRequest, HistoryStep, HistoryStepsReply, HistoryStepsRequest,
    history,
};
use ordo_domain::Instant;

const USUAL: u32 = 50;
const PAGE: u32 = 500;

pub async fn run(client: &Client, command: HistoryCommand, look: &Look) -> Result<Exit, CliError> {
    match command {
        HistoryCommand::Orders(arguments) => orders(client, arguments, look).await,
        HistoryCommand::Steps(arguments) => steps(client, arguments, look).await,
    }
}

async fn orders(client: &Client, arguments: HistoryOrdersArguments, look: &Look) -> Result<Exit, CliError> {
    let wanted = arguments.limit.unwrap_or(USUAL);
    let (mut orders, mut before) = (Vec::<HistoryOrder>::new(), None);
    while (orders.len() as u32) < wanted {
        let request = HistoryOrdersRequest {
            workflow: optional_id(arguments.workflow.as_deref())?,
            state: arguments.state.clone(),
            business_day: arguments.business_day,
            limit: Some((wanted - orders.len() as u32).min(PAGE)),
            before,
            children: arguments.children,
        };
        let page: HistoryOrdersReply = client.ask("history", history::ORDER_LIST, &request).await?;
        before = page.orders.last().map(|order| order.number).or(before);
        let empty = page.orders.is_empty();
        orders.extend(page.orders);
        if !page.more || empty {
            break;
        }
    }
    show::print(look, &orders, || orders_view(&orders, look));
    Ok(Exit::Done)
}

pub fn orders_view(orders: &[HistoryOrder], look: &Look) -> String {
    if orders.is_empty() {
        return "no orders\n".to_owned();
    }
    let started = format!("STARTED ({})", zone(orders.iter().filter_map(|order| order.started_at).next(), look));
    let mut table = Table::new([
        ("ORDER", Align::Left),
        ("STATE", Align::Left),
        (&started, Align::Left),
        ("TOOK", Align::Right),
        ("TITLE", Align::Left),
        ("OUTCOME", Align::Left),
    ])
    .shortening([5]);
    for order in orders {
        table.row([
            order.order.to_string(),
            look.state(&order.state),
            order.started_at.map(|at| time::short(at, look.zone)).unwrap_or_default(),
            took(order.started_at, order.ended_at),
            text::shorten(&harmless(order.title.as_deref().unwrap_or_default()), 30),
            harmless(order.text.as_deref().unwrap_or_default()),
        ]);
    }
    table.print(look.width)
}

fn zone(at: Option<Instant>, look: &Look) -> String {
    time::zone_name(at.unwrap_or_default(), look.zone)
}

fn took(started: Option<Instant>, ended: Option<Instant>) -> String {
    started.zip(ended).map(|(started, ended)| time::span(ended - started)).unwrap_or_default()
}

/// One order of the past.
pub fn order_view(order: &HistoryOrder, look: &Look) -> String {
    let mut out = format!("{}  {}", look.bold(order.order.as_str()), look.state(&order.state));
    if let Some(text) = order.text.as_deref().filter(|text| !text.is_empty()) {
        out.push_str(&format!(": {}", harmless(text)));
    }
    out.push('\n');
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            out.push_str(&format!("  {name:<10} {value}\n"));
        }
    };
    let at = |at: Option<Instant>| at.map(|at| look.time(at)).unwrap_or_default();
    fact("title", harmless(order.title.as_deref().unwrap_or_default()));
    fact("workflow", format!("{} version {}", order.workflow, order.version));
    fact("branch of", order.parent.as_ref().map(ToString::to_string).unwrap_or_default());
    fact("folder", harmless(order.folder.as_deref().unwrap_or_default()));
    fact("tags", harmless(&order.tags.join(", ")));
    fact("for", format!("business day {}", order.business_day));
    fact("added", format!("{} by {}", look.time(order.added_at), order.added_by));
    fact("planned", at(order.planned_at));
    fact("started", at(order.started_at));
    fact("ended", at(order.ended_at));
    fact("took", took(order.started_at, order.ended_at));
    let arguments: Vec<String> = order
        .arguments
        .iter()
        .map(|(name, value)| format!("{name} = {}", harmless(&serde_json::to_string(value).unwrap_or_default())))
        .collect();
    section(&mut out, "Arguments", &arguments);
    let results: Vec<String> =
        order.results.iter().map(|(label, value)| format!("{label}: {}", harmless(&value.to_string()))).collect();
    section(&mut out, "Results", &results);
    out
}

async fn steps(client: &Client, arguments: HistoryStepsArguments, look: &Look) -> Result<Exit, CliError> {
    let wanted = arguments.limit.unwrap_or(if arguments.order.is_some() { u32::MAX } else { USUAL });
    let (mut steps, mut before) = (Vec::<HistoryStep>::new(), None);
    while (steps.len() as u32) < wanted {
        let request = HistoryStepsRequest {
            order: arguments.order.as_deref().map(id).transpose()?,
            agent: optional_id(arguments.agent.as_deref())?,
            limit: Some((wanted - steps.len() as u32).min(PAGE)),
            before,
            ..HistoryStepsRequest::default()
        };
        let page: HistoryStepsReply = client.ask("history", history::STEP_LIST, &request).await?;
        before = page.steps.last().map(|step| step.number).or(before);
        let empty = page.steps.is_empty();
        steps.extend(page.steps);
        if !page.more || empty {
            break;
        }
    }
    show::print(look, &steps, || steps_view(&steps, arguments.order.is_none(), look));
    Ok(Exit::Done)
}

/// `of_many`: of several orders, so the order is told.
pub fn steps_view(steps: &[HistoryStep], of_many: bool, look: &Look) -> String {
    if steps.is_empty() {
        return "no steps\n".to_owned();
    }
    let started = format!("STARTED ({})", zone(steps.iter().filter_map(|step| step.started_at).next(), look));
    let mut table = Table::new([
        ("ORDER", Align::Left),
        ("STEP", Align::Left),
        ("STATE", Align::Left),
        ("CODE", Align::Right),
        (&started, Align::Left),
        ("TOOK", Align::Right),
        ("AGENT", Align::Left),
        ("LOG", Align::Right),
        ("OUTCOME", Align::Left),
    ])
    .shortening([8]);
    for step in steps {
        let again = if step.attempt > 1 { format!(" #{}", step.attempt) } else { String::new() };
        let printed = step.output.map(|output| text::counted(output.lines, "line", "lines")).unwrap_or_default();
        table.row([
            if of_many { step.order.to_string() } else { String::new() },
            format!("{}{again}", harmless(&step.position)),
            look.state(&step.state),
            step.exit_code.map(|code| code.to_string()).unwrap_or_default(),
            step.started_at.map(|at| time::short(at, look.zone)).unwrap_or_default(),
            took(step.started_at, step.ended_at),
            step.instance
                .as_ref()
                .map_or_else(|| step.agent.to_string(), |instance| format!("{}/{instance}", step.agent)),
            if step.log_complete || step.output.is_none() { printed } else { format!("{printed}, incomplete") },
            harmless(step.text.as_deref().unwrap_or_default()),
        ]);
    }
    table.print(look.width)
}
