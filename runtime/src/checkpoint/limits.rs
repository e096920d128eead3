//! How much memory a file may cost.
//!
//! Everything a reader allocates is bounded by the length of the file, through checked declared sizes
//! where bytes are copied one to one, and through an [`Allowance`] where a few bytes of file can stand
//! for many bytes of memory: views that share or repeat a storage, compressed members, long names of
//! nested containers.

use super::error::{CheckpointError, Result};

/// What any file may cost, however small.
const FLOOR: u64 = 16 << 20;

/// Tensors may take this many times the bytes of their file: weights that are tied or kept under several
/// names are stored once and read as separate arrays.
const VIEWS: u64 = 4;

/// Compressed members may grow this many times. (Deflate itself reaches a thousand.)
const INFLATION: u64 = 64;

/// Names of nested entries may take this many times the bytes of the pickle that holds them.
const NAMES: u64 = 64;

/// Bytes that may still be allocated for one purpose.
pub(super) struct Allowance {
    purpose: &'static str,
    granted: u64,
    left: u64,
}

impl Allowance {
    /// For the elements of tensors that view storages of a file of this length.
    pub(super) fn for_views(length: u64) -> Self {
        Self::new("tensors that share or repeat storages", VIEWS, length)
    }

    /// For the content of compressed members of a file of this length.
    pub(super) fn for_inflation(length: u64) -> Self {
        Self::new("compressed members", INFLATION, length)
    }

    /// For the names of the entries of a pickle of this length.
    pub(super) fn for_names(length: u64) -> Self {
        Self::new("names of nested entries", NAMES, length)
    }

    fn new(purpose: &'static str, factor: u64, length: u64) -> Self {
        let granted = FLOOR.saturating_add(length.saturating_mul(factor));
        Self { purpose, granted, left: granted }
    }

    /// Takes this many bytes, or refuses the file.
    pub(super) fn take(&mut self, bytes: u64) -> Result<()> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(CheckpointError::refused(format!(
                "{} would take more than {} bytes of memory, which a file of this size does not warrant",
                self.purpose, self.granted
            ))),
        }
    }
}
