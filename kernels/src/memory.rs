//! Traffic with memory beyond the caches, and the limits of the machine.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub mod measure;
pub(crate) mod portable;

use crate::MicroKernels;

/// Copies `count` elements past the caches: `(count, from, to)`.
///
/// For results that are not read again soon, such as a finished tile going to a large array. An ordinary store first
/// reads the line it is about to overwrite; a streaming store does not, which saves a third of a copy's traffic. When
/// the call returns, the stores are visible to other threads in the usual order. Where the instruction set has no
/// streaming stores, it is an ordinary copy.
///
/// # Safety
///
/// The machine has the instruction set; `count` elements of `from` are readable, those of `to` writable and apart
/// from them.
pub type CopyStreaming = unsafe extern "C" fn(count: usize, from: *const f32, to: *mut f32);

impl MicroKernels {
    /// Copies a slice past the caches: see [`CopyStreaming`].
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub fn copy_past_caches(&self, from: &[f32], to: &mut [f32]) {
        assert_eq!(from.len(), to.len(), "a copy between slices of different lengths");
        // SAFETY: the lengths are equal and `to` is borrowed mutably.
        unsafe { (self.copy_streaming)(from.len(), from.as_ptr(), to.as_mut_ptr()) }
    }
}
