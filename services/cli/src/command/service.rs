//! `ordo service …`

use super::status;
use crate::{
    arguments::ServiceCommand,
    client::Client,
    error::{CliError, Exit},
    show::{self, Align, Look, Table, harmless, text, time},
};
use chrono::{DateTime, Utc};
use ordo_contract::{
    heartbeat::{Activity, Heartbeat},
    request::{Nothing, ServiceReply, StatusReply, proxy, service},
};
use std::time::{Duration, Instant};

/// A standby that was restarted is waited for so long before the active one is.
const BACK_WITHIN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);

pub async fn run(client: &Client, command: ServiceCommand, look: &Look) -> Result<Exit, CliError> {
    match command {
        ServiceCommand::List => {
            let reply = services(client).await?;
            show::print(look, &reply.instances, || list_view(&reply, look));
        }
        ServiceCommand::Run { service: name } => {
            let reply: ServiceReply = client.ask(&name, service::RUN, &Nothing {}).await?;
            show::print(look, &reply, || format!("{name}/{} works now\n", reply.instance));
        }
        ServiceCommand::Restart { service: name } => restart(client, &name, look).await?,
    }
    Ok(Exit::Done)
}

/// What the site says of services: all that is neither controller, proxy nor agent.
async fn services(client: &Client) -> Result<StatusReply, CliError> {
    let mut reply: StatusReply = client.ask("proxy", proxy::STATUS, &Nothing {}).await?;
    let is_service = |heartbeat: &Heartbeat| {
        !matches!(heartbeat.role.as_str(), "controller" | "proxy") && !heartbeat.role.starts_with("agent-")
    };
    reply.instances.retain(is_service);
    reply.instances.sort_by(|a, b| (&a.role, &a.instance).cmp(&(&b.role, &b.instance)));
    Ok(reply)
}

/// Standbys first, so that the active one hands over to a fresh one.
async fn restart(client: &Client, name: &str, look: &Look) -> Result<(), CliError> {
    let (role, node) = name.split_once('@').map_or((name, None), |(role, node)| (role, Some(node)));
    let reply = services(client).await?;
    let alive = |heartbeat: &&Heartbeat| status::is_heard(heartbeat, &reply) && heartbeat.role == role;
    let mut found: Vec<&Heartbeat> = reply.instances.iter().filter(alive).collect();
    found.retain(|heartbeat| node.is_none_or(|node| heartbeat.node.as_str() == node));
    if found.is_empty() {
        return Err(CliError::NotFound {
            message: format!("no instance of {name} is heard of"),
            help: Some("`ordo service list` shows which services there are".to_owned()),
        });
    }
    found.sort_by_key(|heartbeat| heartbeat.activity == Activity::Active);
    let mut restarted = Vec::new();
    let many = found.len() > 1;
    for heartbeat in found {
        if many && heartbeat.activity == Activity::Active {
            standbys_are_back(client, &restarted, reply.at).await?;
        }
        let answer: ServiceReply =
            client.ask_instance(role, &heartbeat.instance, service::RESTART, &Nothing {}).await?;
        restarted.push(format!("{role}/{}", answer.instance));
    }
    show::print(look, &restarted, || format!("{} stops and is started again\n", restarted.join(", ")));
    Ok(())
}

/// Until those of these names have been started again since. Else all would be away at a time.
async fn standbys_are_back(client: &Client, names: &[String], since: DateTime<Utc>) -> Result<(), CliError> {
    let begin = Instant::now();
    loop {
        let reply = services(client).await?;
        let is_back = |name: &&String| {
            reply.instances.iter().any(|h| {
                format!("{}/{}", h.role, h.instance) == **name && h.started_at > since && status::is_heard(h, &reply)
            })
        };
        let missing: Vec<&str> = names.iter().filter(|name| !is_back(name)).map(String::as_str).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if begin.elapsed() > BACK_WITHIN {
            return Err(CliError::NotReachable {
                message: format!(
                    "{} was told to restart and is not back after {} s",
                    missing.join(", "),
                    BACK_WITHIN.as_secs()
                ),
                tried: "the active instance was left alone".to_owned(),
                help: "`ordo service list` shows who is there".to_owned(),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

pub fn list_view(reply: &StatusReply, look: &Look) -> String {
    if reply.instances.is_empty() {
        return "no service is heard of\n".to_owned();
    }
    let mut table = Table::new([
        ("", Align::Left),
        ("SERVICE", Align::Left),
        ("STATE", Align::Left),
        ("NODE", Align::Left),
        ("VERSION", Align::Left),
        ("BEHIND", Align::Right),
        ("SINCE", Align::Left),
        ("NOTE", Align::Left),
    ])
    .shortening([7]);
    for heartbeat in &reply.instances {
        let (glyph, word) = status::glyph_and_word(heartbeat, reply, look);
        table.row([
            glyph,
            format!("{}/{}", harmless(&heartbeat.role), harmless(&heartbeat.instance)),
            word,
            heartbeat.node.to_string(),
            harmless(&heartbeat.version),
            heartbeat.lag.map(text::grouped).unwrap_or_default(),
            format!("{} ago", time::age(heartbeat.started_at, reply.at)),
            harmless(heartbeat.note.as_deref().unwrap_or_default()),
        ]);
    }
    table.print(look.width)
}
