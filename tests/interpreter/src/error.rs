//! What can be wrong with the text of a module.

use thiserror::Error;

/// A place in the text: line and column, from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

impl Place {
    /// The place behind `text`, which stands here.
    pub(crate) fn after(self, text: &str) -> Place {
        match text.rsplit_once('\n') {
            None => Place { column: self.column + text.chars().count() as u32, ..self },
            Some((before, last)) => Place {
                line: self.line + 1 + before.matches('\n').count() as u32,
                column: 1 + last.chars().count() as u32,
            },
        }
    }
}

/// A mistake in the text of a module, with its place: the text is no PTX, uses something that this
/// interpreter does not know, or would be refused by an assembler.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}:{}: `{text}`: {problem}", place.line, place.column)]
pub struct Error {
    /// Where the offending text begins.
    pub place: Place,
    /// The offending text.
    pub text: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Error {
    pub(crate) fn new(place: Place, text: impl Into<String>, problem: impl Into<String>) -> Error {
        Error { place, text: text.into(), problem: problem.into() }
    }
}
