//! What can be wrong with a data set, always with the file it is wrong in.

use std::path::{Path, PathBuf};

/// An error in reading or writing a data set, a picture, a video or a mesh.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum DataError {
    /// The operating system refused to read or write a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder concerned.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file was read, but does not hold what it should.
    #[error("{}: {message}", path.display())]
    Format {
        /// The file concerned.
        path: PathBuf,
        /// What is wrong, and where in the file.
        message: String,
    },
    /// A folder holds no data set of a known layout.
    #[error("{}: no data set of a known layout\nlooked for:\n{looked_for}", folder.display())]
    Layout {
        /// The folder concerned.
        folder: PathBuf,
        /// One line for each layout: the files that would have identified it.
        looked_for: String,
    },
    /// Options that contradict each other or the data.
    #[error("{0}")]
    Options(String),
}

impl DataError {
    /// Attaches `path` to an error of the operating system.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> DataError + '_ {
        move |source| DataError::Io { path: path.to_path_buf(), source }
    }

    /// An error in the contents of `path`.
    pub fn format(path: &Path, message: impl Into<String>) -> DataError {
        DataError::Format { path: path.to_path_buf(), message: message.into() }
    }
}
