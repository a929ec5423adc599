//! The built binary as a person meets it: few and long.

mod compose_stack;
mod compose_survives;
mod example_definitions;
mod nats_cli_lines;
mod up_jobs;
mod up_lifecycle;
mod up_process;
