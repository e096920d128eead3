//! Tiles of up to 6 outputs by 16 rows in the 16 registers of AVX2, twice for a panel.

use std::arch::x86_64::*;

use crate::{Isa, LANES, pack::avx2::Avx2};

super::table!(Isa::Avx2, Avx2, strip: 1 / 1, 2 / 1, 3 / 1, 4 / 1, 5 / 1, 6 / 1);

/// Rows of one tile.
const ROWS: usize = 16;

/// [`crate::StripKernel`] for `M` outputs; the steps are not dealt out, `CHAINS` is 1.
#[target_feature(enable = "avx2,fma")]
unsafe extern "C" fn strip<const M: usize, const CHAINS: usize>(
    k: usize,
    w: *const f32,
    x: *const f32,
    x_stride: usize,
    c: *mut f32,
    c_stride: usize,
    accumulate: usize,
) {
    for row in (0..LANES).step_by(ROWS) {
        // SAFETY: the caller's contract, for half of the rows; for `k` = 0 the panel may be empty and is not read.
        unsafe { tile::<M>(k, w, x.wrapping_add(row), x_stride, c.add(row), c_stride, accumulate) }
    }
}

/// The tile of 16 rows that begin at `x` and `c`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const M: usize>(
    k: usize,
    mut w: *const f32,
    mut x: *const f32,
    x_stride: usize,
    c: *mut f32,
    c_stride: usize,
    accumulate: usize,
) {
    let mut sums = [[_mm256_setzero_ps(); 2]; M];
    // SAFETY: the caller hands `k` groups of `M` weights, and 16 rows at each stride of `x` and `c`.
    unsafe {
        if accumulate != 0 {
            for (n, sum) in sums.iter_mut().enumerate() {
                let c = c.add(n * c_stride);
                *sum = [_mm256_loadu_ps(c), _mm256_loadu_ps(c.add(8))];
            }
        }
        for _ in 0..k {
            let step = [_mm256_loadu_ps(x), _mm256_loadu_ps(x.add(8))];
            for (n, sum) in sums.iter_mut().enumerate() {
                let weight = _mm256_broadcast_ss(&*w.add(n));
                *sum = [_mm256_fmadd_ps(weight, step[0], sum[0]), _mm256_fmadd_ps(weight, step[1], sum[1])];
            }
            w = w.add(M);
            x = x.wrapping_add(x_stride);
        }
        for (n, sum) in sums.iter().enumerate() {
            let c = c.add(n * c_stride);
            _mm256_storeu_ps(c, sum[0]);
            _mm256_storeu_ps(c.add(8), sum[1]);
        }
    }
}
