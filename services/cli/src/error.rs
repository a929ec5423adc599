//! What can go wrong, each with its exit code (design part 10), printed once.

use crate::show::{Look, Tone, harmless};
use miette::{Diagnostic, LabeledSpan, NamedSource, SourceSpan};
use ordo_contract::request::{ErrorBody, status};
use ordo_domain::{CommandId, definition::Problem};
use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotReachable = 3,
    NotFound = 4,
    OrderFailed = 10,
    OrderCancelled = 11,
    WaitTimedOut = 12,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[derive(Debug)]
pub enum CliError {
    /// Not a valid command line or file; what would be right is in the text.
    Usage {
        message: String,
        help: Option<String>,
    },
    /// No bus, or nobody there who answers.
    NotReachable {
        message: String,
        tried: String,
        help: String,
    },
    /// The other side said no.
    Answer {
        code: u16,
        body: ErrorBody,
    },
    NotFound {
        message: String,
        help: Option<String>,
    },
    /// Anything else.
    Failed {
        message: String,
    },
    /// In the user's files.
    Problems(Vec<FileProblem>),
}

/// A problem with the text it points into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblem {
    pub problem: Problem,
    pub text: String,
}

impl CliError {
    pub fn usage(message: impl Into<String>) -> Self {
        CliError::Usage { message: message.into(), help: None }
    }

    pub fn usage_with(message: impl Into<String>, help: impl Into<String>) -> Self {
        CliError::Usage { message: message.into(), help: Some(help.into()) }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        CliError::Failed { message: message.into() }
    }

    pub fn exit(&self) -> Exit {
        match self {
            CliError::Usage { .. } => Exit::Usage,
            CliError::NotReachable { .. } => Exit::NotReachable,
            CliError::NotFound { .. } => Exit::NotFound,
            CliError::Answer { code, body } => match *code {
                status::NOT_FOUND => Exit::NotFound,
                status::UNAVAILABLE => Exit::NotReachable,
                _ if body.refusal.as_ref().is_some_and(|refusal| refusal.is_not_found()) => Exit::NotFound,
                _ => Exit::Failed,
            },
            CliError::Failed { .. } | CliError::Problems(_) => Exit::Failed,
        }
    }

    /// Says, where nobody knows whether a command was taken, how it is asked for again without being a second one.
    pub fn with_id(self, id: &CommandId) -> Self {
        let hint = format!("the command may have been taken; the same again with --id {id} carries it out once");
        match self {
            CliError::NotReachable { message, tried, help } => {
                CliError::NotReachable { message: format!("{message}; {hint}"), tried, help }
            }
            CliError::Answer { code: code @ status::UNAVAILABLE, mut body } => {
                body.message = format!("{}; {hint}", body.message);
                CliError::Answer { code, body }
            }
            other => other,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.exit() == Exit::NotFound
    }

    /// To standard error, once: for people, or one line of JSON.
    pub fn print(&self, look: &Look) {
        eprint!("{}", if look.json { format!("{}\n", self.json()) } else { self.text(look) });
    }

    pub fn json(&self) -> serde_json::Value {
        let (code, message) = match self {
            CliError::Usage { message, .. } => ("usage", message.clone()),
            CliError::NotReachable { message, .. } => ("not_reachable", message.clone()),
            CliError::NotFound { message, .. } => ("not_found", message.clone()),
            CliError::Failed { message } => ("failed", message.clone()),
            CliError::Problems(problems) => ("definition_invalid", format!("{} problems", problems.len())),
            CliError::Answer { body, .. } => (body.code.as_str(), body.message.clone()),
        };
        let mut error = serde_json::json!({ "code": code, "message": message });
        match self {
            CliError::Answer { body, .. } if body.refusal.is_some() => {
                error["refusal"] = serde_json::json!(body.refusal)
            }
            CliError::Problems(problems) => {
                let of = |p: &Problem| serde_json::json!({"file": p.file, "line": p.line, "column": p.column, "length": p.length, "message": p.message, "help": p.help});
                error["problems"] = problems.iter().map(|p| of(&p.problem)).collect();
            }
            _ => {}
        }
        serde_json::json!({ "error": error, "exit": self.exit() as u8 })
    }

    pub fn text(&self, look: &Look) -> String {
        let error = look.paint(Tone::Bad, "error:");
        let helped = |message: &str, help: Option<&str>| {
            let mut text = format!("{error} {}\n", paragraphs(message));
            if let Some(help) = help {
                text.push_str(&format!("  {} {}\n", look.paint(Tone::Busy, "try:"), paragraphs(help)));
            }
            text
        };
        match self {
            CliError::Usage { message, help } | CliError::NotFound { message, help } => {
                helped(message, help.as_deref())
            }
            CliError::NotReachable { message, tried, help } => {
                helped(&format!("not reachable: {message}\n  asked {tried}"), Some(help))
            }
            CliError::Failed { message } => helped(message, None),
            CliError::Answer { code, body } => {
                let what = match *code {
                    status::UNAVAILABLE => "not available now: ",
                    status::REFUSED => "refused: ",
                    status::FORBIDDEN => "not allowed: ",
                    status::INTERNAL => "the other side failed: ",
                    _ => "",
                };
                helped(&format!("{what}{}", body.message), None)
            }
            CliError::Problems(problems) => {
                let mut text = String::new();
                for problem in problems {
                    text.push_str(&problem.text(look));
                    text.push('\n');
                }
                let files: std::collections::BTreeSet<&str> =
                    problems.iter().map(|p| p.problem.file.as_str()).collect();
                let count = |n: usize, one: &str, many: &str| crate::show::text::counted(n as u64, one, many);
                text.push_str(&format!(
                    "{error} {} in {}; nothing was deployed\n",
                    count(problems.len(), "problem", "problems"),
                    count(files.len(), "file", "files")
                ));
                text
            }
        }
    }
}

/// Without colours, as [`CliError::text`].
impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text(&Look::plain()).trim_end())
    }
}

impl std::error::Error for CliError {}

/// Line breaks are ours, everything else may be others'.
fn paragraphs(text: &str) -> String {
    text.split('\n').map(harmless).collect::<Vec<_>>().join("\n")
}

impl FileProblem {
    /// The place in the file with the text there, and what would be right.
    pub fn text(&self, look: &Look) -> String {
        let handler = miette::GraphicalReportHandler::new_themed(if look.colour {
            miette::GraphicalTheme::unicode()
        } else {
            miette::GraphicalTheme::unicode_nocolor()
        })
        .with_width(look.width.clamp(40, 120))
        .with_context_lines(1);
        let mut text = String::new();
        if handler.render_report(&mut text, &Pointing::new(self)).is_err() {
            let p = &self.problem;
            text = format!("{}:{}:{}: {}\n", harmless(&p.file), p.line, p.column, harmless(&p.message));
        }
        text
    }
}

/// The problem in the form that miette draws.
#[derive(Debug)]
struct Pointing {
    message: String,
    help: Option<String>,
    source: NamedSource<String>,
    span: SourceSpan,
}

impl Pointing {
    fn new(of: &FileProblem) -> Self {
        let p = &of.problem;
        // Control characters in the file must not reach the terminal, nor move what follows them.
        let clean: String = of
            .text
            .chars()
            .map(|c| if c == '\n' || harmless(c.encode_utf8(&mut [0; 4])).chars().count() == 1 { c } else { ' ' })
            .collect();
        let (start, length) = span_of(&clean, p.line, p.column, p.length);
        Self {
            message: harmless(&p.message),
            help: p.help.as_deref().map(paragraphs),
            source: NamedSource::new(harmless(&p.file), clean),
            span: SourceSpan::new(start.into(), length),
        }
    }
}

/// Line and column (from 1, in characters) as a stretch of bytes.
fn span_of(text: &str, line: usize, column: usize, length: usize) -> (usize, usize) {
    let mut offset = 0;
    for (number, content) in text.split_inclusive('\n').enumerate() {
        if number + 1 == line {
            let visible = content.trim_end_matches('\n');
            let at = |chars: usize| visible.char_indices().nth(chars).map_or(visible.len(), |(i, _)| i);
            let start = at(column.saturating_sub(1));
            let end = at(column.saturating_sub(1) + length.max(1));
            return (offset + start, end - start);
        }
        offset += content.len();
    }
    (text.len(), 0)
}

impl std::fmt::Display for Pointing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Pointing {}

impl Diagnostic for Pointing {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }
    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(Some("here".to_owned()), self.span))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_characters_is_found_in_bytes() {
        let text = "workflow: x\ntitle: 売上 no\n";
        assert_eq!(span_of(text, 2, 8, 2), (19, 6));
        assert_eq!(span_of(text, 2, 11, 9), (26, 2));
        assert_eq!(span_of(text, 9, 1, 1), (text.len(), 0));
    }

    #[test]
    fn an_error_that_leaves_a_command_in_doubt_names_its_id() {
        let id = CommandId::new("cli-7").unwrap();
        let answer =
            |code| CliError::Answer { code, body: ErrorBody { code: "x".into(), message: "m".into(), refusal: None } };
        let away = CliError::NotReachable { message: "m".into(), tried: "t".into(), help: "h".into() };
        for error in [away, answer(503)] {
            let error = error.with_id(&id);
            assert!(error.text(&Look::plain()).contains("--id cli-7"), "{error}");
            assert!(error.json()["error"]["message"].as_str().unwrap().contains("--id cli-7"));
            assert_eq!(error.exit(), Exit::NotReachable);
        }
        assert!(!answer(409).with_id(&id).text(&Look::plain()).contains("cli-7"));
    }

    #[test]
    fn each_answer_has_its_exit_code() {
        let answer =
            |code| CliError::Answer { code, body: ErrorBody { code: "x".into(), message: "m".into(), refusal: None } };
        assert_eq!(answer(404).exit(), Exit::NotFound);
        assert_eq!(answer(503).exit(), Exit::NotReachable);
        assert_eq!(answer(409).exit(), Exit::Failed);
        let unknown = ordo_domain::Refusal::WorkflowUnknown { workflow: ordo_domain::WorkflowName::new("x").unwrap() };
        let body = ErrorBody { code: "workflow_unknown".into(), message: unknown.to_string(), refusal: Some(unknown) };
        assert_eq!(CliError::Answer { code: 409, body }.exit(), Exit::NotFound);
    }
}
