//! The agent alone, configured by its environment: for machines that shall hold nothing else, and for tests of it as a
//! process. `ordo-agent runner --data DIR` is its runner.

use ordo_runtime::{exit::Exit, load_config, logging, shutdown};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["runner", "--data", data] => ordo_agent::runner::main(&PathBuf::from(data)),
        ["runner", "--data", data, "--idle-ms", idle] => match idle.parse() {
            Ok(idle) => ordo_agent::runner::main_with(&ordo_agent::runner::RunnerOptions {
                data: PathBuf::from(data),
                idle: Duration::from_millis(idle),
            }),
            Err(_) => usage(),
        },
        [] => match agent() {
            Ok(()) => Exit::Done.into(),
            Err(error) => {
                eprintln!("ordo-agent: {error:#}");
                Exit::Failed.into()
            }
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: ordo-agent (configured by ORDO_… variables)\n       ordo-agent runner --data DIR");
    Exit::Usage.into()
}

fn agent() -> anyhow::Result<()> {
    let _tap = logging::init("info");
    let mut config = load_config::<ordo_agent::Config>("agent", None, &[])?.config;
    config.role = config.role.resolve("agent")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async { ordo_agent::run(config, shutdown::on_signals()?).await });
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}
