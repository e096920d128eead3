//! Tiles of 8 x 8, transposed in registers; masks keep loads and stores inside the matrix.

use std::arch::x86_64::*;

use super::{Shape, Tiles};
use crate::memory::{CopyStreaming, PrefetchRows, Settle, avx2, prefetch_rows_x86, settle_x86};
use crate::winograd::{self, TransformTaps, Winograd};

/// The tiles of AVX2.
pub(crate) struct Avx2;

const SIDE: usize = 8;

impl Tiles for Avx2 {
    const SIDE: usize = SIDE;
    const WINOGRAD: Winograd = winograd::avx2::winograd;
    const TRANSFORM_TAPS: TransformTaps = winograd::avx2::transform_taps;
    const COPY_STREAMING: CopyStreaming = avx2::copy_streaming;
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
#[inline]
#[target_feature(enable = "avx2")]
fn first(count: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

#[target_feature(enable = "avx2")]
unsafe fn transpose(tile: Shape, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    let mut rows = [_mm256_setzero_ps(); SIDE];
    let mask = first(tile.cols);
    for (row, lanes) in rows.iter_mut().enumerate().take(tile.rows) {
        // SAFETY: masked lanes are not accessed, the others are inside the caller's matrix.
        *lanes = unsafe { _mm256_maskload_ps(from.add(row * from_stride), mask) };
    }
    let mask = first(tile.width);
    for (col, lanes) in transposed(rows).into_iter().enumerate().take(tile.cols) {
        // SAFETY: as above.
        unsafe { _mm256_maskstore_ps(to.add(col * to_stride), mask, lanes) };
    }
}

/// Transposes in three steps: pairs, then 4 x 4 blocks inside each 128-bit lane, then the two lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(rows: [__m256; SIDE]) -> [__m256; SIDE] {
    let zero = _mm256_setzero_ps();
    let mut blocks = [zero; SIDE];
    for group in (0..SIDE).step_by(4) {
        let [a, b, c, d] = [rows[group], rows[group + 1], rows[group + 2], rows[group + 3]];
        let low = [_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d)].map(|v| _mm256_castps_pd(v));
        let high = [_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d)].map(|v| _mm256_castps_pd(v));
        blocks[group] = _mm256_castpd_ps(_mm256_unpacklo_pd(low[0], low[1]));
        blocks[group + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low[0], low[1]));
        blocks[group + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high[0], high[1]));
        blocks[group + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high[0], high[1]));
    }
    let mut cols = [zero; SIDE];
    for col in 0..4 {
        cols[col] = _mm256_permute2f128_ps::<0x20>(blocks[col], blocks[col + 4]);
        cols[col + 4] = _mm256_permute2f128_ps::<0x31>(blocks[col], blocks[col + 4]);
    }
    cols
}

#[target_feature(enable = "avx2")]
unsafe fn copy(lines: usize, width: usize, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    let mask = first(width);
    for line in 0..lines {
        // SAFETY: masked lanes are not accessed, the others are inside the caller's lines.
        unsafe {
            let lanes = _mm256_maskload_ps(from.add(line * from_stride), mask);
            _mm256_maskstore_ps(to.add(line * to_stride), mask, lanes);
        }
    }
}
