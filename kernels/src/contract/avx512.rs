//! Tiles of up to 14 outputs by 32 rows in the 32 registers of AVX-512.

use std::arch::x86_64::*;

use crate::{Isa, pack::avx512::Avx512};

super::table!(Isa::Avx512, Avx512, strip: 1 / 4, 2 / 4, 3 / 2, 4 / 1, 5 / 1, 6 / 1, 7 / 1, 8 / 1, 9 / 1, 10 / 1,
    11 / 1, 12 / 1, 13 / 1, 14 / 1);

/// Steps of `k` in one pass of the loop.
const UNROLL: usize = 4;

/// [`crate::StripKernel`] for `M` outputs, the steps dealt to `CHAINS` partial sums.
#[target_feature(enable = "avx512f")]
unsafe extern "C" fn strip<const M: usize, const CHAINS: usize>(
    k: usize,
    mut w: *const f32,
    mut x: *const f32,
    x_stride: usize,
    c: *mut f32,
    c_stride: usize,
    accumulate: usize,
) {
    let mut sums = [[[_mm512_setzero_ps(); 2]; M]; CHAINS];
    // SAFETY: the caller's contract: `w` holds `k` groups of `M`, `x` and `c` hold 32 elements at each stride.
    unsafe {
        if accumulate != 0 {
            for (n, sum) in sums[0].iter_mut().enumerate() {
                let c = c.add(n * c_stride);
                *sum = [_mm512_loadu_ps(c), _mm512_loadu_ps(c.add(16))];
            }
        }
        for _ in 0..k / UNROLL {
            for step in 0..UNROLL {
                advance(&mut sums[step % CHAINS], w.add(step * M), x);
                x = x.wrapping_add(x_stride);
            }
            w = w.add(UNROLL * M);
        }
        for _ in 0..k % UNROLL {
            advance(&mut sums[0], w, x);
            w = w.add(M);
            x = x.wrapping_add(x_stride);
        }
        let mut width = CHAINS;
        while width > 1 {
            width /= 2;
            let (low, high) = sums.split_at_mut(width);
            for (low, high) in low.iter_mut().flatten().flatten().zip(high.iter().flatten().flatten()) {
                *low = _mm512_add_ps(*low, *high);
            }
        }
        for (n, sum) in sums[0].iter().enumerate() {
            let c = c.add(n * c_stride);
            _mm512_storeu_ps(c, sum[0]);
            _mm512_storeu_ps(c.add(16), sum[1]);
        }
    }
}

/// Adds one step, `w[n] · x[row]`, to the sums.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn advance<const M: usize>(sums: &mut [[__m512; 2]; M], w: *const f32, x: *const f32) {
    // SAFETY: the caller hands `M` weights and 32 rows.
    unsafe {
        let x = [_mm512_loadu_ps(x), _mm512_loadu_ps(x.add(16))];
        for (n, sum) in sums.iter_mut().enumerate() {
            let weight = _mm512_set1_ps(*w.add(n));
            *sum = [_mm512_fmadd_ps(weight, x[0], sum[0]), _mm512_fmadd_ps(weight, x[1], sum[1])];
        }
    }
}
