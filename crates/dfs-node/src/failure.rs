//! Why the daemon ends, for a person and for a script.

use std::fmt;
use std::process::ExitCode;

use dfs_core::datanode::DataNodeError;
use dfs_core::error::{Error, ErrorKind};

/// Why the daemon ends, for a person and for a script.
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
}

pub(crate) const REFUSED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
const UNAVAILABLE: u8 = 3;

impl Failure {
    pub(crate) fn new(code: u8, message: impl fmt::Display) -> Failure {
        Failure {
            message: message.to_string(),
            hint: None,
            code,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Tells the person at the terminal, and gives the exit code.
    #[allow(
        clippy::print_stderr,
        reason = "the last words of a process, after its log"
    )]
    pub(crate) fn report(self) -> ExitCode {
        eprintln!("error: {}", self.message);
        if let Some(hint) = self.hint {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(self.code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let code = match error.kind() {
            ErrorKind::Unavailable { .. } => UNAVAILABLE,
            _ => REFUSED,
        };
        Failure::new(code, error)
    }
}

impl From<DataNodeError> for Failure {
    fn from(error: DataNodeError) -> Failure {
        Failure::new(REFUSED, error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
