//! Tiles of 8 x 8, whole blocks of 4 x 4 of them transposed in registers and the edges element by element.

use std::arch::aarch64::*;

use super::portable::Portable;
use super::{Shape, Tiles};
use crate::memory::{CopyStreaming, PrefetchRows, Settle, portable, prefetch_nothing, settle_nothing};
use crate::winograd::{self, TransformTaps, Winograd};

/// The tiles of NEON.
pub(crate) struct Neon;

/// The side of the block that is transposed in registers.
const BLOCK: usize = 4;

impl Tiles for Neon {
    const SIDE: usize = 8;
    const WINOGRAD: Winograd = winograd::neon::winograd;
    const TRANSFORM_TAPS: TransformTaps = winograd::neon::transform_taps;
    const COPY_STREAMING: CopyStreaming = portable::copy_streaming;
    const SETTLE: Settle = settle_nothing;
    const PREFETCH_ROWS: PrefetchRows = prefetch_nothing;

    unsafe fn transpose(tile: Shape, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for col in (0..tile.cols).step_by(BLOCK) {
            for row in (0..tile.width).step_by(BLOCK) {
                let part = Shape {
                    rows: tile.rows.saturating_sub(row).min(BLOCK),
                    cols: (tile.cols - col).min(BLOCK),
                    width: (tile.width - row).min(BLOCK),
                };
                let from = from.wrapping_add(row * from_stride + col);
                // SAFETY: the part lies inside the caller's tile.
                unsafe {
                    let to = to.add(col * to_stride + row);
                    if part.rows == BLOCK && part.cols == BLOCK {
                        transpose_block(from, from_stride, to, to_stride);
                    } else {
                        Portable::transpose(part, from, from_stride, to, to_stride);
                    }
                }
            }
        }
    }

    unsafe fn copy(lines: usize, width: usize, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: the caller's contract.
        unsafe { Portable::copy(lines, width, from, from_stride, to, to_stride) }
    }
}

/// Transposes a whole block: pairs of elements, then pairs of pairs.
#[target_feature(enable = "neon")]
unsafe fn transpose_block(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    // SAFETY: the caller hands a 4 x 4 block on both sides.
    unsafe {
        let [a, b, c, d] = [0, 1, 2, 3].map(|row| vld1q_f32(from.add(row * from_stride)));
        let [even, odd] = [
            [vtrn1q_f32(a, b), vtrn1q_f32(c, d)].map(|v| vreinterpretq_f64_f32(v)),
            [vtrn2q_f32(a, b), vtrn2q_f32(c, d)].map(|v| vreinterpretq_f64_f32(v)),
        ];
        let cols = [
            vtrn1q_f64(even[0], even[1]),
            vtrn1q_f64(odd[0], odd[1]),
            vtrn2q_f64(even[0], even[1]),
            vtrn2q_f64(odd[0], odd[1]),
        ];
        for (col, lanes) in cols.into_iter().enumerate() {
            vst1q_f32(to.add(col * to_stride), vreinterpretq_f32_f64(lanes));
        }
    }
}
