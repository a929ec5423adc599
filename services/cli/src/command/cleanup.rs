//! `ordo cleanup …`: what is kept for how long, and taking away the rest.

use crate::{
    arguments::{CleanupCommand, CleanupRunArguments},
    client::{Client, PROMPT},
    error::{CliError, Exit},
    show::{self, Align, Look, Table, harmless, text, time},
};
use ordo_contract::request::Nothing;
use ordo_contract::request::cleanup::{
    CleanupRunLine, CleanupRunReply, CleanupRunRequest, CleanupStatusReply, CleanupStepLine, RUN, STATUS,
};
use ordo_domain::retention::{Keep, RetentionKind, Window};
use std::{io::Write, time::Duration};

const ROLE: &str = "cleanup";
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);
/// For what waits in the database.
const LIMIT: Duration = Duration::from_secs(30);

pub async fn run(client: &Client, command: CleanupCommand, look: &Look) -> Result<Exit, CliError> {
    match command {
        CleanupCommand::Run(arguments) => clean(client, &arguments, look).await,
        CleanupCommand::Status => {
            let reply: CleanupStatusReply = client.ask(ROLE, STATUS, &Nothing {}).await?;
            show::print(look, &reply, || status_view(&reply, look));
            Ok(Exit::Done)
        }
    }
}

async fn clean(client: &Client, arguments: &CleanupRunArguments, look: &Look) -> Result<Exit, CliError> {
    let request = CleanupRunRequest { dry_run: arguments.dry_run };
    let begun: CleanupRunReply = client.ask_for(ROLE, RUN, &request, LIMIT).await?;
    if begun.joined && !look.json {
        eprintln!("it runs already, since {}", look.time(begun.run.started_at));
    }
    let run = if arguments.no_wait { begun.run } else { follow(client, begun.run, look).await? };
    show::print(look, &run, || run_view(&run, look));
    Ok(if run.state == "failed" { Exit::Failed } else { Exit::Done })
}

/// Until it has ended; over restarts of the cleanup, too.
async fn follow(client: &Client, mut run: CleanupRunLine, look: &Look) -> Result<CleanupRunLine, CliError> {
    while run.state == "running" {
        progress(&run, look);
        tokio::time::sleep(BETWEEN_LOOKS).await;
        let reply: Option<CleanupStatusReply> = client.ask_patiently(ROLE, STATUS, &Nothing {}, PROMPT, None).await?;
        let Some(now) = reply.and_then(|reply| reply.runs.into_iter().find(|other| other.run == run.run)) else {
            return Err(CliError::failed(format!("run {} of the cleanup is not known any more", run.run)));
        };
        run = now;
    }
    if look.terminal {
        eprint!("\r\x1b[K");
    }
    Ok(run)
}

/// One line that is drawn over itself, for a person at a terminal.
fn progress(run: &CleanupRunLine, look: &Look) {
    if !look.terminal {
        return;
    }
    let done = run.steps.iter().filter(|step| step.state != "waiting").count();
    let at = run.steps.iter().find(|step| step.state == "waiting");
    let what = at.map_or_else(String::new, |step| format!("  {} {}", step.kind, counts(step)));
    eprint!("\r\x1b[K{done} of {}{what}", run.steps.len());
    let _ = std::io::stderr().flush();
}

pub fn run_view(run: &CleanupRunLine, look: &Look) -> String {
    let mut table = Table::new([
        ("KIND", Align::Left),
        ("OLDER THAN", Align::Left),
        ("", Align::Left),
        (if run.dry_run { "WOULD GO" } else { "GONE" }, Align::Left),
        ("NOTE", Align::Left),
    ])
    .shortening([4]);
    for step in &run.steps {
        table.row([
            step.kind.to_string(),
            time::short(step.cut_off, look.zone),
            look.state(if step.state == "done" { "ok" } else { &step.state }),
            counts(step),
            harmless(step.note.as_deref().unwrap_or_default()),
        ]);
    }
    let ended = run.ended_at.map(|at| format!(", {}", took(at - run.started_at))).unwrap_or_default();
    let dry = if run.dry_run { "dry " } else { "" };
    format!("{}\n{dry}run {}: {}{ended}\n", table.print(look.width), run.run, run.state)
}

fn took(span: chrono::TimeDelta) -> String {
    ordo_domain::Span::from_chrono(span).to_string()
}

/// `1,200 orders, 2,400 steps, 3.1 MB`.
fn counts(step: &CleanupStepLine) -> String {
    let bytes: u64 = step.counts.iter().filter(|(name, _)| name.ends_with("bytes")).map(|(_, n)| n).sum();
    let rows = step.counts.iter().filter(|(name, _)| !name.ends_with("bytes"));
    let mut parts: Vec<String> =
        rows.map(|(name, n)| format!("{} {}", text::grouped(*n), harmless(name).replace('_', " "))).collect();
    if bytes > 0 {
        parts.push(text::bytes(bytes));
    }
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

pub fn status_view(reply: &CleanupStatusReply, look: &Look) -> String {
    let retention = &reply.retention;
    let from = match reply.version {
        Some(version) => format!("retention {}, version {version}", retention.name),
        None => "no retention is deployed: the defaults hold".to_owned(),
    };
    let mut out = format!("{}\n  {:<14} {}\n", look.bold(&from), "window", window(&retention.window));
    match (reply.closes_at, reply.opens_at) {
        (Some(closes), _) => out.push_str(&format!("  {:<14} until {}\n", "open", look.time(closes))),
        (None, Some(opens)) => out.push_str(&format!("  {:<14} {}\n", "opens", look.time(opens))),
        (None, None) => out.push_str("  opens          never by itself; `ordo cleanup run` cleans up\n"),
    }
    for kind in RetentionKind::ALL {
        let keep = match retention.keep(kind) {
            Keep::For(span) => span.to_string(),
            Keep::Forever => "forever".to_owned(),
        };
        let own = if retention.keep.contains_key(&kind) { "" } else { "  (default)" };
        out.push_str(&format!("  {:<14} {keep}{own}\n", kind.word()));
    }
    let mut table = Table::new([
        ("RUN", Align::Right),
        ("STARTED", Align::Left),
        ("BY", Align::Left),
        ("", Align::Left),
        ("TOOK", Align::Left),
        ("GONE", Align::Left),
    ])
    .shortening([5]);
    for run in &reply.runs {
        let gone = run.steps.iter().filter(|step| !step.counts.is_empty() && !run.dry_run);
        let gone: Vec<String> = gone.map(|step| format!("{}: {}", step.kind, counts(step))).collect();
        let state = if run.state == "done" { "ok" } else { &run.state };
        table.row([
            run.run.to_string(),
            time::short(run.started_at, look.zone),
            harmless(run.asked_by.as_deref().unwrap_or("window")),
            look.state(if run.dry_run && state == "ok" { "dry run" } else { state }),
            run.ended_at.map(|at| took(at - run.started_at)).unwrap_or_default(),
            gone.join("; "),
        ]);
    }
    if !table.is_empty() {
        out.push('\n');
        out.push_str(&table.print(look.width));
    }
    out
}

/// `mon, tue from 01:00 to 04:00 UTC`.
fn window(window: &Window) -> String {
    let days: Vec<&str> = window.days.iter().map(|day| day.word()).collect();
    let days = match days.len() {
        0 => "never".to_owned(),
        7 => "every day".to_owned(),
        _ => days.join(", "),
    };
    format!("{days} from {} to {} {}", window.from, window.to, window.zone)
}
