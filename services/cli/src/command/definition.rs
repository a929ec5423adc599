//! `ordo definition …`, and removing in general.

use super::{
    id,
    order::{again, asked_of},
};
use crate::{
    arguments::{AskedArguments, DefinitionCommand},
    client::Client,
    error::{CliError, Exit},
    show::{self, Align, Look, Table, harmless, time},
};
use ordo_contract::request::Asked;
use ordo_contract::request::catalog::{
    DefinitionListReply, DefinitionListRequest, DefinitionRemoveRequest, DefinitionShowReply, DefinitionShowRequest,
    DoneReply,
};
use ordo_contract::request::proxy;
use ordo_domain::{Instant, catalog::RemoveItem};
use std::time::Duration;

pub async fn run(client: &Client, command: DefinitionCommand, look: &Look) -> Result<Exit, CliError> {
    match command {
        DefinitionCommand::List { kind } => {
            let request = DefinitionListRequest { kind: kind.map(Into::into) };
            let reply: DefinitionListReply = client.ask("proxy", proxy::DEFINITION_LIST, &request).await?;
            show::print(look, &reply.definitions, || list_view(&reply, client.now(), look));
            Ok(Exit::Done)
        }
        DefinitionCommand::Show { kind, name } => {
            let request = DefinitionShowRequest { kind: kind.into(), name: id(&name)? };
            let reply: DefinitionShowReply = client.ask("proxy", proxy::DEFINITION_SHOW, &request).await?;
            show::print(look, &reply, || show_view(&reply, look));
            Ok(Exit::Done)
        }
        DefinitionCommand::Remove { kind, names, asked } => {
            let item = |name: &String| Ok(RemoveItem::Definition { kind: kind.into(), name: id(name)? });
            remove(client, names.iter().map(item).collect::<Result<_, CliError>>()?, &asked, look).await
        }
    }
}

/// Removes all of them or none.
pub async fn remove(
    client: &Client,
    items: Vec<RemoveItem>,
    asked: &AskedArguments,
    look: &Look,
) -> Result<Exit, CliError> {
    let request = DefinitionRemoveRequest { items, asked: asked_of(asked)? };
    let reply: DoneReply =
        client.command(proxy::DEFINITION_REMOVE, &request, &request.asked, Duration::from_secs(20)).await?;
    let names: Vec<String> = request.items.iter().map(describe).collect();
    done(&reply, &format!("removed {}", names.join(", ")), look);
    Ok(Exit::Done)
}

fn describe(item: &RemoveItem) -> String {
    match item {
        RemoveItem::Workflow { name } => format!("workflow {name}"),
        RemoveItem::Definition { kind, name } => format!("{kind} {name}"),
    }
}

/// What was done, or that it will be.
pub fn done(reply: &DoneReply, what: &str, look: &Look) {
    show::print(look, reply, || match &reply.pending {
        None => format!("{what}\n"),
        Some(pending) => {
            let asked = Asked { id: reply.id.clone(), reason: None };
            format!("{}\n{}", harmless(pending), again(&asked))
        }
    });
}

pub fn list_view(reply: &DefinitionListReply, now: Instant, look: &Look) -> String {
    if reply.definitions.is_empty() {
        return "nothing is deployed besides workflows; `ordo deploy FILE` deploys a schedule or a rule\n".to_owned();
    }
    let mut table = Table::new([
        ("KIND", Align::Left),
        ("NAME", Align::Left),
        ("VERSION", Align::Right),
        ("DEPLOYED", Align::Left),
        ("", Align::Left),
        ("TITLE", Align::Left),
    ])
    .shortening([5]);
    for line in &reply.definitions {
        table.row([
            line.kind.to_string(),
            line.name.to_string(),
            line.version.to_string(),
            format!("{} ago", time::age(line.deployed_at, now)),
            if line.suspended { "suspended".to_owned() } else { String::new() },
            harmless(line.title.as_deref().unwrap_or_default()),
        ]);
    }
    table.print(look.width)
}

pub fn show_view(reply: &DefinitionShowReply, look: &Look) -> String {
    let deployed = &reply.deployed;
    let suspended = if deployed.suspended { "  suspended" } else { "" };
    let name = format!("{} {}", deployed.kind, deployed.name);
    let mut out = format!("{}  version {}{suspended}\n", look.bold(&name), deployed.version);
    out.push_str(&format!("  {:<10} {}\n", "deployed", look.time(deployed.deployed_at)));
    out.push_str(&format!("  {:<10} {}\n\n", "hash", deployed.hash));
    let body = serde_json::to_value(&reply.definition).unwrap_or_default();
    let inner = body.as_object().and_then(|outer| outer.values().next()).cloned().unwrap_or_default();
    for line in format!("{inner:#}").lines() {
        out.push_str(&harmless(line));
        out.push('\n');
    }
    out
}
