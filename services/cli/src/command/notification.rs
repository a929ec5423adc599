//! `ordo notification …` and `ordo monitor …`

use crate::{
    arguments::{MonitorCommand, NotificationCommand, NotificationListArguments},
    client::Client,
    error::{CliError, Exit},
    show::{self, Align, Look, Table, Tone, harmless, time},
};
use ordo_contract::request::monitor::{
    self, AcknowledgeReply, AcknowledgeRequest, DeliveryLine, NotificationLine, NotificationListReply,
    NotificationListRequest, NotificationRequest, NotificationShowReply, TestMailReply, TestMailRequest,
};
use ordo_domain::alert::Kind;
use std::time::Duration;

const MONITOR: &str = "monitor";
const USUAL: u32 = 50;
const PAGE: u32 = 500;
/// Servers may be slow, and each recipient is asked for.
const TEST: Duration = Duration::from_secs(180);

pub async fn run(client: &Client, command: NotificationCommand, look: &Look) -> Result<Exit, CliError> {
    match command {
        NotificationCommand::List(arguments) => list(client, arguments, look).await,
        NotificationCommand::Show { notification } => {
            let request = NotificationRequest { notification };
            let reply: NotificationShowReply = client.ask(MONITOR, monitor::NOTIFICATION_SHOW, &request).await?;
            show::print(look, &reply, || show_view(&reply, look));
            Ok(Exit::Done)
        }
        NotificationCommand::Acknowledge { notifications, comment } => {
            let request = AcknowledgeRequest { notifications, comment };
            let reply: AcknowledgeReply = client.ask(MONITOR, monitor::NOTIFICATION_ACKNOWLEDGE, &request).await?;
            show::print(look, &reply, || list_view(&reply.notifications, look));
            Ok(Exit::Done)
        }
    }
}

pub async fn monitor(client: &Client, command: MonitorCommand, look: &Look) -> Result<Exit, CliError> {
    let MonitorCommand::TestMail { to } = command;
    let reply: TestMailReply = client.ask_for(MONITOR, monitor::TEST_MAIL, &TestMailRequest { to }, TEST).await?;
    show::print(look, &reply, || format!("by {}\n{}", harmless(&reply.post), deliveries_view(&reply.deliveries, look)));
    let all = reply.deliveries.iter().all(|delivery| delivery.state == "accepted");
    Ok(if all { Exit::Done } else { Exit::Failed })
}

async fn list(client: &Client, arguments: NotificationListArguments, look: &Look) -> Result<Exit, CliError> {
    let wanted = arguments.limit.unwrap_or(USUAL);
    let kind = arguments.kind.as_deref().map(kind).transpose()?;
    let mut all = NotificationListReply { notifications: Vec::new(), more: false };
    loop {
        let left = wanted.saturating_sub(u32::try_from(all.notifications.len()).unwrap_or(u32::MAX));
        if left == 0 {
            break;
        }
        let request = NotificationListRequest {
            state: arguments.state.clone(),
            all: arguments.all,
            rule: arguments.rule.clone(),
            kind,
            workflow: arguments.workflow.clone(),
            order: arguments.order.clone(),
            limit: Some(left.min(PAGE)),
            before: all.notifications.last().map(|line| line.id.clone()),
        };
        let page: NotificationListReply = client.ask(MONITOR, monitor::NOTIFICATION_LIST, &request).await?;
        let is_empty = page.notifications.is_empty();
        all.more = page.more;
        all.notifications.extend(page.notifications);
        if is_empty || !all.more {
            break;
        }
    }
    show::print(look, &all, || list_view(&all.notifications, look));
    Ok(Exit::Done)
}

fn kind(word: &str) -> Result<Kind, CliError> {
    let unknown = || {
        let words = Kind::ALL.map(Kind::word).join(", ");
        CliError::usage(format!("{word:?} is no kind of notification: {words}"))
    };
    Kind::of_word(&word.replace('-', "_")).ok_or_else(unknown)
}

/// What stands catches the eye, what is over does not.
fn state(word: &str, look: &Look) -> String {
    let (glyph, tone) = match word {
        "new" => ("✖", Tone::Bad),
        "acknowledged" => ("◐", Tone::Warning),
        "recovered" => ("✔", Tone::Good),
        "accepted" => ("✔", Tone::Good),
        "refused" | "trouble" => ("✖", Tone::Bad),
        _ => ("◷", Tone::Plain),
    };
    look.paint(tone, &format!("{glyph} {}", harmless(word)))
}

pub fn list_view(lines: &[NotificationLine], look: &Look) -> String {
    let Some(first) = lines.first() else { return "no notifications\n".to_owned() };
    let at = format!("AT ({})", time::zone_name(first.at, look.zone));
    let mut table = Table::new([
        ("NOTIFICATION", Align::Left),
        ("STATE", Align::Left),
        (&at, Align::Left),
        ("OF", Align::Left),
        ("WHAT", Align::Left),
        ("MAIL", Align::Left),
        ("ORDER", Align::Left),
    ])
    .shortening([4, 3]);
    for line in lines {
        table.row([
            harmless(&line.id),
            state(&line.state, look),
            time::short(line.at, look.zone),
            harmless(&line.object),
            harmless(&line.what),
            line.mail.word().to_owned(),
            harmless(line.order.as_deref().unwrap_or_default()),
        ]);
    }
    table.print(look.width)
}

pub fn show_view(reply: &NotificationShowReply, look: &Look) -> String {
    let line = &reply.line;
    let mut out =
        format!("{}  {}  {}\n", look.bold(&harmless(&line.id)), state(&line.state, look), harmless(&line.what));
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            out.push_str(&format!("  {name:<12} {value}\n"));
        }
    };
    fact("kind", line.kind.to_string());
    fact("of", harmless(&line.object));
    fact("at", look.time(line.at));
    fact("said", harmless(&reply.facts.text));
    fact("order", harmless(line.order.as_deref().unwrap_or_default()));
    fact("told by", harmless(&line.rules.join(", ")));
    fact(
        "silenced by",
        line.silenced_by.as_deref().map(|m| format!("maintenance {}", harmless(m))).unwrap_or_default(),
    );
    if let Some(acknowledged) = &line.acknowledged {
        fact("acknowledged", format!("{} by {}", look.time(acknowledged.at), harmless(&acknowledged.by)));
        fact("comment", harmless(acknowledged.comment.as_deref().unwrap_or_default()));
    }
    fact("recovered", line.recovered_at.map(|at| look.time(at)).unwrap_or_default());
    if reply.deliveries.is_empty() {
        fact("mail", line.mail.word().to_owned());
        return out;
    }
    out.push('\n');
    out.push_str(&deliveries_view(&reply.deliveries, look));
    out
}

fn deliveries_view(deliveries: &[DeliveryLine], look: &Look) -> String {
    let Some(first) = deliveries.first() else { return "no mails\n".to_owned() };
    let at = format!("AT ({})", time::zone_name(first.at, look.zone));
    let mut table = Table::new([
        ("MAIL", Align::Left),
        ("RECIPIENT", Align::Left),
        ("STATE", Align::Left),
        ("TRIES", Align::Right),
        (&at, Align::Left),
        ("SERVER", Align::Left),
        ("SAID", Align::Left),
    ])
    .shortening([6, 5]);
    for delivery in deliveries {
        table.row([
            harmless(&delivery.kind),
            harmless(&delivery.recipient),
            state(&delivery.state, look),
            if delivery.tries == 0 { String::new() } else { delivery.tries.to_string() },
            time::short(delivery.at, look.zone),
            harmless(delivery.server.as_deref().unwrap_or_default()),
            harmless(delivery.said.as_deref().unwrap_or_default()),
        ]);
    }
    table.print(look.width)
}
