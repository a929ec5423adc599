//! On an empty site the shipped examples are deployed and the first is run as an order, live on the screen: a newcomer
//! sees a whole order before typing anything.

use super::environment::Environment;
use super::screen::Screen;
use super::start::common;
use ordo_cli::show::Look;
use ordo_cli::{CliError, Client, DeployText, WatchOptions, add_and_watch, deploy_texts};
use ordo_contract::request::{Nothing, WorkflowListReply, proxy};
use ordo_domain::order::command::NewOrder;

include!(concat!(env!("OUT_DIR"), "/examples.rs"));

/// The example that is run.
pub const FIRST: &str = "backup";

/// A failure is said and nothing more: everything runs, and a person may go on.
pub async fn first_run(screen: &Screen, environment: &Environment) {
    let common = common(environment);
    let look = Look::of_terminal(&common);
    match deploy_and_run(screen, &common, &look).await {
        Ok(()) => {}
        Err(error) => {
            screen.line("the examples could not be shown:");
            error.print(&look);
        }
    }
}

async fn deploy_and_run(screen: &Screen, common: &ordo_cli::Common, look: &Look) -> Result<(), CliError> {
    let client = Client::connect(common).await?;
    let there: WorkflowListReply = client.ask("proxy", proxy::WORKFLOW_LIST, &Nothing {}).await?;
    if !there.workflows.is_empty() || EXAMPLES.is_empty() {
        return Ok(());
    }
    screen.line("");
    screen.line("The site is empty: deploying the examples");
    let texts: Vec<DeployText> =
        EXAMPLES.iter().map(|(file, text)| DeployText { file: (*file).to_owned(), text: (*text).to_owned() }).collect();
    let deployed = deploy_texts(&client, &texts).await?;
    for item in &deployed.items {
        screen.line(&format!("  {} {} version {}", item.kind, item.name, item.version));
    }
    let Ok(order) = serde_json::from_value::<NewOrder>(serde_json::json!({ "workflow": FIRST })) else { return Ok(()) };
    screen.line("");
    screen.line(&format!("Running {FIRST}, as `ordo order add {FIRST} --wait --logs` does:"));
    let options = WatchOptions { logs: true, ..WatchOptions::default() };
    add_and_watch(&client, order, &options, look).await?;
    Ok(())
}
