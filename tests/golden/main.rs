//! Files that are reviewed: schemas, samples, transition table, command line output, architecture.

mod cli_error;
mod cli_file;
mod cli_help;
mod cli_plan;
mod cli_view;
mod definition_problems;
mod schema_files;
mod transition_events;
mod transition_samples;
mod transition_table;
