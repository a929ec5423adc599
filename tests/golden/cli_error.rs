//! What goes wrong, as it is said: what was attempted, where, and what would be right.

use crate::cli_file::expect;
use ordo_cli::command::deploy::{DeployText, check};
use ordo_cli::show::Look;
use ordo_cli::{CliError, Exit};
use ordo_contract::request::{ErrorBody, status};
use ordo_domain::Refusal;

fn refused(refusal: Refusal, code: u16) -> CliError {
    CliError::Answer {
        code,
        body: ErrorBody { code: "x".into(), message: refusal.to_string(), refusal: Some(refusal) },
    }
}

fn unavailable() -> CliError {
    let message = "this proxy reads the journal; ask again in a moment".to_owned();
    CliError::Answer {
        code: status::UNAVAILABLE,
        body: ErrorBody { code: "unavailable".into(), message, refusal: None },
    }
}

fn samples() -> Vec<(Exit, CliError)> {
    let workflow = "bakcup".parse().unwrap();
    vec![
        (Exit::Usage, CliError::usage_with("no .yaml or .yml file below workflows", "name the files, or another folder")),
        (
            Exit::NotReachable,
            CliError::NotReachable {
                message: "connect to the bus at nats://127.0.0.1:4222 as ops: no NATS server answers there".into(),
                tried: "nats://127.0.0.1:4222 as ops".into(),
                help: "start a site with `ordo up`, or name one by --nats-url (ORDO_NATS_URL) and --creds (ORDO_NATS_CREDS)".into(),
            },
        ),
        (Exit::NotFound, refused(Refusal::WorkflowUnknown { workflow }, status::NOT_FOUND)),
        (
            Exit::Failed,
            refused(
                Refusal::ParameterType { workflow: "sales".parse().unwrap(), parameter: "rows".parse().unwrap(), expected: "number".into(), found: "string".into() },
                status::REFUSED,
            ),
        ),
        (Exit::Failed, refused(Refusal::TooLarge { what: "the command".into(), bytes: 300_000, limit: 262_144 }, status::TOO_LARGE)),
        (Exit::NotReachable, unavailable()),
        (Exit::Failed, CliError::failed("stopped \x1b[2J here")),
    ]
}

#[test]
fn every_error_has_its_text_and_its_exit_code() {
    let mut text = String::new();
    for (exit, error) in samples() {
        assert_eq!(error.exit(), exit, "{error}");
        text.push_str(&format!("{}exit {}\n{}\n\n", error.text(&Look::plain()), exit as u8, error.json()));
    }
    expect("errors", &text);
}

#[test]
fn a_problem_in_a_file_is_shown_at_its_place() {
    let files = [
        DeployText { file: "sales.yaml".into(), text: "workflow: nightly-sales\ntitle: 売上\nsteps:\n  - job: extract\n    agent: etl\n    scirpt: ./extract\n".into() },
        DeployText { file: "b.yaml".into(), text: "workflow: b\nparameters:\n  n: { type: nubmer }\nsteps:\n  - job: x\n    agent: etl\n    command: [./x, \"${ m }\"]\n".into() },
    ];
    let error = check(&files).unwrap_err();
    assert_eq!(error.exit(), Exit::Failed);
    let look = Look { width: 100, ..Look::plain() };
    expect("problems", &error.text(&look));
    assert!(error.json()["error"]["problems"].as_array().unwrap().len() >= 2);
}
