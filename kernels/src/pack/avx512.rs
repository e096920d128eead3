//! Tiles of 16 x 16, transposed in registers; masks keep loads and stores inside the matrix.

use std::arch::x86_64::*;

use super::{Shape, Tiles};
use crate::memory::{CopyStreaming, PrefetchRows, Settle, avx512, prefetch_rows_x86, settle_x86};
use crate::window::LoadWindow;
use crate::winograd::{self, TransformTaps, Winograd};

/// The tiles of AVX-512.
pub(crate) struct Avx512;

const SIDE: usize = 16;

impl Tiles for Avx512 {
    const SIDE: usize = SIDE;
    const LOAD_WINDOW: LoadWindow = crate::window::avx512::load_window;
    const WINOGRAD: Winograd = winograd::avx512::winograd;
    const TRANSFORM_TAPS: TransformTaps = winograd::avx512::transform_taps;
    const COPY_STREAMING: CopyStreaming = avx512::copy_streaming;
    const SETTLE: Settle = settle_x86;
    const PREFETCH_ROWS: PrefetchRows = prefetch_rows_x86;

    unsafe fn transpose(tile: Shape, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: the caller's contract.
        unsafe { transpose(tile, from, from_stride, to, to_stride) }
    }

    unsafe fn copy(lines: usize, width: usize, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: the caller's contract.
        unsafe { copy(lines, width, from, from_stride, to, to_stride) }
    }
}

/// The mask of the first `count` lanes.
fn first(count: usize) -> __mmask16 {
    ((1_u32 << count) - 1) as __mmask16
}

#[target_feature(enable = "avx512f")]
unsafe fn transpose(tile: Shape, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    if tile.rows == SIDE && tile.cols == SIDE && tile.width == SIDE {
        // SAFETY: the caller's contract, for a whole tile.
        return unsafe { transpose_whole(from, from_stride, to, to_stride) };
    }
    let mut rows = [_mm512_setzero_ps(); SIDE];
    for (row, lanes) in rows.iter_mut().enumerate() {
        let mask = if row < tile.rows { first(tile.cols) } else { 0 };
        // SAFETY: masked lanes are not accessed, the others are inside the caller's matrix.
        *lanes = unsafe { _mm512_maskz_loadu_ps(mask, from.wrapping_add(row * from_stride)) };
    }
    let cols = transposed(rows);
    for (col, lanes) in cols.into_iter().enumerate() {
        let mask = if col < tile.cols { first(tile.width) } else { 0 };
        // SAFETY: as above.
        unsafe { _mm512_mask_storeu_ps(to.wrapping_add(col * to_stride), mask, lanes) };
    }
}

/// A tile without edges, which most are: masks cost more than the transpose itself.
#[target_feature(enable = "avx512f")]
unsafe fn transpose_whole(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    let mut rows = [_mm512_setzero_ps(); SIDE];
    for (row, lanes) in rows.iter_mut().enumerate() {
        // SAFETY: 16 rows of 16 elements are readable.
        *lanes = unsafe { _mm512_loadu_ps(from.add(row * from_stride)) };
    }
    for (col, lanes) in transposed(rows).into_iter().enumerate() {
        // SAFETY: 16 lines of 16 elements are writable.
        unsafe { _mm512_storeu_ps(to.add(col * to_stride), lanes) };
    }
}

/// Transposes in three steps: pairs, then 4 x 4 blocks inside each 128-bit lane, then the lanes themselves.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn transposed(rows: [__m512; SIDE]) -> [__m512; SIDE] {
    let zero = _mm512_setzero_ps();
    let mut blocks = [zero; SIDE];
    for group in (0..SIDE).step_by(4) {
        let [a, b, c, d] = [rows[group], rows[group + 1], rows[group + 2], rows[group + 3]];
        let low = [_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d)].map(|v| _mm512_castps_pd(v));
        let high = [_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d)].map(|v| _mm512_castps_pd(v));
        blocks[group] = _mm512_castpd_ps(_mm512_unpacklo_pd(low[0], low[1]));
        blocks[group + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low[0], low[1]));
        blocks[group + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high[0], high[1]));
        blocks[group + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high[0], high[1]));
    }
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    let mut cols = [zero; SIDE];
    for col in 0..4 {
        let [a, b, c, d] = [blocks[col], blocks[col + 4], blocks[col + 8], blocks[col + 12]];
        let even = [_mm512_shuffle_f32x4::<EVEN>(a, b), _mm512_shuffle_f32x4::<EVEN>(c, d)];
        let odd = [_mm512_shuffle_f32x4::<ODD>(a, b), _mm512_shuffle_f32x4::<ODD>(c, d)];
        cols[col] = _mm512_shuffle_f32x4::<EVEN>(even[0], even[1]);
        cols[col + 4] = _mm512_shuffle_f32x4::<EVEN>(odd[0], odd[1]);
        cols[col + 8] = _mm512_shuffle_f32x4::<ODD>(even[0], even[1]);
        cols[col + 12] = _mm512_shuffle_f32x4::<ODD>(odd[0], odd[1]);
    }
    cols
}

#[target_feature(enable = "avx512f")]
unsafe fn copy(lines: usize, width: usize, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    let mask = first(width);
    for line in 0..lines {
        // SAFETY: masked lanes are not accessed, the others are inside the caller's lines.
        unsafe {
            let lanes = _mm512_maskz_loadu_ps(mask, from.add(line * from_stride));
            _mm512_mask_storeu_ps(to.add(line * to_stride), mask, lanes);
        }
    }
}
