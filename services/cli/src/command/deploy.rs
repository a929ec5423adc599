//! `ordo deploy`: reads and checks files, stores their bodies by hash, asks for all or nothing.

use crate::{
    arguments::DeployArguments,
    client::Client,
    error::{CliError, Exit, FileProblem},
    show::{self, Align, Look, Table, harmless, text},
};
use ordo_contract::request::{
    Asked, DeployChange, DeployReply, DeployRequest, DeployedItem, KnownReply, PutReply, PutRequest,
    WorkflowListRequest, proxy,
};
use ordo_domain::{
    LockName,
    definition::{self, Item, Known, KnownWorkflow},
    limit,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
    time::Duration,
};

/// The text of a definition file, and the name by which errors call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployText {
    pub file: String,
    pub text: String,
}

/// What was deployed, and what was there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    pub items: Vec<DeployedItem>,
    /// Set where no controller was active: it will be deployed.
    pub pending: Option<String>,
}

pub async fn run(
    client: &Client,
    arguments: &DeployArguments,
    files: Vec<DeployText>,
    look: &Look,
) -> Result<Exit, CliError> {
    let asked = super::order::asked_of(&arguments.asked)?;
    let reply = deploy(client, &files, arguments.dry_run, asked.clone()).await?;
    show::print(look, &reply, || {
        let hint = if reply.pending.is_some() { super::order::again(&asked) } else { String::new() };
        format!("{}{hint}", view(&reply, arguments.dry_run, look))
    });
    Ok(Exit::Done)
}

/// Checks the texts together with what the site has, stores their bodies, and deploys all of them or none.
///
/// # Errors
/// [`CliError::Problems`] with places in the texts; else what the site says.
pub async fn deploy_texts(client: &Client, texts: &[DeployText]) -> Result<Deployed, CliError> {
    let reply = deploy(client, texts, false, super::order::asked(None, None)?).await?;
    Ok(Deployed { items: reply.items, pending: reply.pending })
}

async fn deploy(client: &Client, files: &[DeployText], dry_run: bool, asked: Asked) -> Result<DeployReply, CliError> {
    let items = check(files)?;
    let problems = definition::check_together(&items, &known_of(known(client).await?));
    if !problems.is_empty() {
        return Err(CliError::Problems(with_texts(problems, files)));
    }
    store(client, &items).await?;
    let items = items.into_iter().map(|item| Item::deploy_item(&item)).collect();
    let request = DeployRequest { items, dry_run, asked };
    client.command(proxy::DEFINITION_DEPLOY, &request, &request.asked, Duration::from_secs(30)).await
}

/// All pages of what the site has.
async fn known(client: &Client) -> Result<KnownReply, CliError> {
    let mut known: KnownReply = client.ask("proxy", proxy::DEFINITION_KNOWN, &WorkflowListRequest::default()).await?;
    while known.more {
        let request = WorkflowListRequest { after: known.workflows.last_key_value().map(|(name, _)| name.clone()) };
        let page: KnownReply = client.ask("proxy", proxy::DEFINITION_KNOWN, &request).await?;
        known.more = page.more && !page.workflows.is_empty();
        known.workflows.extend(page.workflows);
        known.calls.extend(page.calls);
        known.weights.extend(page.weights);
    }
    Ok(known)
}

/// Every file by itself; all problems of all files at once.
pub fn check(files: &[DeployText]) -> Result<Vec<Item>, CliError> {
    let (mut items, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        match definition::read(&file.file, &file.text) {
            Ok(compiled) => items.extend(compiled.items),
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(CliError::Problems(with_texts(problems, files)));
    }
    if items.is_empty() {
        return Err(CliError::usage(
            "no definition in what was given: a file begins with `workflow: NAME` or `lock: NAME`",
        ));
    }
    Ok(items)
}

fn with_texts(problems: Vec<definition::Problem>, files: &[DeployText]) -> Vec<FileProblem> {
    let text_of =
        |name: &str| files.iter().find(|file| file.file == name).map(|file| file.text.clone()).unwrap_or_default();
    problems.into_iter().map(|problem| FileProblem { text: text_of(&problem.file), problem }).collect()
}

fn known_of(mut reply: KnownReply) -> Known {
    let mut workflows = BTreeMap::new();
    for (name, parameters) in reply.workflows {
        let calls = reply.calls.remove(&name).unwrap_or_default();
        let weights = reply.weights.remove(&name).unwrap_or_default();
        let locks =
            weights.into_iter().filter_map(|(lock, weight)| Some((LockName::new(lock).ok()?, weight))).collect();
        workflows.insert(name, KnownWorkflow { parameters, calls, locks });
    }
    let locks = reply.locks.into_iter().filter_map(|(name, capacity)| Some((LockName::new(name).ok()?, capacity)));
    Known { workflows, locks: locks.collect(), agents: Some(reply.agents.into_iter().collect()) }
}

/// Stores bodies and scripts. Harmless when repeated, and when nothing comes of it.
async fn store(client: &Client, items: &[Item]) -> Result<(), CliError> {
    let mut bodies: BTreeMap<String, String> = BTreeMap::new();
    for item in items {
        let body = String::from_utf8(item.body.clone())
            .map_err(|_| CliError::failed(format!("{}: its body is no text", item.file)))?;
        bodies.insert(item.hash.to_string(), body);
        bodies.extend(item.scripts.iter().map(|(hash, text)| (hash.to_string(), text.clone())));
    }
    let total = bodies.len();
    let progress = total > 20 && std::io::stderr().is_terminal();
    for (n, (hash, body)) in bodies.into_iter().enumerate() {
        let reply: PutReply = client.ask("proxy", proxy::DEFINITION_PUT, &PutRequest { body }).await?;
        if reply.hash.as_str() != hash {
            return Err(CliError::failed(format!(
                "stored as {}, expected {hash}: is this ordo of another version than the site?",
                reply.hash
            )));
        }
        if progress {
            eprint!("\rstored {} of {total}{}", n + 1, if n + 1 == total { "\n" } else { "" });
        }
    }
    Ok(())
}

/// Files, the definition files below folders, or standard input.
pub fn read_paths(paths: &[PathBuf]) -> Result<Vec<DeployText>, CliError> {
    let mut files = BTreeSet::new();
    let mut texts = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            std::io::stdin()
                .lock()
                .read_to_string(&mut text)
                .map_err(|e| CliError::usage(format!("cannot read standard input: {e}")))?;
            texts.push(DeployText { file: "standard input".to_owned(), text });
        } else if path.is_dir() {
            let before = files.len();
            collect(path, &mut files, 0)?;
            if files.len() == before {
                return Err(CliError::usage_with(
                    format!("no .yaml or .yml file below {}", path.display()),
                    "name the files, or another folder",
                ));
            }
        } else {
            files.insert(path.clone());
        }
    }
    for path in files {
        let failed = |why: String| CliError::usage(format!("cannot read {}: {why}", path.display()));
        let size = std::fs::metadata(&path).map_err(|e| failed(e.to_string()))?.len();
        if size > limit::DEFINITION_BYTES as u64 {
            let most = text::bytes(limit::DEFINITION_BYTES as u64);
            return Err(failed(format!("it is {}, a definition file has at most {most}", text::bytes(size))));
        }
        let bytes = std::fs::read(&path).map_err(|e| failed(e.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|e| {
            failed(format!("byte {} is not UTF-8: save the file as UTF-8", e.utf8_error().valid_up_to() + 1))
        })?;
        texts.push(DeployText { file: path.display().to_string(), text });
    }
    Ok(texts)
}

fn collect(folder: &Path, files: &mut BTreeSet<PathBuf>, depth: usize) -> Result<(), CliError> {
    if depth > 20 {
        return Err(CliError::usage(format!("{}: more than 20 folders inside each other", folder.display())));
    }
    let failed = |e: std::io::Error| CliError::usage(format!("cannot read the folder {}: {e}", folder.display()));
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            collect(&path, files, depth + 1)?;
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            files.insert(path);
        }
    }
    Ok(())
}

pub fn view(reply: &DeployReply, dry_run: bool, look: &Look) -> String {
    if let Some(pending) = &reply.pending {
        return format!("{}\n", harmless(pending));
    }
    let mut table =
        Table::new([("", Align::Left), ("KIND", Align::Left), ("NAME", Align::Left), ("VERSION", Align::Right)]);
    let mut differences = String::new();
    for item in &reply.items {
        let word = match item.change {
            DeployChange::New => "new",
            DeployChange::Changed => "changed",
            DeployChange::Unchanged => "unchanged",
        };
        table.row([look.state(word), harmless(&item.kind), harmless(&item.name), item.version.to_string()]);
        if !item.differences.is_empty() {
            differences.push_str(&format!("\n{} {}\n", harmless(&item.kind), look.bold(&harmless(&item.name))));
            item.differences.iter().for_each(|line| differences.push_str(&format!("  {}\n", harmless(line))));
        }
    }
    let changes = reply.items.iter().filter(|item| item.change != DeployChange::Unchanged).count() as u64;
    let summary = match (changes, dry_run) {
        (0, _) => "nothing to change".to_owned(),
        (n, true) => {
            format!("{} would be deployed; nothing was changed", text::counted(n, "definition", "definitions"))
        }
        (n, false) => format!("{} deployed", text::counted(n, "definition", "definitions")),
    };
    format!("{}{differences}\n{summary}\n", table.print(look.width))
}
