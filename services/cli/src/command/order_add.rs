//! `ordo order add`: one order from flags, many from a file.

use super::{id, optional_id, order::asked_of, order::options, order::say_timed_out, workflow};
use crate::{
    arguments::AddArguments,
    client::Client,
    error::{CliError, Exit},
    show::{self, Look, harmless, text, time},
    value::{Parameters, parse_assignment},
    watch,
};
use ordo_contract::request::{AddMany, AddOrdersReply, Asked, proxy};
use ordo_domain::{Arguments, CommandId, OrderId, Value, WorkflowName, limit, order::command::NewOrder};
use std::{
    collections::BTreeMap,
    io::{IsTerminal, Read},
    path::Path,
    time::Duration,
};

pub async fn run(client: &Client, arguments: AddArguments, look: &Look) -> Result<Exit, CliError> {
    let asked = asked_of(&arguments.asked)?;
    let orders = match &arguments.file {
        Some(file) => read_orders(file)?,
        None => from_flags(client, &arguments, look).await?,
    };
    if arguments.wait && orders.len() != 1 {
        let count = orders.len();
        return Err(CliError::usage_with(
            format!("--wait watches one order, not {count}"),
            "add them, then `ordo order wait ID` for those of interest",
        ));
    }
    if !arguments.wait {
        let one = orders.len() == 1;
        let added = add_all(client, orders, &asked, look).await?;
        if !added.is_empty() {
            show::print(look, &serde_json::json!({ "orders": added }), || {
                if one {
                    return format!("{}\n", added[0]);
                }
                let (first, last) = (&added[0], &added[added.len() - 1]);
                format!("{} added: {first} to {last}\n", text::counted(added.len() as u64, "order", "orders"))
            });
        }
        return Ok(Exit::Done);
    }
    let options = options(&arguments.watch);
    let feed = watch::Feed::open(client, &options).await;
    let added = add_all(client, orders, &asked, look).await?;
    let Some(order) = added.first() else { return Ok(Exit::WaitTimedOut) };
    if !look.json && !options.quiet {
        show::line(&format!("order {} added", look.bold(order.as_str())));
    }
    let ended = watch::watch_with(client, order, &options, look, feed).await?;
    Ok(say_timed_out(&ended, look))
}

/// Adds orders, each command all of its orders or none, as many commands as needed; a given id gets a number behind it
/// where they are several. Empty where no controller was active (said then).
pub async fn add_all(
    client: &Client,
    orders: Vec<NewOrder>,
    asked: &Asked,
    look: &Look,
) -> Result<Vec<OrderId>, CliError> {
    let total = orders.len();
    let commands = in_commands(orders)?;
    let several = commands.len() > 1;
    let mut added = Vec::with_capacity(total);
    for (n, orders) in commands.into_iter().enumerate() {
        let id = match &asked.id {
            Some(id) if several => {
                Some(CommandId::new(format!("{id}.{}", n + 1)).map_err(|e| CliError::usage(e.to_string()))?)
            }
            id => id.clone(),
        };
        let request = AddMany { orders, asked: Asked { id, reason: asked.reason.clone() } };
        let reply: AddOrdersReply = client
            .ask_for("proxy", proxy::ORDER_ADD, &request, Duration::from_secs(20))
            .await
            .map_err(|e| if added.is_empty() { e } else { after_some(e, added.len(), total) })?;
        match reply {
            AddOrdersReply::One { order, .. } => added.push(order),
            AddOrdersReply::Many { orders } => added.extend(orders),
            AddOrdersReply::Pending { pending, id } => {
                show::print(look, &serde_json::json!({ "pending": pending, "id": id }), || {
                    format!("{}\n  the same again with --id {id} tells what became of it\n", harmless(&pending))
                });
                return Ok(added);
            }
        }
        if several && !look.json && std::io::stderr().is_terminal() {
            eprint!(
                "\r{} of {} added",
                text::grouped(added.len() as u64),
                text::counted(total as u64, "order", "orders")
            );
        }
    }
    if several && !look.json && std::io::stderr().is_terminal() {
        eprintln!();
    }
    Ok(added)
}

fn after_some(error: CliError, added: usize, total: usize) -> CliError {
    match error {
        CliError::Answer { code, mut body } => {
            body.message = format!("{} ({added} of {total} orders were added before)", body.message);
            CliError::Answer { code, body }
        }
        other => other,
    }
}

/// As few commands as the limits allow.
fn in_commands(orders: Vec<NewOrder>) -> Result<Vec<Vec<NewOrder>>, CliError> {
    // Room for id, user, reason and braces.
    const ENVELOPE: usize = 8 * 1024;
    let (mut commands, mut command, mut bytes) = (Vec::new(), Vec::new(), ENVELOPE);
    for order in orders {
        let size = serde_json::to_vec(&order).map_err(|e| CliError::failed(e.to_string()))?.len() + 1;
        if !command.is_empty() && (command.len() >= limit::ORDERS_PER_COMMAND || bytes + size > limit::COMMAND_BYTES) {
            commands.push(std::mem::take(&mut command));
            bytes = ENVELOPE;
        }
        bytes += size;
        command.push(order);
    }
    if !command.is_empty() {
        commands.push(command);
    }
    if commands.is_empty() {
        return Err(CliError::usage("no order in the file: write [{\"workflow\":\"backup\"}], or one order a line"));
    }
    Ok(commands)
}

async fn from_flags(client: &Client, arguments: &AddArguments, look: &Look) -> Result<Vec<NewOrder>, CliError> {
    let workflow: WorkflowName = id(arguments.workflow.as_deref().unwrap_or_default())?;
    let mut values = match &arguments.arguments {
        Some(path) => read_arguments(path)?,
        None => Arguments::new(),
    };
    if !arguments.parameters.is_empty() {
        let parameters: Parameters = workflow::get(client, &workflow, None).await?.definition.parameters;
        for assignment in &arguments.parameters {
            let (name, value) = parse_assignment(&workflow, &parameters, assignment).map_err(CliError::usage)?;
            values.insert(name, value);
        }
    }
    let due_at = match &arguments.at {
        Some(text) => {
            Some(time::parse(text, client.now(), look.zone).map_err(|e| CliError::usage(format!("--at: {e}")))?)
        }
        None => None,
    };
    let order = NewOrder {
        workflow,
        name: optional_id::<ordo_domain::Label>(arguments.name.as_deref())
            .map_err(|_| {
                CliError::usage(format!(
                    "--name {:?}: 1 to 40 of A-Z a-z 0-9 _ -",
                    arguments.name.as_deref().unwrap_or_default()
                ))
            })?
            .map(String::from),
        arguments: values,
        title: arguments.title.clone(),
        tags: arguments.tags.iter().cloned().collect(),
        business_day: arguments.business_day,
        due_at,
        held: arguments.held,
        priority: arguments.priority,
        late: None,
        overlap: Default::default(),
        start: None,
    };
    Ok(vec![order; arguments.count.unwrap_or(1) as usize])
}

fn read(path: &Path) -> Result<String, CliError> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .lock()
            .read_to_string(&mut text)
            .map_err(|e| CliError::usage(format!("cannot read standard input: {e}")))?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(|e| CliError::usage(format!("cannot read {}: {e}", path.display())))
}

fn read_arguments(path: &Path) -> Result<Arguments, CliError> {
    let text = read(path)?;
    let wrong = |why: String| {
        CliError::usage(format!("{}: {why}; expected is one JSON object: {{\"day\": \"2026-11-22\"}}", path.display()))
    };
    let values: BTreeMap<String, Value> = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    values.into_iter().map(|(name, value)| Ok((id(&name)?, value))).collect()
}

/// A JSON list, `{"orders": [...]}`, or one order a line.
fn read_orders(path: &Path) -> Result<Vec<NewOrder>, CliError> {
    let text = read(path)?;
    parse_orders(&text).map_err(|why| CliError::usage(format!("{}: {why}", path.display())))
}

fn parse_orders(text: &str) -> Result<Vec<NewOrder>, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wrapped {
        orders: Vec<NewOrder>,
    }
    let start = text.trim_start();
    if start.starts_with('[') {
        return serde_json::from_str(text).map_err(|e| e.to_string());
    }
    if let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text)
        && object.contains_key("orders")
    {
        return serde_json::from_str::<Wrapped>(text).map(|wrapped| wrapped.orders).map_err(|e| e.to_string());
    }
    let one =
        |(number, line): (usize, &str)| serde_json::from_str(line).map_err(|e| format!("line {}: {e}", number + 1));
    match serde_json::from_str::<NewOrder>(text) {
        Ok(order) => Ok(vec![order]),
        Err(_) => text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(one).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_a_list_wrapped_or_line_by_line() {
        for text in [
            "[{\"workflow\":\"a\"},{\"workflow\":\"b\"}]",
            "{\"orders\":[{\"workflow\":\"a\"},{\"workflow\":\"b\"}]}",
            "{\"workflow\":\"a\"}\n\n{\"workflow\":\"b\"}\n",
        ] {
            assert_eq!(parse_orders(text).unwrap().len(), 2, "{text}");
        }
        assert_eq!(parse_orders("{\n \"workflow\": \"a\"\n}").unwrap().len(), 1);
        assert!(
            parse_orders("{\"workflow\":\"a\"}\n{\"worklow\":\"b\"}").unwrap_err().starts_with("line 2: unknown field")
        );
    }

    #[test]
    fn many_orders_are_cut_into_commands_within_the_limits() {
        let order = parse_orders("{\"workflow\":\"a\"}").unwrap().remove(0);
        let sizes: Vec<usize> = in_commands(vec![order.clone(); 2_500]).unwrap().iter().map(Vec::len).collect();
        assert_eq!(sizes, [1_000, 1_000, 500]);
        let long = NewOrder { title: Some("x".repeat(390)), ..order };
        for command in in_commands(vec![long; 1_000]).unwrap() {
            assert!(serde_json::to_vec(&command).unwrap().len() < limit::COMMAND_BYTES);
        }
        assert!(in_commands(Vec::new()).is_err());
    }
}
