//! Pairs with AVX-512 BF16: conversions of two vectors at a time, and tiles of up to 14 outputs by 32 rows.

use super::{BLOCK, PairKernels, Product, Unit, pairs};
use crate::LANES;
use crate::pack::avx512::transposed;
use std::arch::x86_64::*;

pub(super) static KERNELS: PairKernels = PairKernels {
    unit: Unit::Avx512,
    max_strip: MAX,
    is_balanced: true,
    is_blocked: false,
    pack: pack_by_pair,
    round,
    turn,
    multiply,
};

/// Outputs of a strip at most.
const MAX: usize = 14;

/// Lanes of a vector.
const WIDTH: usize = 16;

/// Whether this machine has the instructions.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// The mask of the first `count` lanes, all of them if there are more.
fn first(count: usize) -> __mmask16 {
    ((1_u32 << count.min(WIDTH)) - 1) as __mmask16
}

/// 16 pairs of neighbours: of the first `count` of 32 elements, zeros past them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn along(from: *const f32, count: usize) -> __m512i {
    // SAFETY: masked lanes are not read, the others are the caller's.
    let (low, high) = unsafe {
        let low = _mm512_maskz_loadu_ps(first(count), from);
        (low, _mm512_maskz_loadu_ps(first(count.saturating_sub(WIDTH)), from.wrapping_add(WIDTH)))
    };
    words(_mm512_cvtne2ps_pbh(high, low))
}

/// 16 pairs of the elements of two lines.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn across(even: __m512, odd: __m512) -> __m512i {
    let halves = words(_mm512_cvtne2ps_pbh(odd, even));
    // Element i of the even line beside element i of the odd one.
    let order = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1,
        16, 0,
    );
    _mm512_permutexvar_epi16(order, halves)
}

/// The same bits as words.
#[inline]
#[target_feature(enable = "avx512f")]
fn words(pairs: __m512bh) -> __m512i {
    // SAFETY: both are 64 bytes of any bits.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(pairs) }
}

/// The transpose of 16 x 16 words.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn turned(rows: [__m512i; WIDTH]) -> [__m512i; WIDTH] {
    transposed(rows.map(|row| _mm512_castsi512_ps(row))).map(|column| _mm512_castps_si512(column))
}

/// [`super::PackPairs`] into `[pair][height]`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe extern "C" fn pack_by_pair(
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
        for block in 0..pairs(k) / BLOCK {
            let step = 2 * BLOCK * block;
            let from = w.wrapping_add(start * n_stride + step * k_stride);
            // SAFETY: the caller's contract, for one strip and block; lanes past the strip are not written.
            unsafe {
                let by_pair = match square(height, k - step, from, n_stride, k_stride) {
                    Square::ByPair(lines) => lines,
                    Square::ByOutput(lines) => turned(lines),
                };
                let to = out.add(start * capacity + (offset + block * BLOCK) * height);
                for (pair, line) in by_pair.into_iter().enumerate() {
                    _mm512_mask_storeu_epi32(to.add(pair * height).cast(), first(height), line);
                }
            }
        }
    }
}

/// A block of the pairs of at most 16 outputs.
pub(super) enum Square {
    /// A line holds a pair of every output.
    ByPair([__m512i; WIDTH]),
    /// A line holds the pairs of an output.
    ByOutput([__m512i; WIDTH]),
}

/// A block of the pairs of `height` outputs, as it comes from memory; what is past `height` or `depth` is zero.
///
/// # Safety
///
/// The machine has the instructions; the elements of `height` outputs, at most 16, and of `depth` steps, at most those of
/// a block, are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn square(height: usize, depth: usize, from: *const f32, n_stride: usize, k_stride: usize) -> Square {
    let mut lines = [_mm512_setzero_si512(); WIDTH];
    // SAFETY: the caller's contract; masked lanes and lines past the end are not read.
    unsafe {
        if k_stride == 1 {
            for (m, line) in lines.iter_mut().enumerate().take(height) {
                *line = along(from.add(m * n_stride), depth);
            }
            return Square::ByOutput(lines);
        }
        if n_stride == 1 {
            let line_of = |step: usize| {
                let lanes = if step < depth { first(height) } else { 0 };
                _mm512_maskz_loadu_ps(lanes, from.wrapping_add(step * k_stride))
            };
            for (pair, line) in lines.iter_mut().enumerate() {
                *line = across(line_of(2 * pair), line_of(2 * pair + 1));
            }
            return Square::ByPair(lines);
        }
        for (m, line) in lines.iter_mut().enumerate().take(height) {
            let mut elements = [0.0; 2 * BLOCK];
            for (step, element) in elements.iter_mut().enumerate().take(depth) {
                *element = *from.add(m * n_stride + step * k_stride);
            }
            *line = along(elements.as_ptr(), depth);
        }
    }
    Square::ByOutput(lines)
}

/// [`super::RoundPanel`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe extern "C" fn round(k: usize, x: *const f32, x_stride: usize, out: *mut u32) {
    // SAFETY: the caller's contract: lines below `k`, and 32 words a pair.
    unsafe {
        for pair in 0..k / 2 {
            let even = x.add(2 * pair * x_stride);
            for half in [0, WIDTH] {
                let (even, odd) = (_mm512_loadu_ps(even.add(half)), _mm512_loadu_ps(even.add(x_stride + half)));
                _mm512_storeu_si512(out.add(pair * LANES + half).cast(), across(even, odd));
            }
        }
        for pair in k / 2..pairs(k) {
            for half in [0, WIDTH] {
                // The last line of an odd number of them has zeros beside it.
                let lanes = if 2 * pair < k { !0 } else { 0 };
                let even = _mm512_maskz_loadu_ps(lanes, x.wrapping_add(2 * pair * x_stride + half));
                _mm512_storeu_si512(out.add(pair * LANES + half).cast(), across(even, _mm512_setzero_ps()));
            }
        }
    }
}

/// [`super::TurnPanel`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe extern "C" fn turn(
    features: usize,
    rows: usize,
    panel: *const f32,
    panel_stride: usize,
    out: *mut u32,
    out_stride: usize,
) {
    for first in (0..features.next_multiple_of(LANES)).step_by(WIDTH) {
        let mut lines = [_mm512_setzero_si512(); WIDTH];
        let count = features.saturating_sub(first).min(WIDTH);
        // SAFETY: the caller's contract, for 16 features.
        unsafe {
            for (feature, line) in lines.iter_mut().enumerate().take(count) {
                *line = along(panel.add((first + feature) * panel_stride), rows);
            }
            let to = out.add(first / LANES * out_stride + first % LANES);
            for (pair, line) in turned(lines).into_iter().enumerate() {
                _mm512_storeu_si512(to.add(pair * LANES).cast(), line);
            }
        }
    }
}

type Tile = unsafe fn(&Product, *const u32, *const u32, *mut f32);

/// The tile of each height; few sums are split over partial ones, as in f32.
const TILES: [Tile; MAX] = [
    tile::<1, 4>,
    tile::<2, 4>,
    tile::<3, 2>,
    tile::<4, 2>,
    tile::<5, 1>,
    tile::<6, 1>,
    tile::<7, 1>,
    tile::<8, 1>,
    tile::<9, 1>,
    tile::<10, 1>,
    tile::<11, 1>,
    tile::<12, 1>,
    tile::<13, 1>,
    tile::<14, 1>,
];

/// [`super::MultiplyPairs`].
unsafe extern "C" fn multiply(product: *const Product) {
    // SAFETY: the caller's contract, for one strip and panel at a time.
    unsafe {
        let product = &*product;
        for (start, height) in KERNELS.strips(product.n).take(product.end).skip(product.first) {
            let w = product.strip(start, height);
            for panel in 0..product.panels {
                let (x, c) = product.panel(panel, start);
                TILES[height - 1](product, w, x, c);
            }
        }
    }
}

/// Pairs in one pass of the loop.
const UNROLL: usize = 4;

/// A strip of `M` outputs times a panel, the pairs dealt to `CHAINS` partial sums.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn tile<const M: usize, const CHAINS: usize>(
    product: &Product,
    mut w: *const u32,
    mut x: *const u32,
    c: *mut f32,
) {
    let mut sums = [[[_mm512_setzero_ps(); 2]; M]; CHAINS];
    // SAFETY: the caller hands `M` words a pair of `w`, and 32 of each pair of `x` and output of `c`.
    unsafe {
        if product.accumulate != 0 {
            for (n, sum) in sums[0].iter_mut().enumerate() {
                let c = c.add(n * product.c_stride);
                *sum = [_mm512_loadu_ps(c), _mm512_loadu_ps(c.add(WIDTH))];
            }
        }
        for _ in 0..product.pairs / UNROLL {
            for step in 0..UNROLL {
                advance(&mut sums[step % CHAINS], w.add(step * M), x.add(step * LANES));
            }
            w = w.add(UNROLL * M);
            x = x.add(UNROLL * LANES);
        }
        for _ in 0..product.pairs % UNROLL {
            advance(&mut sums[0], w, x);
            w = w.add(M);
            x = x.add(LANES);
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
            let c = c.add(n * product.c_stride);
            _mm512_storeu_ps(c, sum[0]);
            _mm512_storeu_ps(c.add(WIDTH), sum[1]);
        }
    }
}

/// Adds the products of one pair to the sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn advance<const M: usize>(sums: &mut [[__m512; 2]; M], w: *const u32, x: *const u32) {
    // SAFETY: the caller hands `M` words of weights and 32 of rows; words are pairs of any bits.
    unsafe {
        let pairs = |words: __m512i| std::mem::transmute::<__m512i, __m512bh>(words);
        let x = [_mm512_loadu_si512(x.cast()), _mm512_loadu_si512(x.add(WIDTH).cast())].map(pairs);
        for (n, sum) in sums.iter_mut().enumerate() {
            let weights = pairs(_mm512_set1_epi32((*w.add(n)).cast_signed()));
            *sum = [_mm512_dpbf16_ps(sum[0], weights, x[0]), _mm512_dpbf16_ps(sum[1], weights, x[1])];
        }
    }
}

/// Operations of a step of [`burst`].
pub(crate) const BURST: usize = SUMS * 2 * 2 * WIDTH;

/// Independent sums in flight.
const SUMS: usize = 12;

/// Steps that keep the multipliers busy with registers alone.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) unsafe fn burst(steps: usize) {
    // SAFETY: words are pairs of any bits.
    let pairs = |words: __m512i| unsafe { std::mem::transmute::<__m512i, __m512bh>(words) };
    let (a, b) = (pairs(_mm512_set1_epi32(0x3f80_3f80)), pairs(_mm512_set1_epi32(0x3a80_3a80)));
    let mut sums = [_mm512_setzero_ps(); SUMS];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, a, b);
        }
    }
    std::hint::black_box(sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum::<f32>());
}
