//! The register-tiled contraction: a strip of outputs times a panel of rows.
//!
//! One call computes `C[n][row] (+)= Σₖ W[n][k] · X[k][row]` for a strip of up to
//! [`MicroKernels::max_strip`] outputs and the [`LANES`] rows of a panel. The tile of `C` stays in
//! registers for all of `k`; a step loads one row vector of `X`, and broadcasts each weight of the strip.
//!
//! | instruction set | registers of the tile | largest strip |
//! |---|---|---|
//! | AVX-512 | 14 x 32: 28 sums of 16 lanes | 14 |
//! | AVX2 + FMA | 6 x 16, once for each half of the panel | 6 |
//! | NEON | 8 x 8, once for each quarter | 8 |
//! | portable | 4 x 8, once for each quarter | 4 |
//!
//! Every sum runs over `k` in ascending order, rounding once a term with fused multiply-add (twice in the
//! portable kernel). Strips of height 1 to 3 on AVX-512, too few sums to keep both multipliers busy, split
//! the steps over two or four partial sums. A sum thus depends on the height of its strip, and on nothing
//! else: neither on the panel, nor on the thread.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use crate::pack::{LoadPanel, PackStrips, StackRows, StorePanel, TransposePanel, UntransposePanel};
use crate::window::{LoadWindow, SlideWindow};
use crate::winograd::{TransformTaps, Winograd};
use crate::{
    Isa, LANES,
    memory::{CopyStreaming, PrefetchRows, Settle},
};

/// Computes one tile: `C[n][row] (+)= Σₖ W[n][k] · X[k][row]`, `n < height`, `row < 32`.
///
/// Arguments, in order:
/// - `k`: the number of steps; 0 is allowed and gives zeros (or leaves `C` as it is);
/// - `w`: the packed strip, `[k][height]`, contiguous;
/// - `x`, `x_stride`: the panel, `x[step * x_stride + row]`;
/// - `c`, `c_stride`: the result, `c[n * c_stride + row]`;
/// - `accumulate`: 0 writes the sum, any other value adds it to what `c` holds.
///
/// Strides are in elements. No alignment is required; panels aligned to 64 bytes are fastest.
///
/// # Safety
///
/// The machine has the kernel's instruction set; all elements named above are readable, those of `c`
/// writable; `c` overlaps neither `w` nor `x`.
pub type StripKernel = unsafe extern "C" fn(
    k: usize,
    w: *const f32,
    x: *const f32,
    x_stride: usize,
    c: *mut f32,
    c_stride: usize,
    accumulate: usize,
);

/// The kernels of one instruction set: what compiled code calls.
#[derive(Debug)]
pub struct MicroKernels {
    /// The instruction set they are written for.
    pub isa: Isa,
    /// The largest number of outputs a tile holds.
    pub max_strip: usize,
    /// The contraction kernel for each strip height, from 1 to `max_strip`.
    pub strips: &'static [StripKernel],
    /// Packs a matrix into strips.
    pub pack_strips: PackStrips,
    /// Makes the features of a panel its lanes.
    pub transpose_panel: TransposePanel,
    /// Makes the features of rows of a row-major array lanes.
    pub stack_rows: StackRows,
    /// The inverse of `transpose_panel`.
    pub untranspose_panel: UntransposePanel,
    /// Reads rows of a row-major array into a panel.
    pub load_panel: LoadPanel,
    /// Writes a panel into rows of a row-major array.
    pub store_panel: StorePanel,
    /// Reads the rows around those of a panel.
    pub load_window: LoadWindow,
    /// Reads the rows around those of a panel at successive positions of a window.
    pub slide_window: SlideWindow,
    /// Convolves with three taps by three.
    pub winograd: Winograd,
    /// Transforms the weights for that.
    pub transform_taps: TransformTaps,
    /// Copies to memory that will not be read soon.
    pub copy_streaming: CopyStreaming,
    /// Ends streaming copies: what they wrote is there for other threads.
    pub settle: Settle,
    /// Asks for rows that are needed soon.
    pub prefetch_rows: PrefetchRows,
}

/// The kernels of an instruction set.
///
/// # Panics
///
/// If this machine lacks it ([`Isa::is_available`]).
pub fn micro_kernels(isa: Isa) -> &'static MicroKernels {
    assert!(isa.is_available(), "this machine has no {isa} instructions");
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => &avx512::KERNELS,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => &avx2::KERNELS,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => &neon::KERNELS,
        _ => &portable::KERNELS,
    }
}

/// Cuts `n` outputs into the fewest strips of at most `max`, as even as can be: `(start, height)` of each.
///
/// Taller strips come first. 256 outputs in strips of at most 14 are nine of 14 and ten of 13, where a greedy cut
/// would leave a strip of 4, which runs at a third of the speed.
pub fn strips(n: usize, max: usize) -> impl ExactSizeIterator<Item = (usize, usize)> + Clone {
    assert!(max > 0, "a strip holds at least one output");
    let count = n.div_ceil(max);
    let (height, taller) = (n / count.max(1), n % count.max(1));
    (0..count).map(move |strip| (strip * height + strip.min(taller), height + usize::from(strip < taller)))
}

impl MicroKernels {
    /// The kernel for a strip of `height` outputs.
    ///
    /// # Panics
    ///
    /// If `height` is not in `1..=max_strip`.
    pub fn strip(&self, height: usize) -> StripKernel {
        self.strips[height - 1]
    }

    /// Contracts all `n` outputs of a packed matrix with one panel: `C[n][row] (+)= Σₖ W[n][k] · X[k][row]`.
    ///
    /// `packed` is what [`MicroKernels::packed_strips`] made; `x` is `[k][32]` with `x_stride` elements
    /// from step to step, `c` is `[n][32]` with `c_stride`.
    ///
    /// # Panics
    ///
    /// If a slice is too short for its sizes and strides, or a stride is less than 32.
    #[allow(clippy::too_many_arguments)] // the sizes and strides of a contraction
    pub fn contract(
        &self,
        n: usize,
        k: usize,
        packed: &[f32],
        x: &[f32],
        x_stride: usize,
        c: &mut [f32],
        c_stride: usize,
        accumulate: bool,
    ) {
        assert!(packed.len() >= n * k, "packed weights of {} elements, {n} x {k} needed", packed.len());
        assert_panel(x.len(), k, x_stride);
        assert_panel(c.len(), n, c_stride);
        for (start, height) in strips(n, self.max_strip) {
            // SAFETY: the lengths were checked, `c` is borrowed mutably and so overlaps nothing, and the table
            // was handed out only because the machine has its instruction set.
            unsafe {
                self.strip(height)(
                    k,
                    packed[start * k..].as_ptr(),
                    x.as_ptr(),
                    x_stride,
                    c[start * c_stride..].as_mut_ptr(),
                    c_stride,
                    usize::from(accumulate),
                );
            }
        }
    }
}

/// Checks that a slice of `length` elements holds a panel of `features` at a stride.
pub(crate) fn assert_panel(length: usize, features: usize, stride: usize) {
    assert!(stride >= LANES || features <= 1, "a panel stride of {stride} is less than its {LANES} rows");
    let needed = features.checked_sub(1).map_or(0, |last| last * stride + LANES);
    assert!(length >= needed, "a panel of {length} elements, {needed} needed");
}

/// The contraction, packing and copying entries of one instruction set as a [`MicroKernels`] table; each
/// strip height is given with the number of partial sums that its steps are dealt to.
macro_rules! table {
    ($isa:expr, $tiles:ty, $strip:ident: $($height:literal / $chains:literal),*) => {
        pub(super) static KERNELS: $crate::MicroKernels = $crate::MicroKernels {
            isa: $isa,
            max_strip: [$($height),*].len(),
            strips: &[$($strip::<$height, $chains>),*],
            pack_strips: $crate::pack::pack_strips::<$tiles, { [$($height),*].len() }>,
            transpose_panel: $crate::pack::transpose_panel::<$tiles>,
            stack_rows: $crate::pack::stack_rows::<$tiles>,
            untranspose_panel: $crate::pack::untranspose_panel::<$tiles>,
            load_panel: $crate::pack::load_panel::<$tiles>,
            store_panel: $crate::pack::store_panel::<$tiles>,
            load_window: <$tiles as $crate::pack::Tiles>::LOAD_WINDOW,
            slide_window: $crate::window::slide_window::<$tiles>,
            winograd: <$tiles as $crate::pack::Tiles>::WINOGRAD,
            transform_taps: <$tiles as $crate::pack::Tiles>::TRANSFORM_TAPS,
            copy_streaming: <$tiles as $crate::pack::Tiles>::COPY_STREAMING,
            settle: <$tiles as $crate::pack::Tiles>::SETTLE,
            prefetch_rows: <$tiles as $crate::pack::Tiles>::PREFETCH_ROWS,
        };
    };
}
use table;
