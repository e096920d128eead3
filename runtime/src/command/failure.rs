//! How commands fail: what is said, and the exit code.

pub use crate::names::{nearest, suggestion};

use miette::{Diagnostic, MietteDiagnostic, Report};
use std::{fmt, process::ExitCode};
use visage_compiler::language::Diagnostics;

/// The exit codes of the command, as its `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The work was begun and failed.
    Failed = 1,
    /// Arguments, spec or files are not what they should be; nothing was begun.
    Usage = 2,
    /// Training stopped because a value became infinite or not a number.
    NotFinite = 3,
    /// Training stopped because of an alarm of the spec, after a checkpoint.
    Alarm = 4,
    /// Stopped by Ctrl-C or a termination signal, after a checkpoint.
    Interrupted = 130,
}

/// The end of a command that did not do what it was asked to.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    report: Report,
}

/// What a command, or a part of one, gives.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure in words.
    pub fn new(code: Code, message: impl fmt::Display) -> Failure {
        Failure { code, report: Report::new(MietteDiagnostic::new(message.to_string())) }
    }

    /// Wrong arguments, spec or files, in words.
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure::new(Code::Usage, message)
    }

    /// A failure in words, with what would mend it.
    pub fn with_help(code: Code, message: impl fmt::Display, help: impl fmt::Display) -> Failure {
        let diagnostic = MietteDiagnostic::new(message.to_string()).with_help(help.to_string());
        Failure { code, report: Report::new(diagnostic) }
    }

    /// An error with its help and places.
    pub fn diagnostic(code: Code, error: impl Diagnostic + Send + Sync + 'static) -> Failure {
        Failure { code, report: Report::new(error) }
    }

    /// Says it on standard error; the code to exit with.
    pub fn tell(&self) -> ExitCode {
        match self.report.downcast_ref::<Diagnostics>() {
            // Each error of a spec with its own place.
            Some(diagnostics) => {
                for error in diagnostics.errors() {
                    crate::console::line(format!("{:?}", Report::new(error.clone())).trim_end());
                }
            }
            None => crate::console::line(format!("{:?}", self.report).trim_end()),
        }
        ExitCode::from(self.code as u8)
    }
}

impl<E: Diagnostic + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { code: Code::Failed, report: Report::new(error) }
    }
}

/// Turns errors into failures of one code.
pub trait Because<T> {
    /// The error means that the arguments, the spec or a file are wrong.
    fn usage(self) -> Outcome<T>;
    /// The error means that the work failed.
    fn failed(self) -> Outcome<T>;
}

impl<T, E: fmt::Display> Because<T> for Result<T, E> {
    fn usage(self) -> Outcome<T> {
        self.map_err(Failure::usage)
    }

    fn failed(self) -> Outcome<T> {
        self.map_err(|error| Failure::new(Code::Failed, error))
    }
}

/// Turns diagnostics, with their labels and help, into failures of wrong usage.
pub trait Diagnosed<T> {
    /// The error means that the spec or the arguments are wrong.
    fn diagnosed(self) -> Outcome<T>;
}

impl<T, E: Diagnostic + Send + Sync + 'static> Diagnosed<T> for Result<T, E> {
    fn diagnosed(self) -> Outcome<T> {
        self.map_err(|error| Failure { code: Code::Usage, report: Report::new(error) })
    }
}
