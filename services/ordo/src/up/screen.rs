//! What a person sees of `ordo up`: one line per step with its time, then what the supervisor has to say. With
//! `--json-ready` standard output belongs to the one JSON line, and everything else goes to standard error.

use std::io::Write;
use std::time::Instant;

/// Where lines go.
#[derive(Debug)]
pub struct Screen {
    started: Instant,
    to_stderr: bool,
}

impl Screen {
    pub fn new(to_stderr: bool) -> Self {
        Self { started: Instant::now(), to_stderr }
    }

    /// One step of the start, with the seconds since the start.
    pub fn step(&self, text: &str) {
        self.line(&format!("{:6.1} s  {text}", self.started.elapsed().as_secs_f64()));
    }

    /// A line as it is.
    pub fn line(&self, text: &str) {
        // A closed pipe must not end the supervisor: what it supervises would end with it.
        let _ =
            if self.to_stderr { writeln!(std::io::stderr(), "{text}") } else { writeln!(std::io::stdout(), "{text}") };
    }

    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}
