//! Contractions of operands rounded to bf16: half the bytes, and multipliers that take two products at a time.
//!
//! Both operands of `C[n][row] = Σₖ W[n][k] · X[k][row]` are rounded to bf16 (eight bits of precision, the exponents of
//! f32), to the nearest, ties to even; products are exact and added up in f32. The multipliers take k in **pairs**: a
//! word of 32 bits holds the elements of an even k, in its low half, and of the odd k after it.
//!
//! ```text
//! panel of pairs   x[k / 2][32 rows]          a word for each pair of k and row
//! strips of pairs  w[strip][k / 2][height]    or, for AMX,  w[strip][k / 32][height][16 pairs]
//! ```
//!
//! Where k ends inside of a block of [`BLOCK`] pairs, zeros fill it up: [`pairs`] is the room that k takes.
//!
//! | unit | tile | of it |
//! |---|---|---|
//! | AMX | 32 outputs x 32 rows, four tile registers of sums | 16 x 16 x 32 products an instruction |
//! | AVX-512 BF16 | 14 x 32, as in f32 | 16 x 2 products an instruction |
//! | portable | 4 x 8, four times for a panel | what the compiler makes of it |
//!
//! A sum runs over the blocks of k in ascending order, in an order of its own inside of a block; it depends on the
//! unit and the height of its strip, and on nothing else. Numbers below the normal range are taken for zeros, as
//! operands by all units and as results by AMX and AVX-512.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod portable;

use crate::contract::{assert_panel, strips};
use crate::{Isa, LANES};
use std::fmt;

/// Pairs in a block of k: the depth of a tile register.
pub const BLOCK: usize = 16;

/// The pairs that `k` steps take: whole blocks.
pub const fn pairs(k: usize) -> usize {
    k.div_ceil(2 * BLOCK) * BLOCK
}

/// What multiplies pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// Plain Rust, on any machine: each pair is widened to f32 again.
    Portable,
    /// The dot products of x86-64 with AVX-512 BF16.
    Avx512,
    /// The tile registers of x86-64 with AMX BF16, under Linux.
    Amx,
}

impl Unit {
    /// Every unit, slowest first.
    pub const ALL: [Unit; 3] = [Unit::Portable, Unit::Avx512, Unit::Amx];

    /// Whether this machine has it, and lets this process use it.
    pub fn is_available(self) -> bool {
        match self {
            Unit::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512 => avx512::is_available(),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Unit::Amx => avx512::is_available() && amx::is_permitted(),
            #[allow(unreachable_patterns)] // where all units are
            _ => false,
        }
    }

    /// The units that this machine has, slowest first; the portable one is always there.
    pub fn available() -> impl Iterator<Item = Unit> {
        Unit::ALL.into_iter().filter(|unit| unit.is_available())
    }

    /// The fastest unit that this machine has.
    pub fn detect() -> Unit {
        Unit::available().last().unwrap_or(Unit::Portable)
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Portable => Isa::Portable.name(),
            Unit::Avx512 => "avx512-bf16",
            Unit::Amx => "amx",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An f32 as a bf16: the nearest, ties to even; zero below the normal range; a NaN stays one.
pub fn rounded(value: f32) -> u16 {
    let bits = value.to_bits();
    let high = (bits >> 16) as u16;
    if value.is_nan() {
        high | 0x40
    } else if bits & 0x7f80_0000 == 0 {
        high & 0x8000
    } else {
        ((bits + 0x7fff + u32::from(high & 1)) >> 16) as u16
    }
}

/// A bf16 as an f32, exactly.
pub fn widened(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}

/// Rounds a matrix `w[n * n_stride + k * k_stride]` into strips of pairs.
///
/// Arguments: `(n, k, w, n_stride, k_stride, out, capacity, offset)`. The `n` outputs are cut by
/// [`PairKernels::strips`]; the strip that starts at output `s` starts at `out[s * capacity]` and has room for
/// `capacity` pairs, of which this call fills [`pairs`]`(k)` from `offset` on, with zeros past `k`. Fast when either
/// stride is 1. Strides are in elements.
///
/// # Safety
///
/// The machine has the unit; every named element of `w` is readable, `out` has `n * capacity` writable words that overlap
/// none of them, `capacity` and `offset` are multiples of [`BLOCK`], and `offset + pairs(k) <= capacity`.
pub type PackPairs = unsafe extern "C" fn(
    n: usize,
    k: usize,
    w: *const f32,
    n_stride: usize,
    k_stride: usize,
    out: *mut u32,
    capacity: usize,
    offset: usize,
);

/// Rounds a panel: `out[pair][row] = (x[2 pair][row], x[2 pair + 1][row])` for [`pairs`]`(k)` pairs, zeros past `k`.
///
/// Arguments: `(k, x, x_stride, out)`; the pairs of `out` are contiguous, 32 words each.
///
/// # Safety
///
/// The machine has the unit; `k` panel rows of `x` are readable; `out` has 32 words for each pair, apart from them.
pub type RoundPanel = unsafe extern "C" fn(k: usize, x: *const f32, x_stride: usize, out: *mut u32);

/// Rounds a panel and makes its features the lanes: `out[feature / 32][pair of rows][feature % 32]`, for a contraction
/// over rows.
///
/// Arguments: `(features, rows, panel, panel_stride, out, out_stride)`. The first `rows` lanes are rows; what is past
/// them, or past the last feature, becomes zero. A column panel has 16 pairs of 32 words, the next one is `out_stride`
/// words further. Those of several row panels are stacked with `out + 16 * 32 * panel`.
///
/// # Safety
///
/// The machine has the unit; `rows <= 32`; `features` panel rows are readable; the words of every column panel are
/// writable and overlap no panel row.
pub type TurnPanel = unsafe extern "C" fn(
    features: usize,
    rows: usize,
    panel: *const f32,
    panel_stride: usize,
    out: *mut u32,
    out_stride: usize,
);

/// What [`MultiplyPairs`] computes: `c[panel][n][row] (+)= Σ w[n][pair] · x[panel][pair][row]`, for some strips of `w` and
/// some panels.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Outputs of the whole matrix, which [`PairKernels::strips`] cuts.
    pub n: usize,
    /// The first strip.
    pub first: usize,
    /// The strip after the last one.
    pub end: usize,
    /// Pairs to be added up. The block in which they end is filled up with zeros, in `w` and `x`.
    pub pairs: usize,
    /// The strips of the whole matrix.
    pub w: *const u32,
    /// Pairs that a strip has room for.
    pub capacity: usize,
    /// The first pair of each strip: a multiple of [`BLOCK`].
    pub offset: usize,
    /// The number of panels.
    pub panels: usize,
    /// The panels of pairs, `[pair][32]`.
    pub x: *const u32,
    /// Words from panel to panel of `x`.
    pub x_panel: usize,
    /// The results, `[n][32]`, of output 0.
    pub c: *mut f32,
    /// Elements from output to output.
    pub c_stride: usize,
    /// Elements from panel to panel of `c`.
    pub c_panel: usize,
    /// 0 writes the sums, any other value adds them to what `c` holds.
    pub accumulate: usize,
}

/// Computes a [`Product`].
///
/// # Safety
///
/// The machine has the unit; the argument points to a product whose words, as its documentation has them, are readable, those
/// of `c` writable; `c` overlaps neither `w` nor `x`.
pub type MultiplyPairs = unsafe extern "C" fn(*const Product);

/// The kernels of one unit: what compiled code calls.
#[derive(Debug)]
pub struct PairKernels {
    /// What they are written for.
    pub unit: Unit,
    /// The largest number of outputs in a strip.
    pub max_strip: usize,
    /// Whether strips are as even as can be; otherwise all but the last are of the largest height.
    is_balanced: bool,
    /// Whether a strip is `[block][height][16 pairs]` and not `[pair][height]`.
    is_blocked: bool,
    /// Rounds a matrix into strips.
    pub pack: PackPairs,
    /// Rounds a panel.
    pub round: RoundPanel,
    /// Rounds a panel and makes its features the lanes.
    pub turn: TurnPanel,
    /// Multiplies strips by panels.
    pub multiply: MultiplyPairs,
}

/// The kernels of a unit.
///
/// # Panics
///
/// If this machine lacks it ([`Unit::is_available`]).
pub fn pair_kernels(unit: Unit) -> &'static PairKernels {
    assert!(unit.is_available(), "this machine has no {unit}");
    match unit {
        #[cfg(target_arch = "x86_64")]
        Unit::Avx512 => &avx512::KERNELS,
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Unit::Amx => &amx::KERNELS,
        _ => &portable::KERNELS,
    }
}

impl PairKernels {
    /// Cuts `n` outputs into strips: `(start, height)` of each.
    pub fn strips(&self, n: usize) -> impl ExactSizeIterator<Item = (usize, usize)> + Clone {
        let (max, is_balanced) = (self.max_strip, self.is_balanced);
        let even = strips(n, max);
        even.enumerate().map(move |(i, strip)| if is_balanced { strip } else { (i * max, max.min(n - i * max)) })
    }

    /// Where in a strip of `height` outputs the word of output `m` and a pair is.
    pub fn place(&self, height: usize, m: usize, pair: usize) -> usize {
        if self.is_blocked { (pair / BLOCK * height + m) * BLOCK + pair % BLOCK } else { pair * height + m }
    }

    /// A matrix `w[n * n_stride + k * k_stride]` as strips: see [`PackPairs`].
    ///
    /// # Panics
    ///
    /// If `w` is too short.
    pub fn packed(&self, n: usize, k: usize, w: &[f32], n_stride: usize, k_stride: usize) -> Vec<u32> {
        let mut out = vec![0; n * pairs(k)];
        if n > 0 && k > 0 {
            let last = (n - 1) * n_stride + (k - 1) * k_stride;
            assert!(w.len() > last, "a matrix of {} elements, {} needed", w.len(), last + 1);
            // SAFETY: checked above; the strips have room for all pairs of `n` outputs.
            unsafe { (self.pack)(n, k, w.as_ptr(), n_stride, k_stride, out.as_mut_ptr(), pairs(k), 0) };
        }
        out
    }

    /// A panel `[k][32]` of a stride as pairs: see [`RoundPanel`].
    ///
    /// # Panics
    ///
    /// If the panel is too short.
    pub fn rounded_panel(&self, k: usize, x: &[f32], x_stride: usize) -> Vec<u32> {
        assert_panel(x.len(), k, x_stride);
        let mut out = vec![0; pairs(k) * LANES];
        // SAFETY: checked above; there is room for all pairs.
        unsafe { (self.round)(k, x.as_ptr(), x_stride, out.as_mut_ptr()) };
        out
    }

    /// The column panels of the first `rows` lanes of a panel: see [`TurnPanel`].
    ///
    /// # Panics
    ///
    /// If the panel is too short, or has fewer lanes.
    pub fn turned_panel(&self, features: usize, rows: usize, panel: &[f32], panel_stride: usize) -> Vec<u32> {
        assert!(rows <= LANES, "{rows} rows of a panel of {LANES}");
        assert_panel(panel.len(), features, panel_stride);
        let mut out = vec![0; features.div_ceil(LANES) * BLOCK * LANES];
        // SAFETY: checked above; `out` has 16 x 32 words for each column panel.
        unsafe { (self.turn)(features, rows, panel.as_ptr(), panel_stride, out.as_mut_ptr(), BLOCK * LANES) };
        out
    }

    /// Contracts all `n` outputs of a packed matrix with one panel of pairs: `C[n][row] (+)= Σₖ W[n][k] · X[k][row]`.
    ///
    /// `packed` is what [`PairKernels::packed`] made, `x` what [`PairKernels::rounded_panel`] did; `c` is `[n][32]` with
    /// `c_stride` elements from output to output.
    ///
    /// # Panics
    ///
    /// If a slice is too short for its sizes and strides, or a stride is less than 32.
    #[allow(clippy::too_many_arguments)] // the sizes and strides of a contraction
    pub fn contract(
        &self,
        n: usize,
        k: usize,
        packed: &[u32],
        x: &[u32],
        c: &mut [f32],
        c_stride: usize,
        accumulate: bool,
    ) {
        let capacity = pairs(k);
        assert!(packed.len() >= n * capacity, "packed weights of {} words, {} needed", packed.len(), n * capacity);
        assert!(x.len() >= capacity * LANES, "a panel of {} words, {} needed", x.len(), capacity * LANES);
        assert_panel(c.len(), n, c_stride);
        let product = Product {
            n,
            first: 0,
            end: self.strips(n).len(),
            pairs: k.div_ceil(2),
            w: packed.as_ptr(),
            capacity,
            offset: 0,
            panels: 1,
            x: x.as_ptr(),
            x_panel: capacity * LANES,
            c: c.as_mut_ptr(),
            c_stride,
            c_panel: n * c_stride,
            accumulate: usize::from(accumulate),
        };
        // SAFETY: the lengths were checked, and `c` is borrowed mutably and so overlaps nothing.
        unsafe { (self.multiply)(&product) }
    }
}

impl Product {
    /// The strip of `height` outputs that starts at output `start`.
    ///
    /// # Safety
    ///
    /// As [`MultiplyPairs`].
    #[inline]
    unsafe fn strip(&self, start: usize, height: usize) -> *const u32 {
        // SAFETY: the caller's contract.
        unsafe { self.w.add(start * self.capacity + self.offset * height) }
    }

    /// The operand and the result of a panel, from output `start` on.
    ///
    /// # Safety
    ///
    /// As [`MultiplyPairs`].
    #[inline]
    unsafe fn panel(&self, panel: usize, start: usize) -> (*const u32, *mut f32) {
        // SAFETY: the caller's contract.
        unsafe { (self.x.add(panel * self.x_panel), self.c.add(panel * self.c_panel + start * self.c_stride)) }
    }
}
