//! Element types as NumPy writes them: `<f4`, `|b1`, `O`, ...

use super::error::{CheckpointError, Result};
use super::stored::StoredType;
use crate::array::ElementType;

/// An element type of NumPy, readable or not: what is never used need not be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NumpyType {
    /// Kind and size: `f4`, `O8`, `U12`.
    code: String,
    big_endian: bool,
}

impl NumpyType {
    /// A type string, with or without a byte order in front.
    pub(super) fn parse(text: &str) -> Self {
        let (order, code) = match text.chars().next() {
            Some('<' | '>' | '|' | '=') => text.split_at(1),
            _ => ("|", text),
        };
        Self { code: code.to_owned(), big_endian: order == ">" }
    }

    /// The byte order that a pickled type is given afterwards.
    pub(super) fn set_byte_order(&mut self, order: &str) {
        self.big_endian = order == ">";
    }

    /// Whether elements are Python objects.
    pub(super) fn is_object(&self) -> bool {
        matches!(self.code.as_str(), "O" | "O4" | "O8")
    }

    /// The element type, if arrays can hold it.
    pub(super) fn stored(&self) -> Result<StoredType> {
        let stored = match self.code.as_str() {
            "?" => Some(StoredType::Native(ElementType::Bool)),
            code => StoredType::from_numpy(code),
        };
        match stored {
            Some(stored) if self.big_endian && stored.size() > 1 => Err(CheckpointError::unsupported(format!(
                "elements are big-endian (`>{}`); write them with a little-endian type",
                self.code
            ))),
            Some(stored) => Ok(stored),
            None => Err(CheckpointError::unsupported(format!("elements of NumPy type `{}` cannot be read", self.code))),
        }
    }
}
