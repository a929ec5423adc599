//! The manual: the help of every command, as it is printed.

use crate::cli_file::expect;
use clap::{CommandFactory, Parser};
use ordo_cli::{Command, Common};

// The part of the binary's command line that is the command line for people.
#[derive(Parser)]
#[command(name = "ordo", about = "A workload scheduler", after_help = ordo_cli::arguments::ENVIRONMENT_HELP)]
struct Ordo {
    #[command(subcommand)]
    _command: Command,
    #[command(flatten)]
    _common: Common,
}

/// Every page, as `--help` prints it.
fn pages(command: &clap::Command, path: &[&str], found: &mut Vec<(String, String)>) {
    let line = path.iter().copied().chain(["--help"]);
    let page = Ordo::command().term_width(110).try_get_matches_from(line).unwrap_err();
    found.push((path.join(" "), page.render().to_string()));
    for inner in command.get_subcommands().filter(|c| c.get_name() != "help") {
        let path: Vec<&str> = path.iter().copied().chain([inner.get_name()]).collect();
        pages(inner, &path, found);
    }
}

#[test]
fn the_help_of_every_command_is_as_reviewed() {
    let mut found = Vec::new();
    let command = Ordo::command();
    pages(&command, &["ordo"], &mut found);
    let mut text = String::new();
    for (path, page) in &found {
        let page: Vec<&str> = page.lines().map(str::trim_end).collect();
        text.push_str(&format!("=== {path}\n{}\n\n", page.join("\n")));
    }
    assert!(found.len() > 20, "{} commands", found.len());
    expect("help", &text);
}

#[test]
fn every_command_says_what_it_is_for() {
    fn check(command: &clap::Command, path: &str) {
        assert!(command.get_about().is_some() || path == "ordo", "{path} has no about");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
        }
        command
            .get_subcommands()
            .filter(|c| c.get_name() != "help")
            .for_each(|inner| check(inner, &format!("{path} {}", inner.get_name())));
    }
    let mut command = Ordo::command();
    command.build();
    check(&command, "ordo");
}

#[test]
fn wrong_command_lines_are_refused() {
    for line in [
        "ordo order add",
        "ordo order add backup --file orders.json",
        "ordo order add backup --count 0",
        "ordo order cancel",
        "ordo order list --all --limit 5",
        "ordo deploy",
        "ordo order wait x --timeout soon",
        "ordo order add backup --business-day tomorrow",
    ] {
        assert!(Ordo::try_parse_from(line.split(' ')).is_err(), "{line} was taken");
    }
}
