//! `ordo agent …`

use super::{id, order::asked_of};
use crate::{
    arguments::AddAgentArguments,
    client::Client,
    error::{CliError, Exit},
    show::{self, Align, Look, Table, harmless, text, time},
};
use ordo_contract::request::{AddAgentRequest, AgentLine, AgentListReply, Nothing, proxy};
use ordo_domain::Instant;
use std::time::Duration;

pub async fn list(client: &Client, look: &Look) -> Result<Exit, CliError> {
    let reply: AgentListReply = client.ask("proxy", proxy::AGENT_LIST, &Nothing {}).await?;
    show::print(look, &reply.agents, || list_view(&reply.agents, client.now(), look));
    Ok(Exit::Done)
}

/// Journals that there is a new agent; the controller then makes its place on the bus. Credentials are not its matter:
/// the binary writes them first, so that nothing is admitted that could not come. Says what is still to come where no
/// controller is active.
pub async fn add(client: &Client, arguments: &AddAgentArguments) -> Result<Option<String>, CliError> {
    let request = AddAgentRequest {
        agent: id(&arguments.name)?,
        title: arguments.title.clone(),
        asked: asked_of(&arguments.asked)?,
    };
    let reply: serde_json::Value =
        client.command(proxy::AGENT_ADD, &request, &request.asked, Duration::from_secs(20)).await?;
    Ok(reply.get("pending").and_then(serde_json::Value::as_str).map(str::to_owned))
}

pub(super) async fn add_and_show(
    client: &Client,
    arguments: &AddAgentArguments,
    look: &Look,
) -> Result<Exit, CliError> {
    let pending = add(client, arguments).await?;
    show::print(look, &serde_json::json!({ "agent": arguments.name, "pending": pending }), || match &pending {
        Some(pending) => format!("{}\n", harmless(pending)),
        None => format!("agent {} added\n", arguments.name),
    });
    Ok(Exit::Done)
}

pub fn list_view(agents: &[AgentLine], now: Instant, look: &Look) -> String {
    if agents.is_empty() {
        return "no agent is known; `ordo agent add NAME` admits one\n".to_owned();
    }
    let mut table = Table::new([
        ("AGENT", Align::Left),
        ("INSTANCE", Align::Left),
        ("STATE", Align::Left),
        ("NODE", Align::Left),
        ("RUNS", Align::Right),
        ("SLOTS", Align::Right),
        ("WAITING", Align::Right),
        ("OUTBOX", Align::Right),
        ("SEEN", Align::Left),
        ("VERSION", Align::Left),
        ("TITLE", Align::Left),
    ])
    .shortening([10]);
    let number = |n: u64| if n == 0 { String::new() } else { text::grouped(n) };
    for agent in agents {
        let title = harmless(agent.title.as_deref().unwrap_or_default());
        if agent.instances.is_empty() {
            let none = String::new;
            let state = look.state("unknown");
            table.row([
                agent.agent.to_string(),
                "none yet".into(),
                state,
                none(),
                number(agent.running),
                none(),
                number(agent.waiting),
                none(),
                none(),
                none(),
                title,
            ]);
            continue;
        }
        for (n, instance) in agent.instances.iter().enumerate() {
            let first = |text: String| if n == 0 { text } else { String::new() };
            table.row([
                first(agent.agent.to_string()),
                instance.instance.to_string(),
                look.state(&instance.state),
                harmless(&instance.node),
                instance.runs.to_string(),
                instance.slots.map(|slots| slots.to_string()).unwrap_or_default(),
                first(number(agent.waiting)),
                number(instance.outbox),
                instance.seen_at.map(|at| format!("{} ago", time::age(at, now))).unwrap_or_default(),
                harmless(&instance.version),
                first(title.clone()),
            ]);
        }
    }
    table.print(look.width)
}
