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
/// reads the line it is about to overwrite; a streaming store does not, which saves a third of a copy's traffic. Other
/// threads see the stores in the usual order only after a call of [`Settle`]. Where the instruction set has no
/// streaming stores, it is an ordinary copy.
///
/// # Safety
///
/// The machine has the instruction set; `count` elements of `from` are readable, those of `to` writable and apart
/// from them.
pub type CopyStreaming = unsafe extern "C" fn(count: usize, from: *const f32, to: *mut f32);

/// Makes this thread's streaming stores visible to others before any store that follows.
///
/// # Safety
///
/// The machine has the instruction set.
pub type Settle = unsafe extern "C" fn();

/// [`Settle`] where streaming copies are ordinary ones.
pub(crate) unsafe extern "C" fn settle_nothing() {}

/// [`Settle`] of x86.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse")]
pub(crate) unsafe extern "C" fn settle_x86() {
    std::arch::x86_64::_mm_sfence();
}

/// Asks for rows of a row-major array to be brought into the second-level cache while something else is computed.
///
/// Arguments: `(rows, features, first, stride, write)`: `features` elements of each of `rows` rows, `stride` elements
/// from one to the next, to be read, or to be written if `write` is not 0. A hint: addresses need not be valid, and
/// where there is no such instruction nothing happens.
pub type PrefetchRows =
    unsafe extern "C" fn(rows: usize, features: usize, first: *const f32, stride: usize, write: usize);

/// Elements in a line of memory.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 16;

/// [`PrefetchRows`] of x86.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe extern "C" fn prefetch_rows_x86(
    rows: usize,
    features: usize,
    first: *const f32,
    stride: usize,
    write: usize,
) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    for row in 0..rows {
        for feature in (0..features).step_by(LINE) {
            let address = first.wrapping_add(row * stride + feature);
            // SAFETY: a prefetch changes nothing that a program could notice, and never faults. Processors without
            // `prefetchw` take it for a no-operation.
            unsafe {
                if write == 0 {
                    _mm_prefetch::<_MM_HINT_T1>(address.cast());
                } else {
                    std::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
                }
            }
        }
    }
}

/// [`PrefetchRows`] where there is no instruction for it.
pub(crate) unsafe extern "C" fn prefetch_nothing(_: usize, _: usize, _: *const f32, _: usize, _: usize) {}

impl MicroKernels {
    /// Copies a slice past the caches: see [`CopyStreaming`].
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub fn copy_past_caches(&self, from: &[f32], to: &mut [f32]) {
        assert_eq!(from.len(), to.len(), "a copy between slices of different lengths");
        // SAFETY: the lengths are equal and `to` is borrowed mutably.
        unsafe {
            (self.copy_streaming)(from.len(), from.as_ptr(), to.as_mut_ptr());
            (self.settle)();
        }
    }
}
