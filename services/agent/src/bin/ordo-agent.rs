//! The agent alone: for machines that shall hold nothing else, and for tests of it as a process.
//! `ordo-agent agent-runner …` is the runner, everything else the agent.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("agent-runner") => ordo_agent::runner::runner_main(arguments),
        _ => {
            eprintln!("usage: ordo-agent agent-runner --data DIR");
            ExitCode::from(2)
        }
    }
}
