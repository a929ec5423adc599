//! `ordo workflow …`

use super::{definition, id};
use crate::{
    arguments::WorkflowCommand,
    client::Client,
    error::{CliError, Exit},
    show::{self, Align, Look, Table, harmless, text, time},
};
use ordo_contract::request::{WorkflowListReply, WorkflowListRequest, WorkflowShowReply, WorkflowShowRequest, proxy};
use ordo_domain::{
    Instant, WorkflowName,
    catalog::RemoveItem,
    workflow::{Action, Instruction, Job, Parameter, Step, WhenFailed},
};

pub async fn run(client: &Client, command: WorkflowCommand, look: &Look) -> Result<Exit, CliError> {
    match command {
        WorkflowCommand::Remove { workflows, asked } => {
            let item = |name: &String| Ok(RemoveItem::Workflow { name: id(name)? });
            let items = workflows.iter().map(item).collect::<Result<_, CliError>>()?;
            return definition::remove(client, items, &asked, look).await;
        }
        WorkflowCommand::List => {
            let reply = list_all(client).await?;
            show::print(look, &reply.workflows, || list_view(&reply, client.now(), look));
        }
        WorkflowCommand::Show { workflow, version } => {
            let reply = get(client, &id(&workflow)?, version).await?;
            show::print(look, &reply, || show_view(&reply, look));
        }
    }
    Ok(Exit::Done)
}

/// All pages.
pub async fn list_all(client: &Client) -> Result<WorkflowListReply, CliError> {
    let mut all = WorkflowListReply { workflows: Vec::new(), more: true };
    while all.more {
        let request = WorkflowListRequest { after: all.workflows.last().map(|line| line.workflow.clone()) };
        let page: WorkflowListReply = client.ask("proxy", proxy::WORKFLOW_LIST, &request).await?;
        all.more = page.more && !page.workflows.is_empty();
        all.workflows.extend(page.workflows);
    }
    Ok(all)
}

/// A deployed workflow; the newest version if none is named.
pub async fn get(
    client: &Client,
    workflow: &WorkflowName,
    version: Option<u32>,
) -> Result<WorkflowShowReply, CliError> {
    let request = WorkflowShowRequest { workflow: workflow.clone(), version };
    client.ask("proxy", proxy::WORKFLOW_SHOW, &request).await
}

pub fn list_view(reply: &WorkflowListReply, now: Instant, look: &Look) -> String {
    if reply.workflows.is_empty() {
        return "no workflow is deployed; `ordo deploy FILE` deploys one\n".to_owned();
    }
    let mut table = Table::new([
        ("WORKFLOW", Align::Left),
        ("VERSION", Align::Right),
        ("ORDERS", Align::Right),
        ("DEPLOYED", Align::Left),
        ("FOLDER", Align::Left),
        ("TAGS", Align::Left),
        ("TITLE", Align::Left),
    ])
    .shortening([6]);
    for line in &reply.workflows {
        table.row([
            line.workflow.to_string(),
            line.version.to_string(),
            text::grouped(line.orders),
            format!("{} ago", time::age(line.deployed_at, now)),
            harmless(line.folder.as_deref().unwrap_or_default()),
            harmless(&line.tags.join(", ")),
            harmless(line.title.as_deref().unwrap_or_default()),
        ]);
    }
    table.print(look.width)
}

pub fn show_view(reply: &WorkflowShowReply, look: &Look) -> String {
    let workflow = &reply.definition;
    let mut out = format!("{}  version {}", look.bold(workflow.name.as_str()), reply.version);
    if let Some(title) = &workflow.title {
        out.push_str(&format!("  {}", harmless(title)));
    }
    out.push('\n');
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            out.push_str(&format!("  {name:<10} {value}\n"));
        }
    };
    fact("folder", harmless(workflow.folder.as_deref().unwrap_or_default()));
    fact("tags", harmless(&workflow.tags.iter().cloned().collect::<Vec<_>>().join(", ")));
    fact("zone", workflow.zone.map(|zone| zone.to_string()).unwrap_or_default());
    fact("deployed", look.time(reply.deployed_at));
    fact("versions", reply.versions.iter().map(u32::to_string).collect::<Vec<_>>().join(", "));
    fact("hash", reply.hash.to_string());
    out.push_str("\nParameters\n");
    if workflow.parameters.is_empty() {
        out.push_str("  none\n");
    } else {
        let mut table =
            Table::new([("NAME", Align::Left), ("TYPE", Align::Left), ("DEFAULT", Align::Left), ("", Align::Left)])
                .shortening([3]);
        for (name, parameter) in &workflow.parameters {
            table.row([
                name.to_string(),
                kind_text(parameter),
                default_text(parameter),
                harmless(parameter.title.as_deref().unwrap_or_default()),
            ]);
        }
        out.push_str(&text::indent(&table.print(look.width.saturating_sub(2)), 2));
        out.push('\n');
    }
    out.push_str("\nSteps\n");
    steps(&workflow.steps, 1, &mut out);
    out
}

fn kind_text(parameter: &Parameter) -> String {
    match parameter.items {
        Some(items) => format!("{} of {items}", parameter.kind),
        None => parameter.kind.to_string(),
    }
}

fn default_text(parameter: &Parameter) -> String {
    match (&parameter.default, &parameter.from) {
        (_, Some(secret)) => format!("from {secret} at the agent"),
        (Some(value), _) => harmless(&serde_json::to_string(value).unwrap_or_default()),
        (None, None) => "required".to_owned(),
    }
}

fn steps(list: &[Step], depth: usize, out: &mut String) {
    for step in list {
        let blank = "  ".repeat(depth);
        let mut say = |text: String| out.push_str(&format!("{blank}{text}\n"));
        let label = &step.label;
        match &step.instruction {
            Instruction::Job(job) => say(format!("{label}: {}", job_text(job))),
            Instruction::If { condition, then, otherwise } => {
                say(format!("{label}: if {}", harmless(&condition.0)));
                steps(then, depth + 1, out);
                if !otherwise.is_empty() {
                    out.push_str(&format!("{blank}else\n"));
                    steps(otherwise, depth + 1, out);
                }
            }
            Instruction::Fork { branches, when_failed } => {
                let how = match when_failed {
                    WhenFailed::Join => "",
                    WhenFailed::Wait => ", waits when a branch fails",
                    WhenFailed::CancelOthers => ", cancels the others when a branch fails",
                };
                say(format!("{label}: fork{how}"));
                for (branch, inner) in branches {
                    out.push_str(&format!("{blank}  {label}:{branch}\n"));
                    steps(inner, depth + 2, out);
                }
            }
            Instruction::Try { steps: inner, retry, catch } => {
                let how = retry.as_ref().map_or_else(String::new, |retry| {
                    let delays: Vec<String> = retry.delays.iter().map(ToString::to_string).collect();
                    let when =
                        retry.when.as_ref().map_or_else(String::new, |when| format!(" if {}", harmless(&when.0)));
                    format!(", again after {}{when}", delays.join(", "))
                });
                say(format!("{label}: try{how}"));
                steps(inner, depth + 1, out);
                if !catch.is_empty() {
                    out.push_str(&format!("{blank}catch\n"));
                    steps(catch, depth + 1, out);
                }
            }
            Instruction::Call { workflow, arguments } => {
                let given: Vec<String> =
                    arguments.iter().map(|(name, value)| format!("{name}={}", harmless(&value.to_string()))).collect();
                say(format!("{label}: call {workflow}({})", given.join(", ")));
            }
            Instruction::Fail { message } => say(format!("{label}: fail {:?}", harmless(&message.0))),
            Instruction::Finish { message } => {
                say(format!(
                    "{label}: finish {}",
                    message.as_ref().map_or_else(String::new, |m| format!("{:?}", harmless(&m.0)))
                ));
            }
        }
    }
}

fn job_text(job: &Job) -> String {
    let what = match &job.action {
        Action::Command { arguments } => arguments.iter().map(|a| harmless(&a.0)).collect::<Vec<_>>().join(" "),
        Action::Script { text, .. } => {
            let first = text
                .lines()
                .map(str::trim)
                .find(|line| !line.is_empty() && !line.starts_with("#!"))
                .unwrap_or_default();
            let more = if text.trim().lines().count() > 1 { " …" } else { "" };
            format!("script `{}{more}`", harmless(first))
        }
    };
    let mut extras = vec![format!("agent {}", job.agent)];
    extras.extend(job.timeout.map(|timeout| format!("timeout {timeout}")));
    extras.extend(job.parallel.map(|limit| format!("parallel {limit}")));
    extras.extend(job.locks.iter().map(|(lock, weight)| format!("lock {lock}:{weight}")));
    if !job.restartable {
        extras.push("not restartable".to_owned());
    }
    format!("{what}  ({})", extras.join(", "))
}
