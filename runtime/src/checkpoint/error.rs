//! What can be wrong with a checkpoint, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a checkpoint could not be read or written: the file, the place in it, and what was found there.
#[derive(Debug)]
pub struct CheckpointError {
    path: Option<PathBuf>,
    place: Option<String>,
    offset: Option<u64>,
    problem: Problem,
}

/// The kind of a [`CheckpointError`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The operating system's error.
    #[error("{0}")]
    Io(io::Error),
    /// The file breaks the rules of its format: truncated, inconsistent, or not what it claims to be.
    #[error("{0}")]
    Malformed(String),
    /// The file may be sound, but holds something that this reader has no meaning for.
    #[error("{0}")]
    Unsupported(String),
    /// Reading on would run code, or take more memory than a file of this size warrants.
    #[error("{0}")]
    Refused(String),
    /// The file holds no tensor of this name.
    #[error("{0}")]
    Missing(String),
}

impl CheckpointError {
    pub(super) fn malformed(what: impl Into<String>) -> Self {
        Problem::Malformed(what.into()).into()
    }

    pub(super) fn unsupported(what: impl Into<String>) -> Self {
        Problem::Unsupported(what.into()).into()
    }

    pub(super) fn refused(what: impl Into<String>) -> Self {
        Problem::Refused(what.into()).into()
    }

    pub(super) fn missing(what: impl Into<String>) -> Self {
        Problem::Missing(what.into()).into()
    }

    /// Adds the byte offset, counted from the start of the file or of the archive member that
    /// [`within`](Self::within) names. The innermost offset stays.
    pub(super) fn at(mut self, offset: u64) -> Self {
        self.offset.get_or_insert(offset);
        self
    }

    /// Adds the tensor or archive member that was being read; outer places go before inner ones.
    pub(super) fn within(mut self, place: impl Into<String>) -> Self {
        let outer = place.into();
        self.place = Some(match self.place {
            Some(inner) => format!("{outer}, {inner}"),
            None => outer,
        });
        self
    }

    /// Adds the file.
    pub(super) fn in_file(mut self, path: &Path) -> Self {
        self.path = Some(path.to_path_buf());
        self
    }

    /// The kind of the error.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The byte offset of what was found, where there is one: in the file, or in the archive member
    /// that the message names.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        match (&self.place, self.offset) {
            (Some(place), Some(offset)) => write!(f, "{place}, byte {offset}: ")?,
            (Some(place), None) => write!(f, "{place}: ")?,
            (None, Some(offset)) => write!(f, "byte {offset}: ")?,
            (None, None) => {}
        }
        self.problem.fmt(f)
    }
}

impl std::error::Error for CheckpointError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Problem> for CheckpointError {
    fn from(problem: Problem) -> Self {
        Self { path: None, place: None, offset: None, problem }
    }
}

impl From<io::Error> for CheckpointError {
    fn from(error: io::Error) -> Self {
        Problem::Io(error).into()
    }
}

pub(super) type Result<T, E = CheckpointError> = std::result::Result<T, E>;
