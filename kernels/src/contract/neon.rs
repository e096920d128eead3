//! Tiles of up to 8 outputs by 8 rows in the 32 registers of NEON, four times for a panel.

use std::arch::aarch64::*;

use crate::{Isa, LANES, pack::neon::Neon};

super::table!(Isa::Neon, Neon, strip: 1 / 1, 2 / 1, 3 / 1, 4 / 1, 5 / 1, 6 / 1, 7 / 1, 8 / 1);

/// Rows of one tile.
const ROWS: usize = 8;

/// [`crate::StripKernel`] for `M` outputs; the steps are not dealt out, `CHAINS` is 1.
#[target_feature(enable = "neon")]
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
        // SAFETY: the caller's contract, for a quarter of the rows; for `k` = 0 the panel may be empty and is not
        // read.
        unsafe { tile::<M>(k, w, x.wrapping_add(row), x_stride, c.add(row), c_stride, accumulate) }
    }
}

/// The tile of 8 rows that begin at `x` and `c`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile<const M: usize>(
    k: usize,
    mut w: *const f32,
    mut x: *const f32,
    x_stride: usize,
    c: *mut f32,
    c_stride: usize,
    accumulate: usize,
) {
    let mut sums = [[vdupq_n_f32(0.0); 2]; M];
    // SAFETY: the caller hands `k` groups of `M` weights, and 8 rows at each stride of `x` and `c`.
    unsafe {
        if accumulate != 0 {
            for (n, sum) in sums.iter_mut().enumerate() {
                let c = c.add(n * c_stride);
                *sum = [vld1q_f32(c), vld1q_f32(c.add(4))];
            }
        }
        for _ in 0..k {
            let step = [vld1q_f32(x), vld1q_f32(x.add(4))];
            for (n, sum) in sums.iter_mut().enumerate() {
                let weight = *w.add(n);
                *sum = [vfmaq_n_f32(sum[0], step[0], weight), vfmaq_n_f32(sum[1], step[1], weight)];
            }
            w = w.add(M);
            x = x.wrapping_add(x_stride);
        }
        for (n, sum) in sums.iter().enumerate() {
            let c = c.add(n * c_stride);
            vst1q_f32(c, sum[0]);
            vst1q_f32(c.add(4), sum[1]);
        }
    }
}
