//! `ordo order …`, all but `add`.

pub use super::order_add::add_all;
use super::{id, optional_id};
use crate::{
    arguments::{AskedArguments, ManyArguments, OrderCommand, OrderListArguments, WatchArguments},
    client::Client,
    error::{CliError, Exit},
    show::{self, Align, Look, Table, harmless, text, time},
    watch::{self, WatchOptions},
};
use ordo_contract::request::{
    Asked, HistoryOrder, OrderLine, OrderListReply, OrderListRequest, OrderRequest, OrderShowReply, OrdersReply,
    OrdersRequest, history, proxy,
};
use ordo_domain::{CommandId, Instant, OrderId};
use std::time::Duration;

pub async fn run(client: &Client, command: OrderCommand, look: &Look) -> Result<Exit, CliError> {
    match command {
        OrderCommand::Add(arguments) => super::order_add::run(client, *arguments, look).await,
        OrderCommand::List(arguments) => list(client, arguments, look).await,
        OrderCommand::Show { order } => show_one(client, &id(&order)?, look).await,
        OrderCommand::Wait { order, watch } => {
            let ended = watch::watch_order(client, &id(&order)?, &options(&watch), look).await?;
            Ok(say_timed_out(&ended, look))
        }
        OrderCommand::Cancel { which, kill } => act(client, proxy::ORDER_CANCEL, &which, kill, None, look).await,
        OrderCommand::Suspend { which, kill } => act(client, proxy::ORDER_SUSPEND, &which, kill, None, look).await,
        OrderCommand::Resume { which, position } => {
            act(client, proxy::ORDER_RESUME, &which, false, position, look).await
        }
    }
}

pub(super) fn options(watch: &WatchArguments) -> WatchOptions {
    WatchOptions { logs: watch.logs, quiet: watch.quiet, timeout: watch.timeout.map(|span| span.to_std()) }
}

pub(super) fn say_timed_out(ended: &watch::Ended, look: &Look) -> Exit {
    if ended.timed_out && !look.json {
        eprintln!(
            "the wait is over, order {} is {}; it goes on: ordo order wait {}",
            ended.order,
            harmless(&ended.state),
            ended.order
        );
    }
    ended.exit()
}

/// What every command carries. The id is chosen here: whatever becomes of the answer, the same again is the same command.
pub fn asked(id: Option<&str>, reason: Option<&str>) -> Result<Asked, CliError> {
    let id = match optional_id::<CommandId>(id)? {
        Some(id) => id,
        None => super::id(&format!("cli-{:032x}", rand::random::<u128>()))?,
    };
    Ok(Asked { id: Some(id), reason: reason.map(str::to_owned) })
}

pub(super) fn asked_of(arguments: &AskedArguments) -> Result<Asked, CliError> {
    asked(arguments.id.as_deref(), arguments.reason.as_deref())
}

async fn act(
    client: &Client,
    endpoint: &str,
    which: &ManyArguments,
    kill: bool,
    position: Option<String>,
    look: &Look,
) -> Result<Exit, CliError> {
    let orders: Result<Vec<OrderId>, CliError> = which.orders.iter().map(|order| id(order)).collect();
    let request = OrdersRequest { orders: orders?, kill, position, asked: asked_of(&which.asked)? };
    let reply: OrdersReply = client.command(endpoint, &request, &request.asked, Duration::from_secs(20)).await?;
    show::print(look, &reply, || match &reply.pending {
        Some(pending) => format!("{}\n{}", harmless(pending), again(&request.asked)),
        None => {
            let unique = request.orders.iter().collect::<std::collections::BTreeSet<_>>().len();
            let more = match unique.saturating_sub(reply.orders.len()) {
                0 => String::new(),
                more => format!("and {} more\n", text::grouped(more as u64)),
            };
            format!("{}{more}", list_view(&reply.orders, client.now(), look))
        }
    });
    Ok(Exit::Done)
}

/// What is said behind "pending".
pub(super) fn again(asked: &Asked) -> String {
    match &asked.id {
        Some(id) => format!("  the same again with --id {id} tells what became of it\n"),
        None => String::new(),
    }
}

/// Orders in one answer.
const PAGE: u32 = 500;
const USUAL: u32 = 100;

async fn list(client: &Client, arguments: OrderListArguments, look: &Look) -> Result<Exit, CliError> {
    let wanted = if arguments.all { u32::MAX } else { arguments.limit.unwrap_or(USUAL) };
    let mut after = optional_id(arguments.after.as_deref())?;
    let (mut orders, mut more) = (Vec::new(), false);
    while (orders.len() as u32) < wanted {
        let request = OrderListRequest {
            state: arguments.state.clone(),
            workflow: optional_id(arguments.workflow.as_deref())?,
            tag: arguments.tag.clone(),
            limit: Some((wanted - orders.len() as u32).min(PAGE)),
            after: after.clone(),
        };
        let page: OrderListReply = client.ask("proxy", proxy::ORDER_LIST, &request).await?;
        more = page.more;
        after = page.orders.last().map(|line| line.order.clone()).or(after);
        orders.extend(page.orders);
        if !more {
            break;
        }
    }
    let next = orders.last().filter(|_| more).map(|line| line.order.clone());
    show::print(look, &orders, || {
        let mut view =
            if orders.is_empty() { "no orders\n".to_owned() } else { list_view(&orders, client.now(), look) };
        if let Some(next) = next {
            view.push_str(&look.dim(&format!("there are more: ordo order list --after {next}, or --all")));
            view.push('\n');
        }
        view
    });
    Ok(Exit::Done)
}

/// Below this the reasons stand under their orders: a reason that is cut to a few letters is none.
const ROOMY: usize = 130;

pub fn list_view(orders: &[OrderLine], now: Instant, look: &Look) -> String {
    let roomy = look.width >= ROOMY;
    let mut table = Table::new([
        ("ORDER", Align::Left),
        ("STATE", Align::Left),
        ("FOR", Align::Right),
        ("AT", Align::Left),
        ("TITLE", Align::Left),
        ("WHY", Align::Left),
    ])
    .shortening([5, 4, 3]);
    for line in orders {
        table.row([
            line.order.to_string(),
            state_text(line, look),
            time::age(line.since, now),
            harmless(line.position.as_deref().unwrap_or_default()),
            text::shorten(&harmless(line.title.as_deref().unwrap_or_default()), 30),
            if roomy { why(line, look) } else { String::new() },
        ]);
    }
    let table = table.print(look.width);
    if roomy {
        return table;
    }
    let mut rows = table.lines();
    let mut out = format!("{}\n", rows.next().unwrap_or_default());
    for (row, line) in rows.zip(orders) {
        out.push_str(&format!("{row}\n"));
        let why = why(line, look);
        if !why.is_empty() {
            out.push_str(&format!(
                "  {}\n",
                look.dim(&text::shorten(&format!("└ {why}"), look.width.saturating_sub(2)))
            ));
        }
    }
    out
}

fn why(line: &OrderLine, look: &Look) -> String {
    time::localised(&harmless(line.why.as_deref().unwrap_or_default()), look.zone)
}

fn state_text(line: &OrderLine, look: &Look) -> String {
    match line.suspended {
        true if line.state == "scheduled" => look.state("held"),
        true => look.state("suspended"),
        false => look.state(&line.state),
    }
}

async fn show_one(client: &Client, order: &OrderId, look: &Look) -> Result<Exit, CliError> {
    let request = OrderRequest { order: order.clone() };
    match client.ask::<_, OrderShowReply>("proxy", proxy::ORDER_SHOW, &request).await {
        Ok(reply) => show::print(look, &reply, || show_view(&reply, client.now(), look)),
        // Ended and gone from the state: the history has it. If not, the first answer was the better one.
        Err(error) if error.is_not_found() => {
            match client.ask::<_, HistoryOrder>("history", history::ORDER_SHOW, &request).await {
                Ok(past) => show::print(look, &past, || super::history::order_view(&past, look)),
                Err(other) if other.is_not_found() => return Err(error),
                Err(other) => return Err(other),
            }
        }
        Err(error) => return Err(error),
    }
    Ok(Exit::Done)
}

pub fn show_view(reply: &OrderShowReply, now: Instant, look: &Look) -> String {
    let line = &reply.line;
    let place = line.position.as_deref().map(|p| format!(" at {}", harmless(p))).unwrap_or_default();
    let attempt = if reply.attempt > 1 { format!(", attempt {}", reply.attempt) } else { String::new() };
    let mut out = format!(
        "{}  {} for {}{place}{attempt}\n",
        look.bold(line.order.as_str()),
        state_text(line, look),
        time::age(line.since, now)
    );
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            out.push_str(&format!("  {name:<10} {value}\n"));
        }
    };
    fact("title", harmless(line.title.as_deref().unwrap_or_default()));
    fact("why", why(line, look));
    fact("failure", harmless(reply.failure.as_deref().unwrap_or_default()));
    fact("workflow", format!("{} version {}", line.workflow, line.version));
    fact("folder", harmless(reply.folder.as_deref().unwrap_or_default()));
    fact("tags", harmless(&reply.tags.join(", ")));
    fact("for", format!("business day {}, priority {}", line.business_day, line.priority));
    fact("added", format!("{} by {}", look.time(line.added_at), reply.added_by));
    fact("due", line.due_at.map(|at| look.time(at)).unwrap_or_default());
    fact("started", line.started_at.map(|at| look.time(at)).unwrap_or_default());
    fact("run", reply.run.as_ref().map(ToString::to_string).unwrap_or_default());
    let arguments: Vec<String> = reply
        .arguments
        .iter()
        .map(|(name, value)| format!("{name} = {}", harmless(&serde_json::to_string(value).unwrap_or_default())))
        .collect();
    section(&mut out, "Arguments", &arguments);
    let results: Vec<String> =
        reply.results.iter().map(|(label, value)| format!("{label}: {}", harmless(&value.to_string()))).collect();
    section(&mut out, "Results", &results);
    if !reply.children.is_empty() {
        out.push_str("\nBranches\n");
        out.push_str(&text::indent(&list_view(&reply.children, now, look), 2));
        out.push('\n');
    }
    out.push_str(&look.dim(&format!("journal {}", reply.sequence)));
    out.push('\n');
    out
}

pub(super) fn section(out: &mut String, head: &str, lines: &[String]) {
    if !lines.is_empty() {
        out.push_str(&format!("\n{head}\n"));
        lines.iter().for_each(|line| out.push_str(&format!("  {line}\n")));
    }
}
