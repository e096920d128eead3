//! Streaming stores of 64 bytes, a whole line at a time.

use std::arch::x86_64::*;

/// Elements of one store.
const WIDTH: usize = 16;

/// [`super::CopyStreaming`] by streaming stores.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe extern "C" fn copy_streaming(count: usize, from: *const f32, to: *mut f32) {
    // Streaming stores must be aligned: up to the first boundary, and past the last, ordinary ones are used.
    let head = to.align_offset(WIDTH * size_of::<f32>()).min(count);
    let body = (count - head) / WIDTH * WIDTH;
    // SAFETY: head, body and tail make up the caller's `count` elements.
    unsafe {
        std::ptr::copy_nonoverlapping(from, to, head);
        for start in (head..head + body).step_by(WIDTH) {
            _mm512_stream_ps(to.add(start), _mm512_loadu_ps(from.add(start)));
        }
        std::ptr::copy_nonoverlapping(from.add(head + body), to.add(head + body), count - head - body);
    }
}
