//! How things look: tables, colours, times, harmless text. Views are made from answers and a [`Look`] only, so that
//! golden tests print the same everywhere.

pub mod table;
pub mod text;
pub mod time;

pub use table::{Align, Table};
pub use text::{harmless, indent, width};

use crate::arguments::Common;
use chrono_tz::Tz;
use ordo_domain::Instant;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Everything about the reader that changes what is printed.
#[derive(Debug, Clone)]
pub struct Look {
    pub json: bool,
    pub colour: bool,
    /// A person sits in front of it: progress may be redrawn.
    pub terminal: bool,
    /// Columns; tables shorten their widest text to fit.
    pub width: usize,
    pub zone: Tz,
}

impl Look {
    /// Of this process's standard output.
    pub fn of_terminal(common: &Common) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
        let width = columns.or_else(|| terminal_size::terminal_size().map(|(w, _)| usize::from(w.0)));
        Self {
            json: common.json,
            colour: terminal && !unwanted && !common.no_color && !common.json,
            terminal: terminal && !common.json,
            // What goes into a pipe is not cut.
            width: width.filter(|_| terminal).unwrap_or(usize::MAX),
            zone: time::local_zone(),
        }
    }

    /// Without colours, cuts and surprises: for tests and for output that is kept.
    pub fn plain() -> Self {
        Self { json: false, colour: false, terminal: false, width: usize::MAX, zone: Tz::UTC }
    }

    pub fn paint(&self, tone: Tone, text: &str) -> String {
        match tone.code() {
            Some(code) if self.colour => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }

    /// A state as people see it: never colour alone, always a sign and a word.
    pub fn state(&self, word: &str) -> String {
        let (glyph, tone) = sign(word);
        self.paint(tone, &format!("{glyph} {}", harmless(word)))
    }

    pub fn bold(&self, text: &str) -> String {
        self.paint(Tone::Strong, text)
    }

    pub fn dim(&self, text: &str) -> String {
        self.paint(Tone::Faint, text)
    }

    /// An instant in the reader's zone.
    pub fn time(&self, at: Instant) -> String {
        time::full(at, self.zone)
    }
}

/// What a colour means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Busy,
    Warning,
    Bad,
    Faint,
    Strong,
    Plain,
}

impl Tone {
    fn code(self) -> Option<&'static str> {
        match self {
            Tone::Good => Some("32"),
            Tone::Busy => Some("36"),
            Tone::Warning => Some("33"),
            Tone::Bad => Some("31"),
            Tone::Faint => Some("2"),
            Tone::Strong => Some("1"),
            Tone::Plain => None,
        }
    }
}

/// Sign and colour of a state word of orders, steps, agents and instances.
pub fn sign(word: &str) -> (&'static str, Tone) {
    match word {
        "finished" | "succeeded" | "ready" | "active" | "ok" | "new" => ("✔", Tone::Good),
        "running" | "processed" | "started" | "forked" | "sent" | "changed" => ("▶", Tone::Busy),
        "failed" | "lost" | "unknown" | "killed" | "refused" => ("✖", Tone::Bad),
        "cancelled" | "skipped" | "late" => ("⊘", Tone::Warning),
        "suspended" | "held" => ("‖", Tone::Warning),
        "retrying" | "warning" => ("↻", Tone::Warning),
        "queued" | "scheduled" | "waiting" | "submitted" => ("◷", Tone::Plain),
        _ => ("·", Tone::Plain),
    }
}

/// Prints a text or, where JSON is wanted, the value. A reader that has gone (`ordo … | head`) is no error.
pub fn print(look: &Look, value: &impl serde::Serialize, view: impl FnOnce() -> String) {
    if look.json {
        line(&serde_json::to_string(value).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}")));
    } else {
        let text = view();
        write_out(text.as_bytes());
    }
}

/// One line to standard output.
pub fn line(text: &str) {
    write_out(format!("{text}\n").as_bytes());
}

/// Bytes to standard output. When nobody reads any more, the command goes on silently to its own end and exit code; who
/// would never end asks [`reader_is_gone`]. Any other failure ends the process: what was cut must not look whole.
pub fn write_out(bytes: &[u8]) {
    if reader_is_gone() {
        return;
    }
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => GONE.store(true, Ordering::Relaxed),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: standard output cannot be written: {error}");
            std::process::exit(crate::Exit::Failed as i32);
        }
    }
}

static GONE: AtomicBool = AtomicBool::new(false);

/// Whether nobody reads what is printed any more (`ordo events --follow | head`).
pub fn reader_is_gone() -> bool {
    GONE.load(Ordering::Relaxed)
}
