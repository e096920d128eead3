//! How much memory a file may cost.
//!
//! Everything a reader allocates is bounded by the length of the file. Where bytes are copied one to one,
//! declared sizes are checked against the bytes that are there; the values of a pickle take a few dozen bytes
//! for each of its opcodes. Where a few bytes of file can stand for many bytes of memory there is an
//! [`Allowance`], one for the whole file: views that share or repeat a storage, compressed members, and
//! containers that hold each other, with their names.

use super::error::{CheckpointError, Result};

/// What any file may cost, however small, in bytes.
const FLOOR: u64 = 16 << 20;

/// Tensors may take this many times the bytes of their file: weights that are tied or kept under several
/// names are stored once and read as separate arrays.
const VIEWS: u64 = 4;

/// Compressed members may grow this many times. (Deflate itself reaches a thousand.)
const INFLATION: u64 = 64;

/// Names of nested entries may take this many times the bytes of the pickle that holds them.
const NAMES: u64 = 64;

/// Entries that any file may have, however small.
const ENTRIES_FLOOR: u64 = 1 << 16;

/// Containers can be shared, so entries may be reached more often than a pickle has values; but not this
/// many times more often.
const SHARING: u64 = 16;

/// What the tensors and names of one file may cost.
pub(super) struct Limits {
    /// Bytes of tensors that are copied out of storages.
    pub(super) views: Allowance,
    /// Bytes of names and text.
    pub(super) names: Allowance,
    /// Entries of containers.
    pub(super) entries: Allowance,
}

impl Limits {
    /// For a file of this length.
    pub(super) fn of(length: u64) -> Self {
        let mut views = Allowance::new("tensors that share or repeat storages", "bytes", FLOOR);
        views.grant(length.saturating_mul(VIEWS));
        Self {
            views,
            names: Allowance::new("names of nested entries", "bytes", FLOOR),
            entries: Allowance::new("containers that share each other", "entries", ENTRIES_FLOOR),
        }
    }

    /// Adds what a pickle of this many bytes and values warrants.
    pub(super) fn grant_pickle(&mut self, length: u64, values: u64) {
        self.names.grant(length.saturating_mul(NAMES));
        self.entries.grant(values.saturating_mul(SHARING));
    }
}

/// An amount that may still be spent for one purpose.
pub(super) struct Allowance {
    purpose: &'static str,
    unit: &'static str,
    granted: u64,
    left: u64,
}

impl Allowance {
    /// For the content of compressed members of a file of this length.
    pub(super) fn for_inflation(length: u64) -> Self {
        let mut allowance = Self::new("compressed members", "bytes", FLOOR);
        allowance.grant(length.saturating_mul(INFLATION));
        allowance
    }

    /// For members that lie in a file of this length as they are: together they cannot be longer, unless
    /// they overlap.
    pub(super) fn for_stored(length: u64) -> Self {
        Self::new("members of the archive, if they did not overlap,", "bytes", length)
    }

    fn new(purpose: &'static str, unit: &'static str, granted: u64) -> Self {
        Self { purpose, unit, granted, left: granted }
    }

    fn grant(&mut self, amount: u64) {
        self.granted = self.granted.saturating_add(amount);
        self.left = self.left.saturating_add(amount);
    }

    /// Spends this much, or refuses the file.
    pub(super) fn take(&mut self, amount: u64) -> Result<()> {
        match self.left.checked_sub(amount) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(CheckpointError::refused(format!(
                "{} would take more than {} {}, the most that this file warrants",
                self.purpose, self.granted, self.unit
            ))),
        }
    }
}
