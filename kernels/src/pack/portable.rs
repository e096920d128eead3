//! Tiles of 8 x 8 in plain Rust.

use super::{Shape, Tiles};
use crate::memory::{CopyStreaming, PrefetchRows, Settle, portable, prefetch_nothing, settle_nothing};
use crate::winograd::{self, TransformTaps, Winograd};

/// The portable tiles.
pub(crate) struct Portable;

impl Tiles for Portable {
    const SIDE: usize = 8;
    const WINOGRAD: Winograd = winograd::portable::winograd;
    const TRANSFORM_TAPS: TransformTaps = winograd::portable::transform_taps;
    const COPY_STREAMING: CopyStreaming = portable::copy_streaming;
    const SETTLE: Settle = settle_nothing;
    const PREFETCH_ROWS: PrefetchRows = prefetch_nothing;

    unsafe fn transpose(tile: Shape, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for col in 0..tile.cols {
            for row in 0..tile.width {
                // SAFETY: the caller's contract.
                unsafe {
                    let value = if row < tile.rows { *from.add(row * from_stride + col) } else { 0.0 };
                    *to.add(col * to_stride + row) = value;
                }
            }
        }
    }

    unsafe fn copy(lines: usize, width: usize, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for line in 0..lines {
            for item in 0..width {
                // SAFETY: the caller's contract.
                unsafe { *to.add(line * to_stride + item) = *from.add(line * from_stride + item) }
            }
        }
    }
}
