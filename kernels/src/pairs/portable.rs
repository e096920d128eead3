//! Pairs in plain Rust: tiles of up to 4 outputs by 8 rows, four times for a panel, each pair widened to two products in
//! f32.

use super::{BLOCK, PairKernels, Product, Unit, pairs, rounded};
use crate::LANES;

pub(super) static KERNELS: PairKernels = PairKernels {
    unit: Unit::Portable,
    max_strip: MAX,
    is_balanced: true,
    is_blocked: false,
    pack,
    round,
    turn,
    multiply,
};

/// Outputs of a strip at most.
const MAX: usize = 4;

/// Rows of one tile.
const ROWS: usize = 8;

/// The word of two elements.
fn pair(even: f32, odd: f32) -> u32 {
    u32::from(rounded(even)) | u32::from(rounded(odd)) << 16
}

/// [`super::PackPairs`].
unsafe extern "C" fn pack(
    n: usize,
    k: usize,
    w: *const f32,
    n_stride: usize,
    k_stride: usize,
    out: *mut u32,
    capacity: usize,
    offset: usize,
) {
    for (start, height) in KERNELS.strips(n) {
        for (m, step) in (0..height).flat_map(|m| (0..pairs(k)).map(move |step| (m, step))) {
            // SAFETY: the caller's contract: elements below `k`, and the pairs of a strip from `offset` on.
            unsafe {
                let at = |k_at: usize| if k_at < k { *w.add((start + m) * n_stride + k_at * k_stride) } else { 0.0 };
                let to = start * capacity + KERNELS.place(height, m, offset + step);
                *out.add(to) = pair(at(2 * step), at(2 * step + 1));
            }
        }
    }
}

/// [`super::RoundPanel`].
unsafe extern "C" fn round(k: usize, x: *const f32, x_stride: usize, out: *mut u32) {
    for (step, lane) in (0..pairs(k)).flat_map(|step| (0..LANES).map(move |lane| (step, lane))) {
        // SAFETY: the caller's contract.
        unsafe {
            let at = |k_at: usize| if k_at < k { *x.add(k_at * x_stride + lane) } else { 0.0 };
            *out.add(step * LANES + lane) = pair(at(2 * step), at(2 * step + 1));
        }
    }
}

/// [`super::TurnPanel`].
unsafe extern "C" fn turn(
    features: usize,
    rows: usize,
    panel: *const f32,
    panel_stride: usize,
    out: *mut u32,
    out_stride: usize,
) {
    for feature in 0..features.next_multiple_of(LANES) {
        for step in 0..BLOCK {
            // SAFETY: the caller's contract: lanes below `rows` of the features, and all words of the column panels.
            unsafe {
                let at = |row: usize| {
                    if feature < features && row < rows { *panel.add(feature * panel_stride + row) } else { 0.0 }
                };
                let to = feature / LANES * out_stride + step * LANES + feature % LANES;
                *out.add(to) = pair(at(2 * step), at(2 * step + 1));
            }
        }
    }
}

/// [`super::MultiplyPairs`].
unsafe extern "C" fn multiply(product: *const Product) {
    // SAFETY: the caller's contract, for one strip, panel and group of rows at a time.
    unsafe {
        let product = &*product;
        for (start, height) in KERNELS.strips(product.n).take(product.end).skip(product.first) {
            let w = product.strip(start, height);
            for panel in 0..product.panels {
                let (x, c) = product.panel(panel, start);
                for row in (0..LANES).step_by(ROWS) {
                    let tile = [tile::<1>, tile::<2>, tile::<3>, tile::<4>][height - 1];
                    tile(product, w, x.add(row), c.add(row));
                }
            }
        }
    }
}

/// The tile of 8 rows that begin at `x` and `c`.
unsafe fn tile<const M: usize>(product: &Product, mut w: *const u32, mut x: *const u32, c: *mut f32) {
    let low = |word: u32| f32::from_bits(word << 16);
    let high = |word: u32| f32::from_bits(word & 0xffff_0000);
    let mut sums = [[0.0; ROWS]; M];
    // SAFETY: the caller hands `M` words a pair, and 8 rows of each pair and output.
    unsafe {
        if product.accumulate != 0 {
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = c.add(n * product.c_stride).cast::<[f32; ROWS]>().read();
            }
        }
        for _ in 0..product.pairs {
            let step = x.cast::<[u32; ROWS]>().read();
            for (n, sum) in sums.iter_mut().enumerate() {
                let weights = *w.add(n);
                for (sum, x) in sum.iter_mut().zip(step) {
                    *sum += low(weights) * low(x);
                    *sum += high(weights) * high(x);
                }
            }
            w = w.add(M);
            x = x.wrapping_add(LANES);
        }
        for (n, sum) in sums.iter().enumerate() {
            c.add(n * product.c_stride).cast::<[f32; ROWS]>().write(*sum);
        }
    }
}
