//! Tiles of up to 4 outputs by 8 rows in plain Rust, four times for a panel: small enough for the 16 registers of 128
//! bits that any 64-bit machine has.

use crate::{Isa, LANES, pack::portable::Portable};

super::table!(Isa::Portable, Portable, strip: 1 / 1, 2 / 1, 3 / 1, 4 / 1);

/// Rows of one tile.
const ROWS: usize = 8;

/// [`crate::StripKernel`] for `M` outputs; the steps are not dealt out, `CHAINS` is 1.
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
unsafe fn tile<const M: usize>(
    k: usize,
    mut w: *const f32,
    mut x: *const f32,
    x_stride: usize,
    c: *mut f32,
    c_stride: usize,
    accumulate: usize,
) {
    let mut sums = [[0.0; ROWS]; M];
    // SAFETY: the caller hands `k` groups of `M` weights, and 8 rows at each stride of `x` and `c`.
    unsafe {
        if accumulate != 0 {
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = c.add(n * c_stride).cast::<[f32; ROWS]>().read();
            }
        }
        for _ in 0..k {
            let step = x.cast::<[f32; ROWS]>().read();
            for (n, sum) in sums.iter_mut().enumerate() {
                let weight = *w.add(n);
                for (sum, x) in sum.iter_mut().zip(step) {
                    *sum += weight * x;
                }
            }
            w = w.add(M);
            x = x.wrapping_add(x_stride);
        }
        for (n, sum) in sums.iter().enumerate() {
            c.add(n * c_stride).cast::<[f32; ROWS]>().write(*sum);
        }
    }
}
