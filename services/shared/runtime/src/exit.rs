//! Exit codes of `ordo run ROLE`: what its supervisor (systemd, compose, `ordo up`) has to do next.

use std::process::ExitCode;

/// Why a role's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Told to stop and stopped in order. Never restarted by a supervisor.
    Done,
    /// Failed. A supervisor restarts it with back-off.
    Failed,
    /// The configuration or the command line is wrong: a restart changes nothing.
    Usage,
    /// Asks to be started again at once (after a switch-over or an upgrade).
    Restart,
}

impl Exit {
    /// The number; 75 is sysexits' EX_TEMPFAIL, which systemd's `RestartForceExitStatus=` and compose know to take.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Restart => 75,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// The error that a role's `run` returns when it wants to be started again; the binary turns it into code 75.
#[derive(Debug, thiserror::Error)]
#[error("asks to be restarted: {reason}")]
pub struct RestartWanted {
    /// Shown to people and logged.
    pub reason: String,
}
