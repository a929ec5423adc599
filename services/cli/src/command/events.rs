//! `ordo events`: what happened, from the history; or as it happens, from the feed.

use super::optional_id;
use crate::{
    arguments::EventsArguments,
    client::Client,
    error::{CliError, Exit},
    show::{Look, harmless, line, reader_is_gone, text, time},
};
use ordo_contract::request::{EventLine, EventListReply, EventListRequest, history};
use ordo_domain::OrderId;

const USUAL: u32 = 50;
const PAGE: u32 = 1_000;

pub async fn run(client: &Client, arguments: &EventsArguments, look: &Look) -> Result<Exit, CliError> {
    let order: Option<OrderId> = optional_id(arguments.order.as_deref())?;
    // Opened before the past is read, so that nothing falls between.
    let feed = match arguments.follow {
        true if order.is_some() => Some(client.listen(&client.names().feed_of_order(None)).await?),
        true => Some(client.listen(&client.names().feeds()).await?),
        false => None,
    };
    let mut last = None;
    if order.is_some() || !arguments.follow || arguments.limit.is_some() {
        last = past(client, order.as_ref(), arguments.limit, look).await?;
    }
    let Some(mut feed) = feed else { return Ok(Exit::Done) };
    while let Some(heard) = feed.next().await {
        let Ok(event) = serde_json::from_slice::<EventLine>(&heard.payload) else { continue };
        let noun_and_id = heard.subject.split('.').nth(4).unwrap_or_default();
        let ours = order.as_ref().is_none_or(|order| is_of(noun_and_id, order));
        if ours && last.is_none_or(|last| (event.sequence, event.index) > last) {
            say(&event, look);
        }
        if reader_is_gone() {
            return Ok(Exit::Done);
        }
    }
    Err(CliError::failed("the connection to the bus was closed"))
}

/// The order, or one of its branches.
fn is_of(id: &str, order: &OrderId) -> bool {
    id.strip_prefix(order.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// Shows what the history has; the place of the last one.
async fn past(
    client: &Client,
    order: Option<&OrderId>,
    limit: Option<u32>,
    look: &Look,
) -> Result<Option<(u64, u32)>, CliError> {
    let mut last = None;
    match (order, limit) {
        (Some(order), None) => {
            let mut after = Some(0);
            loop {
                let request = EventListRequest { order: Some(order.clone()), after, limit: Some(PAGE) };
                let page: EventListReply = client.ask("history", history::EVENT_LIST, &request).await?;
                page.events.iter().for_each(|event| say(event, look));
                last = page.events.last().map(|event| (event.sequence, event.index)).or(last);
                let next = page.events.last().map(|event| event.sequence);
                if !page.more || next.is_none() || next == after || reader_is_gone() {
                    return Ok(last);
                }
                after = next;
            }
        }
        (order, limit) => {
            let request =
                EventListRequest { order: order.cloned(), after: None, limit: Some(limit.unwrap_or(USUAL).min(PAGE)) };
            let page: EventListReply = client.ask("history", history::EVENT_LIST, &request).await?;
            page.events.iter().for_each(|event| say(event, look));
            last = page.events.last().map(|event| (event.sequence, event.index)).or(last);
        }
    }
    Ok(last)
}

fn say(event: &EventLine, look: &Look) {
    if look.json {
        line(&serde_json::to_string(event).unwrap_or_default());
    } else {
        line(&view(event, look));
    }
}

/// `02:14:09  48213  OrderStarted  20261122-A1-x  position=dump`
pub fn view(event: &EventLine, look: &Look) -> String {
    let (name, body) = match event.event.as_object().and_then(|object| object.iter().next()) {
        Some((name, body)) => (name.as_str(), body),
        None => ("?", &event.event),
    };
    let of = |key: &str| body.get(key).and_then(serde_json::Value::as_str);
    let subject =
        ["order", "run", "workflow", "agent", "instance", "command"].into_iter().find_map(of).unwrap_or_default();
    let mut rest = Vec::new();
    if let Some(object) = body.as_object() {
        for (key, value) in object {
            if value.as_str() == Some(subject) || value.is_null() {
                continue;
            }
            let short = match value {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            rest.push(format!("{}={}", harmless(key), text::shorten(&harmless(&short), 60)));
        }
    }
    let clock = look.dim(&time::short(event.at, look.zone));
    let row = format!(
        "{clock}  {:>7}  {:<20}  {}  {}",
        event.sequence,
        harmless(name),
        look.bold(&harmless(subject)),
        rest.join(" ")
    );
    if look.colour { row } else { text::shorten(row.trim_end(), look.width) }
}
