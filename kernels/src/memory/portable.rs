//! The ordinary copy.

/// [`super::CopyStreaming`] by ordinary stores.
pub(crate) unsafe extern "C" fn copy_streaming(count: usize, from: *const f32, to: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe { std::ptr::copy_nonoverlapping(from, to, count) }
}
