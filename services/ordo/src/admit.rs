//! `ordo agent add`, `ordo user add`: credentials with rights for somebody new, while everything runs. A credential is a
//! token signed with the site's key: no server is changed or restarted. For an agent the controller is asked, too: it
//! makes the place on the bus where the agent's jobs wait.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use ordo_cli::arguments::AddAgentArguments;
use ordo_cli::settings::Settings;
use ordo_cli::{CliError, Client, Common, show};
use ordo_contract::name::is_name;
use ordo_contract::request::{AgentListReply, Nothing, proxy};
use ordo_contract::right::User;
use ordo_runtime::home;
use ordo_servers::{Keys, secret};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Admit a person: a credentials file with the rights of people
    Add(AddUserArguments),
}

#[derive(Debug, Args)]
pub struct AddUserArguments {
    /// Name of the person, 1 to 40 of A-Z a-z 0-9 _ -
    name: String,
    /// Where the credentials file goes [default: among the site's credentials]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The folder with the site's keys [default: that of `ordo up`]
    #[arg(long, env = "ORDO_KEYS", hide_env_values = true, value_name = "DIR")]
    keys: Option<PathBuf>,
}

/// Makes a person's credentials.
pub fn user(command: &UserCommand, common: &Common) -> anyhow::Result<()> {
    let UserCommand::Add(arguments) = command;
    if User::is_reserved(&arguments.name) {
        bail!("{:?} is the name of a service, a person needs another", arguments.name);
    }
    let user = User::Person(arguments.name.clone());
    let (site, path) =
        credentials(&arguments.name, &user, arguments.keys.as_deref(), arguments.output.as_deref(), common)?;
    if common.json {
        show::line(&serde_json::json!({ "user": arguments.name, "creds": path }).to_string());
    } else {
        show::line(&format!("{} may ask and act on site {}; credentials: {}", arguments.name, site, path.display()));
        show::line("they go into ORDO_NATS_CREDS, or NATS_CREDS for the nats command line");
    }
    Ok(())
}

/// Makes an agent's credentials, then has it journalled.
pub async fn agent(arguments: &AddAgentArguments, common: &Common) -> ExitCode {
    let user = User::Agent(arguments.name.clone());
    let (keys, output) = (arguments.keys.as_deref(), arguments.output.as_deref());
    let (site, path) = match credentials(&arguments.name, &user, keys, output, common) {
        Ok(made) => made,
        Err(error) => return crate::print_once(Err(error)),
    };
    let added = match Client::connect(common).await {
        Ok(client) => admit(&client, arguments).await,
        Err(error) => Err(error),
    };
    match added {
        Ok(pending) if common.json => {
            show::line(&serde_json::json!({ "agent": arguments.name, "creds": path, "pending": pending }).to_string());
            ExitCode::SUCCESS
        }
        Ok(pending) => {
            show::line(&format!(
                "agent {} is admitted to site {}; credentials: {}",
                arguments.name,
                site,
                path.display()
            ));
            if let Some(pending) = pending {
                show::line(&pending);
            }
            show::line(&format!(
                "start it there with: ORDO_AGENT={} ordo run agent --creds FILE --nats-url URL",
                arguments.name
            ));
            ExitCode::SUCCESS
        }
        Err(error) => {
            error.print(&ordo_cli::show::Look::of_terminal(common));
            error.exit().into()
        }
    }
}

/// A repeat for an agent that is known changes nothing: set-ups ask at every start.
async fn admit(client: &Client, arguments: &AddAgentArguments) -> Result<Option<String>, CliError> {
    let known: AgentListReply = client.ask("proxy", proxy::AGENT_LIST, &Nothing {}).await?;
    match known.agents.iter().find(|line| line.agent.as_str() == arguments.name) {
        Some(line) if arguments.title.is_none() || line.title == arguments.title => Ok(None),
        _ => ordo_cli::command::agent::add(client, arguments).await,
    }
}

/// Writes them; gives the site and the file. The site is that of everything else that is typed here.
fn credentials(
    name: &str,
    user: &User,
    keys: Option<&Path>,
    output: Option<&Path>,
    common: &Common,
) -> anyhow::Result<(String, PathBuf)> {
    if !is_name(name) {
        bail!("{name:?} is not a name, wanted 1 to 40 of A-Z a-z 0-9 _ -");
    }
    let folder = match keys {
        Some(folder) => folder.to_owned(),
        None => std::env::var_os("ORDO_DATA").map_or_else(home::data_home, PathBuf::from).join("keys"),
    };
    if !folder.join("operator.seed").is_file() {
        bail!(
            "the site's keys are not in {}; ORDO_KEYS (or --keys) names the folder `keys` that `ordo up` or `ordo setup` wrote",
            folder.display()
        );
    }
    let site = Settings::find_site(common)?.site().to_owned();
    // Opening would make them, and nothing knows keys that were made here.
    if !folder.join(format!("site-{site}.seed")).is_file() {
        let known = sites(&folder);
        bail!(
            "there are no keys of site {site} in {}{}; --site (ORDO_SITE) names another",
            folder.display(),
            if known.is_empty() { String::new() } else { format!(", only of {}", known.join(", ")) }
        );
    }
    let keys = Keys::open(&folder, &site)?;
    let Some(output) = output else {
        let path = keys.credentials(&folder.with_file_name("creds"), user)?;
        return Ok((site, path));
    };
    if let Some(parent) = output.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
    }
    secret::write(output, &keys.issue(user)?)?;
    Ok((site, output.to_owned()))
}

/// The sites whose keys lie in a folder.
fn sites(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let site = |name: String| {
        let site = name.strip_prefix("site-")?.strip_suffix(".seed")?;
        (!site.contains('-')).then(|| site.to_owned())
    };
    let mut sites: Vec<String> = names.filter_map(site).collect();
    sites.sort();
    sites
}
