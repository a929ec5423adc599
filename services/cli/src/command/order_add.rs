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
        let added = add_all(client, orders, &asked, look).await?;
        show::print(look, &added.json(), || added.view());
        return Ok(Exit::Done);
    }
    let options = options(&arguments.watch);
    let feed = watch::Feed::open(client, &options).await;
    let added = add_all(client, orders, &asked, look).await?;
    let Some(order) = added.orders.first() else {
        show::print(look, &added.json(), || added.view());
        return Ok(Exit::WaitTimedOut);
    };
    if !look.json && !options.quiet {
        show::line(&format!("order {} added", look.bold(order.as_str())));
    }
    let ended = watch::watch_with(client, order, &options, look, feed).await?;
    Ok(say_timed_out(&ended, look))
}

/// What became of orders that were to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// In the order in which they were given.
    pub orders: Vec<OrderId>,
    /// How many are accepted and wait for a controller, and what was said of them.
    pub pending: usize,
    said: Option<String>,
    /// With it the same orders are not added twice.
    pub id: CommandId,
}

impl Added {
    fn json(&self) -> serde_json::Value {
        match &self.said {
            None => serde_json::json!({ "orders": self.orders }),
            Some(pending) => serde_json::json!({
                "orders": self.orders, "pending": pending, "pending_orders": self.pending, "id": self.id
            }),
        }
    }

    fn view(&self) -> String {
        let mut view = match self.orders.as_slice() {
            [] => String::new(),
            [order] => format!("{order}\n"),
            [first, .., last] => {
                format!("{} added: {first} to {last}\n", text::counted(self.orders.len() as u64, "order", "orders"))
            }
        };
        if let Some(pending) = &self.said {
            if self.orders.len() + self.pending > 1 {
                view.push_str(&format!("{}: ", text::counted(self.pending as u64, "order", "orders")));
            }
            let id = &self.id;
            view.push_str(&format!("{}\n  the same again with --id {id} tells what became of it\n", harmless(pending)));
        }
        view
    }
}

/// Adds orders, each command all of its orders or none, as many commands as needed; the id gets a number behind it where
/// they are several. Where no controller is active all are sent, too: they are carried out when one is.
pub async fn add_all(client: &Client, orders: Vec<NewOrder>, asked: &Asked, look: &Look) -> Result<Added, CliError> {
    let total = orders.len();
    let commands = in_commands(orders)?;
    let several = commands.len() > 1;
    let base = match &asked.id {
        Some(id) => id.clone(),
        None => id(&format!("cli-{:032x}", rand::random::<u128>()))?,
    };
    if several && !look.json {
        eprintln!("{} commands with the id {base}: the same again with --id {base} adds nothing twice", commands.len());
    }
    let mut added = Added { orders: Vec::with_capacity(total), pending: 0, said: None, id: base.clone() };
    for (n, orders) in commands.into_iter().enumerate() {
        let id = if several { id(&format!("{base}.{}", n + 1))? } else { base.clone() };
        let count = orders.len();
        let request = AddMany { orders, asked: Asked { id: Some(id), reason: asked.reason.clone() } };
        let reply: AddOrdersReply = client
            .ask_for("proxy", proxy::ORDER_ADD, &request, Duration::from_secs(20))
            .await
            .map_err(|error| after_some(error, &added, total).with_id(&base))?;
        match reply {
            AddOrdersReply::One { order, .. } => added.orders.push(order),
            AddOrdersReply::Many { orders } => added.orders.extend(orders),
            AddOrdersReply::Pending { pending, .. } => {
                added.pending += count;
                added.said = Some(pending);
            }
        }
        if several && !look.json && std::io::stderr().is_terminal() {
            eprint!(
                "\r{} of {} added",
                text::grouped(added.orders.len() as u64),
                text::counted(total as u64, "order", "orders")
            );
        }
    }
    if several && !look.json && std::io::stderr().is_terminal() {
        eprintln!();
    }
    Ok(added)
}

fn after_some(error: CliError, added: &Added, total: usize) -> CliError {
    let before = match (added.orders.len(), added.pending) {
        (0, 0) => return error,
        (added, 0) => format!("{added} of {total} orders were added before"),
        (0, pending) => format!("{pending} of {total} orders are accepted before and wait for a controller"),
        (added, pending) => format!("{added} of {total} orders were added before, {pending} wait for a controller"),
    };
    match error {
        CliError::Answer { code, mut body } => {
            body.message = format!("{} ({before})", body.message);
            CliError::Answer { code, body }
        }
        CliError::NotReachable { message, tried, help } => {
            CliError::NotReachable { message: format!("{message} ({before})"), tried, help }
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
    fn pending_orders_are_counted_and_the_id_is_that_of_all_of_them() {
        let order = |number: u32| OrderId::new(format!("20261122-A{number}-x")).unwrap();
        let id = CommandId::new("load-1").unwrap();
        let said = Some("accepted, no controller active yet".to_owned());
        let all = Added { orders: vec![], pending: 2_500, said: said.clone(), id: id.clone() };
        assert_eq!(
            all.view(),
            "2,500 orders: accepted, no controller active yet\n  the same again with --id load-1 tells what became of it\n"
        );
        assert_eq!(all.json()["pending_orders"], 2_500);
        let some = Added { orders: vec![order(1), order(2)], pending: 1, said, id: id.clone() };
        assert!(
            some.view().starts_with("2 orders added: 20261122-A1-x to 20261122-A2-x\n1 order: accepted"),
            "{}",
            some.view()
        );
        let done = Added { orders: vec![order(1)], pending: 0, said: None, id };
        assert_eq!((done.view().as_str(), done.json()), ("20261122-A1-x\n", serde_json::json!({"orders": [order(1)]})));
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
